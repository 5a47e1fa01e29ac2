"""log Z with its error, and bounds that hold in expectation from either side."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Num
from torch import Tensor

from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.logspace import ess, log_mean_exp
from credence.core.types import Finding
from credence.diagnose.weights import checked

WIDEST = 0.5
"""Nats between the bounds beyond which a point estimate of log Z is refused (SCIENCE 8)."""


@dataclass(frozen=True)
class LogZ:
    """log Z of one prompt in nats.

    Attributes:
        value: log of the mean weight; biased low by about se²/2.
        se: its standard error by the delta method.
        low: a lower bound in expectation.
        high: an upper bound in expectation, None without exact posterior draws.
        low_se: standard error of low; inf from a single run.
        high_se: standard error of high; None without it.
    """

    value: float
    se: float
    low: float
    high: float | None = None
    low_se: float = math.inf
    high_se: float | None = None

    def finding(self) -> Finding:
        """Whether the bounds lie within half a nat of each other; without an upper one, whether 2 se does."""
        gap = 2 * self.se if self.high is None else max(self.high - self.low, 0.0)
        ok = gap <= WIDEST
        how = "two standard errors are" if self.high is None else "the bounds lie apart by"
        error = "" if self.high_se is None else f" ± {math.hypot(self.low_se, self.high_se):.2f}"
        advice = "" if ok else " Take more draws before reading log Z as a number."
        return Finding("log_z", self.value, self.se, WIDEST, ok, f"log Z: {how} {gap:.2f}{error} nats.{advice}")


def log_z(log_w: Float[Tensor, " n"]) -> tuple[float, float]:
    """log mean w and its standard error √((1/ESS − 1/n)·n/(n − 1)), in nats (delta method).

    (-inf, inf) when every weight is zero; the error of a single draw is inf. Test: tests/unit/test_bounds.py.
    """
    log_w = checked(log_w)
    n = log_w.numel()
    value = float(log_mean_exp(log_w))
    if value == -math.inf or n == 1:
        return value, math.inf
    return value, math.sqrt(max(1 / float(ess(log_w)) - 1 / n, 0.0) * n / (n - 1))


def log_z_lower(log_w: Float[Tensor, " n"], groups: int = 1) -> tuple[float, float]:
    """Mean over `groups` of log mean_K w, K = n/groups: E[·] ≤ log Z (Jensen), tighter with fewer groups.

    Returns:
        the bound and its standard error in nats: over groups, or by the delta method for a single group.

    Raises:
        ConfigError: groups outside 1..n. Rows that do not fill the last group are left out.

    Source: SCIENCE 5.2. Test: exact K = 1, 2, 3 on TOY-A in tests/unit/test_bounds.py.
    """
    log_w = checked(log_w)
    n = log_w.numel()
    if not 1 <= groups <= n:
        raise ConfigError(f"groups={groups} of {n} draws: from 1 to {n} groups can be made.")
    if groups == 1:
        return log_z(log_w)
    each = log_mean_exp(log_w[: n // groups * groups].view(groups, -1))
    value = float(each.mean())
    return value, math.inf if value == -math.inf else float(each.std()) / math.sqrt(groups)


def log_z_upper(
    log_w: Float[Tensor, " n"], log_w_exact: Float[Tensor, " m"], k: int | None = None
) -> tuple[float, float]:
    """Mean of log((w* + Σ_{i=2..K} w_i)/K), w* at an exact posterior draw, w_i at prior draws: E[·] ≥ log Z.

    Each exact draw meets each of the G = n // (K − 1) groups of prior draws, and the error adds the variance of both
    (two-sample U-statistic). Exact draws that were accepted out of these very prior draws may be given with all of
    them: the sum then counts a draw twice, which keeps the bound (w log(1 + w) is convex) and loosens it a little.

    Args:
        log_w: log weights of prior (proposal) draws.
        log_w_exact: log weights, on the same scale, of exact posterior draws (rejection).
        k: K, from 1 to n + 1; None takes n + 1, the tightest.

    Returns:
        the bound and its standard error in nats; the error is inf with a single exact draw.

    Source: SCIENCE 5.2, Zhao et al. 2024. Test: exact K = 1, 2, 3 on TOY-A in tests/unit/test_bounds.py.
    """
    log_w, exact = checked(log_w), checked(log_w_exact)
    n = log_w.numel()
    k = n + 1 if k is None else k
    if not 1 <= k <= n + 1:
        raise ConfigError(f"k={k} with {n} prior draws: from 1 to {n + 1} is possible.")
    if bool(torch.isneginf(exact).any()):
        raise ContractError("an exact posterior draw has weight zero: it is not a draw from this posterior.")
    if k == 1:
        return float(exact.mean()), _error(exact)
    groups = n // (k - 1)
    others = torch.logsumexp(log_w[: groups * (k - 1)].view(groups, k - 1), -1)
    grid = torch.logaddexp(exact[:, None], others[None, :])
    value = float(grid.mean()) - math.log(k)
    if groups > 1:
        return value, math.hypot(_error(grid.mean(1)), _error(grid.mean(0)))
    # One group has no spread of its own: the delta method, ∂/∂w_i = E[1/(w* + Σ w)], scaled by the largest weight.
    top = float(torch.maximum(log_w.max(), exact.max()))
    slope = float(torch.exp(top - grid).mean())
    spread = float(torch.exp(log_w - top).std()) * math.sqrt(n) if n > 1 else math.inf
    return value, math.hypot(_error(grid.mean(1)), slope * spread)


def _error(x: Float[Tensor, " n"]) -> float:
    return float(x.std()) / math.sqrt(x.numel()) if x.numel() > 1 else math.inf


def bracket(log_w: Float[Tensor, " n"], log_w_exact: Float[Tensor, " m"] | None = None, groups: int = 4) -> LogZ:
    """log Z with its error and both bounds by importance sampling; the upper one needs exact posterior draws.

    `diagnose.two_sided` gives the same by SMC and conditional SMC, tighter where a twist tells early.

    The lower one averages `groups` estimates of a share of the draws each, so it never exceeds the value and shows
    how much the bias of log Ẑ matters.
    """
    value, se = log_z(log_w)
    low, low_se = log_z_lower(log_w, min(groups, log_w.numel()))
    if log_w_exact is None or log_w_exact.numel() == 0:
        return LogZ(value, se, low, None, low_se)
    high, high_se = log_z_upper(log_w, log_w_exact)
    return LogZ(value, se, low, high, low_se, high_se)


def balance(
    log_joint: Float[Tensor, " n"], log_q: Float[Tensor, "n S"], counts: Num[Tensor, " S"]
) -> Float[Tensor, " n"]:
    """Log weights of draws pooled from S proposals: log joint − log Σ_s (n_s/n) q_s(x) (balance heuristic).

    Whatever the proposals, E[mean w] = Z if one of them covers the posterior, and where the prior is one of them
    w ≤ e^{log_lik} · n/n_prior.

    Args:
        log_joint: log π0 + log_lik at each draw, nats.
        log_q: log-probability of each draw under each proposal, nats.
        counts: draws taken from each proposal; they sum to n.

    Raises:
        ShapeError: axes or counts that do not fit.
        ContractError: NaN, or a draw that no proposal in the pool could have made.

    Source: Veach & Guibas 1995. Test: unbiased and bounded by enumeration in tests/unit/test_bounds.py.
    """
    n = log_joint.numel()
    if log_q.shape != (n, counts.numel()):
        raise ShapeError(f"log_q has shape {tuple(log_q.shape)}: {n} draws by {counts.numel()} proposals are needed.")
    if int(counts.sum()) != n or bool((counts < 0).any()):
        raise ShapeError(f"counts {counts.tolist()} must be at least 0 and sum to the {n} draws given.")
    share = torch.log(counts.double() / n).to(log_q.device)
    pool = torch.logsumexp(log_q.double() + share, -1)
    if bool(torch.isnan(pool).any() | torch.isnan(log_joint).any()):
        raise ContractError("NaN among the log-probabilities: look for the prior or evidence that returned it.")
    if bool(torch.isneginf(pool).any()):
        raise ContractError("a draw has probability 0 under every proposal of the pool: log_q is not of these draws.")
    return log_joint.double() - pool
