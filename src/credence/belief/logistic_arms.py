"""Bayesian logistic regression an arm: rewards in [0, 1], logistic in the context; Laplace's approximation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from credence.belief.bandit import Floats, Ints, check_names, check_rewards
from credence.belief.linear_arms import with_intercept
from credence.core.errors import ConfigError
from credence.evidence.feedback import Opinions, fit_head


@dataclass(frozen=True, eq=False)
class LogisticArms:
    """P(reward = 1 | x, k) = σ(θ_k·x + a_k),  θ_k ~ N(0, τ²/d),  a_k ~ N(0, 1): a thumb's model, one an arm.

    The posterior is Laplace's, by `evidence.feedback.fit_head`, refitted from all rewards: so their order does not
    matter and none counts twice. A reward r inside (0, 1) is r of a success and 1 − r of a failure. Between refits the
    belief stands still: rewards that were heard wait. Source: Chapelle & Li 2011, algorithm 3, with a full covariance;
    SCIENCE 6.4. Tests: tests/unit/test_bandits.py, tests/statistical/test_bandits.py (coverage, contraction).

    Attributes:
        names: K arms.
        centre: (R, K, p) mode, in logits, p = d + 1, the last for the intercept.
        root: (R, K, p, p) Cholesky factor of the covariance.
        arm: (R, n) arms tried.
        reward: (R, n).
        context: (R, n, d).
        waiting: rewards that came since the last refit.
        tau: prior standard deviation in logits of a reward whose features are all one unit.
        every: `update` refits once so many rewards wait; 1 refits each time.
    """

    names: tuple[str, ...]
    centre: Floats
    root: Floats
    arm: Ints
    reward: Floats
    context: Floats
    waiting: int = 0
    tau: float = 3.0
    every: int = 1

    @classmethod
    def start(
        cls, names: Sequence[str], features: int, learners: int = 1, tau: float = 3.0, every: int = 1
    ) -> "LogisticArms":
        """Before any reward.

        Raises:
            ConfigError: fewer than two arms, one twice, tau not positive, or every below 1.
        """
        if not (tau > 0 and math.isfinite(tau) and every >= 1):
            raise ConfigError(f"tau={tau}, every={every}: tau must be finite and above 0, every at least 1.")
        known = check_names(names)
        shape = (learners, len(known), features + 1)
        sd = np.array([tau / math.sqrt(max(features, 1))] * features + [1.0])
        root = np.broadcast_to(np.diag(sd), (*shape, features + 1)).copy()
        none = np.zeros((learners, 0))
        return cls(known, np.zeros(shape), root, none.astype(np.int64), none, np.zeros((learners, 0, features)), 0, tau,
                   every)  # fmt: skip

    def update(self, arm: Ints, reward: Floats, context: Floats) -> "LogisticArms":
        """One more reward of each learner; refitted when `every` of them wait."""
        check_rewards(arm, reward, context, len(self.names), self.context.shape[-1], unit=True)
        return self._joined(arm[:, None], reward[:, None], context[:, None], self.every)

    def hear(self, arm: Ints, reward: Floats, context: Floats) -> "LogisticArms":
        """N rewards, heard by all learners; refitted at once."""
        check_rewards(arm, reward, context, len(self.names), self.context.shape[-1], unit=True)
        r = len(self.centre)
        return self._joined(np.tile(arm, (r, 1)), np.tile(reward, (r, 1)), np.tile(context, (r, 1, 1)), 1)

    def _joined(self, arm: Ints, reward: Floats, context: Floats, every: int) -> "LogisticArms":
        new = replace(
            self,
            arm=np.concatenate([self.arm, arm], 1),
            reward=np.concatenate([self.reward, reward], 1),
            context=np.concatenate([self.context, context], 1),
            waiting=self.waiting + arm.shape[1],
        )
        return new._refitted() if new.waiting >= every else new

    def _refitted(self) -> "LogisticArms":
        """Laplace's posterior of each learner's arms that have a reward which waits."""
        centre, root = self.centre.copy(), self.root.copy()
        fresh = self.arm[:, self.arm.shape[1] - self.waiting :]
        for r in range(len(centre)):
            for k in np.unique(fresh[r]).tolist():
                mine = self.arm[r] == k
                centre[r, k], root[r, k] = _laplace(self.context[r, mine], self.reward[r, mine], self.tau)
        return replace(self, centre=centre, root=root, waiting=0)

    def _logits(self, context: Floats) -> tuple[Floats, Floats]:
        """Mean and variance of the logit, (M, K) each."""
        x = with_intercept(context)[:, None, :]
        spread = np.einsum("...kpq,...kp->...kq", self.root, np.broadcast_to(x, (*x.shape[:1], *self.centre.shape[1:])))
        return (self.centre * x).sum(-1), (spread**2).sum(-1)

    def mean(self, context: Floats) -> Floats:
        """P(reward = 1) averaged over the belief by MacKay's σ(m/√(1 + πv/8)), within 0.02 of it."""
        m, v = self._logits(context)
        return sigmoid(m / np.sqrt(1 + math.pi * v / 8))

    def upper(self, context: Floats, width: float) -> Floats:
        """σ(m + width · √v): optimism in logits, whose order σ keeps."""
        m, v = self._logits(context)
        return sigmoid(m + width * np.sqrt(v))

    def draw(self, rng: np.random.Generator, context: Floats) -> Floats:
        """σ(θ·x + a) of each learner at its own context."""
        z = rng.standard_normal(self.centre.shape)
        theta = self.centre + np.einsum("rkpq,rkq->rkp", self.root, z)
        return sigmoid((theta * with_intercept(context)[:, None, :]).sum(-1))

    def draws(self, rng: np.random.Generator, n: int, context: Floats) -> Floats:
        """n draws of (θ, a), each at all contexts."""
        z = rng.standard_normal((n, *self.centre.shape[1:]))
        theta = self.centre[0] + np.einsum("kpq,nkq->nkp", self.root[0], z)
        return sigmoid(np.einsum("nkp,mp->nmk", theta, with_intercept(context)))


def _laplace(context: Floats, reward: Floats, tau: float) -> tuple[Floats, Floats]:
    """Mode and Cholesky factor of the covariance."""
    phi, r = torch.from_numpy(context), torch.from_numpy(reward)
    whole = bool(((r == 0) | (r == 1)).all())
    if not whole:  # a share of a success and the rest of a failure
        phi = torch.cat([phi, phi])
    liked = r > 0.5 if whole else torch.cat([torch.ones(len(r)), torch.zeros(len(r))]) > 0.5
    weight = None if whole else torch.cat([r, 1 - r])
    opinions = Opinions(phi, liked, torch.zeros(0, context.shape[1], dtype=torch.float64), weight)
    head = fit_head(opinions, torch.ones(context.shape[1], dtype=torch.float64), tau)
    return head.mean.numpy(), torch.linalg.cholesky(head.cov).numpy()


def sigmoid(x: Floats) -> Floats:
    """1/(1 + e^−x), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))
