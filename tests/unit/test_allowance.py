"""A budget as it is written, and as a stage of training spends it."""

import pytest

from credence.core.errors import ConfigError
from credence.core.meter import Meter
from credence.core.types import Cost
from credence.learn.budget import Budget as StageBudget
from credence.learn.budget import warmed
from credence.study.allowance import Allowance, Budget, budget


def test_both_units_and_how_numbers_are_written() -> None:
    assert budget("tokens=200_000") == Budget("tokens", 200_000)
    assert budget(" seconds = 1.5 ") == Budget("seconds", 1.5)
    assert budget("tokens=2e5").words == "200,000 model tokens"
    assert Budget("seconds", 2).of(Cost(7, 3.5)) == 3.5
    assert Budget("tokens", 2).of(Cost(7, 3.5)) == 7


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("200_000", "does not say of what"),
        ("token=5", "no unit 'token'. Did you mean 'tokens'?"),
        ("tokens", "nothing stands where a number"),
        ("tokens=many", "'many' stands where a number"),
        ("tokens=0", "buys nothing"),
        ("seconds=-3", "buys nothing"),
        ("seconds=inf", "buys nothing"),
        ("seconds=nan", "buys nothing"),
        ("tokens=1.5", "tokens come whole"),
    ],
)
def test_each_mistake_is_worded(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as told:
        budget(text)
    assert says in str(told.value)
    assert "tokens=200_000" in str(told.value), "what to write stands in every one"


def test_no_step_is_begun_that_would_not_fit() -> None:
    """Looks of 5, steps of 10, a dear one of 30 in 100: after 85 another 30 + 5 does not fit."""
    meter = Meter()
    allowed = Allowance(Budget("tokens", 100), meter)
    meter.forward = 20  # draws of the prior
    allowed.stage()
    meter.forward += 5
    assert allowed([]) == ""
    assert allowed.share() == pytest.approx(5 / 80)
    meter.forward += 30
    assert allowed([]) == ""
    meter.backward += 10
    assert allowed([]) == ""  # 65 + 30 + 5 = 100
    meter.forward += 1
    assert "100 model tokens are spent" in allowed([])
    assert allowed.cost.tokens == 66


def test_the_next_stage_has_what_is_left() -> None:
    meter = Meter()
    allowed = Allowance(Budget("tokens", 100), meter)
    meter.forward = 100
    assert allowed.share() == 1
    meter.forward = 50
    allowed.stage()
    assert allowed.share() == 0
    meter.forward = 75
    assert allowed.share() == pytest.approx(0.5)


def test_the_step_size_falls_with_a_budget_kept_outside() -> None:
    """Step 2 of a stage without end: a tenth is left of lr when all is spent, as with steps."""
    share = 0.0
    outside = StageBudget(1_000_000_000, None, lambda: share)
    assert warmed(1.0, 0, 2, outside.used(2)) == pytest.approx(1.0)
    share = 0.5
    assert warmed(1.0, 0, 2, outside.used(2)) == pytest.approx(0.55)
    share = 1.0
    assert warmed(1.0, 0, 2, outside.used(2)) == pytest.approx(0.1)
    assert StageBudget(4, None, lambda: 0.1).used(2) == 0.5, "whatever is used up first"
    assert not outside.late, "a stop rule ends the stage"


def test_seconds_are_the_process_s_own() -> None:
    allowed = Allowance(Budget("seconds", 1e9), Meter())
    assert 0 <= allowed.used < 60
    assert allowed([]) == ""
