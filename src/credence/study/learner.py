"""What the settings of every engine that trains have in common, and those of the loop around it."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from credence.study.section import Count, Rate, Section

if TYPE_CHECKING:  # a learner needs torch, its settings do not
    from credence.core.protocols import Batch, Policy, StepPrior
    from credence.core.types import Prompts
    from credence.learn.collect import Learner, ValueLearner


class LearnerConfig(Section):
    """Settings of one engine that trains.

    Class attributes:
        name_shown: in reports and on the screen: "policy after …", "training: …".
        value: whether the policy carries a value of each prefix for it.
        passes_cost: a training step's seconds over those of sampling its rows, for the ETA.
    """

    name_shown: ClassVar[str]
    value: ClassVar[bool] = False
    passes_cost: ClassVar[float] = 4.2

    steps: int = Field(20, ge=0, description="most steps; 0 skips the stage")
    prompts: Count = Field(8, description="prompts a step")
    group: Count = Field(8, description="replies a prompt")
    lr: Rate = Field(2e-4, description="Adam's step size after warm-up")
    seconds: Rate | None = Field(None, examples=[240.0], description="stop after this many seconds, if earlier")

    @abstractmethod
    def learner(self) -> "Learner | ValueLearner":
        """The engine with these settings.

        Raises:
            ConfigError: a setting that cannot be.
        """

    @property
    def finite(self) -> bool:
        """Whether it refuses evidence of -inf nats, so that a run says so before an hour is spent."""
        return True

    @property
    def on_prior(self) -> bool:
        """Whether it needs the stored prior draws of [train.dpg]: to learn from, or for their log Z."""
        return False

    def beside(self, policy: "Policy", prior: "StepPrior", prompts: "Prompts", stored: "Batch | None") -> "Policy":
        """The policy with what this engine trains beside it; by default nothing.

        Args:
            policy: trained in place, whatever stands beside it.
            prior: a language model.
            prompts: all that will be trained on.
            stored: draws on them, for an engine with on_prior.
        """
        return policy


class BetaConfig(Section):
    """How β moves while the engine of stage 2 trains; the history tells the β realised."""

    schedule: Literal["fixed", "annealed", "kl"] = Field(
        "fixed", description="fixed; annealed: falling to the evidence's own; kl: driven until KL(π‖π0) is `kl`"
    )
    first: Rate = Field(0.1, description="annealed: power of the evidence at the first step; 0.1 is ten times β")
    share: Annotated[float, Field(gt=0, le=1)] = Field(0.5, description="annealed: of the steps, over which β moves")
    kl: Rate = Field(1.0, description="kl: nats that KL(π‖π0) is driven to")


class StopsConfig(Section):
    """What ends the engine of stage 2 before its steps are used up."""

    kl_budget: Rate | None = Field(None, examples=[2.0], description="nats of KL(π‖π0), the mean of three steps")
    no_better: Count | None = Field(None, examples=[4], description="validations in a row without a new best")


class ReplayConfig(Section):
    """Past groups that the engine of stage 2 learns from again, corrected by their log q."""

    groups: int = Field(0, ge=0, description="joined to each step's own; 0: no replay")
    capacity: Count = Field(256, description="groups kept")
    age: Count = Field(50, description="most steps since a group was drawn; older ones are dropped")
