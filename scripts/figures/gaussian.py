"""Best-of-n of a Gaussian reward by quadrature: what F4 and F11 share."""

import math

import torch

GRID = torch.linspace(-9.0, 11.0, 40_001, dtype=torch.float64)


def best_of(of: int) -> tuple[float, float, float]:
    """E[r], KL(best-of-n‖π0) in nats and the win rate over one draw, of the largest of n draws of N(0, 1).

    Its density is n Φ^(n−1) φ. The win rate is E[Φ(largest)], the KL is E[log n + (n − 1) log Φ(largest)].
    """
    below = torch.special.ndtr(GRID)
    density = of * below ** (of - 1) * torch.exp(-GRID * GRID / 2) / math.sqrt(2 * math.pi)
    step = float(GRID[1] - GRID[0])  # the density is zero at both ends: the trapezoid rule is exact to rounding
    log_ratio = math.log(of) + (of - 1) * torch.special.log_ndtr(GRID)
    return tuple(float((density * x).sum()) * step for x in (GRID, log_ratio, below))
