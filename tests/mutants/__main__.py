"""Every mutant on ten seeds, as a table: python -m tests.mutants [words …] [--seeds 1,2,3] [--json FILE]

Words choose mutants by their file or name. A seed at which a check says of itself that it could see nothing (it raises
RuntimeError on the right version, as when resampling never fired) is left out and another is taken; the table counts
these. A mutant must die at ten of ten: one that lives, or dies of another error, is named and the status is 1.
"""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from types import ModuleType

from tests.mutants.runner import Mutant, kill, passes_when_right

HERE = Path(__file__).parent
SEEDS = 10
BLIND = 40
"""Seeds tried before a check that sees nothing is given up."""


@dataclass
class Row:
    """One line of the table.

    Attributes:
        mutant: its name.
        file: where it stands.
        check: what must kill it, module and function.
        killed: seeds at which it died.
        tried: seeds at which it was tried.
        blind: seeds left out because the check could see nothing there.
        saw_nothing: what it said of the last of them.
        seconds: CPU seconds, the right version's run included where it was the first.
        faults: what went wrong, by seed.
    """

    mutant: str
    file: str
    check: str
    killed: int = 0
    tried: int = 0
    blind: int = 0
    saw_nothing: str = ""
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


def modules() -> list[ModuleType]:
    """Every file of mutants, axes and types checked as in the tests: else one could live here and die there."""
    importlib.import_module("tests.conftest")
    return [importlib.import_module(f"tests.mutants.{p.stem}") for p in sorted(HERE.glob("test_*_mutants.py"))]


def named(module: ModuleType, mutant: Mutant) -> Row:
    """An empty line for this mutant."""
    check = mutant.check
    where = "" if check.__module__ == module.__name__ else f"{check.__module__.removeprefix('tests.')}."
    return Row(mutant.name, module.__name__.rsplit(".", 1)[-1], f"{where}{check.__name__}")


@cache
def when_right(check: Callable[[int], None], seed: int) -> tuple[str, str]:
    """What the check says of the right version: why it could see nothing, and how it fails; both empty as a rule."""
    try:
        passes_when_right(check, seed)
    except RuntimeError as error:
        return str(error), ""
    except AssertionError as error:
        return "", f"the right version fails: {str(error)[:100]}"
    return "", ""


def fault(mutant: Mutant, seed: int) -> str:
    """Nothing where the mutant died of the check."""
    try:
        kill(mutant, seed)
    except AssertionError:
        return "lives"
    except Exception as error:  # noqa: BLE001 - whatever it is, the mutant was broken by it and not caught
        return f"broken by {type(error).__name__}: {str(error)[:100]}"
    return ""


def tried(module: ModuleType, mutant: Mutant, wanted: Sequence[int] | None) -> Row:
    """The mutant at each seed."""
    row, began = named(module, mutant), time.process_time()
    for seed in count(1) if wanted is None else wanted:
        if (row.tried == SEEDS and wanted is None) or row.blind == BLIND:
            break
        unseen, wrong = when_right(mutant.check, seed)
        if unseen:
            row.blind, row.saw_nothing = row.blind + 1, unseen
            continue
        wrong = wrong or fault(mutant, seed)
        row.tried, row.killed = row.tried + 1, row.killed + (not wrong)
        row.faults += [f"seed {seed}: {wrong}"] if wrong else []
    row.seconds = round(time.process_time() - began, 1)
    return row


def say(text: str) -> None:
    """One line, shown at once, since the next may take a minute."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def line(row: Row) -> str:
    """As Markdown."""
    left_out = f" ({row.blind} seeds left out)" if row.blind else ""
    return f"| {row.mutant} | {row.check} | {row.killed} of {row.tried}{left_out} | {row.seconds:.1f} |"


def main(given: Sequence[str] | None = None) -> int:
    """Run, print, and write the rows where asked; 1 where one lived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="run only mutants whose file or name holds one of these")
    parser.add_argument("--seeds", help="these seeds, by commas, instead of ten")
    parser.add_argument("--json", type=Path, help="also write the rows, one JSON object a line, as they come")
    asked = parser.parse_args(given)
    wanted = [int(seed) for seed in asked.seeds.split(",")] if asked.seeds else None
    rows: list[Row] = []
    say("| mutant | killed by | seeds killed | CPU s |\n|---|---|---|---|")
    for module in modules():
        for mutant in module.MUTANTS:
            if asked.words and not any(word in f"{module.__name__} {mutant.name}" for word in asked.words):
                continue
            rows.append(tried(module, mutant, wanted))
            say(line(rows[-1]))
            if asked.json:
                with asked.json.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(rows[-1]), ensure_ascii=False) + "\n")
    alive = [row for row in rows if row.faults or row.killed < row.tried or not row.tried]
    spent = sum(row.seconds for row in rows)
    say(f"\n{len(rows) - len(alive)} of {len(rows)} mutants died at every seed, {spent:.0f} CPU s")
    for row in alive:
        say(f"{row.file}: {row.mutant}: " + ("; ".join(row.faults) or f"{row.check} saw nothing at any seed"))
    return 1 if alive or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
