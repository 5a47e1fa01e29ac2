"""`credence believe choose`: which reply, prompt or engine next, from the rewards of those tried."""

from pathlib import Path
from typing import Annotated

import typer

from credence.cli.options import Json, Seed


def choose(
    log: Annotated[
        Path | None,
        typer.Argument(metavar="[LOG]", help="A .csv, .tsv or .jsonl with arm, reward, propensity; else a simulation."),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option("--context", help="A column that the choice could see; repeatable; none; default: all others."),
    ] = None,
    policy: Annotated[
        list[str] | None, typer.Option("--policy", help="A column that holds a policy to value; repeatable.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="bernoulli, linear or logistic; default: what the log asks for.")
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="COLUMN=VALUE", help="Context of the next choice; repeatable."),
    ] = None,
    bandit: Annotated[
        str, typer.Option("--bandit", help="Without a log: bernoulli, linear, logistic, or a .json file.")
    ] = "bernoulli",
    arms: Annotated[
        str | None, typer.Option("--arms", metavar="MEANS", help="Without a log: Bernoulli means, e.g. 0.9,0.8,0.7.")
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Without a log: choices a run.")] = 1000,
    runs: Annotated[int | None, typer.Option("--runs", min=2, help="Without a log: how many runs.")] = None,
    into: Annotated[Path, typer.Option("--into", help="Where the pictures go.")] = Path("runs/choose"),
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Choose among arms: Thompson sampling and others by their regret; from a LOG, what each policy is worth."""
    if log is None:
        _simulated(bandit, arms, steps, runs, seed, into, as_json, {"context": context, "policy": policy,
                   "model": model, "at": at})  # fmt: skip
        return
    from credence.core.errors import ConfigError

    idle = {"--bandit": bandit != "bernoulli", "--arms": arms is not None, "--runs": runs is not None,
            "--steps": steps != 1000}  # fmt: skip
    for name, there in idle.items():
        if there:
            raise ConfigError(f"{name} is for a simulation, and the log {log} is given. Leave one of them out.")
    from credence.cli.terminal import emit, out, progress
    from credence.report.choose import print_log
    from credence.report.choose_plots import save_png, values
    from credence.study.choose import as_data, judge_log

    with progress(f"reading {log.name}", None, as_json):
        report = judge_log(log, context or (), policy or (), model, at or (), seed)
    pictures = save_png(lambda palette: values(report, palette), "values", into)
    if as_json:
        emit(as_data(report, pictures))
        return
    print_log(report, out())
    _told(pictures)


def _simulated(
    bandit: str,
    arms: str | None,
    steps: int,
    runs: int | None,
    seed: int,
    into: Path,
    as_json: bool,
    idle: dict[str, list[str] | str | None],
) -> None:
    from credence.core.errors import ConfigError

    for name, value in idle.items():
        if value is not None:
            raise ConfigError(f"--{name} is for a log. Name its file: credence believe choose LOG.csv --{name} …")
    means = None if arms is None else [_mean(text) for text in arms.split(",")]
    from credence.cli.terminal import emit, out, progress
    from credence.report.choose import print_regret
    from credence.report.choose_plots import regret, save_png
    from credence.study.choose import STRATEGIES, as_data, read_world, regrets

    world = read_world(bandit, means)
    with progress("choosing", len(STRATEGIES) * min(steps, 100), as_json) as advance:
        report = regrets(world, steps, runs, seed, advance)
    pictures = save_png(lambda palette: regret(report, palette), "regret", into)
    if as_json:
        emit(as_data(report, pictures))
        return
    print_regret(report, out())
    _told(pictures)


def _mean(text: str) -> float:
    from credence.core.errors import ConfigError

    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--arms: {text!r} is no number; means are parted by commas: --arms 0.9,0.8,0.7.") from None


def _told(pictures: list[Path]) -> None:
    typer.echo("\n" + "\n".join(str(path) for path in pictures))
