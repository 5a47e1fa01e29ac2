"""Options that several commands share, in one wording."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]
Device = Annotated[str | None, typer.Option("--device", help="Where to compute: cpu, cuda, cuda:1, mps.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a setting, e.g. --set evidence.reward.beta=0.2; none takes an optional one out. Repeatable.",
    ),
]
Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file; `credence init` writes one.")]
TalkConfig = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="A TOML file; `credence init --dialogue` writes one.")
]
Model = Annotated[str, typer.Option("--model", help="smollm2 (embedded), a folder, or a hub id.")]
System = Annotated[str, typer.Option("--system", help="System message (chat only).")]
Temperature = Annotated[float, typer.Option("--temperature", help="Reshapes the law before it is scored.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Same seed, same draws.")]
Chat = Annotated[
    bool | None,
    typer.Option(
        "--chat/--raw", help="Chat template, or the text itself (base models). The output says which was used."
    ),
]
Engine = Annotated[
    str | None,
    typer.Option("--engine", help="How to draw: sample.engine of the file, else smc. A wrong name lists them all."),
]


def overrides(given: list[str] | None, device: str | None) -> list[str]:
    """--set, with --device as one more of them."""
    import json

    return [*(given or []), *([f"prior.device={json.dumps(device)}"] if device else [])]
