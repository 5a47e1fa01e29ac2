"""The registry of the engines that draw: each one's table of settings, and how it becomes a Sampler.

A further engine is one small class here and one line in `Engines`. TOML, `--set`, `credence sample --engine`, the
template of `credence init` and all error messages follow from them.
"""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from credence.core.protocols import Sampler, StepPrior
from credence.study.section import Count, Section

if TYPE_CHECKING:  # config.py imports this registry
    from credence.study.job import Job

PRIOR = "prior"
"""The engine that only looks: draws of the prior, beside what the evidence says of them."""


class EngineConfig(Section):
    """Settings of one engine."""

    @abstractmethod
    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """The engine with these settings. What it needs beside the prior (a policy, another model) is loaded here.

        Raises:
            ConfigError: a setting that cannot be, or a name of nothing.
        """


class ImportanceConfig(EngineConfig):
    """Importance sampling: weighted draws of a proposal."""

    proposal: str | None = Field(
        None,
        examples=["runs/latest"],
        description="what to draw from: a run, an exported model, a folder or a hub id; default: the prior",
    )

    probe: int = Field(32, ge=0, description="replies of the prior on which the proposal's reach is tested; 0: none")

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.importance import Importance

        return Importance(_proposal(self.proposal, job, prior), self.probe)


class RejectionConfig(EngineConfig):
    """Rejection: exact draws, where the evidence has a bound."""

    bound: float | None = Field(
        None,
        allow_inf_nan=False,
        examples=[10.0],
        description="nats that no reply exceeds; default: what the evidence says",
    )
    most: Count = Field(1024, description="proposals a prompt, at most")

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.rejection import Rejection

        return Rejection(self.bound, self.most)


class QuasiRejectionConfig(EngineConfig):
    """Quasi-rejection: rejection with a bound that need not hold."""

    bound: float | None = Field(
        None, allow_inf_nan=False, examples=[3.0], description="nats; default: chosen by `acceptance` for each prompt"
    )
    acceptance: float = Field(0.1, gt=0, le=1, description="share of proposals to accept where no bound is given")
    pilot: Count = Field(128, description="draws a prompt that choose the bound")
    most: Count = Field(1024, description="proposals a prompt, at most")
    proposal: str | None = Field(
        None,
        examples=["runs/latest"],
        description="what to draw from: a run, an exported model, a folder or a hub id; default: the prior",
    )

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.quasi_rejection import QuasiRejection

        proposal = _proposal(self.proposal, job, prior)
        return QuasiRejection(self.bound, self.acceptance, self.pilot, self.most, proposal)


class BestOfNConfig(EngineConfig):
    """Best-of-n: the best of some draws of the prior."""

    of: Count = Field(16, description="candidates of each draw")

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.best_of_n import BestOfN

        return BestOfN(self.of)


class SoftBestOfNConfig(EngineConfig):
    """Soft best-of-n: one of some draws of the prior, chosen by weight."""

    of: Count = Field(16, description="candidates of each draw")

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.soft_best_of_n import SoftBestOfN

        return SoftBestOfN(self.of)


class SmcEngineConfig(EngineConfig):
    """Sequential Monte Carlo: particles that grow and are resampled."""

    particles: Annotated[int, Field(ge=2)] = Field(16, description="particles an island")
    islands: Count = Field(4, description="independent runs: they give log Z its standard error")
    threshold: float = Field(0.5, ge=0, le=1, description="resample where ESS falls below this share of the particles")
    proposal: str | None = Field(
        None,
        examples=["runs/latest"],
        description="what draws the tokens: a run, an exported model, a folder or a hub id; default: the prior",
    )

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.smc import SMC

        return SMC(self.particles, self.islands, self.threshold, _proposal(self.proposal, job, prior))


class Engines(Section):
    """A table an engine; the names are those of `--engine`."""

    importance: ImportanceConfig = Field(ImportanceConfig(), description="weighted draws")  # pyright: ignore[reportCallIssue]
    rejection: RejectionConfig = Field(RejectionConfig(), description="exact draws")  # pyright: ignore[reportCallIssue]
    quasi_rejection: QuasiRejectionConfig = Field(QuasiRejectionConfig(), description="nearly exact draws")  # pyright: ignore[reportCallIssue]
    best_of_n: BestOfNConfig = Field(BestOfNConfig(), description="the best of n")  # pyright: ignore[reportCallIssue]
    soft_best_of_n: SoftBestOfNConfig = Field(SoftBestOfNConfig(), description="one of n, by weight")  # pyright: ignore[reportCallIssue]
    smc: SmcEngineConfig = Field(SmcEngineConfig(), description="particles that grow")  # pyright: ignore[reportCallIssue]


NAMES = (PRIOR, *Engines.model_fields)
"""What `--engine` accepts."""


def _proposal(given: str | None, job: "Job", prior: StepPrior) -> StepPrior | None:
    """The law to draw from; None for the prior's own."""
    from credence.study.laws import law

    return None if given is None else law(given, job, prior)
