"""What a person reads of a translation study: columns in line though Chinese takes two cells, all on the screen."""

import io

from rich.cells import cell_len
from rich.console import Console

from credence.report.schema import Estimate
from credence.report.translate import (
    MeasureRow,
    PolicyReport,
    ScorerRow,
    TranslateReport,
    print_ranked,
    print_translate,
    sentence,
)

E = Estimate(0.5, 0.4, 0.6)


def console(width: int) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def printed(given: Console) -> list[str]:
    assert isinstance(given.file, io.StringIO)
    return given.file.getvalue().splitlines()


def report() -> TranslateReport:
    names = ("direct", "channel", "bayes", "tuned")
    rows = tuple(ScorerRow(n, f"the {n}", "draw", E, E, E, E, E, E) for n in names)
    alone = ScorerRow("nearest", "translation memory", "prior", None, None, None, None, None, E)
    policy = PolicyReport((MeasureRow("chrf", "chrF", E, E, E),), (), 0.1, 0, (), ("one fact",))
    return TranslateReport("t", {"test": 9, "candidates": 3}, (*rows, alone), (), (), {}, "tuned", policy)


def test_ranked_candidates_stand_in_line() -> None:
    rows = [
        ("Remove the package", 0.97, "删除软件包"),
        ("删除" * 40, 0.03, "一个很长的来源" * 9),
        ("a\x1b[31m\u202eb", 1e-9, "the small translator"),
    ]
    for width in (60, 80, 130):
        there = console(width)
        print_ranked(rows, there)
        lines = printed(there)
        assert len(lines) == 3
        assert max(map(cell_len, lines)) <= width
        marks = ("删除软件包", "一个很长", "the s")
        starts = {cell_len(line[: line.index(mark)]) for line, mark in zip(lines, marks, strict=True)}
        assert len(starts) == 1
        assert "\x1b" not in lines[2]
        assert "< 0.001" in lines[2]


def test_the_table_fits_and_says_less_where_there_is_no_room() -> None:
    for width, columns in ((80, 4), (100, 5), (115, 6), (130, 7)):
        there = console(width)
        print_translate(report(), there)
        lines = printed(there)
        assert max(map(cell_len, lines)) <= width
        heads = ("scorer", "accuracy@1", "chrF ", "log-loss", "acc. vs", "loss vs", "chrF without")
        assert sum(head in lines[0] + " " for head in heads) == columns
        assert any("translation memory" in line for line in lines) is (columns == 7)
        assert any("one fact" in line for line in lines)


def test_the_sentence_names_direct_channel_and_both() -> None:
    said = sentence(report())
    assert said.startswith("Of 9 sources the reference is chosen among 3 candidates by: the direct 50 % [40, 60], ")
    assert "the tuned 50 % [40, 60]; the direct has the least log-loss, 0.50 nats [0.40, 0.60]." in said
