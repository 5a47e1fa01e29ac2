"""The draws of one prompt, as JSON and on the screen."""

from typing import TYPE_CHECKING, Any

from credence.cli.sample_words import figures, level, warnings

if TYPE_CHECKING:
    from rich.console import Console

    from credence.core.types import Draws
    from credence.study.engine import EngineConfig

SHOWN = 12
"""Most replies printed of a prompt under a stop rule."""


def as_data(draws: "Draws", settings: "EngineConfig | None") -> dict[str, Any]:
    """Everything that is known of one prompt's draws.

    Args:
        draws: of one prompt.
        settings: the engine's table; None for the prior's own draws, which count equally.
    """
    count = len(draws.completions)
    weights = draws.weights().tolist() if settings is not None else [1 / max(1, count)] * count
    lengths, ended = draws.completions.lengths.tolist(), draws.completions.ended.tolist()
    readings = {name: values.tolist() for name, values in draws.readings.items()}
    rows = [
        {
            "text": text,
            "ended": ended[r],
            "tokens": lengths[r],
            "weight": weights[r],
            "log_w": float(draws.log_w[r]),
            "readings": {name: values[r] for name, values in readings.items()},
        }
        for r, text in enumerate(draws.texts())
    ]
    return {
        "prompt": draws.prompts.given[0],
        "status": draws.status[0].name.lower(),
        "meaning": draws.status[0].value,
        "log_z": float(draws.log_z[0]),
        "log_z_se": float(draws.log_z_se[0]),
        "cost": {"tokens": draws.cost.tokens, "seconds": draws.cost.seconds},
        "info": {name: float(value.flatten()[0]) for name, value in draws.info.items()},
        "warnings": warnings(draws, settings),
        "draws": rows,
    }


def show(console: "Console", draws: "Draws", engine: str, settings: "EngineConfig | None", stopped: str) -> None:
    """Replies with readings and weights, then what the engine says of them.

    Args:
        console: where to.
        draws: of one prompt.
        engine: its name.
        settings: its table; None for the prior's own draws.
        stopped: by which stop rule, in words; "" without one.
    """
    from credence.cli.terminal import say, shown
    from credence.core.status import Status
    from credence.diagnose.acceptance import bound_finding

    data = as_data(draws, settings)
    _replies(console, draws, data, settings is not None, SHOWN if stopped else len(data["draws"]))
    own = figures(data["info"], engine)
    about = level(data["log_z"], data["log_z_se"], data["info"], engine)
    say(console, shown(f"{about}; {own}" if own else about))
    if stopped:
        say(console, shown(stopped, style="bold yellow" if "above the" in stopped else ""))
    for warning in data["warnings"]:
        say(console, shown(f"warning: {warning}", style="bold yellow"))
    if not draws.status[0].ok:
        say(console, shown(f"{data['status']}: {data['meaning']}", style="bold yellow"))
    if draws.status[0] is Status.BOUND_VIOLATED:
        say(console, shown(bound_finding(draws).meaning, style="bold yellow"))


def _replies(console: "Console", draws: "Draws", data: dict[str, Any], inferred: bool, most: int) -> None:
    """The prompt, and the table of its replies, the heaviest first where they weigh unequally."""
    from rich.table import Table

    from credence.cli.terminal import say, shown

    weighted = inferred and len(set(draws.log_w.tolist())) > 1
    names = list(draws.readings)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in (*names, *(["weight"] if weighted else [])):
        table.add_column(heading, justify="right")
    table.add_column("reply", overflow="fold", ratio=1)
    rows = sorted(data["draws"], key=lambda r: -r["weight"]) if weighted else data["draws"]
    for row in rows[:most]:
        cells = [f"{row['readings'][name]:.3f}" for name in names] + ([f"{row['weight']:.3f}"] if weighted else [])
        text = shown(row["text"])
        if not row["ended"]:
            text.append(" …", style="dim")
        table.add_row(*cells, text)
    console.print()
    say(console, shown(data["prompt"], style="bold"))
    console.print(table)
    if most < len(rows):
        say(console, shown(f"… and {len(rows) - most} more (--json gives all)", style="dim"))
