"""The command line. Everything heavy is imported inside the commands, so that --help answers at once."""

import os
from typing import Annotated

import typer

from credence.cli.ask import ask
from credence.cli.believe import believe
from credence.cli.beta import beta
from credence.cli.chat import chat
from credence.cli.chat_errors import Spoken
from credence.cli.compare import compare
from credence.cli.control import control
from credence.cli.diagnose import diagnose
from credence.cli.dialogue import dialogue
from credence.cli.dialogue_update import update
from credence.cli.edge import Edge
from credence.cli.init import init
from credence.cli.kl import kl
from credence.cli.knowledge import knowledge
from credence.cli.models import models
from credence.cli.run import run
from credence.cli.sample import sample
from credence.cli.score import score

# Threads that spin while they wait cost a busy machine several times the work itself; read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    cls=Edge,
    name="credence",
    help="Prior and evidence in, posterior out: by sampling or by training, measured in nats.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (run, compare, control, sample, beta, score, kl, chat, diagnose, ask, models, init):
    app.command(cls=Spoken if command is chat else None)(command)
dialogue.command()(update)
app.add_typer(dialogue)
app.add_typer(knowledge, name="knowledge")
app.add_typer(believe, name="believe")


def _version(asked: bool) -> None:
    if asked:
        import credence

        typer.echo(f"credence {credence.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Prior and evidence in, posterior out: by sampling or by training, measured in nats."""


if __name__ == "__main__":
    app()
