"""What the settings of every engine that trains have in common: a table of the file that becomes a Learner."""

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from credence.study.section import Count, Rate, Section

if TYPE_CHECKING:  # a learner needs torch, its settings do not
    from credence.learn.collect import Learner


class LearnerConfig(Section):
    """Settings of one engine that trains.

    Class attributes:
        name_shown: in reports and on the screen: "policy after …", "training: …".
        finite: whether it refuses evidence of -inf nats, so that a run says so before an hour is spent.
        stored: whether it learns from the stored prior draws of [train.dpg] instead of its own.
        value: whether the policy carries a value of each prefix for it.
        passes_cost: a training step's seconds over those of sampling its rows, for the ETA.
    """

    name_shown: ClassVar[str]
    finite: ClassVar[bool] = True
    stored: ClassVar[bool] = False
    value: ClassVar[bool] = False
    passes_cost: ClassVar[float] = 4.2

    steps: int = Field(20, ge=0, description="most steps; 0 skips the stage")
    prompts: Count = Field(8, description="prompts a step")
    group: Count = Field(8, description="replies a prompt")
    lr: Rate = Field(2e-4, description="Adam's step size after warm-up")
    seconds: Rate | None = Field(None, examples=[240.0], description="stop after this many seconds, if earlier")

    @abstractmethod
    def learner(self) -> "Learner":
        """The engine with these settings.

        Raises:
            ConfigError: a setting that cannot be.
        """
