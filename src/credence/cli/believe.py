"""`credence believe`: Bayes over hypotheses, on real texts. One file a subcommand."""

import typer

from credence.cli.classify import classify, import_

believe = typer.Typer(
    help="Beliefs over hypotheses from texts: classify them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
believe.command()(classify)
believe.command(name="import")(import_)
