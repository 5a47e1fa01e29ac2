"""The KL of each token and the value of each prefix, as every policy gives them: exact, by pieces, restored."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Batch, Critic, Scored
from credence.core.types import Info
from credence.learn.checkpoint import Checkpoints
from credence.learn.loop import Record, fit
from credence.learn.ppo import PPO
from credence.learn.rao_blackwell import RaoBlackwell
from credence.prior.guided import guided_policy
from credence.prior.guided_table import guided_table
from credence.prior.hf import LMPrior
from credence.prior.policy import LMPolicy, full_policy, lora_policy
from credence.prior.reshape import reshape
from tests.learning import free_policy
from tests.tiny import gpt2, llama
from tests.toys import toy_a, toy_prior, toy_prompts

KEY = Key(17)
NEEDS = frozenset({"kl", "value"})
MODELS = pytest.mark.parametrize("model", [llama, gpt2], ids=["llama", "gpt2"])


def moved(policy: LMPolicy) -> LMPolicy:
    """The same with every number it trains somewhere else."""
    policy.restore(
        {
            n: x + 0.1 * torch.sin(torch.arange(x.numel(), dtype=x.dtype)).view(x.shape)
            for n, x in policy.state().items()
        }
    )
    return policy


def batch_of(prior: LMPrior, temperature: float = 1.0) -> Batch:
    law = reshape(prior, temperature)
    prompts = prior.codec.prompts([(0, 1), (6, 0, 6), (2,)])
    rows, log_q = law.sample(KEY, prompts, 4)
    log_lik = -torch.where(rows.mask, rows.ids, 0).sum(-1).double()
    return Batch(prompts, rows, log_q, law.score(prompts, rows), log_lik, needs=NEEDS, prior=law)


def mixing(scored: Scored) -> tuple[torch.Tensor, Info]:
    """A loss in which rows know each other through every column."""
    assert scored.kl is not None
    assert scored.value is not None
    kl, value = scored.kl.sum(-1), scored.value.sum(-1)
    all_pi = scored.log_pi.sum()
    return (kl * (kl.detach().mean() + 1)).sum() + all_pi * kl.detach().sum() + (
        value - value.mean() - 1
    ).square().sum(), {}


def plain(policy: LMPolicy, batch: Batch, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """KL and value of each token from whole (R, T, V) laws."""
    rows = batch.completions
    hidden, laws = policy.lm.hidden(batch.prompts, rows), []
    before = batch.prior.inner.hidden(batch.prompts, rows).detach()  # pyright: ignore
    for state, head in ((hidden, policy.lm.head), (before, batch.prior.inner.head)):  # pyright: ignore
        laws.append(torch.log_softmax(head(state) / temperature, -1))
    kl = (torch.exp(laws[0]) * (laws[0] - laws[1].detach())).sum(-1)
    assert policy.critic is not None
    return torch.where(rows.mask, kl, 0.0), torch.where(rows.mask, policy.critic(hidden), 0.0)


@MODELS
def test_columns_and_their_gradients_by_pieces(model: Callable[[], LMPrior]) -> None:
    """Against whole laws over the vocabulary, to 1e-10; in one pass, in some, row by row; the prior at 0.7."""
    prior = model()
    batch = batch_of(prior, 0.7)
    policy = moved(full_policy(reshape(prior, 0.7), freeze_embeddings=False, value=True))
    kl, value = plain(policy, batch, 0.7)
    assert float(kl.detach().sum()) > 1e-3
    assert torch.allclose(policy.value(batch.prompts, batch.completions), value.detach(), atol=1e-10, rtol=0)
    log_pi = torch.where(
        batch.completions.mask, policy.lm.log_probs(batch.prompts, batch.completions, 0.7).double(), 0.0
    )
    given = Scored(
        log_pi, batch.log_prior, batch.log_q, batch.log_lik, batch.completions.mask, batch.completions.prompt, 3,
        kl=kl, value=value,
    )  # fmt: skip
    assert policy.critic is not None
    everything = [*policy.trainer.parameters, *policy.critic.trainer.parameters]
    wanted = torch.autograd.grad(mixing(given)[0], everything, allow_unused=True)
    for tokens in (1000, 14, 1):
        policy.train_tokens = tokens
        policy.forward_backward(batch, mixing)
        for p, w in zip(everything, wanted, strict=True):
            assert (p.grad is None) == (w is None)
            assert w is None or torch.allclose(p.grad, w, atol=1e-10, rtol=1e-10)  # pyright: ignore
        policy.trainer.forget()
        policy.critic.trainer.forget()


@MODELS
def test_the_value_never_moves_the_model(model: Callable[[], LMPrior]) -> None:
    """Its loss alone leaves no gradient behind; at the start it is 0, and the policy without one refuses by name."""
    prior = model()
    batch = replace(batch_of(prior), needs=frozenset({"value"}))
    policy = lora_policy(prior, KEY, 2, value=True)
    assert isinstance(policy, Critic)
    assert float(policy.value(batch.prompts, batch.completions).abs().max()) == 0.0
    policy.forward_backward(batch, lambda scored: ((scored.value - 1.0).square().sum(), {}))  # pyright: ignore
    assert all(p.grad is None or not bool(p.grad.any()) for p in policy.trainer.parameters)
    info = policy.step(0.01)
    assert info["value_grad_norm"] > 0
    assert float(policy.value(batch.prompts, batch.completions).abs().max()) > 0
    with pytest.raises(ConfigError, match="value=True"):
        lora_policy(prior, KEY, 2).forward_backward(batch, mixing)


def test_a_prior_of_another_vocabulary_or_of_no_steps_is_refused() -> None:
    policy = full_policy(llama())
    batch = batch_of(llama())
    with pytest.raises(ConfigError, match="no language model"):
        policy.forward_backward(replace(batch, needs=frozenset({"kl"}), prior=toy_prior()), mixing)
    with pytest.raises(ConfigError, match="no prior is given"):
        policy.forward_backward(replace(batch, needs=frozenset({"kl"}), prior=None), mixing)

    class Remote:
        """A prior that can be sampled and scored, and not stepped."""

        codec, ends, horizon = toy_prior().codec, toy_prior().ends, 4
        sample, score = toy_prior().sample, toy_prior().score

    rows, _ = toy_prior().sample(KEY, toy_prompts(), 2)
    with pytest.raises(ConfigError, match="cannot be stepped"):
        free_policy(toy_a(), toy_prompts()).kl(toy_prompts(), rows, Remote())


def test_guides_give_both() -> None:
    """Of the table and of the model; the KL of a guide that has learnt nothing is 0."""
    table = guided_table(toy_prior(), toy_prompts())
    rows, log_q = toy_prior().sample(KEY, toy_prompts(), 5)
    batch = Batch(toy_prompts(), rows, log_q, log_q, log_q.sum(-1), needs=NEEDS, prior=toy_prior())
    other = batch_of(llama())
    for policy, given in ((table, batch), (guided_policy(llama(), KEY), other)):
        seen: list[Scored] = []
        policy.forward_backward(given, lambda scored, seen=seen: (seen.append(scored), mixing(scored))[1])
        assert seen[0].kl is not None
        assert float(seen[0].kl.detach().abs().max()) < 1e-12
        assert isinstance(policy, Critic)
        assert policy.value(given.prompts, given.completions).shape == given.log_q.shape


def test_a_killed_run_keeps_its_value(tmp_path: Path) -> None:
    """PPO on a model, broken off and gone on with: the same history. Rejects a head that begins at 0 again."""

    def run(folder: Path, stop: int = 0) -> tuple[list[Record], dict[str, torch.Tensor]]:
        from credence.evidence.reward import Reward
        from credence.posterior.posterior import Posterior

        def few(prompts: object, replies: list[tuple[int, ...]]) -> list[float]:
            return [-float(len(reply)) for reply in replies]

        def watch(record: Record, clock: Record) -> None:
            if record["step"] == stop:
                raise KeyboardInterrupt

        prior = llama()
        policy = lora_policy(prior, KEY, 2, value=True)
        prompts = prior.codec.prompts([(0, 1), (2,)])
        learner = PPO(2, 4, 0.01, passes=2, parts=2)
        target = Posterior(prior, Reward(few, 1.0))
        done = fit(
            target, policy, prompts, learner, KEY, 6, callbacks=[watch], checkpoints=Checkpoints(folder),
            checkpoint_every=2,
        )  # fmt: skip
        return list(done.history), policy.state()

    whole, state = run(tmp_path / "whole")
    run(tmp_path / "killed", 5)
    again, other = run(tmp_path / "killed")
    assert again == whole
    assert all(torch.equal(x, other[name]) for name, x in state.items())
    assert float(state["value.weight"].abs().max()) > 0


def test_rao_blackwell_trains_a_model() -> None:
    from credence.evidence.reward import Reward
    from credence.posterior.posterior import Posterior

    prior = llama()
    target = Posterior(prior, Reward(lambda p, replies: [-float(sum(reply)) / 4 for reply in replies], 1.0))
    policy = lora_policy(prior, KEY, 2)
    done = fit(target, policy, prior.codec.prompts([(0, 1), (2,)]), RaoBlackwell(2, 8, 0.02), KEY, 8)
    assert done.history[-1]["elbo"] > done.history[0]["elbo"]
    assert all(record["kl_token"] >= 0 for record in done.history)
