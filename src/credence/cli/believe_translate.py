"""`credence believe translate`: which candidate translates a text, by Bayes' rule, measured beside direct scoring."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from credence.cli.options import Config, Json, Set

if TYPE_CHECKING:
    from credence.study.translate_config import TranslateConfig
    from credence.study.translate_use import FiledTranslations, Translation


def translate(
    config: Config,
    text: Annotated[str | None, typer.Option("--text", help="Rank candidate translations of this text.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Translate the texts of a .csv or .jsonl file.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where --file's translations go: .csv or .jsonl.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Lay the config's [fast] table over it.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run's folder, or --out.")] = False,
    into: Annotated[Path, typer.Option("--into", help="Where run folders are made, and found.")] = Path("runs"),
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Translate by noisy channel: direct, channel, Bayes proper and tuned; a small translator under chrF."""
    from credence.core.errors import ConfigError
    from credence.study.toml import read_config
    from credence.study.translate_config import TranslateConfig

    if text is not None and file is not None:
        raise ConfigError("--text and --file together: one of them is answered at a time.")
    if (file is None) != (out is None):
        raise ConfigError("--file needs --out, the file that is written, and --out needs --file.")
    checked = read_config(TranslateConfig, config, settings or [], "fast" if fast else "")
    folder = into / checked.name
    command = f"credence believe translate {config}" + (" --fast" if fast else "")
    if text is not None:
        _answer(checked, folder, text, command, as_json)
    elif file is not None and out is not None:
        _file(checked, folder, file, out, command, overwrite, as_json)
    else:
        _measure(checked, folder, overwrite, as_json)


def _measure(config: "TranslateConfig", folder: Path, overwrite: bool, as_json: bool) -> None:
    from credence.cli.terminal import emit, err, out
    from credence.report.translate import print_translate
    from credence.study.translate import run_translate

    report = run_translate(config, folder, overwrite=overwrite, console=err(as_json))
    if as_json:
        emit({"folder": str(folder), **report.to_json()})
        return
    print_translate(report, out())
    typer.echo(f"\n{folder / 'report.html'}")


def _answer(config: "TranslateConfig", folder: Path, text: str, command: str, as_json: bool) -> None:
    from dataclasses import asdict

    from credence.cli.terminal import emit, progress
    from credence.study.translate import line_speaker
    from credence.study.translate_use import open_translator

    known = open_translator(config, folder, command)
    with progress(f"reading with {config.prior.model}", None, as_json):
        found = known.answer(text, line_speaker(config))
    if as_json:
        data = asdict(found)
        for row in data["ranked"]:
            row["nats"] = dict(zip(("prior", "channel", "direct"), row["nats"], strict=True))
        data["unknown"] = {"units": found.unknown[0], "of": found.unknown[1]}
        emit(data)
    else:
        _show(found)


def _show(found: "Translation") -> None:
    from credence.cli.terminal import out, say, shown
    from credence.report.translate import print_ranked
    from credence.study.translate_rows import TITLES

    console = out()
    say(console, shown(f"{found.source}  (by {TITLES[found.by][0]})", style="bold"))
    print_ranked([(row.text, row.p[found.by], row.origin) for row in found.ranked], console)
    unknown, of = found.unknown
    if unknown == of:
        say(console, shown(
            "no unit of the text was seen in training: the channel hears only its length", style="yellow"
        ))  # fmt: skip
    elif unknown:
        say(console, shown(f"{unknown} of {of} units were never seen in training", style="dim"))
    if found.cut:
        say(console, shown("the text is longer than data.longest units: its beginning was read", style="yellow"))


def _file(
    config: "TranslateConfig", folder: Path, file: Path, out: Path, command: str, overwrite: bool, as_json: bool
) -> None:
    from dataclasses import asdict

    from credence.cli.terminal import emit, progress
    from credence.study.classify_use import check_out
    from credence.study.translate_use import open_translator, translate_file

    check_out(out, overwrite)
    known = open_translator(config, folder, command)
    steps, done = 100, 0
    with progress(f"translating {file.name}", steps, as_json) as advance:

        def tick(share: float) -> None:
            nonlocal done
            while done < int(share * steps):
                done += 1
                advance()

        found = translate_file(known, file, out, tick)
    if as_json:
        emit({"out": str(out), **asdict(found)})
    else:
        _tell(found, out)


def _tell(found: "FiledTranslations", to: Path) -> None:
    from credence.cli.terminal import out, say, shown
    from credence.study.translate_rows import TITLES

    console = out()
    for remark in found.remarks:
        say(console, shown(remark, style="yellow"))
    counts = [(found.empty, "empty"), (found.none, "without a candidate")]
    more = "".join(f", {n:,} {what}" for n, what in counts if n)
    say(console, shown(f"{found.rows:,} rows, by {TITLES[found.by][0]}{more}"))
    if found.cut:
        say(console, shown(f"{found.cut:,} texts are longer than data.longest units: their beginning was read"))
    say(console, shown(f"{to}"))
