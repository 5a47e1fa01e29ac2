"""log Z from both sides (bidirectional Monte Carlo): SMC below it on average, conditional SMC on exact draws above."""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ContractError
from credence.core.keys import Key
from credence.core.protocols import Target
from credence.core.types import Draws, Prompts
from credence.diagnose.bounds import LogZ
from credence.sample.conditional_smc import sweep
from credence.sample.smc import SMC


def two_sided(key: Key, posterior: Target, prompts: Prompts, exact: Draws, smc: SMC) -> tuple[LogZ, ...]:
    """log Z of each prompt between two bounds that hold in expectation, each with its standard error.

    low is the mean over islands of SMC's log Ẑ (Jensen: E[log Ẑ] ≤ log Z); high the mean over exact draws of
    conditional SMC's log Ẑ (E[log Ẑ] ≥ log Z, since E[1/Ẑ] = 1/Z there). The gap is the sum of both runs' divergences
    from what they should be, so a narrow one vouches for twist and particles both, which no lower bound alone does.

    Args:
        key: all randomness.
        posterior: prior and evidence.
        prompts: B.
        exact: exact posterior draws on these prompts: of `Rejection`, or `diagnose.simulate.simulated`. Draws of any
            other engine give a number that bounds nothing.
        smc: settings of both runs; its islands make the lower bound.

    Returns:
        a LogZ a prompt: value and se as SMC says, low, high and their errors in nats. se of an estimate from one
        island or one exact draw is inf. A prompt without exact draws, or whose status is not OK, has no upper bound.

    Raises:
        ContractError: draws that carry unequal weights, which exact ones do not; one that is impossible.

    Cost: particles × (islands + exact draws) replies a prompt. Source: Grosse, Ghahramani & Adams 2015; Zhao et al.
    2024; SCIENCE 5.2. Test: bracket the enumerated log Z in tests/statistical/test_conditional.py, and equal it
    under the optimal twist in tests/oracle/test_optimal_twist.py.
    """
    if len(exact.log_w) and bool((exact.log_w != exact.log_w[0]).any()):
        raise ContractError("the exact draws carry unequal weights: they are not exact. Use Rejection's.")
    lower = smc.draw(key.fold("lower"), posterior, prompts, 1)
    owner = exact.completions.prompt
    rows = torch.arange(len(owner), device=owner.device)
    above = torch.zeros(0, dtype=torch.float64)
    if len(rows):
        path = replace(exact.completions, prompt=rows)
        wide = prompts.take(owner.tolist())
        above = sweep(key.fold("upper"), posterior, wide, path, smc.rules()).log_z.cpu()
    out: list[LogZ] = []
    for b in range(len(prompts)):
        mine = above[exact.of(b).cpu()] if exact.status[b].ok else above[:0]
        high, high_se = _mean(mine) if len(mine) else (None, None)
        out.append(
            LogZ(
                float(lower.log_z[b]),
                _known(float(lower.log_z_se[b])),
                float(lower.info["log_z_island_mean"][b]),
                high,
                _known(float(lower.info["log_z_island_sd"][b])) / math.sqrt(smc.islands),
                high_se,
            )
        )
    return tuple(out)


def _known(error: float) -> float:
    """An error that nobody knows is infinite."""
    return math.inf if math.isnan(error) else error


def _mean(values: Float[Tensor, " m"]) -> tuple[float, float]:
    spread = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return float(values.mean()), spread
