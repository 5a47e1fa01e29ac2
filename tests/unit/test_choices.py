"""A model's choice among words is its own log-probability of them, to their end."""

import math

import pytest

from credence.core.errors import ConfigError
from credence.prior.choices import choices, forms
from credence.prior.load import load
from credence.study.grid import Grid
from credence.study.probe import score_text
from tests.e2e.conftest import tiny  # noqa: F401 - the tiny model as a fixture


def test_forms_are_different_replies() -> None:
    assert forms("left") == ("left", "left.", "Left", "Left.")
    assert forms("左") == ("左", "左。")


def test_choices_are_the_models_own_numbers(tiny: str) -> None:  # noqa: F811 - the fixture's name
    # Rejects: the end token unscored, forms averaged instead of added, padding scored, a mass that is not the sum.
    model = load(tiny, style="raw", horizon=8)
    found = choices(model, ["go", "stay here"], ["up", "down"])
    for b, question in enumerate(("go", "stay here")):
        wanted = []
        for word in ("up", "down"):
            nats = [score_text(model, question, form, True, 1.0).nats for form in forms(word)]
            wanted.append(sum(math.exp(value) for value in nats))
        assert float(found.log_mass[b].exp()) == pytest.approx(sum(wanted), rel=1e-4)
        law = found.log_q[b].exp()
        assert law.tolist() == pytest.approx([w / sum(wanted) for w in wanted], rel=1e-4)


def test_words_that_leave_no_choice_are_refused(tiny: str) -> None:  # noqa: F811 - the fixture
    model = load(tiny, style="raw", horizon=8)
    for answers in (["up"], ["up", "Up"], ["up", " "]):
        with pytest.raises(ConfigError, match="different words"):
            choices(model, ["go"], answers)


def test_a_state_in_words() -> None:
    grid = Grid(("SF", "HG"), ("left", "down", "right", "up"), "A lake.")
    told = grid.words(1)
    assert (told["row"], told["column"], told["goal"]) == ("1", "2", "row 2, column 2")
    assert told["around"] == "left is the start, down is the goal, right is the edge, up is the edge"
    assert [grid.words(s)["toward"] for s in range(4)] == ["down and right", "down", "right", "here"]
    assert grid.nearer(0) == [0, 1, 1, 0]
    assert grid.nearer(1) == [-1, 1, 0, 0]
