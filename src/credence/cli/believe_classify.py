"""`credence believe classify`: labels of texts by Bayes' rule, measured beside what any such claim must beat."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from credence.cli.options import Config, Json, Set

if TYPE_CHECKING:
    from credence.study.classify_config import ClassifyConfig
    from credence.study.classify_use import Answer, Filed


def classify(
    config: Config,
    text: Annotated[str | None, typer.Option("--text", help="Answer for this text, token by token.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Label the texts of a .csv or .jsonl file.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where --file's labels go: .csv or .jsonl.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Lay the config's [fast] table over it.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run's folder, or --out.")] = False,
    into: Annotated[Path, typer.Option("--into", help="Where run folders are made, and found.")] = Path("runs"),
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Classify texts: noisy channel, direct prompting, a head on embeddings, beside majority and bag of words."""
    from credence.core.errors import ConfigError
    from credence.study.classify_config import ClassifyConfig
    from credence.study.toml import read_config

    if text is not None and file is not None:
        raise ConfigError("--text and --file together: one of them is answered at a time.")
    if (file is None) != (out is None):
        raise ConfigError("--file needs --out, the file that is written, and --out needs --file.")
    checked = read_config(ClassifyConfig, config, settings or [], "fast" if fast else "")
    folder = into / checked.name
    command = f"credence believe classify {config}" + (" --fast" if fast else "")
    if text is not None:
        _answer(checked, folder, text, command, as_json)
    elif file is not None and out is not None:
        _label(checked, folder, file, out, command, overwrite, as_json)
    else:
        _measure(checked, folder, overwrite, as_json)


def _measure(config: "ClassifyConfig", folder: Path, overwrite: bool, as_json: bool) -> None:
    from credence.cli.terminal import emit, err, out
    from credence.report.classify import print_classify
    from credence.study.classify import run_classify

    report = run_classify(config, folder, overwrite=overwrite, console=err(as_json))
    if as_json:
        emit({"folder": str(folder), **report.to_json()})
        return
    print_classify(report, out())
    typer.echo(f"\n{folder / 'report.html'}")


def _answer(config: "ClassifyConfig", folder: Path, text: str, command: str, as_json: bool) -> None:
    from credence.cli.terminal import emit, progress
    from credence.study.classify import speaker
    from credence.study.classify_use import open_classifier

    known = open_classifier(config, folder, command)
    with progress(f"reading with {config.prior.model}", None, as_json):
        found = known.answer(text, speaker(config))
    if as_json:
        emit(_data(found, known.labels, known.tau))
    else:
        _show(found, known.labels, known.tau)


def _data(found: "Answer", labels: tuple[str, ...], tau: float) -> dict[str, object]:
    import math

    strip = found.strip
    tokens = [{"text": p, "nats": n} for p, n in zip(strip.pieces, strip.nats, strict=True)]
    p = {name: {label: math.exp(x) for label, x in zip(labels, row, strict=True)} for name, row in found.log_p.items()}
    return {"label": found.label, "by": found.by, "p": p, "tau": tau, "cut": found.cut,
            "log_odds": {"of": strip.towards, "before": strip.start, "tokens": tokens}}  # fmt: skip


def _show(found: "Answer", labels: tuple[str, ...], tau: float) -> None:
    from credence.cli.terminal import out, say, shown
    from credence.report.classify import print_strip, probabilities_text
    from credence.report.phrases import number

    console, strip = out(), found.strip
    names = {"head": "head on embeddings", "channel": "channel, tempered", "direct": "direct, corrected"}
    say(console, shown(found.label, style="bold"))
    for name, row in found.log_p.items():
        mark = "  ← answers" if name == found.by else ""
        say(console, shown(f"  {names[name]}: {probabilities_text(labels, row)}{mark}"))
    total = strip.start + sum(strip.nats)
    say(console, shown(
        f"log-odds of {strip.towards} by the channel, nats: {number(strip.start)} before, {number(total)} after; each "
        f"token's part (τ = {tau:.3g}):", style="dim",
    ))  # fmt: skip
    print_strip(strip, console)
    if found.cut:
        say(console, shown("the text is longer than the model reads: its beginning was read", style="yellow"))


def _label(
    config: "ClassifyConfig", folder: Path, file: Path, out: Path, command: str, overwrite: bool, as_json: bool
) -> None:
    from dataclasses import asdict

    from credence.cli.terminal import emit, progress
    from credence.study.classify_use import check_out, classify_file, open_classifier

    check_out(out, overwrite)
    known = open_classifier(config, folder, command)
    with progress(f"labelling {file.name}", None, as_json) as tick:
        found = classify_file(known, file, out, lambda n: tick())
    if as_json:
        emit({"out": str(out), **asdict(found)})
    else:
        _tell(found, out)


def _tell(found: "Filed", to: Path) -> None:
    from credence.cli.terminal import out, say, shown

    console = out()
    for remark in found.remarks:
        say(console, shown(remark, style="yellow"))
    counts = ", ".join(f"{label} {count:,}" for label, count in found.counts.items())
    say(console, shown(f"{found.rows:,} rows: {counts}" + (f", empty {found.empty:,}" if found.empty else "")))
    if found.cut:
        say(console, shown(f"{found.cut:,} texts are longer than the model reads: their beginning was read"))
    if found.right is not None:
        value, low, high = found.right
        say(console, f"right where the file knows: {value:.1%} [{low:.1%}, {high:.1%}]")
    say(console, shown(f"{to}"))
