"""`credence control`: classic reinforcement learning with a prior policy and a KL penalty."""

from pathlib import Path
from typing import Annotated

import typer

from credence.cli.options import Config, Json, Set


def control(
    config: Config,
    fast: Annotated[bool, typer.Option("--fast", help="Lay the config's [fast] table over it.")] = False,
    long: Annotated[bool, typer.Option("--long", help="Lay the config's [long] table over it.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run's folder if it exists.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was killed or stopped; begin it if there is none.")
    ] = False,
    into: Annotated[Path, typer.Option("--into", help="Where run folders are made.")] = Path("runs"),
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Learn to act in a Gymnasium world near a prior policy: Q-learning, SARSA, policy gradient, beside the optimum."""
    from credence.core.errors import ConfigError
    from credence.study.control_config import ControlConfig
    from credence.study.toml import read_config

    if fast and long:
        raise ConfigError("--fast and --long together: each lays its own table over the config, choose one.")
    profile = "fast" if fast else "long" if long else ""
    checked = read_config(ControlConfig, config, settings or [], profile)
    folder = into / checked.name

    from credence.cli.terminal import emit, err, out
    from credence.report.control import print_control
    from credence.study.control import run_control

    report = run_control(checked, folder, overwrite=overwrite, resume=resume, console=err(as_json))
    if as_json:
        emit({"folder": str(folder), **report.to_json()})
        return
    print_control(report, out())
    typer.echo(f"\n{folder / 'report.html'}")
