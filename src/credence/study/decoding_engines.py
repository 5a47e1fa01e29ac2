"""Settings of the engines that work at the decoder: drafts, beams, and products with other models."""

from typing import TYPE_CHECKING

from pydantic import Field

from credence.core.errors import ConfigError
from credence.core.protocols import Sampler, StepPrior
from credence.prior.reshape import Reshaped, reshape
from credence.study.engine import EngineConfig, Probe, Proposal, proposed
from credence.study.section import Count, Rate

if TYPE_CHECKING:  # config.py imports the registry, which imports this
    from credence.study.job import Job


class SpeculativeConfig(EngineConfig):
    """Speculative sampling: weighted draws by way of a cheap draft; give draft, or draft_temperature, or both."""

    draft: str | None = Field(
        None,
        examples=["models/small"],
        description="a smaller model of the prior's tokenizer: a run, an exported model, a folder or a hub id",
    )
    draft_temperature: Rate | None = Field(
        None, examples=[1.0], description="of the draft; without a draft the prior's own model drafts at it"
    )
    ahead: Count = Field(4, description="most tokens drafted between two passes of the model")
    proposal: Proposal = None
    probe: Probe = 32

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.speculative import Speculative

        return Speculative(self._drafted(job, prior), self.ahead, proposed(self.proposal, job, prior), self.probe)

    def _drafted(self, job: "Job", prior: StepPrior) -> StepPrior:
        from credence.study.laws import law

        if self.draft is not None:
            return law(self.draft, job, prior, self.draft_temperature)
        if self.draft_temperature is None:
            raise ConfigError(
                "sample.engine = 'speculative' needs a draft, which proposes tokens: sample.speculative.draft names a "
                "smaller model of the same tokenizer; without one, sample.speculative.draft_temperature = 1.0 lets "
                "the prior's own model draft at that temperature."
            )
        model = prior
        while isinstance(model, Reshaped):
            model = model.inner
        return reshape(model, self.draft_temperature)


class StochasticBeamConfig(EngineConfig):
    """Stochastic beam: different replies, drawn without replacement, with weights."""

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.stochastic_beam import StochasticBeam

        return StochasticBeam()


class TokenProductConfig(EngineConfig):
    """Product of prior and experts, normalised after each token: quick, and not the law of whole replies."""

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.token_product import TokenProduct

        _need_experts("token_product", job)
        return TokenProduct()


class SequenceProductConfig(EngineConfig):
    """Product of prior and experts, as a law of whole replies, by particles."""

    particles: Count = Field(16, description="particles an island")
    islands: Count = Field(4, description="independent runs: they give log Z its standard error")
    threshold: float = Field(0.5, ge=0, le=1, description="resample where ESS falls below this share of the particles")

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.sequence_product import SequenceProduct

        _need_experts("sequence_product", job)
        return SequenceProduct(self.particles, self.islands, self.threshold)


def _need_experts(engine: str, job: "Job") -> None:
    """Refuse a product engine where the file names nothing to multiply the prior with."""
    from credence.study.evidence_config import TargetConfig

    given = job.evidence
    if not isinstance(given, TargetConfig) or not given.compares:
        raise ConfigError(
            f"sample.engine = {engine!r} multiplies the prior with other models, and the evidence names none. Give "
            "[[evidence.expert]] (model, against, weight), or [evidence.realign] (policy, beta, to)."
        )
