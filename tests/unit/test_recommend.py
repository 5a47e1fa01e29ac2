"""The advice of a comparison: by intervals, then by cost, and honest where nothing is shown."""

import math
from dataclasses import replace

import pytest

from credence.report.recommend import Candidate, recommend
from credence.report.schema import Estimate

PRIOR = Estimate(2.0, 1.8, 2.2)


def one(name: str, low: float, high: float, once: float = 0.0, each: float | None = 10.0, bound: str = "") -> Candidate:
    price = None if each is None else float(each)
    nats = Estimate((low + high) / 2, float(low), float(high), bound)
    return Candidate(name, once > 0, nats, float(once), price)


def test_the_best_by_its_interval_and_not_by_its_point() -> None:
    """The one of the least point is dearer, and cannot be told apart from the cheap one: the cheap one is named."""
    found = recommend([one("near", 0.4, 0.8, each=100), one("cheap", 0.5, 0.9, each=10)], PRIOR, "tokens")
    assert (found.few, found.many, found.break_even) == ("cheap", "cheap", None)
    assert found.alike == ("near", "cheap")
    assert found.sentence == "Draw with cheap: 10 tokens a reply."
    assert "cannot be told apart" in found.why
    apart = recommend([one("near", 0.4, 0.5, each=100), one("cheap", 0.6, 0.9, each=10)], PRIOR, "tokens")
    assert (apart.few, apart.alike) == ("near", ("near",))
    assert "no other interval meets its own" in apart.why


def test_nothing_is_nearer_than_what_is_exact() -> None:
    """A bound whose estimate fell below 0 stands behind a law that is the posterior, whatever order they came in."""
    found = recommend([one("smc", -1.7, 1.6, each=6, bound="upper"), one("rejection", 0, 0, each=9)], PRIOR, "seconds")
    assert found.alike == ("rejection", "smc")
    assert found.why.startswith("rejection comes nearest, 0")


def test_few_replies_are_drawn_and_many_trained_for() -> None:
    drawn, trained = one("smc", 0.4, 0.8, each=110), one("dpg", 0.5, 0.9, once=20_000, each=10)
    found = recommend([drawn, trained], PRIOR, "tokens")
    assert (found.few, found.many, found.break_even) == ("smc", "dpg", 200)
    assert found.sentence == (
        "For fewer than 200 replies draw with smc (110 tokens a reply), for more train with dpg (20.0 k tokens once, "
        "then 10 tokens a reply)."
    )
    assert "0.5 s of CPU a reply" in recommend([replace(drawn, each=0.5)], PRIOR, "seconds").sentence


def test_three_on_the_envelope_have_each_their_range() -> None:
    found = recommend(
        [one("a", 0.4, 0.8, each=100), one("b", 0.4, 0.8, once=1000, each=50), one("c", 0.4, 0.8, once=9000, each=10),
         one("dear", 0.4, 0.8, once=9999, each=90)],
        PRIOR, "tokens",
    )  # fmt: skip
    assert found.sentence.startswith("For fewer than 20 replies draw with a")
    assert "up to 200 train with b" in found.sentence
    assert "for more train with c" in found.sentence
    assert (found.few, found.many, found.break_even) == ("a", "c", 200)


def test_what_is_further_off_but_cheaper_is_named_after() -> None:
    exact, trained = one("rejection", 0, 0, each=1010), one("dpg", 0.5, 0.9, once=20_000, each=10)
    found = recommend([exact, trained], PRIOR, "tokens")
    assert found.few == found.many == "rejection"
    assert "From 20 replies on dpg costs less" in found.sentence
    assert "0.70 [0.50, 0.90] nats away" in found.sentence


def test_nothing_beats_the_prior() -> None:
    found = recommend([one("dpg", 1.0, 1.9, once=5), one("smc", 1.9, 2.5)], PRIOR, "tokens")
    assert (found.few, found.many, found.alike) == ("", "", ())
    assert "keep the prior" in found.sentence
    assert "nothing is shown to be nearer than the prior itself" in found.why


def test_nothing_is_known() -> None:
    unknown = Candidate("suffix_mh", False, None, 0.0, 5.0)
    found = recommend([unknown, replace(unknown, nats=Estimate(math.nan, math.nan, math.nan))], PRIOR, "tokens")
    assert found.sentence == "Nothing can be recommended."
    assert recommend([], PRIOR, "tokens").few == ""


def test_a_tie_falls_to_the_one_named_first() -> None:
    same = [one("first", 0.4, 0.8), one("second", 0.4, 0.8)]
    found = recommend(same, PRIOR, "tokens")
    assert (found.few, found.many, found.alike) == ("first", "first", ("first", "second"))
    assert recommend(same[::-1], PRIOR, "tokens").few == "second"


def test_an_engine_that_cannot_answer_is_not_recommended() -> None:
    silent = replace(one("rejection", 0, 0), answers=False)
    assert recommend([silent, one("smc", 0.4, 0.8)], PRIOR, "tokens").few == "smc"
    assert "rejection would be, but had no reply" in recommend([silent], PRIOR, "tokens").why


def test_a_bound_counts_as_what_it_shows() -> None:
    """SMC's bound may hide a law nearer than the policy: it is not shown, so the policy is the best."""
    found = recommend([one("smc", 0.9, 1.1, bound="upper"), one("dpg", 0.4, 0.6, once=9)], PRIOR, "tokens")
    assert found.alike == ("dpg",)
    assert "at most 1.00" in recommend([one("smc", 0.9, 1.1, bound="upper")], PRIOR, "tokens").why


@pytest.mark.parametrize("value", [1.0, 50.0])
def test_beside_an_infinite_prior_whatever_is_finite_is_nearer(value: float) -> None:
    hard = Estimate(math.inf, math.inf, math.inf)
    found = recommend([one("smc", value, value + 1), one("dpg", math.inf, math.inf, once=1)], hard, "tokens")
    assert found.few == "smc"
    assert "∞" in found.why


def test_an_unknown_price_leaves_the_best() -> None:
    found = recommend([one("a", 0.4, 0.5, each=None)], PRIOR, "tokens")
    assert (found.few, found.sentence) == ("a", "Draw with a.")
