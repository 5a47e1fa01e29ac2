"""The settings that learners of a policy share."""

from dataclasses import dataclass
from typing import ClassVar

from credence.core.errors import ConfigError


@dataclass(frozen=True)
class Common:
    """What the loop reads of every learner.

    Args:
        prompts: a step.
        group: draws a prompt; of stored draws the first ones.
        lr: Adam's step size after warm-up.
        warmup: steps over which lr rises; afterwards it falls linearly to a tenth.

    Raises:
        ConfigError: no prompt, or fewer draws a prompt than the loss can do with.
    """

    least: ClassVar[int] = 1
    prompts: int = 8
    group: int = 16
    lr: float = 2e-4
    warmup: int = 3

    def __post_init__(self) -> None:
        if self.prompts < 1 or self.group < self.least:
            raise ConfigError(
                f"{type(self).__name__}(prompts={self.prompts}, group={self.group}): at least one prompt a step and "
                f"{self.least} draws of each are needed."
            )

    @property
    def needs(self) -> frozenset[str]:
        """Nothing beyond the common fields."""
        return frozenset()


@dataclass(frozen=True)
class Stored(Common):
    """Settings of a learner that recalls stored draws and draws none."""

    @property
    def on_policy(self) -> bool:
        """It recalls stored draws."""
        return False
