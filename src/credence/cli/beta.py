"""`credence beta`: how strong evidence may be for a KL or a reward, from draws of the prior."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from credence.cli.options import Config, Device, Json, Set, overrides

if TYPE_CHECKING:
    from credence.diagnose.budget import Budget
    from credence.study.budget import Weighed
    from credence.study.config import RunConfig
    from credence.study.data import PromptSet


def beta(
    config: Config,
    kl: Annotated[float | None, typer.Option("--kl", help="Nats that the posterior may lie from the prior.")] = None,
    reward: Annotated[
        float | None, typer.Option("--reward", help="Mean reward that the posterior should have.")
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", help="Repeatable; else the validation prompts.")
    ] = None,
    draws: Annotated[
        int | None, typer.Option("--draws", min=8, help="Prior draws a prompt; else measure.draws of the config.")
    ] = None,
    settings: Set = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Solve for beta. Give --kl or --reward; without a reward all evidence is tempered; says how far to trust it."""
    from credence.cli.terminal import emit, progress
    from credence.core.errors import ConfigError
    from credence.study.toml import load_config

    if (kl is None) == (reward is None):
        raise ConfigError("one of --kl NATS and --reward VALUE is needed: what should β be solved for?")
    kind, goal = ("kl", kl) if kl is not None else ("reward", reward)
    checked = load_config(config, overrides(settings, device))
    asked = _prompts(checked, prompt)
    from credence.core.keys import Key
    from credence.study import build
    from credence.study.budget import draw, solve, weighed

    made = None if checked.evidence.needs_prior else weighed(build.evidence(checked), kind)
    with progress(f"loading {checked.prior.model}", None, as_json):
        prior = build.prior(checked)
    parts = weighed(build.evidence(checked, prior=prior), kind) if made is None else made
    prompts = prior.codec.prompts(asked.given, asked.columns)
    key, n = Key(checked.seed).fold("beta"), draws or checked.measure.draws
    with progress("prompts", len(prompts), as_json) as advance:
        pools = draw(prior, parts, prompts, n, key, advance)
    found = solve(kind, float(goal or 0.0), pools, key)
    if as_json:
        emit({"goal": {kind: goal}, "draws": n, "tokens": pools.tokens, **_as_data(found, parts, checked, asked)})
        return
    _print(found, parts, checked, asked, n)


def _prompts(config: "RunConfig", given: list[str] | None) -> "PromptSet":
    """The prompts given, else those for validation: the held-out ones choose nothing."""
    from credence.core.errors import ConfigError
    from credence.study.build import prompt_sets
    from credence.study.data import PromptSet

    if given:
        if any(not p.strip() for p in given):
            raise ConfigError("--prompt is empty: what should be answered?")
        return PromptSet(tuple(given), {}, 0, "--prompt")
    prompts, parts = prompt_sets(config)
    return prompts.take(parts.validation)


def _as_data(found: "Budget", parts: "Weighed", config: "RunConfig", asked: "PromptSet") -> dict[str, Any]:
    from credence.study.budget import settings

    def spread(interval: tuple[float, float, float], invert: bool = False) -> dict[str, float]:
        value, low, high = (1 / x for x in interval) if invert else interval
        return {"value": value, "low": min(low, high), "high": max(low, high)}

    reach = found.reach
    return {
        "beta": None if parts.tempers else spread(found.beta),
        "tau": spread(found.beta, invert=True) if parts.tempers else None,
        "settings": dict(settings(config.evidence, parts, found)),
        "kl": spread(found.kl),
        "reward": spread(found.reward),
        "prior_reward": found.prior_reward,
        "trusted": found.trusted,
        "meaning": found.finding().meaning,
        "reach": None if reach is None else {"beta": reach.beta, "kl": reach.kl, "reward": reach.reward},
        "prompts": [
            {"prompt": given, "kl": at.kl, "reward": at.reward, "ess": at.ess, "pareto_k": at.pareto_k,
             "trusted": at.trusted}
            for given, at in zip(asked.given, found.prompts, strict=True)
        ],
    }  # fmt: skip


def _print(found: "Budget", parts: "Weighed", config: "RunConfig", asked: "PromptSet", n: int) -> None:
    from rich.table import Table
    from rich.text import Text

    from credence.cli.terminal import out, say, shown

    console = out()
    data = _as_data(found, parts, config, asked)
    name, what = ("tau", "τ") if parts.tempers else ("beta", "β")
    kl = _span(data["kl"])
    say(console, shown(f"{what} = {_span(data[name])} gives KL(p*‖π0) = {kl} nats and E[r] = {_span(data['reward'])}"))
    of = "the rewards' nats" if parts.rewards else "the evidence's nats"
    unit = f"r: {of}, times τ" if parts.tempers else f"r: {_reading(config)}"
    say(console, shown(f"{len(asked)} prompts × {n} draws of the prior, [95 %] over both; {unit}; without it E[r] = "
                       f"{found.prior_reward:.4g}"))  # fmt: skip
    for setting, value in data["settings"].items():
        say(console, shown(f"  --set {setting}={value:.4g}"))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("KL", "E[r]", f"ESS of {n}", "k̂", ""):
        table.add_column(Text(head), justify="right")
    table.add_column("prompt", overflow="fold", ratio=1)
    for given, at in zip(asked.given, found.prompts, strict=True):
        mark = shown("" if at.trusted else "!", style="bold yellow")
        cells = (f"{at.kl:.2f}", f"{at.reward:.3f}", f"{at.ess:.1f}", f"{at.pareto_k:.2f}")
        table.add_row(*cells, mark, shown(given))
    console.print(table)
    finding = found.finding()
    say(console, shown(finding.meaning, style="" if finding.ok else "bold yellow"))
    if not finding.ok:
        say(
            console,
            shown("Take more draws (--draws), or ask for less: beyond its reach the answer is biased low in KL."),
        )


def _span(interval: dict[str, float]) -> str:
    return f"{interval['value']:.4g} [{interval['low']:.3g}, {interval['high']:.3g}]"


def _reading(config: "RunConfig") -> str:
    if not config.evidence.reward and config.evidence.classifier:
        given = config.evidence.classifier[0]
        return given.name or f"log p({given.label})"
    if not config.evidence.reward:  # then opinions taught the one reward
        return "as opinions taught it, logits or points"
    reward = config.evidence.reward[0]
    return reward.name or reward.fn
