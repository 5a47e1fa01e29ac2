"""`credence dialogue …`: agents that talk, learn and are measured."""

from pathlib import Path
from typing import Annotated

import typer

from credence.cli.options import Device, Json, Set, TalkConfig, overrides

dialogue = typer.Typer(
    name="dialogue",
    help="Teach an agent by talking with simulated users, and measure it on others.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@dialogue.callback()
def group() -> None:
    """Teach an agent by talking with simulated users, and measure it on others."""


@dialogue.command()
def train(
    config: TalkConfig,
    fast: Annotated[
        bool, typer.Option("--fast", help="Lay the config's [fast] table over it: for trying out.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run's folder if it exists.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was killed or stopped; begin it if there is none.")
    ] = False,
    into: Annotated[Path, typer.Option("--into", help="Where run folders are made.")] = Path("runs"),
    settings: Set = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Learn from simulated users. Leaves runs/<name>/ with report.html, transcripts and the trained policy."""
    from credence.cli.terminal import emit, err, out, say
    from credence.study.dialogue_config import KIND, load_dialogue

    checked = load_dialogue(config, overrides(settings, device), "fast" if fast else "")
    folder = into / checked.name
    if resume and not overwrite:  # a changed config is said before the heavy parts are even imported
        from credence.study.resumption import earlier

        earlier(folder, checked, KIND)
    from credence.study.dialogue import train_dialogue

    report = train_dialogue(checked, folder, overwrite=overwrite, resume=resume, console=err(as_json))
    if as_json:
        emit({"folder": str(folder), **report.to_json()})
        return
    from credence.report.talk_tables import talk_findings, talk_table

    console = out()
    for line in talk_findings(report):
        say(console, line)
    console.print()
    console.print(talk_table(report))
    typer.echo(f"\n{folder / 'report.html'}")
