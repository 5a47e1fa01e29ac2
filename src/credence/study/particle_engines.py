"""Settings of the engines whose particles grow: sequential Monte Carlo, and the chains of its conditional form."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from credence.core.errors import ConfigError
from credence.core.protocols import Sampler, StepPrior
from credence.posterior.twist import ValueTwist
from credence.sample.resample import Scheme
from credence.sample.segments import EVERY_TOKEN, Segments, sentence_ends
from credence.study.engine import EngineConfig, Probe, Proposal, proposed
from credence.study.section import Count

if TYPE_CHECKING:  # config.py imports the registry, which imports this
    from credence.study.job import Job


class _ParticleConfig(EngineConfig):
    """What all particles have."""

    particles: Annotated[int, Field(ge=2)] = Field(16, description="of a run; more make it likelier that a chain moves")
    threshold: float = Field(0.5, ge=0, le=1, description="resample where ESS falls below this share of the particles")
    scheme: Scheme = Field("systematic", description="of resampling: multinomial, stratified, systematic, residual")
    segment_tokens: Count | None = Field(
        None, examples=[8], description="judge and resample only where segments of so many tokens end; default: always"
    )
    segment_ends: str = Field("", description='characters that end a segment earlier, such as ".!?。！？"')
    proposal: Proposal = None
    probe: Probe = 32
    twist: str | None = Field(
        None,
        examples=["runs/valued"],
        description='a value of prefixes that steers: a run whose train.method was "value"; default: the evidence',
    )
    twist_shape: Literal["token", "state"] = Field(
        "token", description="which of its values: of the last token, of the text"
    )

    def steering(self, job: "Job", prior: StepPrior) -> ValueTwist | None:
        """The twist in place of the evidence's own.

        Raises:
            ConfigError: no value of prefixes there, or one of another prior.
        """
        from credence.study.laws import guide

        return None if self.twist is None else ValueTwist(guide(self.twist, job, prior), self.twist_shape)

    def segments(self, prior: StepPrior) -> Segments:
        """Where the evidence's twist is asked and resampling considered.

        Raises:
            ConfigError: characters that no token ends in, or a prior that speaks no text.
        """
        if not self.segment_ends:
            return EVERY_TOKEN if self.segment_tokens is None else Segments(most=self.segment_tokens)
        tokenizer: Any = getattr(prior.codec, "tokenizer", None)
        if tokenizer is None:
            raise ConfigError(
                f"segment_ends = {self.segment_ends!r}: the prior's tokens are no text; give segment_tokens instead."
            )
        return Segments(sentence_ends(prior.codec, len(tokenizer), self.segment_ends), self.segment_tokens)


class SmcEngineConfig(_ParticleConfig):
    """Sequential Monte Carlo: particles that grow and are resampled."""

    particles: Annotated[int, Field(ge=2)] = Field(16, description="particles an island")
    islands: Count = Field(4, description="independent runs: they give log Z its standard error")

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.smc import SMC

        given, twist, segments = proposed(self.proposal, job, prior), self.steering(job, prior), self.segments(prior)
        return SMC(self.particles, self.islands, self.threshold, given, self.scheme, twist, segments, self.probe)


class ParticleGibbsConfig(_ParticleConfig):
    """Particle Gibbs: chains of SMC runs, each of which holds the last reply."""

    chains: Count = Field(4, description="independent ones; also the islands of the run that starts them")
    burn: int = Field(4, ge=0, description="runs of a chain before its first draw")

    def sampler(self, job: "Job", prior: StepPrior) -> Sampler:
        """See EngineConfig."""
        from credence.sample.particle_gibbs import ParticleGibbs

        given, twist, segments = proposed(self.proposal, job, prior), self.steering(job, prior), self.segments(prior)
        return ParticleGibbs(
            self.particles, self.chains, self.burn, self.threshold, given, self.scheme, twist, segments, self.probe
        )
