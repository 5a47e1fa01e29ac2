"""Laws of every policy on a language model: it starts as its prior, and never changes it. Tiny models in float64."""

import copy
from collections.abc import Callable

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Batch, Policy, StepPrior
from credence.core.types import Prompts
from credence.learn.losses.forward_kl import weighted_likelihood
from credence.prior.export import merged
from credence.prior.hf import LMPrior
from credence.prior.policy import LMPolicy, full_policy, lora_policy
from credence.prior.reshape import reshape
from tests.tiny import gpt2, llama

KEY = Key(17)
BUILDS: dict[str, Callable[[StepPrior], LMPolicy]] = {
    "lora": lambda prior: lora_policy(prior, KEY, 3),
    "full": full_policy,
    "full, embeddings too": lambda prior: full_policy(prior, freeze_embeddings=False),
    "full, the MLPs alone": lambda prior: full_policy(prior, only="mlp"),
}
build = pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
models = pytest.mark.parametrize("model", [llama, gpt2], ids=["llama", "gpt2"])


def given(prior: StepPrior) -> Prompts:
    return prior.codec.prompts([(0, 1), (6, 0, 6), (2,)])


def trained(policy: LMPolicy, prior: StepPrior, steps: int = 3, lr: float = 0.05) -> LMPolicy:
    """A few real steps towards replies of low token numbers, on hot draws: the tiny GPT-2 is nearly deterministic."""
    prompts = given(prior)
    completions, log_q = reshape(prior, 5.0).sample(KEY, prompts, 6)
    log_lik = -torch.where(completions.mask, completions.ids, 0).sum(-1).double()
    for _ in range(steps):
        batch = Batch(prompts, completions, log_q, prior.score(prompts, completions), log_lik)
        policy.forward_backward(batch, weighted_likelihood)
        policy.step(lr)
    return policy


def fine_tuned(model: Callable[[], LMPrior]) -> LMPrior:
    """A prior that is itself a fine-tune: other weights than the model it came from."""
    prior = model()
    with torch.no_grad():
        for i, p in enumerate(prior.model.parameters()):
            p += 0.05 * torch.cos(torch.arange(p.numel(), dtype=p.dtype) + i).view(p.shape)
    return prior


@models
@build
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_it_starts_as_its_prior_draw_by_draw(
    build: Callable[[StepPrior], LMPolicy], model: Callable[[], LMPrior], temperature: float
) -> None:
    """Same key, same tokens, same nats; score by score as well, so the KL at step 0 is 0."""
    prior = reshape(model(), temperature)
    policy = build(prior)
    assert isinstance(policy, Policy)
    assert (policy.ends, policy.horizon, policy.temperature) == (prior.ends, prior.horizon, temperature)
    prompts = given(prior)
    completions, log_q = prior.sample(KEY, prompts, 12)
    ours, log_pi = policy.sample(KEY, prompts, 12)
    assert ours.tokens() == completions.tokens()
    assert torch.allclose(log_pi, log_q, atol=1e-12, rtol=0)
    assert torch.allclose(policy.score(prompts, completions), prior.score(prompts, completions), atol=1e-12, rtol=0)


@models
@build
@pytest.mark.parametrize("tuned", [False, True], ids=["plain", "fine-tuned"])
def test_training_moves_the_policy_and_never_the_prior(
    build: Callable[[StepPrior], LMPolicy], model: Callable[[], LMPrior], tuned: bool
) -> None:
    """The prior scores the same bits. Rejects a prior that is the policy with its adapter off."""
    prior = fine_tuned(model) if tuned else model()
    prompts = given(prior)
    completions, _ = reshape(prior, 5.0).sample(KEY, prompts, 6)
    before = prior.score(prompts, completions)
    wants = [p.requires_grad for p in prior.model.parameters()]
    weights = copy.deepcopy(prior.model.state_dict())
    policy = build(prior)
    assert torch.allclose(policy.score(prompts, completions), before, atol=1e-12, rtol=0)
    trained(policy, prior)
    assert torch.equal(prior.score(prompts, completions), before)
    assert all(torch.equal(value, weights[name]) for name, value in prior.model.state_dict().items())
    assert [p.requires_grad for p in prior.model.parameters()] == wants
    assert all(p.grad is None for p in prior.model.parameters())
    assert float((policy.score(prompts, completions) - before).abs().max()) > 0.01


@models
@build
def test_plain_transformers_gives_the_policy_s_law(
    build: Callable[[StepPrior], LMPolicy], model: Callable[[], LMPrior]
) -> None:
    """Adapters merged, also into GPT-2's transposed layers, on a prior that is itself a fine-tune."""
    prior = fine_tuned(model)
    policy = trained(build(prior), prior)
    plain = merged(policy)
    assert not any("lora" in name or "base_layer" in name for name in plain.state_dict())
    prompts = given(prior)
    completions, _ = reshape(prior, 5.0).sample(KEY, prompts, 6)
    again = LMPrior(plain, prior.codec, prior.ends, prior.horizon)
    found, wanted = again.score(prompts, completions), policy.score(prompts, completions)
    assert torch.allclose(found, wanted, atol=1e-10, rtol=0)
    assert float((prior.score(prompts, completions) - wanted).abs().max()) > 0.01


def pointers(policy: LMPolicy) -> set[int]:
    return {p.data_ptr() for p in policy.lm.model.parameters()}


@models
def test_frozen_weights_stand_once_in_memory(model: Callable[[], LMPrior]) -> None:
    prior = model()
    theirs = {p.data_ptr() for p in prior.model.parameters()}
    words = {p.data_ptr() for p in (prior.model.get_input_embeddings().weight, prior.head.weight)}
    lora = lora_policy(prior, KEY, 2)
    assert theirs < pointers(lora)
    assert all("lora_" in name for name in lora.names)
    frozen, free = full_policy(prior), full_policy(prior, freeze_embeddings=False)
    assert pointers(frozen) & theirs == words
    assert {p.data_ptr() for p in frozen.trainer.parameters} == pointers(frozen) - words
    assert not pointers(free) & theirs
    assert {p.data_ptr() for p in free.trainer.parameters} == pointers(free)


@models
def test_only_the_named_weights_are_trained_and_the_rest_is_the_prior_s(model: Callable[[], LMPrior]) -> None:
    prior = model()
    theirs = {p.data_ptr() for p in prior.model.parameters()}
    policy = full_policy(prior, only=r"\.0\..*mlp")
    assert policy.names
    assert all(".0." in n and "mlp" in n for n in policy.names)
    own = {p.data_ptr() for p in policy.trainer.parameters}
    assert not own & theirs
    assert pointers(policy) - own < theirs
    before = [p.clone() for p in prior.model.parameters()]
    trained(policy, prior)
    assert all(torch.equal(p, q) for p, q in zip(prior.model.parameters(), before, strict=True))


def test_tied_embeddings_stay_tied() -> None:
    prior = gpt2()
    for policy in (lora_policy(prior, KEY, 2), full_policy(prior), full_policy(prior, freeze_embeddings=False)):
        assert policy.lm.head.weight is policy.lm.model.get_input_embeddings().weight


@models
def test_adapters_are_drawn_from_the_key_alone(model: Callable[[], LMPrior]) -> None:
    """And neither building nor merging nor training moves torch's global generator."""
    prior = model()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = lora_policy(prior, KEY, 3).state()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    policy = lora_policy(prior, KEY, 3)
    again, other = policy.state(), lora_policy(prior, Key(18), 3).state()
    assert all(torch.equal(first[name], again[name]) for name in first)
    down = [name for name in first if "lora_A" in name]
    assert down
    assert all(not torch.equal(first[name], other[name]) for name in down)
    assert all(not first[name].any() for name in first if "lora_B" in name)
    before = torch.get_rng_state()
    merged(trained(policy, prior))
    assert torch.equal(torch.get_rng_state(), before)


@models
def test_every_linear_layer_of_the_blocks_has_an_adapter(model: Callable[[], LMPrior]) -> None:
    """GPT-2's Conv1D layers too, with the shapes the right way round; the output layer has none."""
    policy = lora_policy(model(), KEY, 2)
    layers = [name.split(".lora_A")[0] for name in policy.names if "lora_A" in name]
    assert len(layers) == 2 * (7 if model is llama else 4)
    assert not any("lm_head" in name for name in layers)


@build
def test_state_and_restore_are_exact(build: Callable[[StepPrior], LMPolicy]) -> None:
    """After a restore training goes on as it did the first time: the optimiser remembers nothing of what was undone."""
    prior = llama()
    policy = build(prior)
    start = policy.state()
    trained(policy, prior)
    first = policy.state()
    assert any(not torch.equal(first[name], start[name]) for name in start)
    policy.restore(start)
    assert all(torch.equal(value, start[name]) for name, value in policy.state().items())
    trained(policy, prior)
    assert all(torch.equal(value, first[name]) for name, value in policy.state().items())
    assert all(start[name].data_ptr() != value.data_ptr() for name, value in policy.state().items())


@build
def test_state_and_moments_are_all_that_the_next_step_depends_on(build: Callable[[StepPrior], LMPolicy]) -> None:
    """Another policy, given both, goes on to the same bytes; given the state alone it does not."""
    prior = llama()
    policy = trained(build(prior), prior)
    state = policy.state()
    moments = {name: value.clone() for name, value in policy.moments().items()}
    last = trained(policy, prior, 2).state()
    for given_moments, same in ((moments, True), (None, False)):
        other = build(prior)
        other.restore(state, given_moments)
        found = trained(other, prior, 2).state()
        assert all(torch.equal(value, last[name]) for name, value in found.items()) == same
    assert build(prior).moments() == {}


def test_a_gradient_that_is_not_finite_is_reported_and_never_applied() -> None:
    """An infinite norm clips to 0 · inf = NaN: it must not reach Adam."""
    prior = llama()
    for bad in (float("inf"), float("nan")):
        policy = lora_policy(prior, KEY, 2)
        start = policy.state()
        for p in policy.trainer.parameters:
            p.grad = torch.full_like(p, bad)
        assert not torch.isfinite(torch.tensor(policy.step(0.1)["grad_norm"]))
        assert all(torch.equal(value, start[name]) for name, value in policy.state().items())
        assert all(p.grad is None for p in policy.trainer.parameters)


@build
def test_truncated_priors_are_refused(build: Callable[[StepPrior], LMPolicy]) -> None:
    for cut in (reshape(llama(), top_k=3), reshape(reshape(llama(), top_p=0.9), 0.7)):
        with pytest.raises(ConfigError, match="temperature only"):
            build(cut)


def test_temperatures_compose() -> None:
    policy = lora_policy(reshape(reshape(llama(), 0.5), 1.6), KEY, 2)
    assert policy.temperature == pytest.approx(0.8)
    assert isinstance(policy.lm, LMPrior)


def test_what_cannot_be_trained_on_is_named() -> None:
    prior = llama()
    policy = lora_policy(prior, KEY, 2)
    with pytest.raises(ConfigError, match="export it"):
        lora_policy(policy, KEY, 2)
    with pytest.raises(ConfigError, match="adapters of its own"):
        lora_policy(policy.lm, KEY, 2)
    with pytest.raises(ConfigError, match="rank=0"):
        lora_policy(prior, KEY, 0)
    with pytest.raises(ConfigError, match=r"no weight that could be trained.*norm"):
        full_policy(prior, only="embed")
    with pytest.raises(ConfigError, match="no regular expression"):
        full_policy(prior, only="(mlp")
