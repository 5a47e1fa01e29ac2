"""Whether chains can be trusted: R̂ near 1, and enough effective draws for it to mean something."""

import math

from credence.core.errors import ShapeError
from credence.core.types import Draws, Finding

MOST_RHAT = 1.01
"""R̂ above which chains have not come together (Vehtari et al. 2021)."""

LEAST_ESS = 400.0
"""Effective draws below which R̂ and the errors of means are themselves too noisy to be read (Vehtari et al. 2021)."""


def chain_findings(draws: Draws, most_rhat: float = MOST_RHAT) -> tuple[tuple[Finding, Finding], ...]:
    """Two verdicts a prompt on the draws of an engine of chains: R̂, and what the chains' steps are worth.

    R̂ compares chains with one another: where all missed the same mode, it is 1 all the same. The figures themselves are
    computed in sample/mixing.py. `most_rhat` may be laxer where no error will be read from the draws.

    Raises:
        ShapeError: the draws carry no `rhat` and `ess` of chains, or not one of each a prompt.
    """
    if not {"rhat", "ess", "tau"} <= draws.info.keys():
        raise ShapeError(
            f"these draws say {sorted(draws.info)} of themselves: chains say rhat, tau and ess. Weighted draws are "
            "judged by diagnose.weights.weight_findings."
        )
    return tuple(
        (_rhat_finding(rhat, most_rhat), _ess_finding(ess, tau))
        for rhat, ess, tau in zip(*(draws.info[name].tolist() for name in ("rhat", "ess", "tau")), strict=True)
    )


_UNKNOWN = (
    "Whether the chains have mixed cannot be known: under 4 steps a chain were kept, or nothing ever changed. Run them "
    "longer."
)


def _rhat_finding(rhat: float, limit: float) -> Finding:
    ok = rhat <= limit
    if math.isnan(rhat):
        meaning = _UNKNOWN
    elif rhat == math.inf:
        meaning = "Every chain stands still at a place of its own: these are starting points, not draws."
    elif ok:
        meaning = f"The chains agree (R̂ = {rhat:.3f}, limit {limit:g})."
    else:
        meaning = (
            f"The chains have not come together (R̂ = {rhat:.3f}, limit {limit:g}): more burn-in, more steps, or "
            "parallel tempering."
        )
    return Finding("rhat", rhat, None, limit, ok, meaning)


def _ess_finding(ess: float, tau: float) -> Finding:
    ok = ess >= LEAST_ESS
    meaning = _UNKNOWN
    if not math.isnan(ess):
        meaning = (
            f"The chains' steps are worth {ess:.0f} independent draws, {tau:.1f} steps each; at least "
            f"{LEAST_ESS:g} are wanted before R̂ and standard errors can be read."
        )
    return Finding("chain_ess", ess, None, LEAST_ESS, ok, meaning)
