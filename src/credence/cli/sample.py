"""`credence sample`: replies from the prior or the posterior, by any engine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from credence.cli.options import Device, Engine, Json, Set, overrides

if TYPE_CHECKING:
    from credence.core.protocols import Sampler
    from credence.core.types import Draws
    from credence.posterior.posterior import Posterior
    from credence.study.config import RunConfig
    from credence.study.data import PromptSet


def sample(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="A TOML file; without one, VADER's sentiment at beta 0.1.")
    ] = None,
    prompt: Annotated[list[str] | None, typer.Option("--prompt", help="Repeatable; else the held-out prompts.")] = None,
    engine: Annotated[Engine, typer.Option("--engine", help="How to draw.")] = "smc",
    n: Annotated[int, typer.Option("-n", min=1, help="Draws a prompt.")] = 8,
    of: Annotated[int | None, typer.Option("--of", min=1, help="Candidates of best_of_n.")] = None,
    particles: Annotated[int | None, typer.Option("--particles", min=2, help="Particles an island of smc.")] = None,
    islands: Annotated[int | None, typer.Option("--islands", min=1, help="Independent runs of smc.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Proposals of rejection a prompt, at most.")] = 1024,
    settings: Set = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Draw replies by any engine. Shows rewards, weights, log Z ± its standard error, and each prompt's status."""
    from credence.cli.terminal import emit, out, progress, say
    from credence.study.toml import load_config

    checked = load_config(config, overrides(settings, device))
    asked = _prompts(checked, prompt)
    from credence.core.keys import Key
    from credence.posterior.posterior import Posterior
    from credence.study import build

    evidence = build.evidence(checked)
    with progress(f"loading {checked.prior.model}", None, as_json):
        posterior = Posterior(build.prior(checked), evidence)
    sampler = _engine(engine, checked, of, particles, islands, most)
    prompts = posterior.prior.codec.prompts(asked.given, asked.columns)
    found: list[Draws] = []
    with progress("prompts", len(prompts), as_json) as advance:
        for b, piece in enumerate(prompts.split(1)):
            found.append(sampler.draw(Key(checked.seed).fold("sample", engine, b), posterior, piece, n))
            advance()
    _refuse_impossible(found, posterior, engine)
    head = {"engine": engine, "guarantee": GUARANTEE_OF_PRIOR if engine == "prior" else sampler.guarantee.value}
    if as_json:
        emit({**head, "n": n, "config": checked.model_dump(), "prompts": [_as_data(d, engine) for d in found]})
        return
    console = out()
    say(console, f"{engine}: {head['guarantee']}")
    for draws in found:
        _print(console, draws, engine)


GUARANTEE_OF_PRIOR = "draws follow the prior exactly; the evidence is only shown"


def _prompts(config: "RunConfig", given: list[str] | None) -> "PromptSet":
    from credence.core.errors import ConfigError
    from credence.study.build import prompt_sets
    from credence.study.data import PromptSet

    if given:
        if any(not p.strip() for p in given):
            raise ConfigError("--prompt is empty: what should be answered?")
        return PromptSet(tuple(given), {}, 0, "--prompt")
    prompts, parts = prompt_sets(config)
    return prompts.take(parts.heldout)


def _refuse_impossible(found: "list[Draws]", posterior: "Posterior", engine: Engine) -> None:
    """Where no prompt has a possible draw there is nothing to show but the reason; else each prompt says its own."""
    from credence.core.status import Status
    from credence.study.summary import refuse_degenerate

    dead = [draws for draws in found if draws.status[0] is Status.DEGENERATE and len(draws.completions)]
    if engine != "prior" and dead and len(dead) == len(found):
        refuse_degenerate(dead[0], posterior, "-n, --particles or --of")


def _engine(
    engine: Engine, config: "RunConfig", of: int | None, particles: int | None, islands: int | None, most: int
) -> "Sampler":
    from credence.sample.best_of_n import BestOfN
    from credence.sample.importance import Importance
    from credence.sample.rejection import Rejection
    from credence.sample.smc import SMC

    smc = config.measure.smc
    match engine:
        case "prior" | "importance":  # the same draws: only their weights are looked at or not
            return Importance()
        case "rejection":
            return Rejection(most=most)
        case "best_of_n":
            return BestOfN(of=of or config.measure.best_of_n)
        case "smc":
            return SMC(particles=particles or smc.particles, islands=islands or smc.islands)


def _as_data(draws: "Draws", engine: Engine) -> dict[str, Any]:
    weights = (
        draws.weights().tolist() if engine != "prior" else [1 / max(1, len(draws.completions))] * len(draws.completions)
    )
    lengths, ended = draws.completions.lengths.tolist(), draws.completions.ended.tolist()
    readings = {name: values.tolist() for name, values in draws.readings.items()}
    from credence.diagnose.particles import warnings_of

    rows = [
        {
            "text": text,
            "ended": ended[r],
            "tokens": lengths[r],
            "weight": weights[r],
            "log_w": float(draws.log_w[r]),
            "readings": {name: values[r] for name, values in readings.items()},
        }
        for r, text in enumerate(draws.texts())
    ]
    return {
        "prompt": draws.prompts.given[0],
        "status": draws.status[0].name.lower(),
        "meaning": draws.status[0].value,
        "log_z": float(draws.log_z[0]),
        "log_z_se": float(draws.log_z_se[0]),
        "info": {name: float(value.flatten()[0]) for name, value in draws.info.items()},
        "warnings": list(warnings_of(draws)),
        "draws": rows,
    }


def _print(console: Any, draws: "Draws", engine: Engine) -> None:  # noqa: ANN401 - rich's Console, imported by the caller
    from rich.table import Table

    from credence.cli.terminal import say, shown

    data = _as_data(draws, engine)
    weighted = engine == "importance"
    names = list(draws.readings)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in (*names, *(["weight"] if weighted else [])):
        table.add_column(heading, justify="right")
    table.add_column("reply", overflow="fold", ratio=1)
    for row in sorted(data["draws"], key=lambda r: -r["weight"]) if weighted else data["draws"]:
        cells = [f"{row['readings'][name]:.3f}" for name in names] + ([f"{row['weight']:.3f}"] if weighted else [])
        text = shown(row["text"])
        if not row["ended"]:
            text.append(" …", style="dim")
        table.add_row(*cells, text)
    console.print()
    say(console, shown(data["prompt"], style="bold"))
    console.print(table)
    error = f" ± {data['log_z_se']:.3f}" if data["log_z_se"] == data["log_z_se"] else ""
    level = f"log Z = {data['log_z']:.3f}{error} nats" if data["log_z"] == data["log_z"] else "log Z: not given"
    extra = ", ".join(f"{name} {value:.3g}" for name, value in data["info"].items())
    say(console, shown(f"{level}{'; ' + extra if extra else ''}"))
    for warning in data["warnings"]:
        say(console, shown(f"warning: {warning}", style="bold yellow"))
    if not draws.status[0].ok:
        say(console, shown(f"{data['status']}: {data['meaning']}", style="bold yellow"))
