"""The prefix baseline: the same mean gradient as without it, by enumeration of whole batches, and less variance."""

import itertools
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from credence.core.errors import ShapeError
from credence.core.keys import Key
from credence.core.protocols import Scored
from credence.evidence.product import prefix_twists
from credence.evidence.reward import Reward
from credence.learn.losses import prefix_baseline
from credence.learn.losses.policy_gradient import leave_one_out_gradient
from credence.learn.reinforce import Reinforce
from credence.prior.table import TablePrior
from tests.learning import at_optimum
from tests.toys import toy_a, toy_prompts

STATES = 2
"""Where there is a choice: the first word, a or b; and after a the second, x or y. After b there is only z.

Three texts, ax, ay and bz: two prefixes at the second step, so that a baseline has something to tell there.
"""


class Two:
    """Two prompts, their prior, policy, evidence and twists, all asymmetric; texts are rows 0 to 2 of each prompt."""

    def __init__(self, seed: int) -> None:
        grid = torch.arange(8, dtype=torch.float64).view(2, STATES, 2) + 0.1 * seed
        self.logits = torch.sin(grid * 1.7 + 0.3).requires_grad_()
        self.prior = self.texts(torch.cos(grid * 0.9))
        self.lik = 2 * torch.sin(torch.arange(6, dtype=torch.float64) * 1.3 + 0.5).view(2, 3)
        self.twist = torch.tensor([[0, 1.3], [0, 1.3], [0, -0.4]], dtype=torch.float64).expand(2, 3, 2)

    @staticmethod
    def texts(logits: Tensor) -> Tensor:
        """(2, 3, 2) log-probabilities of each text's tokens."""
        first, second = torch.log_softmax(logits, -1).unbind(1)
        a, b = first.unbind(-1)
        x, y = second.unbind(-1)
        return torch.stack([torch.stack(text, -1) for text in ((a, x), (a, y), (b, torch.zeros_like(b)))], 1)

    def gradient(self, loss: Callable[[Scored], Tensor]) -> Tensor:
        """E[∇loss] over all 81 batches of two prompts with two draws each."""
        log_pi = self.texts(self.logits)
        law = log_pi.detach().sum(-1).exp()
        total = torch.zeros((), dtype=torch.float64)
        prompt = torch.tensor([0, 0, 1, 1])
        for batch in itertools.product(range(3), repeat=4):
            row = torch.tensor(batch)
            given = Scored(
                log_pi=log_pi[prompt, row],
                log_prior=self.prior[prompt, row],
                log_q=log_pi[prompt, row].detach(),
                log_lik=self.lik[prompt, row],
                mask=torch.ones(4, 2, dtype=torch.bool),
                prompt=prompt,
                prompts=2,
                log_twist=self.twist[prompt, row],
            )
            total = total + law[prompt, row].prod() * loss(given)
        return torch.autograd.grad(total, self.logits)[0]

    def wanted(self) -> Tensor:
        """∇ of the mean over prompts of KL(π‖p*), by autograd through the enumerated law."""
        log_pi = self.texts(self.logits).sum(-1)
        joint = self.prior.sum(-1) + self.lik
        divergence = (log_pi.exp() * (log_pi - joint)).sum(1).mean()
        return torch.autograd.grad(divergence, self.logits)[0]


def with_prefixes(scored: Scored) -> Tensor:
    return leave_one_out_gradient(scored, prefix_baseline.prefix_advantage)[0]


def check_prefix_gradient(seed: int) -> None:
    """The mean over every batch, coefficients fitted in each, is ∇KL(π‖p*) to 1e-10."""
    two = Two(seed)
    wanted = two.wanted()
    assert float(wanted.norm()) > 0.1
    assert torch.allclose(two.gradient(with_prefixes), wanted, atol=1e-10, rtol=0)


def test_the_mean_gradient_is_that_of_the_reverse_kl() -> None:
    check_prefix_gradient(0)


def a_batch(key: Key, prompts: int = 24, group: int = 6) -> Scored:
    """Long texts by two words that seldom end; the reward counts one of them, and reads prefixes."""
    prior = TablePrior(lambda tokens: [0.0, 0.3, -4.0], 3, 2, horizon=12)
    given = prior.codec.prompts([()] * prompts)
    completions, log_q = prior.sample(key, given, group)

    def count(prompts: object, completions: Sequence[tuple[int, ...]]) -> list[float]:
        return [float(text.count(0)) for text in completions]

    evidence = Reward(count, 0.25, on_prefix=True)
    return Scored(
        log_pi=log_q.clone().requires_grad_(),
        log_prior=log_q + 0.3 * torch.sin(3 * completions.ids.double()) * completions.mask,
        log_q=log_q,
        log_lik=evidence.log_lik(given, completions),
        mask=completions.mask,
        prompt=completions.prompt,
        prompts=prompts,
        log_twist=prefix_twists(evidence, given, completions),
    )


def test_it_takes_off_what_prefixes_tell() -> None:
    """The return-to-go has less than .7 of the whole return's variance; 24 × 6 draws, .55 over many."""
    scored = a_batch(Key(3))
    plain = Reinforce(24, 6).loss(scored)[1]["advantage_sd"]
    told_of = Reinforce(24, 6, baseline="prefix").loss(scored)[1]["advantage_sd"]
    assert told_of**2 < 0.7 * plain**2


def test_where_returns_are_constant_nothing_is_taken_off() -> None:
    """At π = p* of TOY-A D is log Z for every row: no coefficient, no variance."""
    posterior, prompts = toy_a(), toy_prompts().take([0] * 4)
    best = at_optimum(toy_a(), toy_prompts())
    completions, log_q = best.sample(Key(1), prompts, 5)
    scored = Scored(
        log_pi=log_q,
        log_prior=posterior.prior.score(prompts, completions),
        log_q=log_q,
        log_lik=posterior.log_lik(prompts, completions),
        mask=completions.mask,
        prompt=completions.prompt,
        prompts=4,
        log_twist=torch.randn(log_q.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    )
    assert float(prefix_baseline.prefix_advantage(scored).abs().max()) < 1e-12


def test_one_prompt_has_no_others_to_fit_on() -> None:
    scored = a_batch(Key(5), prompts=1)
    alone = prefix_baseline.prefix_advantage(scored)
    plain = alone[scored.mask[:, 0], 0]
    assert torch.allclose(alone, torch.where(scored.mask, plain[:, None], 0.0))


def test_twists_of_prefixes_are_those_of_the_texts_themselves() -> None:
    posterior, prompts = toy_a(), toy_prompts()
    completions, _ = posterior.prior.sample(Key(2), prompts, 9)
    evidence = Reward(lambda prompts, completions: [float(len(c)) + sum(c) for c in completions], 0.5, on_prefix=True)
    found = prefix_twists(evidence, prompts, completions)
    for r, row in enumerate(completions.tokens()):
        wanted = [0.0] + [(t + sum(row[:t])) / 0.5 for t in range(1, len(row))]
        assert found[r, : len(row)].tolist() == pytest.approx(wanted)
        assert not found[r, len(row) :].any()


def test_a_batch_without_twists_is_refused() -> None:
    scored = a_batch(Key(5))
    object.__setattr__(scored, "log_twist", None)
    with pytest.raises(ShapeError, match="log_twist"):
        Reinforce(baseline="prefix").loss(scored)
    assert Reinforce(baseline="prefix").needs == {"log_twist"}
    assert Reinforce().needs == frozenset()
