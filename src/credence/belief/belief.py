"""A belief: log-probabilities of finitely many hypotheses, moved by evidence through Bayes' rule and nothing else."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core import logspace
from credence.core.errors import ConfigError, ContractError, DegeneracyError, ShapeError

_ROUNDING = 1e-5
"""Nats by which a given log_p may miss log 1 (float32 sums do); it is normalised to the last bit."""


@dataclass(frozen=True, eq=False)
class Belief:
    """What is believed about K hypotheses that exclude each other.

    log p(h | D_1..D_n) = log p(h) + Σ_i τ_i log p(D_i | h) − log Z_n. Evidence adds: its order does not matter, and a
    batch equals its pieces one by one. Tests: tests/unit/test_belief.py, tests/property/test_beliefs.py; coverage and
    simulation-based calibration in tests/statistical/test_belief_calibration.py.

    Attributes:
        hypotheses: K names, each once.
        log_p: (K,) nats, normalised, float64; -inf is impossible and stays so.
        log_prior: (K,) nats before any evidence, to which forgetting returns; log_p itself where not given.
        log_evidence: log Z accumulated step by step (prequential): Σ_i log p(D_i | D_<i) in nats; without tempering and
            forgetting it is log p(D_1..D_n).
        updates: pieces of evidence heard so far.

    Raises:
        ConfigError: no hypothesis, one name twice, or probabilities that do not sum to one.
        ShapeError: log_p or log_prior is not (K,).
        ContractError: a NaN or +inf.
    """

    hypotheses: tuple[str, ...]
    log_p: Float[Tensor, " K"]
    log_prior: Float[Tensor, " K"] | None = None
    log_evidence: float = 0.0
    updates: int = 0

    def __post_init__(self) -> None:
        names = self.hypotheses
        if not names:
            raise ConfigError("no hypothesis: a belief needs at least one.")
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            raise ConfigError(f"hypothesis {twice[0]!r} stands twice: two names for one thing would share its mass.")
        object.__setattr__(self, "log_p", _law(self.log_p, len(names), "log_p"))
        prior = self.log_p if self.log_prior is None else _law(self.log_prior, len(names), "log_prior")
        object.__setattr__(self, "log_prior", prior)

    @classmethod
    def uniform(cls, hypotheses: Sequence[str]) -> "Belief":
        """Every hypothesis alike: −log K nats each."""
        k = max(1, len(hypotheses))
        return cls(tuple(hypotheses), torch.full((len(hypotheses),), -math.log(k), dtype=torch.float64))

    def __len__(self) -> int:
        return len(self.hypotheses)

    @property
    def origin(self) -> Float[Tensor, " K"]:
        """(K,) nats before any evidence."""
        return self.log_p if self.log_prior is None else self.log_prior

    def update(self, log_lik: Tensor, tau: float = 1.0, gamma: float = 1.0) -> "Belief":
        """The belief after evidence: p_t ∝ p_{t−1}^γ · p_0^{1−γ} · L_t^τ.

        Args:
            log_lik: log p(evidence | hypothesis) in nats, (K,), or (N, K) for N independent pieces heard one by one.
            tau: power of the likelihood. Below 1 for evidence that is dependent, noisy or from a model that is sure of
                too much (belief/temper.py fits it); then log_evidence is the tempered evidence's.
            gamma: how much of what was heard before is kept at each piece: log p_t = log p_0 + Σ_i γ^{t−i} τ log L_i,
                a memory of 1/(1−γ) pieces. 1 forgets nothing.

        Raises:
            ShapeError: not (K,) or (N, K).
            ConfigError: tau not finite and positive, or gamma outside (0, 1].
            ContractError: a NaN or +inf among the nats.
            DegeneracyError: the evidence is impossible under every hypothesis that is still possible.
        """
        if not (tau > 0 and math.isfinite(tau)):
            raise ConfigError(
                f"tau={tau}: the power of a likelihood is finite and above 0; to ignore it, do not update."
            )
        if not 0 < gamma <= 1:
            raise ConfigError(f"gamma={gamma}: the share of what is kept lies in (0, 1]; 1 forgets nothing.")
        out = self
        for row in self._rows(log_lik):
            out = out._heard(tau * row, gamma)
        return out

    def _rows(self, log_lik: Tensor) -> Float[Tensor, "N K"]:
        rows = log_lik.detach().to("cpu", torch.float64)
        rows = rows[None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or rows.shape[1] != len(self):
            raise ShapeError(
                f"log_lik has shape {tuple(log_lik.shape)} for {len(self)} hypotheses: ({len(self)},), one each, or "
                f"(N, {len(self)}) is needed."
            )
        if bool((torch.isnan(rows) | torch.isposinf(rows)).any()):
            raise ContractError("log_lik holds a NaN or +inf: a log-likelihood is a number of nats, or -inf.")
        return rows

    def _heard(self, nats: Float[Tensor, " K"], gamma: float) -> "Belief":
        kept = self.log_p
        if gamma < 1:
            kept = logspace.normalise(gamma * self.log_p + (1 - gamma) * self.origin)
        joint = kept + nats
        log_z = float(torch.logsumexp(joint, 0))
        if log_z == -math.inf:
            raise DegeneracyError(
                "the evidence is impossible under every hypothesis that is still possible, so no posterior exists. Add "
                "a hypothesis that allows it (such as 'nothing fits'), or give finite nats instead of -inf."
            )
        return Belief(self.hypotheses, joint - log_z, self.origin, self.log_evidence + log_z, self.updates + 1)

    def entropy(self) -> float:
        """−Σ p log p in nats: 0 is certain, log K knows nothing."""
        return max(0.0, float(logspace.entropy(self.log_p)))

    def information(self) -> float:
        """KL(belief‖prior belief) in nats: how far the evidence has moved it."""
        return max(0.0, float(logspace.kl(self.log_p, self.origin)))

    def probability(self, hypothesis: str) -> float:
        """Probability of one hypothesis.

        Raises:
            ConfigError: no such hypothesis.
        """
        if hypothesis not in self.hypotheses:
            raise ConfigError(f"no hypothesis {hypothesis!r} among: {', '.join(self.hypotheses[:8])}.")
        return math.exp(float(self.log_p[self.hypotheses.index(hypothesis)]))

    def top(self, k: int = 3) -> list[tuple[str, float]]:
        """The k likeliest hypotheses with their log-probabilities in nats, best first, ties in the given order."""
        order = torch.sort(self.log_p, descending=True, stable=True).indices[: max(0, k)].tolist()
        return [(self.hypotheses[i], float(self.log_p[i])) for i in order]


def _law(log_p: Tensor, k: int, name: str) -> Float[Tensor, " K"]:
    """Checked, float64, normalised to the last bit."""
    values = log_p.detach().to("cpu", torch.float64)
    if tuple(values.shape) != (k,):
        raise ShapeError(f"{name} has shape {tuple(values.shape)} for {k} hypotheses: ({k},) is needed.")
    if bool((torch.isnan(values) | torch.isposinf(values)).any()):
        raise ContractError(f"{name} holds a NaN or +inf: log-probabilities are nats of at most 0.")
    total = float(torch.logsumexp(values, 0))
    if abs(total) > _ROUNDING:
        raise ConfigError(
            f"the probabilities of {name} sum to {math.exp(total):.6g}, not 1. Pass core.logspace.normalise({name}) if "
            "these are unnormalised log weights."
        )
    return values - total
