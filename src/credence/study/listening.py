"""A listener as evidence, in the file: what the prior's own model would say after hearing the reply."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from credence.core.errors import ConfigError
from credence.core.protocols import StepPrior
from credence.evidence.listener import Listener
from credence.prior.policy import unwrap
from credence.prior.render import TextCodec
from credence.study.probe import end_of
from credence.study.section import Section

REPLY, PROMPT = "{reply}", "{prompt}"


class ListenerConfig(Section):
    """A second prompt of the same model: nats = tau · log p(says | ask)."""

    ask: str = Field(
        examples=["Which question does this answer? {reply}"],
        description="what the listener is asked; {reply} stands for the reply, {prompt} for the prompt",
    )
    says: str = Field("", description="what it should say; default: the prompt, so that a reply must fit its question")
    tau: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        0.3, description="power of the likelihood: a text of many tokens taken whole is surer than it should be"
    )
    system: str = Field("", description="system message of the listener")
    style: Literal["chat", "plain", "raw"] = Field("chat", description="how the question is rendered")

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if REPLY not in self.ask:
            raise ValueError(f"ask = {self.ask!r} does not hold {REPLY}, so every reply would sound alike")
        if not self.says and PROMPT in self.ask:
            raise ValueError(
                f"ask holds {PROMPT}, and says is empty: the listener would be told what it is to guess. Give says, or "
                f"leave {PROMPT} out"
            )
        return self


def listener(given: ListenerConfig, prior: StepPrior) -> Listener:
    """The listener that a table of the file describes: the prior's own model at temperature 1 under another prompt.

    Raises:
        ConfigError: the prior is no language model; a prompt that is silent about what should be said.
    """
    base, _ = unwrap(prior)
    codec = TextCodec(base.codec.tokenizer, given.system, given.style)
    ends = () if codec.reads == "raw" else (end_of(base),)

    def asked(prompt: Any, reply: Any) -> str:  # noqa: ANN401 - a prompt as its user wrote it
        return given.ask.replace(PROMPT, last_said(prompt)).replace(REPLY, str(reply))

    def says(prompt: Any) -> tuple[int, ...]:  # noqa: ANN401
        tokens = codec.encode(given.says or last_said(prompt))
        return (*tokens, *ends) if tokens else ()

    return Listener(replace(base, codec=codec), asked, says, given.tau)


def last_said(prompt: str | Sequence[Any]) -> str:
    """A prompt's text: itself, or the last message that a user wrote.

    Raises:
        ConfigError: a conversation without one.
    """
    if isinstance(prompt, str):
        return prompt
    said = [m["content"] for m in prompt if m["role"] == "user"]
    if not said:
        raise ConfigError(f"evidence.listener: no user speaks in {prompt!r}. Give says what the listener should say.")
    return str(said[-1])
