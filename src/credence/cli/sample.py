"""`credence sample`: replies from the prior or the posterior, by any engine."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from credence.cli.options import Device, Engine, Json, Set, overrides

if TYPE_CHECKING:
    from credence.core.protocols import Sampler
    from credence.core.types import Draws, Prompts
    from credence.posterior.posterior import Posterior
    from credence.study.config import RunConfig
    from credence.study.data import PromptSet


def sample(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="A TOML file; without one, VADER's sentiment at beta 0.1.")
    ] = None,
    prompt: Annotated[list[str] | None, typer.Option("--prompt", help="Repeatable; else the held-out prompts.")] = None,
    engine: Engine = None,
    n: Annotated[int | None, typer.Option("-n", min=1, help="Draws a prompt: sample.draws.")] = None,
    of: Annotated[int | None, typer.Option("--of", help="Candidates: sample.ENGINE.of.")] = None,
    particles: Annotated[int | None, typer.Option("--particles", help="An island: sample.ENGINE.particles.")] = None,
    islands: Annotated[int | None, typer.Option("--islands", help="Independent runs: sample.ENGINE.islands.")] = None,
    most: Annotated[int | None, typer.Option("--most", help="Proposals a prompt: sample.ENGINE.most.")] = None,
    se: Annotated[float | None, typer.Option("--se", help="Stop at this error of log Z: sample.stop.log_z_se.")] = None,
    tokens: Annotated[int | None, typer.Option("--tokens", help="Stop rule, in all: sample.stop.tokens.")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", help="Stop rule, in all: sample.stop.seconds.")] = None,
    settings: Set = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Draw replies by any engine. Shows rewards, weights, log Z ± its standard error, and each prompt's status."""
    from credence.cli.sample_show import as_data, show
    from credence.cli.terminal import emit, out, progress, say

    effort = {"of": of, "particles": particles, "islands": islands, "most": most}
    plain = {"engine": engine, "draws": n, "stop.log_z_se": se, "stop.tokens": tokens, "stop.seconds": seconds}
    checked = _settings(config, overrides(settings, device), plain, effort)
    asked = _prompts(checked, prompt)
    from credence.study import build

    with progress(f"loading {checked.prior.model}", None, as_json):
        posterior = build.posterior(checked)
        sampler = _engine(checked, posterior)
    name, table = checked.sample.engine, checked.sample.chosen
    prompts = posterior.prior.codec.prompts(asked.given, asked.columns)
    found, why, heard = _drawn(checked, sampler, posterior, prompts, as_json)
    _refuse_impossible(found, posterior, checked)
    promised = GUARANTEE_OF_PRIOR if table is None else sampler.guarantee.value
    looked = set(checked.sample.stop.rules) - {"draws"}
    head = {"engine": name, "guarantee": promised + (LOOKED if looked else "")}
    if as_json:
        told = [as_data(d, table) | ({"stopped_by": w} if w else {}) for d, w in zip(found, why, strict=True)]
        whole = {"n": checked.sample.size, "warnings": heard, "config": checked.model_dump(), "prompts": told}
        emit({**head, **whole})
        return
    console = out()
    say(console, f"{name}: {head['guarantee']}")
    for draws, reason in zip(found, why, strict=True):
        show(console, draws, name, table, _stopped(checked, draws, reason))


LOOKED = "; stopped by a rule that looks at the draws, so log Z is consistent, no longer unbiased"

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


EFFORT = ("of", "particles", "most", "burn_in", "burn")
"""Settings that let an engine look further; what of them the engine has is named where it found nothing."""


def _refuse_impossible(found: "list[Draws]", posterior: "Posterior", config: "RunConfig") -> None:
    """Where no prompt has a possible draw there is nothing to show but the reason; else each prompt says its own."""
    from credence.core.status import Status
    from credence.study.summary import refuse_degenerate

    table, asked = config.sample.chosen, config.sample.engine
    dead = [draws for draws in found if draws.status[0] is Status.DEGENERATE and len(draws.completions)]
    if table is not None and dead and len(dead) == len(found):
        has = [f"sample.{asked}.{name}" for name in EFFORT if name in type(table).model_fields]
        refuse_degenerate(dead[0], posterior, " or ".join(["-n", *has]))


def _settings(
    config: Path | None, given: list[str], plain: dict[str, Any], effort: dict[str, int | None]
) -> "RunConfig":
    """The checked settings, the command's own options laid over --set as what they are short for.

    Args:
        config: the file.
        given: --set.
        plain: of [sample] itself.
        effort: of the table of the engine, whichever it is.
    """
    from credence.study.toml import load_config

    given = given + [f"sample.{name}={json.dumps(value)}" for name, value in plain.items() if value is not None]
    checked = load_config(config, given)
    own = [f"sample.{checked.sample.engine}.{name}={value}" for name, value in effort.items() if value is not None]
    return load_config(config, given + own) if own else checked


def _engine(config: "RunConfig", posterior: "Posterior") -> "Sampler":
    from credence.core.errors import ConfigError
    from credence.core.protocols import StepPrior
    from credence.sample.importance import Importance

    table = config.sample.chosen
    if table is None:
        return Importance()  # the prior's own draws: the weights are there, and not looked at
    if not isinstance(posterior.prior, StepPrior):
        raise ConfigError(f"{type(posterior.prior).__name__} cannot be stepped: --engine prior shows its draws.")
    return table.sampler(config, posterior.prior)


def _drawn(
    config: "RunConfig", sampler: "Sampler", posterior: "Posterior", prompts: "Prompts", as_json: bool
) -> "tuple[list[Draws], list[str], list[str]]":
    """The draws of each prompt, by which rule they stopped ("": by none), and the warnings, which stderr gets too."""
    import warnings

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", RuntimeWarning)
        found, why = _rounds(config, sampler, posterior, prompts, as_json)
    from credence.cli.terminal import err, say, shown

    for warning in heard:
        say(err(as_json), shown(f"credence: {warning.message}", style="yellow"))
    return found, why, [str(warning.message) for warning in heard]


def _rounds(
    config: "RunConfig", sampler: "Sampler", posterior: "Posterior", prompts: "Prompts", as_json: bool
) -> "tuple[list[Draws], list[str]]":
    from credence.cli.terminal import progress
    from credence.core.keys import Key
    from credence.sample.stop import Stop, draw_until

    key, asked = Key(config.seed), config.sample
    if asked.stop.rules:
        with progress("rounds", None, as_json) as advance:
            until = Stop(**asked.stop.rules)
            key = key.fold("sample", asked.engine)
            done = draw_until(sampler, key, posterior, prompts, until, asked.size, advance)
        return done.each(), list(done.why)
    found: list[Draws] = []
    with progress("prompts", len(prompts), as_json) as advance:
        for b, piece in enumerate(prompts.split(1)):
            found.append(sampler.draw(key.fold("sample", asked.engine, b), posterior, piece, asked.size))
            advance()
    return found, [""] * len(found)


def _stopped(config: "RunConfig", draws: "Draws", why: str) -> str:
    """Why no more was drawn; what was wished for and not reached comes with it."""
    if not why:
        return ""
    goal, error = config.sample.stop.log_z_se, float(draws.log_z_se[0])
    said = f"stopped by {why} after {float(draws.info['rounds'][0]):.0f} rounds, {len(draws.completions)} replies"
    if goal is None or why == "log_z_se":
        return said
    reached = "not known" if error != error else f"{error:.3g}"
    return f"{said}: the standard error of log Z is {reached}, above the {goal:g} asked for"
