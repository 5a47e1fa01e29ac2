"""What a dialogue report says first must be true of its interval."""

import pytest

from credence.report.schema import Estimate
from credence.report.talks import TalkRow
from credence.study.talk_rows import findings

ZERO = Estimate(0.0, 0.0, 0.0)


def row(low: float, high: float) -> TalkRow:
    change = Estimate((low + high) / 2, low, high)
    return TalkRow(
        "change", "change", j=change, reward=ZERO, kl=ZERO, kl_turn=ZERO, turns=ZERO, satisfied=ZERO, readings={}
    )


@pytest.mark.parametrize(
    ("low", "high", "ok", "says"),
    [(0.1, 2.0, True, "J rose"), (-1.0, 1.0, False, "holds 0"), (-1.12, -0.12, False, "J fell")],
)
def test_a_change_is_called_what_it_is(low: float, high: float, ok: bool, says: str) -> None:
    (found,) = findings(row(low, high), 4, 4, 0, 0, 1)
    assert found.ok is ok
    assert says in found.meaning


def test_users_who_ask_as_the_source_does_are_counted() -> None:
    found = findings(row(0.1, 2.0), 40, 40, 0, 0, 1, literal=25)[-1]
    assert (found.ok, found.value) == (False, 25.0)
    assert "25 of 40" in found.meaning
    assert "users.rewordings" in found.meaning


def test_a_nan_that_ended_learning_is_the_first_finding() -> None:
    found = findings(row(0.1, 2.0), 4, 4, 0, 0, 1, "grad_norm not finite at step 2")
    assert found[0].meaning == "grad_norm not finite at step 2"
    assert not found[0].ok
