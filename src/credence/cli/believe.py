"""`credence believe`: Bayes over hypotheses, one file a command; what is heavy is imported inside each."""

import typer

from credence.cli.believe_ask import ask
from credence.cli.believe_choose import choose
from credence.cli.believe_classify import classify
from credence.cli.believe_import import import_
from credence.cli.believe_reward import reward
from credence.cli.believe_translate import translate

believe = typer.Typer(
    help="Beliefs: what the evidence says of finitely many hypotheses, and what to do about it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (ask, choose, classify, reward, translate):
    believe.command()(command)
believe.command(name="import")(import_)
