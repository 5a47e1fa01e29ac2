"""A broken engine for each law of engines; the right ones break none."""

from dataclasses import dataclass, replace
from itertools import count
from typing import Any, ClassVar

import pytest
import torch

from credence.core.keys import Key
from credence.core.protocols import Guarantee, Target
from credence.core.status import Status
from credence.core.types import Draws, Prompts
from credence.sample.best_of_n import BestOfN, best_of_n_law
from credence.sample.importance import Importance
from credence.testing import Laws, Verdict, check_sampler, random_posterior


@dataclass(frozen=True)
class Right:
    """Importance sampling from the prior."""

    guarantee: ClassVar[Any] = Guarantee.UNBIASED_Z

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        return self.wrong(Importance().draw(key, posterior, prompts, n))

    def wrong(self, draws: Draws) -> Draws:
        return draws


class Unstated(Right):
    guarantee = "exact"


class ARowTooMany(Right):
    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        return super().draw(key, posterior, prompts, n + 1)


class Statusless(Right):
    def wrong(self, draws: Draws) -> Draws:
        return replace(draws, status=draws.status[:1])


class Stateful(Right):
    calls = count()

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        return super().draw(key.fold(next(self.calls)), posterior, prompts, n)


class Keyless(Right):
    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        return super().draw(Key(0), posterior, prompts, n)


class NoLogQ(Right):
    """log q is written down as 0 (as if every token were sure)."""

    def wrong(self, draws: Draws) -> Draws:
        return replace(draws, log_q=torch.zeros_like(draws.log_q))


class Unread(Right):
    def wrong(self, draws: Draws) -> Draws:
        return replace(draws, readings={})


class AllWell(Right):
    def wrong(self, draws: Draws) -> Draws:
        return replace(draws, status=(Status.OK,) * len(draws.status))


class Generous(Right):
    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        return super().draw(key, posterior, prompts, max(n, 1))


class Loose:
    """Settings that anybody may change."""

    guarantee = Guarantee.UNBIASED_Z

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        return Importance().draw(key, posterior, prompts, n)


class MaxForMean(Right):
    """log Ẑ from the largest weight: too high."""

    def wrong(self, draws: Draws) -> Draws:
        return replace(draws, log_z=torch.stack([draws.log_w[draws.of(b)].max() for b in range(len(draws.prompts))]))


class PriorAsPosterior(Right):
    """Draws of the prior, said to be exact."""

    guarantee: ClassVar[Any] = Guarantee.EXACT

    def wrong(self, draws: Draws) -> Draws:
        return replace(draws, log_w=torch.where(torch.isneginf(draws.log_w), draws.log_w, 0.0))


BROKEN: dict[str, tuple[Any, ...]] = {
    "has the members of a Sampler, and states its guarantee": (object(), Unstated()),
    "gives n rows a prompt, prompt by prompt, and a status each": (ARowTooMany(), Statusless()),
    "gives the same draws for the same key, others for another": (Stateful(), Keyless()),
    "gives log q of what it sampled from": (NoLogQ(),),
    "gives the evidence's readings": (Unread(),),
    "makes nothing possible a status, not a NaN": (AllWell(),),
    "refuses n = 0": (Generous(),),
    "has settings that do not change": (Loose(),),
    "keeps its guarantee": (MaxForMean(), PriorAsPosterior()),
}


def held(engine: object, runs: int = 0) -> Laws:
    return check_sampler(engine, runs=runs)


def test_right_engines_keep_them_all() -> None:
    found = held(Right(), 100)
    assert [law.text.split(",")[0] for law in found.laws[-1:]] == ["keeps its guarantee"]
    assert [law.text for law in found.laws[:-1]] == list(BROKEN)[:-1]  # each law has its broken engine
    assert all(law.verdict is Verdict.KEPT for law in found.laws), str(found)
    biased = check_sampler(BestOfN(3), runs=170, law=lambda exact: best_of_n_law(exact, 3))
    assert all(law.verdict is Verdict.KEPT for law in biased.laws), str(biased)


@pytest.mark.parametrize(
    ("law", "engine"),
    [(law, engine) for law, engines in BROKEN.items() for engine in engines],
    ids=lambda x: type(x).__name__ if not isinstance(x, str) else x.split()[0],
)
def test_each_law_catches_what_breaks_it(law: str, engine: object) -> None:
    # Power at 170 runs: p = 0 to six digits for both broken guarantees.
    found = held(engine, 170 if law == "keeps its guarantee" else 0)
    assert any(broken.text.startswith(law) for broken in found.broken), str(found)


def test_a_guarantee_that_cannot_be_tried_says_why() -> None:
    assert held(Right()).laws[-1].found == "runs = 0"
    assert "give it, law=" in check_sampler(BestOfN(3)).laws[-1].found

    class Growing(Right):
        guarantee: ClassVar[Any] = Guarantee.CONSISTENT

    assert "growing effort" in held(Growing(), 5).laws[-1].found


def test_an_engine_is_held_to_another_target() -> None:
    target = random_posterior(4)
    assert check_sampler(Importance(), target, target.prior.codec.prompts([(), (1,)]), runs=60).ok
