"""How SMC's particles grow, whatever the posterior: the settings that SMC and its conditional form share."""

from dataclasses import dataclass

from credence.core.errors import ConfigError
from credence.core.protocols import Prior, StepPrior
from credence.prior.agreement import same_completions
from credence.sample.importance import PROPOSED
from credence.sample.potential import Twist
from credence.sample.resample import SCHEMES, Scheme
from credence.sample.segments import EVERY_TOKEN, Segments


@dataclass(frozen=True, eq=False)
class Rules:
    """How particles grow, whatever the posterior; the settings of SMC and of its conditional form.

    Attributes:
        particles: K of each island.
        threshold: resample where ESS < threshold · K.
        proposal: draws the tokens; None for the prior.
        scheme: of resampling.
        twist: replaces the evidence's own on unfinished texts; None for the evidence's own.
        segments: where the twist is asked and resampling considered.

    Raises:
        ConfigError: a setting out of range.
    """

    particles: int
    threshold: float = 0.5
    proposal: StepPrior | None = None
    scheme: Scheme = "systematic"
    twist: Twist | None = None
    segments: Segments = EVERY_TOKEN

    def __post_init__(self) -> None:
        if self.particles < 1 or not 0 <= self.threshold <= 1:
            raise ConfigError(
                f"particles={self.particles}, threshold={self.threshold}: at least one particle, and a threshold from "
                "0 to 1, are needed."
            )
        if self.scheme not in SCHEMES:
            raise ConfigError(f"scheme={self.scheme!r}: resampling is one of {', '.join(SCHEMES)}.")
        # The type says so already, to those who check types; a user's object may lack the method all the same.
        if self.twist is not None and not isinstance(self.twist, Twist):  # pyright: ignore[reportUnnecessaryIsInstance] - see above
            raise ConfigError(
                f"twist={self.twist!r}: an object with log_twist(prompts, completions) -> nats a row is needed."
            )

    def models(self, prior: Prior) -> list[StepPrior]:
        """What draws the tokens, and after it the prior where that is another.

        Raises:
            ConfigError: one of them cannot be stepped, or their completions differ.
        """
        proposal = prior if self.proposal is None else self.proposal
        if not isinstance(prior, StepPrior) or not isinstance(proposal, StepPrior):
            raise ConfigError(
                f"SMC walks its prior ({type(prior).__name__}) and proposal ({type(proposal).__name__}) by tokens, and "
                "one of them cannot be stepped: use Importance or BestOfN there."
            )
        same_completions(prior, proposal, PROPOSED)
        return [proposal] if proposal is prior else [proposal, prior]
