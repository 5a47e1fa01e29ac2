"""`credence compare`: which engine for this target, under one budget."""

from pathlib import Path
from typing import Annotated

import typer

from credence.cli.options import Config, Device, Json, Set, overrides


def compare(
    config: Config,
    engines: Annotated[
        str,
        typer.Option(
            "--engines",
            metavar="A,B,C",
            help="Engines that draw and engines that train, with commas; + joins stages, as dpg+reinforce.",
        ),
    ],
    budget: Annotated[
        str,
        typer.Option("--budget", metavar="UNIT=N", help="Of each engine and seed: tokens=200_000, or CPU seconds=300."),
    ],
    seeds: Annotated[int, typer.Option("--seeds", help="Independent runs of each engine.")] = 3,
    fast: Annotated[
        bool, typer.Option("--fast", help="Lay the config's [fast] table over it: for trying out.")
    ] = False,
    long: Annotated[bool, typer.Option("--long", help="Lay the config's [long] table over it.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the comparison's folder if it exists.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with one that was stopped, or add engines and seeds; else begin it."),
    ] = False,
    into: Annotated[Path, typer.Option("--into", help="Where run folders are made.")] = Path("runs"),
    settings: Set = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Compare engines on one target under one budget, and recommend one. Leaves runs/<name>-compare/."""
    from credence.core.errors import ConfigError
    from credence.study.allowance import budget as parsed
    from credence.study.contest import Contest, entrants
    from credence.study.toml import load_config

    if fast and long:
        raise ConfigError("--fast and --long together: each lays its own table over the config, choose one.")
    named, limit = entrants(engines), parsed(budget)
    checked = load_config(config, overrides(settings, device), "fast" if fast else "long" if long else "")
    contest = Contest(checked, named, limit, seeds)
    folder = into / contest.name

    from credence.cli.terminal import emit, err, out
    from credence.report.comparison_table import print_comparison
    from credence.study.compare import run_compare

    made = run_compare(contest, folder, overwrite=overwrite, resume=resume, console=err(as_json))
    if as_json:
        emit({"folder": str(folder), **made.to_json()})
        return
    print_comparison(made, out())
    typer.echo(f"\n{folder / 'compare.html'}")
