"""Laws of every guided policy on a language model: it starts as its prior, its values are what its law says."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from credence.core.errors import BackendError, ConfigError
from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.protocols import Batch, Guide, Policy
from credence.core.types import Completions
from credence.evidence.reward import Reward
from credence.learn.collect import Learner, ValueLearner
from credence.learn.dpg import DPG
from credence.learn.loop import fit
from credence.learn.values.ctl import CTL
from credence.learn.values.fudge import Fudge
from credence.learn.values.soft_q import TokenSoftQ
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.guided import GuidedLM, guided_policy
from credence.prior.guided_file import load_guide, save_guide
from credence.prior.hf import LMPrior
from credence.prior.reshape import Reshaped, reshape
from credence.prior.states import States
from credence.prior.steps import score_by_steps
from tests.tiny import gpt2, llama

KEY = Key(23)
models = pytest.mark.parametrize("model", [llama, gpt2], ids=["llama", "gpt2"])


def drawn(prior: Reshaped) -> Batch:
    """Hot draws, so that the tiny models' rows differ, with nats of their own."""
    prompts = prior.codec.prompts([(0, 1), (6, 0, 6), (2,)])
    completions, log_q = reshape(prior, 4.0).sample(KEY, prompts, 5)
    log_lik = -0.5 * torch.where(completions.mask, completions.ids, 0).sum(-1).double()
    return Batch(prompts, completions, log_q, prior.score(prompts, completions), log_lik)


def moved(prior: Reshaped, width: int = 0) -> GuidedLM:
    """A guide whose head holds numbers at random."""
    guide, rng = guided_policy(prior, KEY, width, follow=0.5), KEY.generator()
    state = {name: torch.from_numpy(rng.normal(0, 0.3, tuple(p.shape))).to(p) for name, p in guide.state().items()}
    guide.restore(state)
    return guide


def brute(guide: GuidedLM, prior: Reshaped, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Q of each token drawn, V before it and v before it, from whole rows of logits; prior.lm's states anew."""
    hidden = guide.lm.hidden(batch.prompts, batch.completions).detach()
    base = torch.log_softmax(guide.lm.head(hidden).double() / guide.temperature, -1)
    q = (guide.head(hidden) @ guide.lm.head.weight.T).double() / guide.temperature
    q = q + guide.head.level(hidden)[..., None]
    ids = batch.completions.ids.masked_fill(~batch.completions.mask, 0)
    return q.gather(-1, ids[..., None]).squeeze(-1), torch.logsumexp(base + q, -1), guide.head.value(hidden)


@models
@pytest.mark.parametrize("width", [0, 5])
def test_it_starts_as_its_prior_draw_by_draw(model: Callable[[], LMPrior], width: int) -> None:
    prior = reshape(model(), 1.7)
    guide, batch = guided_policy(prior, KEY, width), drawn(prior)
    assert isinstance(guide, Policy)
    assert isinstance(guide, Guide)
    ours, theirs = guide.sample(KEY, batch.prompts, 4), prior.sample(KEY, batch.prompts, 4)
    assert ours[0].tokens() == theirs[0].tokens()
    assert torch.allclose(ours[1], theirs[1], atol=1e-12, rtol=0)
    assert torch.allclose(guide.score(batch.prompts, batch.completions), batch.log_prior, atol=1e-12, rtol=0)


@models
@pytest.mark.parametrize("width", [0, 5])
def test_what_is_sampled_is_what_is_scored(model: Callable[[], LMPrior], width: int) -> None:
    prior = reshape(model(), 1.7)
    guide = moved(prior, width)
    prompts = drawn(prior).prompts
    completions, log_q = guide.sample(KEY, prompts, 6)
    assert torch.allclose(guide.score(prompts, completions), log_q, atol=1e-9, rtol=0)
    assert torch.allclose(score_by_steps(guide, prompts, completions), log_q, atol=1e-9, rtol=0)
    assert not torch.allclose(prior.score(prompts, completions), log_q, atol=1e-2, rtol=0)


@models
@pytest.mark.parametrize("remembered", [True, False])
def test_values_are_those_of_whole_rows_of_logits(model: Callable[[], LMPrior], remembered: bool) -> None:
    """Q − V = log π/π0, V the vocabulary's sum, with the states kept or computed anew; the target network lags."""
    prior = reshape(model(), 1.7)
    guide, batch = moved(prior), drawn(prior)
    if remembered:
        guide.remember(batch.prompts, batch.completions)
    look, mask = guide.look(batch), batch.completions.mask
    chosen, soft, state = brute(guide, prior, batch)
    for found, wanted in ((look.chosen(), chosen), (look.soft(), soft), (look.state(), state)):
        assert torch.allclose(found[mask], wanted.double()[mask], atol=1e-9, rtol=0)
        assert not bool(found[~mask].any())
    ratio = guide.score(batch.prompts, batch.completions) - batch.log_prior
    assert torch.allclose((look.chosen() - look.soft())[mask], ratio[mask], atol=1e-9, rtol=0)
    assert torch.allclose(look.ahead(), look.soft(), atol=1e-12, rtol=0)
    assert not look.ahead().requires_grad
    guide.value_backward(batch, Fudge().value_loss)
    guide.step(0.1)
    later = guide.look(batch)
    assert not torch.allclose(later.ahead(), later.soft(), atol=1e-4, rtol=0)


@models
def test_gradients_are_those_of_whole_rows_of_logits(model: Callable[[], LMPrior]) -> None:
    prior = reshape(model(), 1.7)
    guide, batch = moved(prior), drawn(prior)
    guide.value_backward(batch, TokenSoftQ().value_loss)
    found = {n: p.grad.clone() for n, p in guide.head.named_parameters() if p.grad is not None}
    guide.trainer.forget()
    chosen, soft, _ = brute(guide, prior, batch)
    with torch.no_grad():
        _, lagged, _ = brute(replace(guide, head=guide.lagged), prior, batch)
    mask = batch.completions.mask
    last = torch.arange(mask.shape[1]) == batch.completions.lengths[:, None] - 1
    wanted = torch.where(last, batch.log_lik[:, None], torch.nn.functional.pad(lagged[:, 1:], (0, 1)))
    weight = torch.exp((batch.log_prior - batch.log_q).sum(-1)) / 15
    (weight * 0.5 * (torch.where(mask, chosen - wanted, 0.0) ** 2).sum(-1)).sum().backward()
    for name, p in guide.head.named_parameters():
        if name in found:
            assert p.grad is not None
            assert torch.allclose(found[name], p.grad, atol=1e-9, rtol=1e-9)
    assert set(found) == {"outer.weight", "outer.bias", "high.weight", "high.bias"}
    assert soft.requires_grad


@models
def test_no_weight_of_the_model_is_touched(model: Callable[[], LMPrior]) -> None:
    prior = reshape(model(), 1.7)
    lm = prior.inner
    assert isinstance(lm, LMPrior)
    before = {n: p.clone() for n, p in lm.model.named_parameters()}
    guide, batch = guided_policy(prior, KEY), drawn(prior)
    guide.remember(batch.prompts, batch.completions)
    for _ in range(3):
        guide.forward_backward(batch, DPG().loss)
        guide.value_backward(batch, TokenSoftQ().value_loss)
        guide.step(0.05)
    assert all(torch.equal(p, before[n]) and p.grad is None for n, p in lm.model.named_parameters())
    assert all(p.grad is None for p in guide.lm.model.parameters())
    assert guide.lm.head.weight.data_ptr() == lm.head.weight.data_ptr()


def test_a_policy_loss_moves_it_as_full_rows_would() -> None:
    """DPG's gradient by our pieces, on kept states, is autograd's through whole rows of logits."""
    prior = reshape(llama(), 1.7)
    guide, batch = moved(prior), drawn(prior)
    guide.remember(batch.prompts, batch.completions)
    guide.train_tokens = 12
    guide.forward_backward(batch, DPG().loss)
    found = guide.head.outer.weight.grad
    assert found is not None
    found = found.clone()
    guide.trainer.forget()
    chosen, soft, _ = brute(guide, prior, batch)
    from credence.prior.train import scored

    log_pi = torch.where(batch.completions.mask, chosen - soft + batch.log_prior, 0.0)
    DPG().loss(scored(batch, log_pi))[0].backward()
    assert guide.head.outer.weight.grad is not None
    assert torch.allclose(found, guide.head.outer.weight.grad, atol=1e-9, rtol=1e-9)


@models
def test_values_of_prefixes(model: Callable[[], LMPrior]) -> None:
    """log_value is Q of the last token, log_state is v after it: the columns of `look`, for any length of prefix."""
    prior = reshape(model(), 1.7)
    guide, batch = moved(prior), drawn(prior)
    rows = batch.completions
    look = guide.look(batch)
    for length in (1, 2):
        going = rows.rows(rows.lengths > length)
        cut = Completions(going.ids[:, :length], going.mask[:, :length], torch.zeros(len(going)).bool(), going.prompt)
        where = torch.nonzero(rows.lengths > length).flatten()
        chosen, state = look.chosen()[where, length - 1], look.state()[where, length]
        assert torch.allclose(guide.log_value(batch.prompts, cut), chosen.detach(), atol=1e-9, rtol=0)
        assert torch.allclose(guide.log_state(batch.prompts, cut), state.detach().double(), atol=1e-9, rtol=0)


def test_states_beyond_the_limit_are_rounded_or_refused() -> None:
    prior = reshape(llama(), 1.7)
    guide, batch = moved(prior), drawn(prior)
    exact = guide.states.read(guide.lm, batch.prompts, batch.completions)
    need = exact.numel() * 2
    guide.states = States(limit=need)
    guide.remember(batch.prompts, batch.completions)
    rounded = guide.states.read(guide.lm, batch.prompts, batch.completions)
    assert torch.equal(rounded, exact.bfloat16().double())
    guide.states = States(limit=need - 1)
    with pytest.raises(ConfigError, match="Store fewer draws or prompts"):
        guide.remember(batch.prompts, batch.completions)


def test_states_are_found_row_by_row() -> None:
    """In another order and with other padding; rows that were not named are computed."""
    prior = reshape(llama(), 1.7)
    guide, batch = moved(prior), drawn(prior)
    rows = batch.completions
    guide.remember(batch.prompts, rows.rows(torch.arange(10)))
    some = rows.rows(torch.tensor([7, 2, 2, 9]))
    fresh = States()
    kept = guide.states.read(guide.lm, batch.prompts, some)
    assert torch.allclose(kept, fresh.read(guide.lm, batch.prompts, some), atol=1e-12, rtol=0)
    both = guide.states.read(guide.lm, batch.prompts, rows)
    assert torch.allclose(both, fresh.read(guide.lm, batch.prompts, rows), atol=1e-12, rtol=0)


def test_state_and_moments_are_all_that_the_next_step_depends_on() -> None:
    prior = reshape(llama(), 1.7)
    first, batch = guided_policy(prior, KEY, follow=0.3), drawn(prior)
    for _ in range(2):
        first.value_backward(batch, TokenSoftQ().value_loss)
        first.step(0.05)
    again = guided_policy(prior, KEY, follow=0.3)
    again.restore(first.state(), {name: x.clone() for name, x in first.moments().items()})
    for guide in (first, again):
        guide.value_backward(batch, TokenSoftQ().value_loss)
        guide.step(0.05)
    assert all(torch.equal(a, b) for a, b in zip(first.state().values(), again.state().values(), strict=True))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: guided_policy(llama(), KEY, width=-1), "width=-1"),
        (lambda: guided_policy(llama(), KEY, follow=0.0), "follow=0"),
        (lambda: guided_policy(reshape(llama(), top_k=2), KEY), "KL"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


@pytest.mark.parametrize("width", [0, 5])
def test_read_back_it_scores_as_it_did(width: int, tmp_path: Path) -> None:
    prior = reshape(llama(), 1.7)
    guide, batch = moved(prior, width), drawn(prior)
    save_guide(guide, tmp_path / "values", "# card\n")
    again = load_guide(tmp_path / "values", prior)
    assert torch.equal(again.score(batch.prompts, batch.completions), guide.score(batch.prompts, batch.completions))
    assert again.follow == guide.follow
    assert sorted(p.name for p in (tmp_path / "values").iterdir()) == ["README.md", "guide.json", "head.safetensors"]
    assert [p.name for p in tmp_path.iterdir()] == ["values"]
    with pytest.raises(ConfigError, match="exists"):
        save_guide(guide, tmp_path / "values", "")


def test_a_guide_of_another_prior_is_refused(tmp_path: Path) -> None:
    prior = reshape(llama(), 1.7)
    save_guide(moved(prior), tmp_path / "values", "")
    with pytest.raises(ConfigError, match=r"temperature 1\.7 there and 0\.5 here"):
        load_guide(tmp_path / "values", reshape(llama(), 0.5))
    with pytest.raises(ConfigError, match="holds no value"):
        load_guide(tmp_path, prior)
    (tmp_path / "values" / "head.safetensors").write_bytes(b"broken")
    with pytest.raises(BackendError, match="could not be read"):
        load_guide(tmp_path / "values", prior)


@pytest.mark.parametrize(
    "learner", [DPG(1, 400, 0.1), CTL(1, 400, 0.1), Fudge(1, 400, 0.1)], ids=lambda x: type(x).__name__
)
def test_a_linear_head_learns(learner: Learner | ValueLearner) -> None:
    """KL(p*‖π) by enumeration of a tiny Llama's replies: a third of the prior's at most, after 60 steps on them."""
    prior = reshape(llama(), 1.7)
    posterior = Posterior(prior, Reward(lambda asked, said: [len(x) - 0.4 * x[0] for x in said], 0.8))
    prompts = prior.codec.prompts([(0, 1)])
    exact = enumerate_posterior(posterior, prompts)
    batch = Batch(prompts, exact.completions, *(prior.score(prompts, exact.completions),) * 2, exact.log_lik)
    uniform = torch.zeros_like(batch.log_q)
    uniform[:, 0] = -math.log(len(exact.sequences))
    guide = guided_policy(prior, KEY)
    guide.remember(prompts, exact.completions)
    before = float(kl(exact.log_p, exact.log_prior))
    fit(posterior, guide, prompts, learner, KEY, 60, stored=replace(batch, log_q=uniform))
    after = float(kl(exact.log_p, guide.score(prompts, exact.completions).sum(-1)))
    assert after < before / 3, (before, after)
