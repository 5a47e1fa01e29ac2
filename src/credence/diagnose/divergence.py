"""KL divergences between prior, policy and posterior from draws, and the divergences from one target sentence.

Arguments stand in formula order. Per-draw values come first, so that an interval can resample them; +inf is an
answer, NaN never is.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from credence.core.errors import ConfigError, ContractError
from credence.core.logspace import log_mean_exp, normalise
from credence.core.types import Finding
from credence.diagnose.weights import checked


def _difference(upper: Tensor, lower: Tensor, drawn: str) -> Tensor:
    """upper − lower where `upper` is the log-probability under the law that drew: it must be finite."""
    if bool((~torch.isfinite(upper)).any()) or bool(torch.isnan(lower).any()):
        raise ContractError(
            f"{drawn} is not finite at a draw from it, or the other side is NaN: score the draws under the law that "
            "made them (same temperature, top-k, top-p)."
        )
    return upper.double() - lower.double()


def kl_prior(log_pi: Float[Tensor, " n"], log_prior: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """log π − log π0 at draws from π: the mean is KL(π‖π0), nats. +inf where the prior calls a draw impossible.

    Test: exact mean on TOY-A in tests/unit/test_divergence.py, which holds for the two below too.
    """
    return _difference(log_pi, log_prior, "log_pi")


def kl_forward_exact(
    log_z: float | Float[Tensor, " n"], log_joint: Float[Tensor, " n"], log_q: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """log p* − log q at exact draws from the posterior: the mean is KL(p*‖q), nats; +inf where q cannot follow."""
    return _difference(log_joint, log_q, "log_joint") - log_z


def kl_forward(
    log_w: Float[Tensor, " n"], log_joint: Float[Tensor, " n"], log_q: Float[Tensor, " n"]
) -> tuple[float, float]:
    """KL(p*‖q) from weighted draws: Σ w̄ (log joint − log q) − log mean w, and its standard error, nats.

    log_w must be the full weights log joint − log proposal, because log Z is read off them. The error is that of the
    linearised ratio, log Z's share included. Consistent; its bias is O(1/n).

    Returns:
        (+inf, inf) as soon as one possible draw has log q = -inf: never NaN, never a large finite number.

    Raises:
        ContractError: every weight is zero, or NaN among the arguments.
    """
    log_w = checked(log_w)
    possible = ~torch.isneginf(log_w)
    if not bool(possible.any()):
        raise ContractError("every weight is zero: no draw of the posterior is at hand, so KL(p*‖q) is unknown.")
    log_z = log_mean_exp(log_w)
    gap = _difference(log_joint.detach().cpu()[possible], log_q.detach().cpu()[possible], "log_joint")
    if bool(torch.isposinf(gap).any()):
        return math.inf, math.inf
    share = torch.exp(normalise(log_w)[possible])
    mean = float((share * gap).sum())
    n = log_w.numel()
    relative = torch.zeros(n, dtype=torch.float64)
    relative[possible] = n * share
    influence = torch.ones(n, dtype=torch.float64) - relative
    influence[possible] += n * share * (gap - mean)
    return mean - float(log_z), math.inf if n == 1 else float(influence.std()) / math.sqrt(n)


def kl_beside(
    log_pi: Float[Tensor, " n"], log_q: Float[Tensor, " n"], hit: Bool[Tensor, " n"], at: tuple[float, float]
) -> tuple[float, float]:
    """KL(π‖q) from n draws of π, where both laws are known exactly at one reply x*, and its standard error, nats.

    By the chain rule over {x*} and the rest, with π* = π(x*) and q* = q(x*),

        KL(π‖q) = π* log(π*/q*) + (1 − π*) log((1 − π*)/(1 − q*)) + (1 − π*) KL(π without x* ‖ q without x*)

    only the last term is estimated, from the draws that are not x*. Where a plain mean over draws that all hit says
    "± 0", and may be negative, this says what is not known. Unbiased, given how many draws miss.

    Args:
        log_pi: log π of the draws.
        log_q: log q of the draws.
        hit: which of them are x*.
        at: log π* and log q*.

    Returns:
        (value, standard error). With fewer than two misses the first two terms, a lower bound, and inf; +inf where q
        cannot follow; exact, ± 0, where π says x* only.

    Test: against enumeration on TOY-A in tests/unit/test_divergence.py.
    """
    log_pi_at, log_q_at = at
    share, rest = math.exp(log_pi_at), -math.expm1(log_pi_at)
    here = share * (log_pi_at - log_q_at) if share > 0 else 0.0
    if rest == 0:
        return here, 0.0
    log_ratio = _log1mexp(log_pi_at) - _log1mexp(log_q_at)
    known = here + rest * log_ratio
    if known == math.inf or int((~hit).sum()) < 2:
        return known, math.inf
    gap = rest * (kl_prior(log_pi, log_q)[~hit] - log_ratio)
    return known + float(gap.mean()), float(gap.std()) / math.sqrt(gap.numel())


def support_check(log_q_at_draws: Float[Tensor, " n"]) -> Finding:
    """Whether q can follow n draws of the other law. n clean draws say only: violating mass below 3/n (95 %)."""
    log_q = log_q_at_draws.detach()
    n = log_q.numel()
    if n == 0 or bool(torch.isnan(log_q).any()):
        raise ContractError(f"{n} draws, or NaN among their log-probabilities: nothing can be said of the support.")
    bad = int(torch.isneginf(log_q).sum())
    if bad:
        meaning = f"{bad} of {n} draws are impossible under the other law: the divergence is +inf."
        return Finding("support", bad / n, None, 0.0, False, meaning)
    meaning = f"No violation in {n} draws: violation mass < {min(3 / n, 1.0):.2g} (95 %); an infinity may hide there."
    return Finding("support", 0.0, None, min(3 / n, 1.0), True, meaning)


def _log1mexp(x: float) -> float:
    """log(1 − e^x) for x ≤ 0, without cancellation."""
    if x == 0:
        return -math.inf
    return math.log(-math.expm1(x)) if x > -math.log(2) else math.log1p(-math.exp(x))


def _exp(x: float) -> float:
    return math.exp(x) if x < 709 else math.inf


@dataclass(frozen=True)
class PointMass:
    """Divergences between δ, all mass on one completion x*, and a law p, from log p(x*) alone (SCIENCE 1.5).

    Args:
        log_prob: log p(x*) in nats, the end token included (without it the event is "starts with x*", no point mass).
            0 is δ itself; -inf a law that cannot say x*.

    Raises:
        ConfigError: NaN or above 0.

    Test: TOY-A's 3.8933912134 and inf, and the mixture by enumeration, in tests/unit/test_divergence.py.
    """

    log_prob: float

    def __post_init__(self) -> None:
        if math.isnan(self.log_prob) or self.log_prob > 0:
            raise ConfigError(f"log p(x*) = {self.log_prob}: a log-probability is at most 0.")

    @property
    def forward(self) -> float:
        """KL(δ‖p) = −log p(x*): the surprisal, what supervised fine-tuning on x* lowers."""
        return 0.0 - self.log_prob

    @property
    def backward(self) -> float:
        """KL(p‖δ): +inf unless p is δ, because p puts mass where δ has none."""
        return 0.0 if self.log_prob == 0 else math.inf

    @property
    def tv(self) -> float:
        """Total variation 1 − p(x*)."""
        return -math.expm1(self.log_prob)

    @property
    def js(self) -> float:
        """Jensen–Shannon divergence in nats, at most log 2."""
        p = math.exp(self.log_prob)
        inside = p * (math.log(2) + self.log_prob - math.log1p(p)) if p > 0 else 0.0
        return 0.5 * (math.log(2) - math.log1p(p)) + 0.5 * (inside + self.tv * math.log(2))

    @property
    def first_hit(self) -> float:
        """Expected draws from p until x* appears, e^{−log p}; inf beyond what a float holds."""
        return _exp(-self.log_prob)

    @property
    def half_mass(self) -> float:
        """R/β in nats at which the reward R·1[x = x*] gives x* half the posterior mass: log((1 − p)/p)."""
        return math.inf if self.log_prob == -math.inf else _log1mexp(self.log_prob) - self.log_prob

    def bounded(self, nats: float) -> float:
        """p*(x*) under the reward R·1[x = x*] at R/β = nats: p e^{R/β}/(1 − p + p e^{R/β})."""
        if self.log_prob in (0.0, -math.inf):
            return math.exp(self.log_prob)
        odds = nats + self.log_prob - _log1mexp(self.log_prob)
        return 1 / (1 + _exp(-odds))

    def mixture(self, epsilon: float) -> tuple[float, float]:
        """(KL(mix‖p), KL(p‖mix)) in nats for the target mix = (1 − ε)δ + εp: both finite where p(x*) > 0.

        mix is m = (1 − ε) + ε p(x*) at x* and ε p elsewhere, so
        KL(mix‖p) = m log(m/p) + (1 − p) ε log ε and KL(p‖mix) = p log(p/m) − (1 − p) log ε.

        Raises:
            ConfigError: ε outside (0, 1].
        """
        if not 0 < epsilon <= 1:
            raise ConfigError(f"epsilon={epsilon}: a share in (0, 1] is needed; at 0 the target is δ itself.")
        if epsilon == 1 or self.log_prob == 0:
            return 0.0, 0.0
        p, rest = math.exp(self.log_prob), self.tv
        ratio = math.log1p(-epsilon * rest) - self.log_prob  # log(m/p), m = 1 − ε(1 − p)
        forward = (1 - epsilon * rest) * ratio + rest * epsilon * math.log(epsilon)
        backward = -rest * math.log(epsilon) - (p * ratio if p > 0 else 0.0)
        return forward, backward

    def remedies(self, epsilon: float = 0.01) -> tuple[tuple[str, str], ...]:
        """Well-posed targets in the place of δ: (name, sentence with its numbers)."""
        to, back = self.mixture(epsilon)
        return (
            ("forward KL", f"train on x* (SFT): lowers KL(δ‖p), now {self.forward:.4f} nats, with a finite gradient."),
            (
                "bounded reward",
                f"reward R if the reply is x*, else 0: at R/β = {self.half_mass:.4f} nats x* holds half the "
                f"posterior; by sampling, the first hit is expected after {self.first_hit:.4g} draws.",
            ),
            (
                "graded reward",
                "minus the edit distance to x*, over β: near misses count, so there is a slope to climb.",
            ),
            (
                "mixture",
                f"(1 − ε)δ + εp with ε = {epsilon:g}: KL(target‖p) = {to:.4f} and KL(p‖target) = {back:.4f} nats.",
            ),
        )
