"""Whether SMC's particles can carry an answer: what is left of their beginnings, and how far its islands disagree.

An ESS after resampling is the number of particles by construction, and is not shown: sixteen copies of one text count
sixteen there. What can be read is the ESS before, the ancestors, the distinct texts, and the islands' log Z.
"""

import math

import torch

from credence.core.errors import ConfigError
from credence.core.types import Draws, Finding
from credence.diagnose.bounds import WIDEST

FEW_ANCESTORS = 4.0
"""First particles an island below which its answer rests on too few beginnings."""

FEW_TEXTS = 4.0
"""Distinct texts among all particles below which draws are copies of one another."""


def particle_findings(draws: Draws) -> tuple[tuple[Finding, ...], ...]:
    """Three verdicts on each prompt of SMC's draws: ancestors, distinct texts, and the islands' spread of log Z.

    Draws pooled over rounds (sample.stop) do not tell distinct texts, so there it is two.

    The spread is held to half a nat: two standard errors of log Ẑ, or the mean of log Ẑ over islands lying so far
    below log Ẑ. A dead island (no possible particle) makes it infinite: where some runs see nothing at all, the others
    cannot say how much they missed. One island has no spread, which is said and is not ok.

    Raises:
        ConfigError: these draws are not of SMC.

    Test: tests/unit/test_particle_findings.py, and on the embedded model tests/e2e/test_smc_warnings.py.
    """
    needed = ("ancestors_island_mean", "log_z_island_mean", "log_z_island_sd")
    missing = [name for name in needed if name not in draws.info]
    if missing:
        raise ConfigError(
            f"draws without {', '.join(missing)} in their info are not of SMC: particle findings read those alone."
        )
    return tuple(_of(draws, b) for b in range(len(draws.prompts)))


def _of(draws: Draws, b: int) -> tuple[Finding, ...]:
    info = {name: float(values[b]) for name, values in draws.info.items()}
    ancestors = info["ancestors_island_mean"]
    few = ancestors < FEW_ANCESTORS
    return (
        Finding(
            "ancestors",
            ancestors,
            None,
            FEW_ANCESTORS,
            not few,
            f"{'Few' if few else 'Enough'} ancestors: the possible particles of an island descend from {ancestors:.3g} "
            "first ones on average"
            + ("; the draws are near copies, log Z may be far too low and its ± too small." if few else "."),
        ),
        *([_distinct(info["unique"])] if "unique" in info else []),
        _spread(float(draws.log_z[b]), float(draws.log_z_se[b]), info),
    )


def _distinct(unique: float) -> Finding:
    copies = unique < FEW_TEXTS
    return Finding(
        "distinct_texts",
        unique,
        None,
        FEW_TEXTS,
        not copies,
        f"The particles hold {unique:.0f} distinct possible text{'' if unique == 1 else 's'}"
        + (": drawing more of them gives copies." if copies else "."),
    )


def _spread(log_z: float, se: float, info: dict[str, float]) -> Finding:
    sd = info["log_z_island_sd"]
    gap = log_z - info["log_z_island_mean"] if math.isfinite(log_z) else math.inf
    if math.isnan(sd) and math.isfinite(log_z):
        meaning, ok, wide = "One island has no spread: log Z has no standard error. Run at least 4.", False, math.inf
    elif math.isinf(gap):
        meaning = "Wide log Z: some islands, or all, found nothing possible, so nobody knows how much the rest missed."
        ok, wide = False, math.inf
    else:
        wide = max(gap, 2 * se)
        ok = wide <= WIDEST
        meaning = (
            f"{'The islands agree' if ok else 'Wide log Z'}: over islands log Ẑ has a standard deviation of {sd:.2f} "
            f"nats, and its mean lies {gap:.2f} below log Z."
            + ("" if ok else " More particles, or a twist that tells earlier, are needed.")
        )
    return Finding("log_z_spread", wide, None if math.isnan(se) else se, WIDEST, ok, meaning)


def warnings_of(draws: Draws) -> tuple[str, ...]:
    """The sentences of the findings that are not ok, of all prompts; none for draws of other engines."""
    if "ancestors_island_mean" not in draws.info:
        return ()
    alive = [not bool(torch.isneginf(z)) for z in draws.log_z]  # a dead prompt says so by its status
    return tuple(
        finding.meaning
        for findings, is_alive in zip(particle_findings(draws), alive, strict=True)
        for finding in findings
        if is_alive and not finding.ok
    )
