"""Stop rules: which one ends a prompt, and what the rounds add up to."""

import math
import time
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Guarantee, Target
from credence.core.status import Status
from credence.core.types import Draws, Prompts
from credence.evidence.reward import Reward
from credence.posterior.posterior import Posterior
from credence.sample import stop as stop_module
from credence.sample.best_of_n import BestOfN
from credence.sample.importance import Importance, log_z_from
from credence.sample.rejection import Rejection
from credence.sample.smc import SMC
from credence.sample.stop import Stop, combined, draw_until
from tests.toys import toy_a, toy_prompts, toy_two, two_prompts


def test_rounds_add_up_to_one_set_of_draws() -> None:
    """log Ẑ is that of all weights; the error comes from within the rounds, so it is near and not the same."""
    done = draw_until(Importance(), Key(1), toy_two(), two_prompts(), Stop(draws=200), 48)
    assert (done.why, done.rounds) == (("draws", "draws"), (5, 5))  # the last one of 8
    draws = done.draws
    assert draws.completions.prompt.tolist() == [0] * 200 + [1] * 200
    log_z, se, ess = log_z_from(draws.log_w, draws.completions.prompt, 2)
    assert torch.allclose(draws.log_z, log_z, atol=1e-12)
    assert torch.allclose(draws.log_z_se, se, rtol=0.1)
    assert torch.allclose(draws.info["ess"], ess, atol=1e-9)
    assert draws.info["draws"].tolist() == [200, 200]
    again = draw_until(Importance(), Key(1), toy_two(), two_prompts(), Stop(draws=200), 48).draws
    assert again.texts() == draws.texts()


def test_a_mean_of_estimates_and_its_error() -> None:
    """By hand: Ẑ = 1, 3, 2 with weights ½, ¼, ¼ is 1.75; Var = (½·1·.1)² + (¼·3·.2)² + (¼·2·.4)²."""
    level, se = combined([0.0, math.log(3), math.log(2)], [0.1, 0.2, 0.4], [4, 2, 2])
    assert level == pytest.approx(math.log(1.75))
    assert se == pytest.approx(math.sqrt(0.05**2 + 0.15**2 + 0.2**2) / 1.75)
    level, se = combined([0.0, math.log(3)], [math.nan, 0.2], [1, 1])  # by the spread: Var = 2 · (¼ + ¼)
    assert (level, se) == (pytest.approx(math.log(2)), pytest.approx(1 / 2))
    assert combined([-math.inf, 0.0], [math.nan, 0.1], [1, 1]) == (pytest.approx(-math.log(2)), pytest.approx(0.1))
    assert combined([-math.inf], [math.nan], [3])[0] == -math.inf
    assert math.isnan(combined([0.0], [math.nan], [3])[1])
    assert math.isnan(combined([math.nan, 1.0], [0.1, 0.1], [1, 1])[0])


def test_each_prompt_stops_when_it_may() -> None:
    """The second prompt's evidence is ten times as strong: its log Z needs more draws, and takes them alone."""
    plain = toy_two()

    def reward(prompts: list[tuple[int, ...]], replies: list[tuple[int, ...]]) -> list[float]:
        return [len(reply) * (1.0 if len(prompt) > 1 else 0.1) for prompt, reply in zip(prompts, replies, strict=True)]

    posterior = Posterior(plain.prior, Reward(reward, 0.4))
    done = draw_until(Importance(), Key(1), posterior, two_prompts(), Stop(log_z_se=0.05), 16)
    assert done.why == ("log_z_se", "log_z_se")
    assert done.rounds[0] == stop_module.LEAST_ROUNDS < done.rounds[1]
    assert bool((done.draws.log_z_se <= 0.05).all())
    first, second = done.each()
    assert [len(d.completions) for d in (first, second)] == [16 * r for r in done.rounds]
    assert torch.equal(torch.stack([first.log_z[0], second.log_z[0]]), done.draws.log_z)
    assert first.texts() + second.texts() == done.draws.texts()


def test_tokens_and_seconds_are_for_all_and_are_kept() -> None:
    one = Importance().draw(Key(1).fold("round", 0), toy_two(), two_prompts(), 16).cost.tokens
    done = draw_until(Importance(), Key(1), toy_two(), two_prompts(), Stop(tokens=6 * one), 16)
    assert set(done.why) == {"tokens"}
    assert 2 <= done.rounds[0] <= 6
    assert done.draws.cost.tokens <= 6 * one
    assert draw_until(Importance(), Key(1), toy_two(), two_prompts(), Stop(tokens=1), 16).rounds == (1, 1)
    began = time.monotonic()
    late = draw_until(Importance(), Key(1), toy_a(), toy_prompts(), Stop(seconds=0.2), 8)
    assert late.why == ("seconds",)
    assert late.rounds[0] >= 1
    assert time.monotonic() - began < 30


def test_a_rule_that_cannot_be_met_ends_at_the_most_draws() -> None:
    done = draw_until(Importance(), Key(1), toy_a(), toy_prompts(), Stop(log_z_se=1e-9, draws=100), 20)
    assert (done.why, done.rounds) == (("draws",), (5,))


def test_two_rounds_that_agree_by_chance_stop_nothing() -> None:
    flat = Posterior(toy_a().prior, Reward(lambda _, replies: [0.0] * len(replies), 1.0))
    done = draw_until(Importance(), Key(1), flat, toy_prompts(), Stop(log_z_se=0.5), 4)
    assert done.rounds == (stop_module.LEAST_ROUNDS,)


def test_exact_draws_count_equally_and_smc_s_by_their_round() -> None:
    exact = draw_until(Rejection(), Key(1), toy_a(), toy_prompts(), Stop(draws=60), 20).draws
    assert bool((exact.log_w == 0).all())
    assert float(exact.info["accepted"][0]) == 60
    assert float(exact.info["proposals"][0]) > 60
    best = draw_until(BestOfN(4), Key(1), toy_a(), toy_prompts(), Stop(draws=60), 20).draws
    assert bool((best.log_w == 0).all())
    assert float(best.info["kl_bound"][0]) == pytest.approx(math.log(4) - 0.75)
    grown = draw_until(SMC(4, 1), Key(1), toy_a(), toy_prompts(), Stop(draws=30), 10)
    levels = [SMC(4, 1).draw(Key(1).fold("round", r), toy_a(), toy_prompts(), 10).log_z.item() for r in range(3)]
    assert grown.draws.log_w.tolist() == pytest.approx([level for level in levels for _ in range(10)])
    assert float(grown.draws.log_z_se[0]) > 0  # one island knows no error, three rounds do
    assert "unique" not in grown.draws.info


def test_a_fault_of_any_round_stays() -> None:
    with pytest.warns(RuntimeWarning, match="above the bound"):
        done = draw_until(Rejection(bound=1.0), Key(1), toy_a(), toy_prompts(), Stop(draws=40), 10)
    assert done.draws.status == (Status.BOUND_VIOLATED,)
    never = Posterior(toy_a().prior, Reward(lambda _, replies: [-math.inf] * len(replies), 1.0))
    dead = draw_until(Importance(), Key(1), never, toy_prompts(), Stop(draws=8, log_z_se=0.1), 2)
    assert (dead.draws.status, dead.why) == ((Status.DEGENERATE,), ("draws",))


@dataclass(frozen=True)
class Walk:
    """An engine of the kind whose rounds may not be pooled, or that gives no log Z."""

    guarantee: ClassVar[Guarantee] = Guarantee.CONSISTENT

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        drawn = Importance().draw(key, posterior, prompts, n)
        drawn.log_z.fill_(math.nan)
        return drawn


@dataclass(frozen=True)
class Silent(Walk):
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT


def test_what_cannot_be_pooled_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Walk.*its own effort grows"):
        draw_until(Walk(), Key(1), toy_a(), toy_prompts(), Stop(draws=4))
    with pytest.raises(ConfigError, match="gives no log Z"):
        draw_until(Silent(), Key(1), toy_a(), toy_prompts(), Stop(log_z_se=0.1))
    assert len(draw_until(Silent(), Key(1), toy_a(), toy_prompts(), Stop(draws=4)).draws.completions) == 4
    with pytest.raises(ConfigError, match="round_size=0"):
        draw_until(Importance(), Key(1), toy_a(), toy_prompts(), Stop(), 0)
    for wrong in ({"draws": 0}, {"log_z_se": 0.0}, {"tokens": -1}, {"seconds": math.nan}):
        with pytest.raises(ConfigError, match="above 0"):
            Stop(**wrong)  # pyright: ignore[reportArgumentType]
