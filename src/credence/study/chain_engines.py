"""Settings of the engines that walk: chains of texts, ladders of chains, and annealed runs."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from credence.core.protocols import Sampler, StepPrior
from credence.study.engine import EngineConfig, Proposal, proposed
from credence.study.section import Count, Rate

if TYPE_CHECKING:  # config.py imports the registry, which imports this
    from credence.study.job import Job


class _ChainConfig(EngineConfig):
    """What all chains have."""

    chains: Count = Field(4, description="a prompt; R̂ compares them, so at least 4")
    burn_in: int = Field(50, ge=0, description="steps before the first draw")
    thin: Count = Field(5, description="steps between two draws of a chain")


class SuffixMHConfig(_ChainConfig):
    """Suffix Metropolis-Hastings: chains that keep a beginning and say the rest anew."""

    proposal: Proposal = None

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.suffix_mh import SuffixMH

        return SuffixMH(self.chains, self.burn_in, self.thin, proposed(self.proposal, job, prior))


class BlockMHConfig(_ChainConfig):
    """Block Metropolis-Hastings: chains that say a few words in the middle anew."""

    size: Count = Field(3, description="tokens of a block")
    suffix: float = Field(0.5, gt=0, le=1, description="share of steps that redraw a suffix: blocks keep the length")
    proposal: Proposal = None

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.block_mh import BlockMH

        given = proposed(self.proposal, job, prior)
        return BlockMH(self.chains, self.burn_in, self.thin, self.size, self.suffix, given)


class IndependentMHConfig(_ChainConfig):
    """Independent Metropolis-Hastings: whole replies of a proposal, each against the one before it."""

    proposal: Proposal = None

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.independent_mh import IndependentMH

        return IndependentMH(self.chains, self.burn_in, self.thin, proposed(self.proposal, job, prior))


Power = Annotated[Rate, Field(description="above 1, positions lie denser near the prior")]


class TemperingConfig(_ChainConfig):
    """Parallel tempering: chains all along the way from prior to posterior, which exchange replies."""

    chains: Count = Field(4, description="ladders a prompt; R̂ compares them, so at least 4")
    rungs: Annotated[int, Field(ge=2)] = Field(6, description="chains of a ladder, both ends counted")
    power: Power = 2.0

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.tempering import ParallelTempering

        return ParallelTempering(self.chains, self.burn_in, self.thin, self.rungs, self.power)


class AnnealedConfig(EngineConfig):
    """Annealed importance sampling: replies carried from prior to posterior, with the weight they gather."""

    steps: Count = Field(16, description="positions between prior and posterior")
    moves: Count = Field(1, description="suffix moves at each position")
    power: Power = 2.0

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.annealed import Annealed

        return Annealed(self.steps, self.moves, self.power)
