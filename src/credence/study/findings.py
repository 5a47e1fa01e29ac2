"""What a reader should know of a run before believing its numbers. Tested in tests/e2e/test_run.py."""

from collections.abc import Mapping, Sequence

import torch

from credence.core.status import Status
from credence.core.types import Completions, Draws
from credence.diagnose.drift import drift
from credence.report.schema import Finding, PromptRow, RulerRow
from credence.study.found import Found


def findings(found: Found, rows: Sequence[RulerRow], prompts: Sequence[PromptRow]) -> tuple[Finding, ...]:
    """Every check of the run as a whole; what concerns one prompt stands in its row."""
    out = _exact(found, prompts)
    trained = [row for row in rows if row.kind == "train"]
    if trained:
        out += _gap_above(rows[0], trained[-1], prompts)
    for name, done in found.fits.items():
        if done.why:
            out.append(Finding(f"stage {name}", done.status.name == "STOPPED", done.why))
        if done.best == 0 and done.status is not Status.NAN:  # a NaN has said so itself
            out.append(Finding(f"stage {name}", False, "No step beat the policy it started from on the validation."))
    if found.smc is not None:
        out.append(_ancestors(found.smc))
    out += _drift(found)
    drawn = {} if found.prior is None else {"prior": found.prior.completions}
    out.append(close_calls(drawn | {name: rows for name, (rows, _, _) in found.shown.items()}))
    return tuple(out)


def _exact(found: Found, prompts: Sequence[PromptRow]) -> list[Finding]:
    none = [p.prompt for p in prompts if p.exact_draws == 0]
    if found.exact is None or not none:
        return []
    meaning = (
        f"Rejection accepted no draw for {len(none)} of {len(prompts)} prompts ({'; '.join(none)}): there log Z has no "
        "upper bound, and the forward KL rests on weighted draws alone."
    )
    return [Finding("exact_draws", False, meaning, float(len(none)), 0.0)]


def _gap_above(prior: RulerRow, policy: RulerRow, prompts: Sequence[PromptRow]) -> list[Finding]:
    """The exported policy's gap were log Z at its upper bounds: no interval holds that log Ẑ is low by χ²/(2n)."""
    name, share = "gap with log Z's upper bound", policy.gap_closed
    if share is None and prior.kl_reverse.low <= 0:
        near = prior.kl_reverse
        meaning = (
            f"KL(prior‖posterior) reads {near.value:.4g} [{near.low:.4g}, {near.high:.4g}] nats: with these draws "
            "the two cannot be told apart, so there is no gap of which a share could be closed. The evidence hardly "
            "tells replies apart, or β is too large."
        )
        return [Finding("gap", False, meaning, near.value)]
    if share is None:
        return []
    above = [p.log_z_high - p.log_z_pooled for p in prompts if p.log_z_high is not None and p.log_z_pooled is not None]
    if len(above) < len(prompts):
        meaning = (
            f"{len(prompts) - len(above)} of {len(prompts)} prompts have no upper bound of log Z: how much the bias of "
            "its estimate, which is low, flatters the gap closed cannot be bounded."
        )
        return [Finding(name, False, meaning)]
    shift = sum(above) / len(above)
    gap = prior.kl_reverse.value + shift
    if gap <= 0:
        return []
    # with the same shift in both divergences
    value = 1 - (policy.kl_reverse.value + shift) / gap
    meaning = (
        f"With log Z at its upper bounds, {shift:+.2f} nats a prompt, the policy closed {value:.0%} of the gap instead "
        f"of {share.value:.0%}: estimates of log Z are low, which no interval holds."
    )
    return [Finding(name, share.low <= value <= share.high, meaning, value)]


def _drift(found: Found) -> list[Finding]:
    if found.policy is None or not found.shown:
        return []
    name, (rows, log_q, _) = list(found.shown.items())[-1]
    index = torch.arange(0, len(rows), max(1, len(rows) // 64))
    seen = drift(found.policy, found.heldout, rows.rows(index), log_q[index]).finding()
    return [Finding(f"drift of {name}", seen.ok, seen.meaning, seen.value, seen.threshold)]


def close_calls(drawn: Mapping[str, Completions]) -> Finding:
    """Tokens that another machine's rounding may turn into others, among the draws of each law."""
    close = {law: rows.close_calls for law, rows in drawn.items()}
    tokens = {law: int(rows.lengths.sum()) for law, rows in drawn.items()}
    each = ", ".join(f"{law} {close[law]} of {tokens[law]} ({close[law] / max(1, tokens[law]):.2%})" for law in drawn)
    meaning = f"Tokens drawn so near to another one that rounding may decide, and elsewhere decide otherwise: {each}."
    return Finding("close_calls", True, meaning, sum(close.values()) / max(1, sum(tokens.values())))


def _ancestors(draws: Draws) -> Finding:
    particles = len(draws.completions) // len(draws.prompts)
    least = float(draws.info["ancestors"].min())
    ok = least >= 4
    meaning = f"SMC's {particles} particles descend from at least {least:.0f} first ones" + (
        "." if ok else ": its draws are near copies, and its log Z may be far too low."
    )
    return Finding("smc_ancestors", ok, meaning, least, 4.0)
