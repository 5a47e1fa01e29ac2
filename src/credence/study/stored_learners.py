"""Tables of the engines that fit weighted draws: the prior's of [train.dpg], an engine's that draws, or their own."""

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from credence.core.errors import nearest
from credence.study.engines import NAMES, PRIOR
from credence.study.learner import LearnerConfig
from credence.study.section import Count, Rate

if TYPE_CHECKING:
    from credence.core.protocols import Sampler
    from credence.learn.collect import Learner
    from credence.learn.distil import Distil

Share = Annotated[float, Field(ge=0, le=1)]
DivergenceName = Literal[
    "forward_kl", "reverse_kl", "total_variation", "jensen_shannon", "chi_squared", "chi_squared_forward"
]


class FDpgConfig(LearnerConfig):
    """f-DPG: the posterior by the divergence of your choice."""

    name_shown = "f-DPG"

    divergence: DivergenceName = Field("jensen_shannon", description="of the policy from the posterior")
    draws: Literal["policy", "prior"] = Field(
        "policy", description="to learn from: fresh ones of the policy, or the prior's of [train.dpg], weighted by π/q"
    )
    baseline: bool = Field(True, description="subtract its value at π = p*: no variance there")
    group: Annotated[int, Field(ge=2)] = Field(8, description="replies a prompt: they make its log Z")

    @property
    def finite(self) -> bool:
        """Where impossible draws would make the divergence infinite."""
        return self.divergence in ("reverse_kl", "chi_squared")

    @property
    def on_prior(self) -> bool:
        """Where it recalls them."""
        return self.draws == "prior"

    def learner(self) -> "Learner":
        """See LearnerConfig."""
        from credence.learn.f_dpg import FDPG
        from credence.learn.losses.f_divergence import Divergence

        return FDPG(
            self.prompts, self.group, self.lr, divergence=Divergence(self.divergence),
            on_policy=self.draws == "policy", baseline=self.baseline,
        )  # fmt: skip


class FittedConfig(LearnerConfig):
    """An engine that fits the prior's draws, weighted; impossible ones weigh nothing."""

    passes_cost = 2.5

    @property
    def finite(self) -> bool:
        """No: an impossible draw weighs nothing."""
        return False

    @property
    def on_prior(self) -> bool:
        """Yes: it recalls them."""
        return True


class RewardWeightedConfig(FittedConfig):
    """Reward- and advantage-weighted regression (RWR, AWR)."""

    name_shown = "reward-weighted regression"

    centre: Literal["soft", "mean"] = Field("soft", description="soft: RWR; mean: AWR. The same law, other step sizes")
    clip: Rate | None = Field(None, examples=[20.0], description="largest weight; default: none, which p* asks for")

    def learner(self) -> "Learner":
        """See LearnerConfig."""
        from credence.learn.reward_weighted import Centre, RewardWeighted

        clip = math.inf if self.clip is None else self.clip
        return RewardWeighted(self.prompts, self.group, self.lr, centre=Centre(self.centre), clip=clip)


class MpoConfig(FittedConfig):
    """MPO: as much evidence as a KL of epsilon allows."""

    name_shown = "MPO"

    epsilon: Rate = Field(0.5, description="nats that the law fitted may be from the prior")
    trust: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0, description="weight of the penalty that holds the policy to the draws' law"
    )

    def learner(self) -> "Learner":
        """See LearnerConfig."""
        from credence.learn.mpo import MPO

        return MPO(self.prompts, self.group, self.lr, epsilon=self.epsilon, trust=self.trust)


class BondConfig(FittedConfig):
    """BOND: a policy that says at once what best-of-n says."""

    name_shown = "BOND"

    of: Count = Field(4, description="n of best-of-n, at most `group`")
    forward: Share = Field(0.5, description="share of the forward KL in the mixture of both")

    @property
    def finite(self) -> bool:
        """Its reverse KL needs it."""
        return self.forward < 1

    def learner(self) -> "Learner":
        """See LearnerConfig."""
        from credence.learn.bond import BOND

        return BOND(self.prompts, self.group, self.lr, of=self.of, forward=self.forward)


class ExpertIterationConfig(FittedConfig):
    """Expert iteration: keep the best draws and fit them (RAFT, ReST, STaR)."""

    name_shown = "expert iteration"

    draws: Literal["prior", "policy"] = Field(
        "prior", description="the prior's of [train.dpg]: one round; policy: its own, a round a step"
    )
    of: Annotated[int, Field(ge=0)] = Field(4, description="n of best-of-n, at most `group`; 0: by `above`")
    above: float = Field(0.0, allow_inf_nan=False, description="nats of the evidence that a kept reply exceeds")

    @property
    def on_prior(self) -> bool:
        """Where it recalls them."""
        return self.draws == "prior"

    def learner(self) -> "Learner":
        """See LearnerConfig."""
        from credence.learn.expert_iteration import ExpertIteration

        return ExpertIteration(
            self.prompts, self.group, self.lr, of=self.of, above=self.above, on_policy=self.draws == "policy"
        )


class DistilConfig(FittedConfig):
    """Distillation: a policy that says at once what an engine finds by search."""

    name_shown = "distillation"

    sampler: str = Field("smc", description="an engine that draws, with its own table [sample.<engine>]")

    @field_validator("sampler")
    @classmethod
    def _known(cls, sampler: str) -> str:
        names = tuple(name for name in NAMES if name != PRIOR)
        if sampler not in names:
            raise ValueError(f"there is no such engine.{nearest(sampler, names)} Known: {', '.join(names)}")
        return sampler

    @property
    def on_prior(self) -> bool:
        """No: the engine draws for it."""
        return False

    def learner(self, sampler: "Sampler | None" = None) -> "Distil":
        """The engine that fits this sampler's draws; None: SMC's at its defaults."""
        from credence.learn.distil import Distil
        from credence.sample.smc import SMC

        return Distil(self.prompts, self.group, self.lr, sampler=sampler or SMC())
