"""Ensembles by rule, and Bradley–Terry heads as evidence: identified up to a constant a prompt, bounded, one look."""

import math

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.types import Completions, Prompts
from credence.evidence.comparisons import Comparisons
from credence.evidence.ensemble import ENSEMBLE_RULES, Ensemble
from credence.evidence.feedback import Feedback, fit_head
from credence.evidence.preference import OneLook, agreement, bootstrap, opinions
from credence.evidence.product import max_log_lik
from credence.evidence.reward import Reward
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from tests.preferring import EXACT, REWARD, believed, every_pair
from tests.toys import toy_a, toy_prior, toy_prompts, toy_reward

ROWS = EXACT.completions


def constant(value: float):  # noqa: ANN201 - a reward function
    def fn(prompts: list, completions: list) -> list[float]:
        return [value * (1 + len(c)) for c in completions]

    return fn


def test_each_rule_is_its_formula_in_nats() -> None:
    members = (
        Reward(constant(1.0), 0.5, bound=8.0),
        Reward(constant(3.0), 1.0, bound=20.0),
        Reward(constant(0.0), 1.0),
    )
    nats = torch.stack([m.log_lik(toy_prompts(), ROWS) for m in members])
    for rule, wanted in (
        ("mean", nats.mean(0)),
        ("min", nats.amin(0)),
        ("pessimistic", nats.mean(0) - 2.0 * nats.std(0)),
        ("posterior_averaged", nats.exp().mean(0).log()),
    ):
        made = Ensemble(members, rule, k=2.0)  # pyright: ignore[reportArgumentType]
        assert torch.allclose(made.log_lik(toy_prompts(), ROWS), wanted)
        assert torch.allclose(made.readings(toy_prompts(), ROWS)["ensemble_sd"], nats.std(0))
    assert max_log_lik(Ensemble(members[:2], "mean")) == 18.0
    assert max_log_lik(Ensemble(members, "min")) == 16.0
    assert max_log_lik(Ensemble(members, "mean")) == math.inf
    averaged = Ensemble(members[:2], "posterior_averaged")
    assert max_log_lik(averaged) == pytest.approx(20.0 + math.log((1 + math.exp(-4.0)) / 2))


def test_an_impossible_reply_is_impossible_under_every_rule() -> None:
    def never_a(prompts: list, completions: list) -> list[float]:
        return [-math.inf if c[0] == 0 else 1.0 for c in completions]

    for rule in ENSEMBLE_RULES:
        made = Ensemble((Reward(never_a, 1.0), Reward(toy_reward, 0.5)), rule)  # pyright: ignore[reportArgumentType]
        found = made.log_lik(toy_prompts(), ROWS)
        first = torch.tensor([said[0] == 0 for said in EXACT.sequences])
        assert bool(torch.isneginf(found[first]).all())
        assert bool(torch.isfinite(found[~first]).all())


def test_bad_ensembles_are_refused() -> None:
    one = Reward(toy_reward, 0.5)
    for given, says in (
        ({"members": (one,)}, "at least two"),
        ({"members": (one, one), "k": -1.0}, "standard deviations"),
    ):
        with pytest.raises(ConfigError, match=says):
            Ensemble(**given)


class Letters:
    """Features of TOY-A's replies: one a reply, so that any reward can be learnt; it counts its looks."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        self.looks += 1
        place = EXACT.index()
        out = torch.zeros(len(completions), 31, dtype=torch.float64)
        for r, said in enumerate(completions.tokens()):
            out[r, place[tuple(said)]] = 1.0
        return out - torch.exp(EXACT.log_prior)  # centred per prompt: one prompt here


def test_a_bradley_terry_head_on_all_pairs_is_the_reward_and_its_evidence_the_posterior() -> None:
    """r comes back up to the prompt's constant, so p* ∝ π0 e^(r/β) is right. A wide prior, many votes."""
    pairs = every_pair(believed)
    many = Comparisons(pairs.prompts, pairs.replies, pairs.votes * 1e6)
    head = fit_head(opinions(many, Letters()), torch.ones(31).double(), tau=1000.0)
    reward, _ = head.reward(Letters()(toy_prompts(), ROWS))
    assert float((reward - REWARD - (reward - REWARD).mean()).abs().max()) < 1e-4
    assert float(torch.exp(EXACT.log_prior) @ reward) == pytest.approx(0.0, abs=1e-9)  # centred under the prior
    taught = Feedback(Letters(), head, beta=0.5)
    found = enumerate_posterior(Posterior(toy_prior(), taught), toy_prompts())
    assert torch.allclose(found.log_p, enumerate_posterior(toy_a(), toy_prompts()).log_p, atol=1e-3)


def test_votes_count_as_judgements() -> None:
    """Two votes for a side are the same comparison twice; a tie pulls neither way."""
    pairs = every_pair(believed).take(list(range(0, 465, 31)))
    twice = Comparisons(pairs.prompts, pairs.replies, 2 * pairs.votes)
    both = pairs.take([*range(len(pairs)), *range(len(pairs))])
    scale = torch.ones(31).double()
    a, b = (fit_head(opinions(x, Letters()), scale) for x in (twice, both))
    assert torch.allclose(a.mean, b.mean, atol=1e-8)
    tied = Comparisons(pairs.prompts, pairs.replies, torch.full_like(pairs.votes, 0.5))
    assert float(fit_head(opinions(tied, Letters()), scale).mean.abs().max()) < 1e-9


def test_a_bootstrapped_ensemble_looks_once_and_pays_less_where_it_disagrees() -> None:
    pairs = every_pair(believed).take(list(range(0, 465, 12)))
    found = opinions(pairs, Letters())
    heads = bootstrap(found, torch.ones(31).double(), Key(5), 4)
    seen = Letters()
    shared = OneLook(seen)
    made = Ensemble(tuple(Feedback(shared, head, 0.5) for head in heads))
    nats = made.log_lik(toy_prompts(), ROWS)
    assert seen.looks == 1
    mean = Ensemble(made.members, "mean").log_lik(toy_prompts(), ROWS)
    assert bool((nats <= mean + 1e-12).all())
    assert float((mean - nats).max()) > 0.1
    again = bootstrap(found, torch.ones(31).double(), Key(5), 4)
    assert all(torch.equal(a.mean, b.mean) for a, b in zip(heads, again, strict=True))
    with pytest.raises(ConfigError, match="at least 2"):
        bootstrap(found, torch.ones(31).double(), Key(5), 1)


def test_agreement_tells_a_head_from_a_coin() -> None:
    pairs = every_pair(lambda gap: (gap > 0).double())
    head = fit_head(opinions(pairs, Letters()), torch.ones(31).double(), tau=30.0)
    share, nats = agreement(head, pairs, Letters())
    assert share > 0.99
    assert -math.log(2) < nats < 0
