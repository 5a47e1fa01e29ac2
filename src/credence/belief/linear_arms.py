"""Bayesian linear regression an arm: rewards of any unit, linear in the context. The conjugate update is exact."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from credence.belief.bandit import Floats, Ints, check_names, check_rewards
from credence.core.errors import ConfigError


@dataclass(frozen=True, eq=False)
class LinearArms:
    """reward = θ_k·(x, 1) + N(0, σ_k²),  θ_k | σ_k² ~ N(0, σ_k²/λ),  σ_k² ~ ν₀ s₀²/χ²(ν₀): normal–inverse-gamma.

    Posterior: Λ = λI + Σ x xᵀ, μ = Λ⁻¹ Σ x r, ν = ν₀ + n, S = ν₀s₀² + Σ r² − μᵀΛμ; σ² ~ S/χ²(ν), θ | σ² ~ N(μ, σ²Λ⁻¹);
    so x·θ is Student's t with ν degrees, centre x·μ and scale √(S/ν · xᵀΛ⁻¹x). The prior's unit is the reward's: λ of
    ¼ is worth a quarter of a reward of size σ. Source: Riquelme, Tucker & Snoek 2018, section 3. Tests:
    tests/unit/test_bandits.py (against the textbook update one by one), tests/statistical/test_bandits.py (coverage).

    Attributes:
        names: K arms.
        precision: (R, K, p, p) Λ, p = d + 1, the last for the intercept.
        moment: (R, K, p) Σ x r.
        degrees: (R, K) ν.
        squares: (R, K) ν₀s₀² + Σ r².
    """

    names: tuple[str, ...]
    precision: Floats
    moment: Floats
    degrees: Floats
    squares: Floats

    @classmethod
    def start(
        cls,
        names: Sequence[str],
        features: int,
        learners: int = 1,
        ridge: float = 0.25,
        degrees: int = 3,
        scale: float = 1.0,
    ) -> "LinearArms":
        """Before any reward.

        Args:
            names: K arms.
            features: d of a context, without the intercept.
            learners: R.
            ridge: λ, how many rewards' worth of certainty that every coefficient is 0.
            degrees: ν₀; from 3 on the prior of a reward's mean has a variance.
            scale: s₀, the prior guess of σ in the reward's unit.

        Raises:
            ConfigError: fewer than two arms, one twice, or a setting that is not positive.
        """
        if not (ridge > 0 and degrees > 0 and scale > 0 and math.isfinite(ridge * scale)):
            raise ConfigError(f"ridge={ridge}, degrees={degrees}, scale={scale}: each must be finite and above 0.")
        known = check_names(names)
        shape, p = (learners, len(known)), features + 1
        prior = np.broadcast_to(ridge * np.eye(p), (*shape, p, p)).copy()
        return cls(
            known,
            prior,
            np.zeros((*shape, p)),
            np.full(shape, float(degrees)),
            np.full(shape, degrees * scale**2),
        )

    def update(self, arm: Ints, reward: Floats, context: Floats) -> "LinearArms":
        """One more reward of each learner."""
        check_rewards(arm, reward, context, len(self.names), self.moment.shape[-1] - 1, unit=False)
        x, row = with_intercept(context), np.arange(len(self.moment))
        new = replace(self, precision=self.precision.copy(), moment=self.moment.copy(), degrees=self.degrees.copy(),
                      squares=self.squares.copy())  # fmt: skip
        new.precision[row, arm] += x[:, :, None] * x[:, None, :]
        new.moment[row, arm] += x * reward[:, None]
        new.degrees[row, arm] += 1
        new.squares[row, arm] += reward**2
        return new

    def hear(self, arm: Ints, reward: Floats, context: Floats) -> "LinearArms":
        """N rewards, heard by all learners."""
        check_rewards(arm, reward, context, len(self.names), self.moment.shape[-1] - 1, unit=False)
        x, mine = with_intercept(context), arm[:, None] == np.arange(len(self.names))
        once = mine.astype(np.float64)
        return replace(
            self,
            precision=self.precision + np.einsum("nk,np,nq->kpq", once, x, x),
            moment=self.moment + np.einsum("nk,n,np->kp", once, reward, x),
            degrees=self.degrees + once.sum(0),
            squares=self.squares + once.T @ reward**2,
        )

    @property
    def centre(self) -> Floats:
        """(R, K, p) μ."""
        return np.asarray(np.linalg.solve(self.precision, self.moment[..., None])[..., 0], np.float64)

    @property
    def rest(self) -> Floats:
        """(R, K) S: what the regression leaves, with the prior's share."""
        left = self.squares - (self.moment * self.centre).sum(-1)
        return np.asarray(np.maximum(left, 1e-12 * self.squares), np.float64)

    def mean(self, context: Floats) -> Floats:
        """x·μ in the reward's unit."""
        return (self.centre * with_intercept(context)[:, None, :]).sum(-1)

    def scale(self, context: Floats) -> Floats:
        """(M, K) scale of Student's t of the mean reward: √(S/ν · xᵀΛ⁻¹x)."""
        x = with_intercept(context)[:, None, :]
        wide = np.broadcast_to(x, (*np.broadcast_shapes(x.shape[:2], self.degrees.shape), x.shape[-1]))
        solved = np.linalg.solve(self.precision, wide[..., None])[..., 0]
        return np.sqrt(self.rest / self.degrees * (wide * solved).sum(-1))

    def upper(self, context: Floats, width: float) -> Floats:
        """x·μ + width · √(S/ν · xᵀΛ⁻¹x), as LinUCB (Li et al. 2010) with a width that grows as √(2 log t)."""
        return self.mean(context) + width * self.scale(context)

    def _parameters(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """θ: σ² ~ S/χ²(ν), then N(μ, σ²Λ⁻¹), by the Cholesky factor L of Λ: L⁻ᵀz has covariance Λ⁻¹."""
        sigma = np.sqrt(self.rest / rng.chisquare(np.broadcast_to(self.degrees, shape[:-1])))
        z = rng.standard_normal(shape)
        upper = np.swapaxes(np.linalg.cholesky(self.precision), -1, -2)
        wide = np.broadcast_to(upper, (*shape[:-1], *upper.shape[-2:]))
        return self.centre + sigma[..., None] * np.linalg.solve(wide, z[..., None])[..., 0]

    def draw(self, rng: np.random.Generator, context: Floats) -> Floats:
        """θ·x of each learner at its own context."""
        return (self._parameters(rng, self.moment.shape) * with_intercept(context)[:, None, :]).sum(-1)

    def draws(self, rng: np.random.Generator, n: int, context: Floats) -> Floats:
        """n draws of θ, each at all contexts."""
        theta = self._parameters(rng, (n, *self.moment.shape[1:]))
        return np.einsum("nkp,mp->nmk", theta, with_intercept(context))


def with_intercept(context: Floats) -> Floats:
    """(M, d + 1): the features and a 1."""
    return np.concatenate([context, np.ones((len(context), 1))], 1)
