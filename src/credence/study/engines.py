"""The registry of the engines that draw: each one's table of settings, and how it becomes a Sampler.

A further engine is one small class, here or beside it (*_engines), and one line in `Engines`.
TOML, `--set`, `credence sample --engine`, the template of `credence init` and all error messages follow from them.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from credence.core.protocols import Sampler, StepPrior
from credence.study.chain_engines import (
    AnnealedConfig,
    BlockMHConfig,
    IndependentMHConfig,
    SuffixMHConfig,
    TemperingConfig,
)
from credence.study.decoding_engines import (
    SequenceProductConfig,
    SpeculativeConfig,
    StochasticBeamConfig,
    TokenProductConfig,
)
from credence.study.engine import EngineConfig, Probe, Proposal, proposed
from credence.study.particle_engines import ParticleGibbsConfig, SmcEngineConfig
from credence.study.section import Count, Section

if TYPE_CHECKING:  # config.py imports this registry
    from credence.study.job import Job

PRIOR = "prior"
"""The engine that only looks: draws of the prior, beside what the evidence says of them."""


class ImportanceConfig(EngineConfig):
    """Importance sampling: weighted draws of a proposal."""

    proposal: Proposal = None
    probe: Probe = 32

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.importance import Importance

        return Importance(proposed(self.proposal, job, prior), self.probe)


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
    proposal: Proposal = None

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.quasi_rejection import QuasiRejection

        given = proposed(self.proposal, job, prior)
        return QuasiRejection(self.bound, self.acceptance, self.pilot, self.most, given)


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


class Engines(Section):
    """A table an engine; the names are those of `--engine`."""

    importance: ImportanceConfig = Field(ImportanceConfig(), description="weighted draws")  # pyright: ignore[reportCallIssue]
    rejection: RejectionConfig = Field(RejectionConfig(), description="exact draws")  # pyright: ignore[reportCallIssue]
    quasi_rejection: QuasiRejectionConfig = Field(QuasiRejectionConfig(), description="nearly exact draws")  # pyright: ignore[reportCallIssue]
    best_of_n: BestOfNConfig = Field(BestOfNConfig(), description="the best of n")  # pyright: ignore[reportCallIssue]
    soft_best_of_n: SoftBestOfNConfig = Field(SoftBestOfNConfig(), description="one of n, by weight")  # pyright: ignore[reportCallIssue]
    smc: SmcEngineConfig = Field(SmcEngineConfig(), description="particles that grow")  # pyright: ignore[reportCallIssue]
    particle_gibbs: ParticleGibbsConfig = Field(ParticleGibbsConfig(), description="chains of particles")  # pyright: ignore[reportCallIssue]
    suffix_mh: SuffixMHConfig = Field(SuffixMHConfig(), description="chains that say endings anew")  # pyright: ignore[reportCallIssue]
    block_mh: BlockMHConfig = Field(BlockMHConfig(), description="chains that say middles anew")  # pyright: ignore[reportCallIssue]
    independent_mh: IndependentMHConfig = Field(IndependentMHConfig(), description="chains of whole replies")  # pyright: ignore[reportCallIssue]
    parallel_tempering: TemperingConfig = Field(TemperingConfig(), description="ladders of chains")  # pyright: ignore[reportCallIssue]
    annealed: AnnealedConfig = Field(AnnealedConfig(), description="weighted draws along the path")  # pyright: ignore[reportCallIssue]
    speculative: SpeculativeConfig = Field(SpeculativeConfig(), description="weighted draws by a draft")  # pyright: ignore[reportCallIssue]
    stochastic_beam: StochasticBeamConfig = Field(StochasticBeamConfig(), description="different replies")  # pyright: ignore[reportCallIssue]
    token_product: TokenProductConfig = Field(TokenProductConfig(), description="experts, a token at a time")  # pyright: ignore[reportCallIssue]
    sequence_product: SequenceProductConfig = Field(SequenceProductConfig(), description="experts, whole replies")  # pyright: ignore[reportCallIssue]


NAMES = (PRIOR, *Engines.model_fields)
"""What `--engine` accepts."""
