"""Tables of the engines that learn from recorded replies: where these are, and the β that stands with them."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from credence.study.learner import LearnerConfig
from credence.study.recorded import Kind
from credence.study.section import Count, Rate

if TYPE_CHECKING:
    from credence.learn.collect import Learner

One = Annotated[int, Field(ge=1, le=1)]
Two = Annotated[int, Field(ge=2, le=2)]


class RecordedConfig(LearnerConfig):
    """An engine that draws nothing itself.

    Class attributes:
        recorded: what each line of its file must be.
    """

    passes_cost = 3.2
    recorded: ClassVar[Kind]

    steps: int = Field(40, ge=0, description="most steps; 0 skips the stage")
    prompts: Count = Field(16, description="examples a step")
    lr: Rate = Field(1e-4, description="Adam's step size after warm-up")
    data: str = Field("", examples=["pairs.jsonl"], description="file of recorded replies: .jsonl, .csv or .parquet")

    @property
    def finite(self) -> bool:
        """No: it reads no evidence."""
        return False


class JudgedConfig(RecordedConfig):
    """An engine that learns what judges said."""

    group: Two = Field(2, description="rows an example: always 2")
    beta: Rate = Field(0.1, description="logits of preference per nat (ipo: winning probability per nat)")
    repeats: Literal["once", "count"] = Field("once", description="the same judged again: once together, or each time")


class ComparedConfig(JudgedConfig):
    """An engine that learns from two replies to one prompt."""

    recorded = "comparison"

    wrong: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.0, description="chance that a judgement is wrong; above 0 no gap is infinite"
    )


class DpoConfig(ComparedConfig):
    """Direct preference optimisation: the policy as the reward of a Bradley–Terry model."""

    name_shown = "DPO"

    divergence: Literal["reverse_kl", "forward_kl", "js", "alpha"] = Field(
        "reverse_kl", description="reverse_kl: the posterior; any other has its own optimum"
    )
    alpha: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="of divergence alpha")

    def learner(self) -> "Learner":
        """See LearnerConfig."""
        from credence.learn.dpo import DPO

        return DPO(self.prompts, self.lr, divergence=self.divergence, alpha=self.alpha)


class IpoConfig(ComparedConfig):
    """Identity preference optimisation: a finite gap whatever the labels."""

    name_shown = "IPO"

    def learner(self) -> "Learner":
        """See LearnerConfig."""
        from credence.learn.ipo import IPO

        return IPO(self.prompts, self.lr)


class KtoConfig(JudgedConfig):
    """KTO: replies that were liked or disliked, without a partner."""

    name_shown = "KTO"
    recorded = "label"

    liked: Rate = Field(1.0, description="weight of a liked reply")
    disliked: Rate = Field(1.0, description="weight of a disliked reply")

    def learner(self) -> "Learner":
        """See LearnerConfig."""
        from credence.learn.kto import KTO

        return KTO(self.prompts, self.lr, liked=self.liked, disliked=self.disliked)


class SftConfig(RecordedConfig):
    """Supervised fine-tuning: maximum likelihood of recorded replies."""

    name_shown = "SFT"
    recorded = "demonstration"

    group: One = Field(1, description="rows an example: always 1")

    def learner(self) -> "Learner":
        """See LearnerConfig."""
        from credence.learn.sft import SFT

        return SFT(self.prompts, self.lr)
