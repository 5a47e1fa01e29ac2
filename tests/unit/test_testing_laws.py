"""The table of laws: what it says, and how wide it is."""

import pytest
from rich.cells import cell_len

from credence.core.errors import ContractError
from credence.testing.laws import Broken, Laws, Trial, Untried, Verdict, hold


def fails(error: Exception) -> str:
    raise error


def example() -> Laws:
    return hold(
        "Prior: 我的先验",
        [
            Trial("采样与打分一致", lambda: "differs by 1e-16 nats"),
            Trial("sums to one", lambda: fails(Broken("Σ = 0.9，少了被截断的回复"))),
            Trial("是快的", lambda: fails(Untried("no clock"))),
            Trial("raises", lambda: fails(KeyError("x"))),
        ],
    )


def test_verdicts() -> None:
    found = example()
    wanted = [Verdict.KEPT, Verdict.BROKEN, Verdict.UNTRIED, Verdict.BROKEN]
    assert [law.verdict for law in found.laws] == wanted
    assert not found.ok
    assert found.broken[1].found == "raised KeyError: 'x'"
    with pytest.raises(ContractError, match="breaks 2 of 4 laws"):
        found.require()


def test_the_table_lines_up_where_characters_are_two_columns_wide() -> None:
    lines = str(example()).splitlines()
    assert lines[0].startswith("Prior: 我的先验")
    assert "1 kept, 2 broken, 1 not tried" in lines[-1]
    starts = {
        cell_len(line.split(word)[0])
        for line in lines
        for word in ("kept", "broken", "not tried")
        if word in line and "," not in line.split(word)[0] and line is not lines[-1]
    }
    assert len(starts) == 1, lines


def test_a_vital_law_that_is_broken_leaves_the_rest_untried() -> None:
    trials = [Trial("first", lambda: fails(Broken("no")), vital=True), Trial("second", lambda: "")]
    assert [law.found for law in hold("thing", trials).laws] == ["no", "needs: first"]
