"""The registry of the engines that train after the forward-KL stage: each one's table, and how it becomes a Learner.

A further engine is one small class and one line in `Learners`. TOML (`train.engine`, `[train.<engine>]`), `--set`, the
template of `credence init`, the plan, reports and all error messages follow from them.
"""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from credence.study.learner import LearnerConfig
from credence.study.section import Section

if TYPE_CHECKING:
    from credence.learn.collect import Learner

Group = Annotated[int, Field(ge=2)]


class ReinforceConfig(LearnerConfig):
    """Leave-one-out REINFORCE with the KL inside the return."""

    name_shown = "REINFORCE"

    group: Group = Field(8, description="replies a prompt: each is the others' baseline")

    def learner(self) -> "Learner":
        """See LearnerConfig."""
        from credence.learn.reinforce import Reinforce

        return Reinforce(self.prompts, self.group, self.lr)


class Learners(Section):
    """A table an engine; the names are those of `train.engine`."""

    reinforce: ReinforceConfig = Field(ReinforceConfig(), description="policy gradient")  # pyright: ignore[reportCallIssue]


def shown(name: str) -> str:
    """An engine as reports say it."""
    return type(getattr(Learners(), name)).name_shown  # pyright: ignore[reportCallIssue]


LEARNERS = tuple(Learners.model_fields)
"""What `train.engine` accepts."""
