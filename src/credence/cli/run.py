"""`credence run`: the main job."""

from pathlib import Path
from typing import Annotated

import typer

from credence.cli.options import Config, Device, Json, Set, overrides


def run(
    config: Config,
    fast: Annotated[
        bool, typer.Option("--fast", help="Lay the config's [fast] table over it: for trying out.")
    ] = False,
    long: Annotated[bool, typer.Option("--long", help="Lay the config's [long] table over it.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run's folder if it exists.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was killed or stopped; begin it if there is none.")
    ] = False,
    into: Annotated[Path, typer.Option("--into", help="Where run folders are made.")] = Path("runs"),
    settings: Set = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Infer, learn and measure a posterior. Leaves runs/<name>/ with report.html and the trained policy."""
    from credence.core.errors import ConfigError
    from credence.study.toml import load_config

    if fast and long:
        raise ConfigError("--fast and --long together: each lays its own table over the config, choose one.")
    checked = load_config(config, overrides(settings, device), "fast" if fast else "long" if long else "")
    folder = into / checked.name
    if resume and not overwrite:  # a changed config is said before the heavy parts are even imported
        from credence.study.resumption import earlier

        earlier(folder, checked)

    from credence.cli.terminal import emit, err
    from credence.study.run import run_study

    report = run_study(checked, folder, overwrite=overwrite, resume=resume, console=err(as_json))
    if as_json:
        emit({"folder": str(folder), **report.to_json()})
        return
    from credence.cli.diagnose import print_report

    print_report(report)
    typer.echo(f"\n{folder / 'report.html'}")
