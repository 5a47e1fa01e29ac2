"""`credence kl`: how far a model is from one sentence, or from another model."""

from typing import TYPE_CHECKING, Annotated

import typer

from credence.cli.options import Chat, Device, Json, Model, Seed, System, Temperature

if TYPE_CHECKING:
    from credence.study.probe import Divergence, TextScore


def kl(
    prompt: Annotated[list[str] | None, typer.Option("--prompt", help="Repeatable with --to-model.")] = None,
    target: Annotated[str | None, typer.Option("--target", help="One sentence that should follow the prompt.")] = None,
    model: Model = "smollm2",
    to_model: Annotated[str | None, typer.Option("--to-model", help="Compare with this model by drawing.")] = None,
    n: Annotated[int, typer.Option("-n", min=2, help="Draws a prompt (with --to-model).")] = 64,
    both: Annotated[bool, typer.Option("--both", help="Both directions (with --to-model).")] = False,
    horizon: Annotated[int, typer.Option("--horizon", min=1, help="Most tokens of a draw.")] = 24,
    temperature: Temperature = 1.0,
    to_temperature: Annotated[float | None, typer.Option("--to-temperature", help="Of the second model.")] = None,
    epsilon: Annotated[float, typer.Option("--epsilon", help="Share of the model kept in the mixture remedy.")] = 0.01,
    chat: Chat = None,
    system: System = "",
    seed: Seed = 0,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Measure a divergence in nats. From one sentence (--target), or between two models on prompts (--to-model)."""
    from credence.cli.score import chosen_style
    from credence.core.errors import ConfigError

    if (target is None) == (to_model is None and to_temperature is None):
        raise ConfigError("either --target SENTENCE or --to-model MODEL (or --to-temperature T) is needed, not both.")
    if not prompt:
        raise ConfigError("--prompt is missing: what should the text follow?")
    if target is not None:
        from credence.study.probe import check_target

        check_target(target)
        if len(prompt) > 1:
            raise ConfigError(f"{len(prompt)} prompts with --target: one is needed, the sentence follows it.")
        style = chosen_style(chat, default="raw")
        _to_sentence(model, prompt[0], target, style, system, temperature, epsilon, device, as_json)
        return
    style = chosen_style(chat, default="chat")
    laws = ((model, temperature), (to_model or model, temperature if to_temperature is None else to_temperature))
    _to_model(laws, prompt, style, system, horizon, n, both, seed, device, as_json)


def _to_sentence(
    model: str, prompt: str, target: str, style: str, system: str, temperature: float, epsilon: float,
    device: str | None, as_json: bool,
) -> None:  # fmt: skip
    from credence.cli.score import as_data, open_model
    from credence.cli.terminal import emit, progress
    from credence.study.probe import to_sentence

    with progress(f"scoring with {model}", None, as_json):
        found, mass = to_sentence(open_model(model, style, system, device), prompt, target, temperature)
    if as_json:
        to, back = mass.mixture(epsilon)
        emit(
            {
                "prompt": prompt,
                "target": target,
                "kl_target_model": mass.forward,
                "kl_model_target": mass.backward,
                "why_infinite": WHY if mass.backward else None,
                "tv": mass.tv,
                "js": mass.js,
                "first_hit_draws": mass.first_hit,
                "half_mass_nats": mass.half_mass,
                "mixture": {"epsilon": epsilon, "kl_target_model": to, "kl_model_target": back},
                "remedies": [{"name": name, "text": text} for name, text in mass.remedies(epsilon)],
                "score": as_data(found, model, temperature),
            }
        )
        return
    _print_sentence(found, mass.forward, mass.backward, (mass.tv, mass.js), mass.remedies(epsilon), model)


WHY = (
    "the target δ puts no mass on any other reply, and the model does: log(p/δ) is infinite there. "
    "No amount of training makes it finite short of p = δ."
)


def _print_sentence(
    found: "TextScore", forward: float, backward: float, finite: tuple[float, float],
    remedies: tuple[tuple[str, str], ...], model: str,
) -> None:  # fmt: skip
    from credence.cli.score import how_read
    from credence.cli.terminal import out, say, shown

    console = out()
    text = len(found.tokens) - 1
    say(
        console,
        shown(
            f"p: {model}, {how_read(found)}; target δ: the {text} tokens of the sentence and its end, "
            f"{found.size} bytes"
        ),
    )
    say(
        console, f"KL(δ‖p) = −log p(sentence and its end) = {forward:.4f} nats, of which the end {-found.log_p[-1]:.4f}"
    )
    say(console, f"KL(p‖δ) = {backward:g}: {WHY}" if backward else "KL(p‖δ) = 0: the model says nothing else.")
    say(console, f"Finite in both directions: total variation {finite[0]:.6g}, Jensen–Shannon {finite[1]:.6g} nats.")
    say(console, "Well-posed in its place:")
    for name, sentence in remedies:
        say(console, shown(f"  {name}: {sentence}"))
    say(console, "Of this segmentation into tokens; the string's own log p is at least as large.")


def _to_model(
    laws: tuple[tuple[str, float], tuple[str, float]], prompt: list[str], style: str, system: str, horizon: int,
    n: int, both: bool, seed: int, device: str | None, as_json: bool,
) -> None:  # fmt: skip
    from credence.cli.score import open_model
    from credence.cli.terminal import emit, out, progress, say, shown
    from credence.core.keys import Key
    from credence.prior.reshape import reshape
    from credence.study.probe import comparable, kl_between

    names = sorted({name for name, _ in laws})
    with progress("models loaded", len(names), as_json) as advance:
        models = {}
        for name in names:
            models[name] = open_model(name, style, system, device, horizon)
            advance()
    a, b = (models[name] for name, _ in laws)
    comparable(a, b)
    priors = [reshape(models[name], temperature) for name, temperature in laws]
    read = [m.codec.prompts(prompt) for m in (a, b)]
    starts = {name: [m.codec.start(p) or None for p in prompt] for name, m in models.items()}
    ways = ((0, 1), (1, 0)) if both else ((0, 1),)
    results: list[tuple[str, Divergence]] = []
    with progress("directions done", len(ways), as_json) as advance:
        for i, j in ways:
            label = f"KL({laws[i][0]}@{laws[i][1]:g}‖{laws[j][0]}@{laws[j][1]:g})"
            found = kl_between(priors[i], read[i], priors[j], read[j], n, Key(seed).fold("kl", i))
            results.append((label, found))
            advance()
    if as_json:
        read_as = {"style": a.codec.reads, "start_tokens": starts}
        emit({**read_as, "horizon": horizon, "draws": n, "prompts": prompt, "results": [
            {"name": label, "value": d.value, "se": d.se, "by_prompt": d.by_prompt, "support": d.support.meaning}
            for label, d in results
        ]})  # fmt: skip
        return
    console = out()
    told = sorted({start for row in starts.values() for start in row if start})
    begun = f", {'start token ' + ' or '.join(told) if told else 'no start token'}" if a.codec.reads != "chat" else ""
    for label, d in results:
        error = f" ± {d.se:.4f} (standard error over draws)" if d.se != float("inf") else ""
        say(
            console,
            shown(
                f"{label} = {d.value:.4f}{error} nats, {len(prompt)} prompt(s) × {n} draws of {horizon} tokens, "
                f"{a.codec.reads}{begun}"
            ),
        )
        say(console, shown(f"  {d.support.meaning}"))
