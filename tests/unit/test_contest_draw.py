"""Engines that draw in a comparison, on the enumerable toy: the budget kept, what is known of each and what is not."""

import math
from collections.abc import Mapping
from typing import Any

import pytest

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Sampler
from credence.evidence.product import max_log_lik
from credence.evidence.reward import Reward
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.sample.best_of_n import BestOfN, best_of_n_law
from credence.sample.importance import Importance
from credence.sample.rejection import Rejection
from credence.sample.smc import SMC
from credence.sample.soft_best_of_n import SoftBestOfN
from credence.sample.stop import Stop, draw_until
from credence.sample.suffix_mh import SuffixMH
from credence.study.allowance import Budget
from credence.study.contest_draw import CHAIN, NO_DENSITY, draw
from credence.study.contest_ruler import ContestRuler, Law
from credence.study.measured import Measured
from credence.study.ruler import Drawn
from tests.toys import toy_two, two_prompts

REWARD = next(iter(toy_two().evidence.readings(two_prompts(), toy_two().prior.sample(Key(0), two_prompts(), 1)[0])))
Told = list[Mapping[str, Any]]


def reference(n: int = 300) -> Drawn:
    """The prior's draws on both prompts, as numbers."""
    d = Importance().draw(Key(77), toy_two(), two_prompts(), n)
    log_q = d.log_q.sum(-1).view(2, n)
    return Drawn(
        log_q, log_q, d.log_w.view(2, n), d.readings[REWARD].view(2, n), d.completions.ended.double().view(2, n)
    )


PRIOR = reference()


def spent(sampler: Sampler, tokens: int = 600, told: Told | None = None, density: bool = False) -> Measured:
    heard: Told = [] if told is None else told
    return draw(
        sampler, None, toy_two(), two_prompts(), Key(3), Budget("tokens", tokens), REWARD, PRIOR, heard.append,
        density=density,
    )  # fmt: skip


def read(made: Measured) -> dict[str, float]:
    ruler = ContestRuler(PRIOR, [Law("it", 0, made)])
    return ruler.statistics(ruler.groups())


def exact() -> dict[str, float]:
    trees = [enumerate_posterior(toy_two(), two_prompts().take([b])) for b in range(2)]
    laws = [best_of_n_law(tree, 3) for tree in trees]
    best = [float((law.exp() * (law - t.log_p)).sum()) for law, t in zip(laws, trees, strict=True)]
    return {"log_z": sum(t.log_z for t in trees) / 2, "best_of_3": sum(best) / 2}


def test_rejection_is_exact_by_construction_and_its_budget_is_kept() -> None:
    told: Told = []
    assert math.isfinite(max_log_lik(toy_two().evidence))
    made = spent(Rejection(), 2000, told)
    assert made.exact
    assert made.answers
    assert made.why.keys() >= {"log_z_high", "pareto_k"}
    assert "kl_forward" not in made.why
    assert made.cost.tokens <= 2000 < made.cost.tokens + 2 * max(r["tokens"] for r in told)
    assert sum(r["tokens"] for r in told) == made.cost.tokens
    assert made.each is not None
    assert made.each.tokens == round(made.cost.tokens / made.replies)
    found = read(made)
    assert (found["it/kl_reverse"], found["it/kl_forward"], found["it/gap_closed"]) == (0, 0, 1)


def test_smc_gives_a_bound_and_one_reply_a_round() -> None:
    told: Told = []
    made = spent(SMC(particles=4, islands=2), told=told)
    assert made.bound == "upper"
    assert made.why["kl_forward"] == NO_DENSITY
    assert made.replies == 2 * len(told), "a round is a reply for each of two prompts"
    assert made.log_z is not None
    assert made.log_z.shape == (len(told), 2)
    found = read(made)
    assert found["it/kl_reverse"] == pytest.approx(found["log_z"] - float(made.log_z.mean()))
    assert found["it/kl_reverse"] > 0


def test_best_of_n_knows_its_divergence() -> None:
    found = read(made := spent(BestOfN(3), 4000))
    assert made.bound == ""
    assert found["it/kl_reverse"] == pytest.approx(exact()["best_of_3"], abs=0.25)
    assert found["it/kl_prior"] < math.log(3) - 2 / 3 + 1e-9


def test_soft_best_of_n_bounds_both() -> None:
    made = spent(SoftBestOfN(3))
    assert made.bound == "upper"
    assert made.forward is not None
    found = read(made)
    assert found["it/kl_prior"] == pytest.approx(math.log(3) - 2 / 3)
    assert found["it/kl_forward"] == pytest.approx(float(made.forward.mean()))


def test_a_chain_says_that_it_does_not_know() -> None:
    made = spent(SuffixMH(chains=4, burn_in=1, thin=1))
    assert {made.why[f] for f in ("kl_prior", "kl_reverse", "kl_forward", "gap_closed")} == {CHAIN}
    assert "log_z_low" in made.why
    found = read(made)
    assert math.isnan(found["it/kl_reverse"])
    assert math.isfinite(found["it/reward"])
    assert made.cost.tokens <= 600


def test_the_prior_s_own_draws_have_a_density() -> None:
    found = read(made := spent(Importance(), density=True))
    assert made.drawn is not None
    assert made.units is None
    assert found["it/kl_prior"] == 0
    assert found["it/kl_forward"] == found["posterior/kl_prior"]
    assert made.replies == made.drawn.log_lik.numel()


def test_a_first_round_beyond_the_budget_is_made_and_said() -> None:
    made = spent(SMC(particles=64, islands=4), 10)
    assert made.cost.tokens > 10
    assert "a single one takes more than the budget" in made.note


def test_seconds_are_a_budget_too() -> None:
    begun: Told = []
    made = draw(
        Importance(), 16, toy_two(), two_prompts(), Key(3), Budget("seconds", 0.05), REWARD, PRIOR, begun.append
    )
    longest = max(r["seconds"] for r in begun)
    assert made.cost.seconds <= 0.05 or len(begun) == 1
    assert made.cost.seconds + 2 * longest > 0.05, "what another round would have fitted in was used"


def test_stop_at_cpu_seconds_counts_what_the_draws_cost() -> None:
    done = draw_until(Importance(), Key(1), toy_two(), two_prompts(), Stop(cpu=1e-9), 4)
    assert (done.why, done.rounds) == (("cpu", "cpu"), (1, 1))
    with pytest.raises(ConfigError, match="cpu=0"):
        Stop(cpu=0.0)


def test_a_prompt_without_a_reply_is_said_and_left_out() -> None:
    """Evidence of one prompt that no reply has: rejection finds none there, and the other prompt's figures stay."""

    def only_one(prompts: list[tuple[int, ...]], replies: list[tuple[int, ...]]) -> list[float]:
        return [-math.inf if len(prompt) > 1 else 0.0 for prompt, _ in zip(prompts, replies, strict=True)]

    half = Posterior(toy_two().prior, Reward(only_one, 1.0, bound=0.0, name="only"))
    made = draw(
        Rejection(most=16), None, half, two_prompts(), Key(3), Budget("tokens", 50), "only", PRIOR, lambda record: None
    )
    assert not made.answers
    assert "no reply to 1 of 2 prompts" in made.note
    found = read(made)
    assert found["it/reward"] == 0
    assert found["it/kl_reverse"] == 0
