"""What the settings of every engine have in common: a table of the file that becomes a Sampler."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from credence.core.protocols import Sampler, StepPrior
from credence.study.section import Section

if TYPE_CHECKING:  # config.py imports the registry, which imports this
    from credence.study.job import Job

Proposal = Annotated[
    str | None,
    Field(
        examples=["runs/latest"],
        description="what to draw from: a run, an exported model, a folder or a hub id; default: the prior",
    ),
]

Probe = Annotated[int, Field(ge=0, description="replies of the prior on which the proposal's reach is tested; 0: none")]


class EngineConfig(Section):
    """Settings of one engine."""

    @abstractmethod
    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """The engine with these settings. What it needs beside the prior (a policy, another model) is loaded here.

        Raises:
            ConfigError: a setting that cannot be, or a name of nothing.
        """


def proposed(given: str | None, job: "Job", prior: StepPrior) -> StepPrior | None:
    """The law to draw from; None for the prior's own."""
    from credence.study.laws import law

    return None if given is None else law(given, job, prior)
