"""The noisy channel on TOY-A: equals enumeration, a martingale, Bayes' accuracy and log-loss as the notes have them."""

import itertools

import pytest
import torch

from credence.belief.belief import Belief
from credence.belief.channel import Channel, predicted_next
from credence.core.errors import ConfigError, ShapeError
from credence.core.types import Completions
from tests.toys import EOS, HORIZON, toy_policy, toy_prior, toy_prompts

PRIOR = 0.3


def channel() -> tuple[Channel, Belief]:
    names = ("prior", "policy")
    both = Channel(names, (toy_prior(), toy_policy()), (toy_prompts(), toy_prompts()))
    return both, Belief(names, torch.tensor([PRIOR, 1 - PRIOR], dtype=torch.float64).log())


def every() -> Completions:
    """All 31 sequences."""
    rows = [
        (*body, EOS) if len(body) < HORIZON else body
        for n in range(HORIZON + 1)
        for body in itertools.product((0, 1), repeat=n)
    ]
    ends = [(*body, EOS) for body in itertools.product((0, 1), repeat=HORIZON - 1)]
    rows = [r for r in rows if len(r) <= HORIZON] + [e for e in ends if e not in rows]
    ids = torch.tensor([list(r) + [0] * (HORIZON - len(r)) for r in rows])
    mask = torch.tensor([[True] * len(r) + [False] * (HORIZON - len(r)) for r in rows])
    return Completions(ids, mask, torch.tensor([r[-1] == EOS for r in rows]), torch.zeros(len(rows), dtype=torch.long))


def test_trace_equals_bayes_rule_on_every_sequence() -> None:
    both, start = channel()
    x = every()
    assert len(x) == 31
    log_p = torch.stack([p.score(toy_prompts(), x).sum(1) for p in both.priors], 1)
    joint = start.log_p + log_p
    assert float(torch.logsumexp(joint.flatten(), 0)) == pytest.approx(0, abs=1e-12)
    final = both.trace(start, x)[:, -1]
    assert torch.allclose(final, joint - torch.logsumexp(joint, 1, keepdim=True), atol=1e-12)
    for row in (3, 17):  # and equals a Belief that hears the tokens one by one
        heard = both.log_lik(x)[row][x.mask[row]]
        assert torch.allclose(start.update(heard).log_p, final[row], atol=1e-12)


def test_accuracy_and_log_loss_of_the_notes() -> None:
    """Rejects: the belief read in the wrong order of hypotheses, and p(x|y) normalised per token (|x| divided out)."""
    both, start = channel()
    x = every()
    log_p = torch.stack([p.score(toy_prompts(), x).sum(1) for p in both.priors], 1)
    joint, after = (start.log_p + log_p).exp(), both.trace(start, x)[:, -1]
    assert float((joint.gather(1, after.argmax(1, keepdim=True))).sum()) == pytest.approx(0.745646, abs=1e-6)
    assert float(-(joint * after).sum()) == pytest.approx(0.558004, abs=1e-6)
    lengths = x.mask.sum(1, keepdim=True)
    wrong = torch.log_softmax(start.log_p + log_p / lengths, 1)
    assert abs(float(-(joint * wrong).sum()) - 0.558004) > 1e-2


def test_the_belief_is_a_martingale_at_every_prefix() -> None:
    both, start = channel()
    for length in range(HORIZON):
        for prefix in itertools.product((0, 1), repeat=length):
            said, after = predicted_next(both, start, prefix)
            heard = torch.stack(
                [
                    sum(
                        (torch.log_softmax(p.logits(prefix[:t]), 0)[prefix[t]] for t in range(length)),
                        torch.zeros((), dtype=torch.float64),
                    )
                    for p in both.priors
                ]
            )
            before = start.update(heard).log_p.exp()
            average = (said.exp()[:, None] * after.exp()).sum(0)
            assert torch.allclose(average, before, atol=1e-12)
            # the mutant: averaged over one hypothesis' own next token instead of the mixture's
            wrong = (torch.softmax(both.priors[0].logits(prefix), 0)[:, None] * after.exp()).sum(0)
            assert float((wrong - before).abs().max()) > 1e-4


def test_what_it_refuses() -> None:
    both, _ = channel()
    with pytest.raises(ShapeError, match="the channel about"):
        both.trace(Belief.uniform(["a", "b"]), every())
    with pytest.raises(ConfigError, match="one each"):
        Channel(("a", "b"), (toy_prior(),), (toy_prompts(), toy_prompts()))
