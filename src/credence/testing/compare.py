"""Rows and nats side by side: what the laws compare, and what they say where it differs."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from credence.core.types import Completions
from credence.testing.laws import Broken

ALARM = 1e-6
"""Chance that a right thing is called wrong, each statistical law."""


def gap(a: Tensor, b: Tensor) -> float:
    """Largest difference; equal infinities do not differ, NaN differs from all."""
    if a.shape != b.shape:
        raise Broken(f"shape {tuple(a.shape)} where {tuple(b.shape)} is needed")
    if a.numel() == 0:
        return 0.0
    a, b = a.double().cpu(), b.double().cpu()
    return float(torch.where(a == b, 0.0, (a - b).abs()).nan_to_num(nan=math.inf, posinf=math.inf).max())


def close(a: Tensor, b: Tensor, tolerance: float, what: str, unit: str = "nats") -> str:
    """Say how near two tensors are, or how far apart."""
    found = gap(a, b)
    if found > tolerance:
        raise Broken(f"{what}: up to {found:.3g} {unit} apart, {tolerance:g} allowed")
    return f"differs by {found:.1g} {unit} at most" if found else "equal"


def same_rows(a: Completions, b: Completions, what: str) -> str:
    """Whether the tokens are the same; as many rows may differ as had a uniform on the edge between two tokens."""
    differing = [r for r, (x, y) in enumerate(zip(a.tokens(), b.tokens(), strict=True)) if x != y]
    calls = a.close_calls + b.close_calls
    if len(differing) > calls:
        r = differing[0]
        raise Broken(
            f"{what}: {len(differing)} of {len(a)} rows differ, row {r} says {a.tokens()[r]}, not {b.tokens()[r]}"
        )
    return f"{len(a)} rows" + (f", {len(differing)} differ by a close call" if differing else "")


def others(a: Completions, b: Completions, log_q: Tensor, what: str) -> str:
    """Whether draws that should be independent differ. By chance they coincide with probability e^Σ log q.

    Where that exceeds the alarm, equal draws say nothing.
    """
    if a.tokens() != b.tokens():
        return ""
    chance = float(log_q.sum())
    if chance >= math.log(ALARM):
        return f"equal, by a chance of {math.exp(chance):.2g}: too few draws to tell"
    raise Broken(f"{what}: the same draws, which has a chance of e^{chance:.0f}")


def subset(rows: int) -> Tensor:
    """Some rows out of order, one of them twice."""
    return torch.tensor([rows - 1, rows // 3, rows // 3, 0, rows // 2])


def behind_the_mask(completions: Completions, token: int) -> Completions:
    """The same completions with this token in every place that is masked, and one more such column."""
    ids = torch.where(completions.mask, completions.ids, token)
    return Completions(
        torch.nn.functional.pad(ids, (0, 1), value=token),
        torch.nn.functional.pad(completions.mask, (0, 1)),
        completions.ended,
        completions.prompt,
    )


def prefixes(completions: Completions) -> Sequence[tuple[Tensor, Completions]]:
    """Every proper prefix of every row, by length: of which rows, and the prefixes, none of which has ended."""
    out: list[tuple[Tensor, Completions]] = []
    for t in range(1, completions.ids.shape[1]):
        rows = torch.nonzero(completions.lengths > t).flatten()
        if rows.numel():
            cut = completions.rows(rows)
            out.append((rows, Completions(cut.ids[:, :t], cut.mask[:, :t], torch.zeros_like(cut.ended), cut.prompt)))
    return out
