"""The registry of the engines that train after the forward-KL stage: each one's table, and how it becomes a Learner.

A further engine is one small class and one line in `Learners`. TOML (`train.engine`, `[train.<engine>]`), `--set`, the
template of `credence init`, the plan, reports and all error messages follow from them.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from credence.study.balance_learners import AStarPoConfig, SubTBConfig, TrajectoryBalanceConfig, VarGradConfig
from credence.study.learner import LearnerConfig
from credence.study.recorded_learners import DpoConfig, IpoConfig, KtoConfig, SftConfig
from credence.study.section import Count, Section
from credence.study.stored_learners import (
    BondConfig,
    DistilConfig,
    ExpertIterationConfig,
    FDpgConfig,
    MpoConfig,
    RewardWeightedConfig,
)

if TYPE_CHECKING:
    from credence.learn.collect import Learner

Group = Annotated[int, Field(ge=2)]


class ReinforceConfig(LearnerConfig):
    """Leave-one-out REINFORCE with the KL inside the return."""

    name_shown = "REINFORCE"

    group: Group = Field(8, description="replies a prompt: each is the others' baseline")
    baseline: Literal["group", "prefix"] = Field(
        "group", description="prefix: what half a reply tells already is taken off too; for evidence with on_prefix"
    )

    def learner(self) -> "Learner":
        """See LearnerConfig."""
        from credence.learn.reinforce import Reinforce

        return Reinforce(self.prompts, self.group, self.lr, baseline=self.baseline)


class RaoBlackwellConfig(LearnerConfig):
    """REINFORCE with the KL of each step summed over the vocabulary."""

    name_shown = "Rao-Blackwell REINFORCE"
    passes_cost = 6.0

    group: Group = Field(8, description="replies a prompt: each is the others' baseline")
    share: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="of the KL that is summed over the vocabulary; the rest is the log-ratio of the token drawn"
    )

    def learner(self) -> "Learner":
        """See LearnerConfig."""
        from credence.learn.rao_blackwell import RaoBlackwell

        return RaoBlackwell(self.prompts, self.group, self.lr, share=self.share)


class PpoConfig(LearnerConfig):
    """PPO: clipped steps on the same replies, a learnt value a token."""

    name_shown = "PPO"
    passes_cost = 8.0
    value = True

    passes: Count = Field(2, description="over the replies of a step")
    parts: Count = Field(1, description="gradient steps a pass, each on its share of the prompts")
    clip: Annotated[float, Field(gt=0, lt=1)] = Field(0.2, description="a token's ratio earns nothing beyond 1 ± clip")
    trace: Annotated[float, Field(ge=0, le=1)] = Field(1.0, description="λ of GAE: 1 is unbiased, less is less noisy")

    def learner(self) -> "Learner":
        """See LearnerConfig."""
        from credence.learn.ppo import PPO

        return PPO(
            self.prompts, self.group, self.lr, passes=self.passes, parts=self.parts, clip=self.clip, trace=self.trace
        )


class GrpoConfig(LearnerConfig):
    """GRPO, which converges to a law of its own; corrected with spread = 0, length = false, k3 = false."""

    name_shown = "GRPO"

    group: Group = Field(8, description="replies a prompt")
    passes: Count = Field(1, description="over the replies of a step")
    clip: Annotated[float, Field(gt=0, lt=1)] = Field(0.2, description="a token's ratio earns nothing beyond 1 ± clip")
    spread: float = Field(
        25.0, ge=0, description="nats that each group's evidence is rescaled to, 1/β of the literature; 0: its own nats"
    )
    length: bool = Field(True, description="a reply's tokens weigh 1/length")
    k3: bool = Field(True, description="the KL in the loss, as k3 of each token; false: in the return")

    def learner(self) -> "Learner":
        """See LearnerConfig."""
        from credence.learn.grpo import GRPO

        return GRPO(
            self.prompts, self.group, self.lr, passes=self.passes, clip=self.clip, spread=self.spread or None,
            length=self.length, k3=self.k3,
        )  # fmt: skip


class Learners(Section):
    """A table an engine; the names are those of `train.engine`."""

    reinforce: ReinforceConfig = Field(ReinforceConfig(), description="policy gradient")  # pyright: ignore[reportCallIssue]
    rao_blackwell: RaoBlackwellConfig = Field(RaoBlackwellConfig(), description="its exact KL")  # pyright: ignore[reportCallIssue]
    ppo: PpoConfig = Field(PpoConfig(), description="clipped, with a value")  # pyright: ignore[reportCallIssue]
    grpo: GrpoConfig = Field(GrpoConfig(), description="group-relative")  # pyright: ignore[reportCallIssue]
    f_dpg: FDpgConfig = Field(FDpgConfig(), description="any f-divergence")  # pyright: ignore[reportCallIssue]
    trajectory_balance: TrajectoryBalanceConfig = Field(TrajectoryBalanceConfig(), description="with log Z")  # pyright: ignore[reportCallIssue]
    vargrad: VarGradConfig = Field(VarGradConfig(), description="balance without log Z")  # pyright: ignore[reportCallIssue]
    subtb: SubTBConfig = Field(SubTBConfig(), description="balance of every piece")  # pyright: ignore[reportCallIssue]
    a_star_po: AStarPoConfig = Field(AStarPoConfig(), description="log Z once, then a regression")  # pyright: ignore[reportCallIssue]
    distil: DistilConfig = Field(DistilConfig(), description="of an engine that draws")  # pyright: ignore[reportCallIssue]
    expert_iteration: ExpertIterationConfig = Field(ExpertIterationConfig(), description="fits the best draws")  # pyright: ignore[reportCallIssue]
    reward_weighted: RewardWeightedConfig = Field(RewardWeightedConfig(), description="RWR, AWR")  # pyright: ignore[reportCallIssue]
    mpo: MpoConfig = Field(MpoConfig(), description="tilts by a KL")  # pyright: ignore[reportCallIssue]
    bond: BondConfig = Field(BondConfig(), description="best-of-n at once")  # pyright: ignore[reportCallIssue]
    dpo: DpoConfig = Field(DpoConfig(), description="recorded comparisons")  # pyright: ignore[reportCallIssue]
    ipo: IpoConfig = Field(IpoConfig(), description="recorded comparisons")  # pyright: ignore[reportCallIssue]
    kto: KtoConfig = Field(KtoConfig(), description="recorded labels")  # pyright: ignore[reportCallIssue]
    sft: SftConfig = Field(SftConfig(), description="recorded replies")  # pyright: ignore[reportCallIssue]


def shown(name: str) -> str:
    """An engine as reports say it."""
    return type(getattr(Learners(), name)).name_shown  # pyright: ignore[reportCallIssue]


LEARNERS = tuple(Learners.model_fields)
"""What `train.engine` accepts."""
