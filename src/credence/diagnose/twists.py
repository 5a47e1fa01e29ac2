"""Whether a twist keeps its law: -inf only where no completion is possible. SMC cannot see a breach from inside."""

import math

import torch

from credence.core.protocols import Target
from credence.core.types import Completions, Draws, Finding
from credence.sample.potential import Twist, lawful, log_potential, told


def twist_support(posterior: Target, twist: Twist | None, draws: Draws) -> Finding:
    """Looks for prefixes of possible completions to which the twist gives -inf: SMC would miss their share of Z.

    Args:
        posterior: whose evidence decides what is possible.
        twist: the one to be judged; None for the evidence's own.
        draws: completions to look at: draws of the prior, or better of the posterior. Only what they hold is seen.

    Returns:
        value: the share of possible draws of which some prefix is barred; 0 is wanted. NaN, and not ok, where no draw
        is possible. With none barred among m possible draws, at most 3/m of the mass is (95 %).

    Raises:
        ContractError: NaN, +inf, or not one number a row.

    Cost: the twist on every prefix of every draw. Test: tests/unit/test_twist_argument.py.
    """
    rows = draws.completions
    nats = lawful(posterior.evidence.log_lik(draws.prompts, rows), "log_lik", draws.prompts, rows)
    possible = ~torch.isneginf(nats)
    barred = torch.zeros_like(possible)
    worst = ""
    for t in range(1, rows.ids.shape[1]):
        here = torch.nonzero((rows.lengths > t) & possible).flatten()
        if len(here) == 0:
            break
        part = _prefix(rows.rows(here), t)
        never = torch.zeros(len(here), dtype=torch.bool, device=here.device)
        value, _ = log_potential(posterior.evidence, twist, draws.prompts, part, never)
        bad = torch.isneginf(value)
        if bool(bad.any()) and not worst:
            worst = told(draws.prompts, part, int(torch.nonzero(bad)[0]))
        barred[here[bad]] = True
    count = int(possible.sum())
    if count == 0:
        none = "No draw is possible under the evidence, so nothing can be said of the twist: give posterior draws."
        return Finding("twist_support", math.nan, None, 0.0, False, none)
    share = int(barred.sum()) / count
    meaning = (
        f"The twist bars none of {count} possible completions; what it bars has at most {min(1.0, 3 / count):.2g} of "
        "the mass they were drawn from (95 %)."
        if share == 0
        else f"The twist is -inf at {worst}, from which a possible completion goes on, and so for {share:.1%} of "
        f"{count} of them: SMC misses that part of Z. Make it finite there."
    )
    return Finding("twist_support", share, None, 0.0, share == 0, meaning)


def _prefix(rows: Completions, t: int) -> Completions:
    """The first t tokens of rows that are longer, none of them ended."""
    return Completions(rows.ids[:, :t], rows.mask[:, :t], torch.zeros_like(rows.ended), rows.prompt)
