"""`credence models`: what can be loaded, from where."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from credence.cli.options import Json

if TYPE_CHECKING:
    from credence.prior.embedded import Card

WHOLE = 10_000
"""Columns for what reads a pipe: a row stays one line, so that its path can be copied."""


def models(as_json: Json = False) -> None:
    """List what can be loaded. The embedded model, policies trained here, models downloaded from a hub."""
    from credence.cli.terminal import emit, out, say, shown
    from credence.prior.embedded import card

    cards = [card(), *saved_policies(Path("runs")), *hub_models(hub_folder())]
    if as_json:
        emit([asdict(c) for c in cards])
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("name", "model", "licence", "MB", "where, or how to get it"):
        table.add_column(heading, overflow="fold")
    for c in cards:
        sizes = [str(size) for size in (c.megabytes, c.unpacked_megabytes) if size]
        place = c.where if c.installed else f"not installed: {c.where}"
        table.add_row(shown(c.name), shown(c.model), shown(c.licence), " + ".join(sizes) or "–", shown(place))
    console = out()
    if not console.is_terminal:
        console.width = WHOLE
    console.print(table)
    for c in cards:
        if c.unpacked:
            say(console, shown(f"{c.name} is unpacked in {c.unpacked}, {c.unpacked_megabytes} MB."))
    say(console, "Also: any folder that transformers can read, or a hub id such as owner/model (needs a network).")


def hub_folder() -> Path:
    """Where the hub client keeps downloads; huggingface's own variables decide."""
    home = os.environ.get("HF_HOME") or str(Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or str(Path(home) / "hub")).expanduser()


def saved_policies(runs: Path) -> "list[Card]":
    """Policies that runs have exported."""
    from credence.prior.embedded import Card, megabytes

    found = sorted(p.parent for p in runs.glob("*/policy/config.json") if not p.parent.parent.is_symlink())
    return [Card(str(f), "a policy trained here", "as its prior", megabytes(f), str(f), True) for f in found]


def hub_models(folder: Path) -> "list[Card]":
    """Models that the hub client has downloaded."""
    from credence.prior.embedded import Card, megabytes

    found = sorted(p for p in folder.glob("models--*--*") if any(p.glob("snapshots/*/config.json")))
    names = [p.name.removeprefix("models--").replace("--", "/") for p in found]
    return [
        Card(name, "downloaded", "see its card", megabytes(p / "blobs"), str(p), True)
        for name, p in zip(names, found, strict=True)
    ]
