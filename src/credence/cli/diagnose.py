"""`credence diagnose`: what a finished run found, the untrustworthy first."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from credence.cli.options import Json

if TYPE_CHECKING:
    from credence.report.schema import Report


def diagnose(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or its name under runs/.")] = "latest",
    as_json: Json = False,
) -> None:
    """Print what a run found. What cannot be trusted comes first, then the ruler and the prompts."""
    from credence.cli.terminal import emit
    from credence.study.stored import read_json, read_report

    folder = find_run(run)
    report = read_report(folder / "report.json")
    if as_json:
        manifest = folder / "manifest.json"
        emit(
            {
                "folder": str(folder),
                "report": report.to_json(),
                "manifest": read_json(manifest) if manifest.exists() else None,
            }
        )
        return
    print_report(report)


def find_run(run: str, runs: Path = Path("runs")) -> Path:
    """The folder of a run.

    Raises:
        ConfigError: no such run (with the nearest names), or one without a report.
    """
    from credence.core.errors import ConfigError, nearest

    found = next((p for p in (Path(run), runs / run) if p.is_dir()), None)
    if found is None:
        known = sorted(p.name for p in runs.iterdir()) if runs.is_dir() else []
        raise ConfigError(
            f"no run {run!r}, neither a folder nor under {runs}/.{nearest(run, known)} Make one: credence run"
        )
    if not (found / "report.json").exists():
        raise ConfigError(f"{found} holds no report.json: the run has not finished, or it is no run's folder.")
    return found


def print_report(report: "Report") -> None:
    """Findings first, then the ruler, then the prompts."""
    from credence.cli.terminal import out, say
    from credence.report.tables import findings_lines, prompt_table, ruler_table

    console = out()
    for line in findings_lines(report):
        say(console, line)
    console.print()
    console.print(ruler_table(report))
    console.print()
    console.print(prompt_table(report))
