"""From what a user writes to the tokens a chat model was taught, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from credence.core.errors import ConfigError
from credence.core.types import Prompts
from credence.prior.start import added_start, first_context

Message = Mapping[str, str]


@dataclass(frozen=True, eq=False)
class TextCodec:
    """A tokenizer and how it renders a conversation.

    A prompt is a string (one user message) or a list of {"role", "content"} messages. Models without a chat template
    get "User: … / Assistant:" lines, by name `plain`. Special tokens that a user types are text, never turns. Where no
    template is used, no marker of a chat turn begins the text; see begin.

    Args:
        tokenizer: of transformers.
        system: system message put before each prompt that has none; "" leaves the template's own default.
        style: "chat" (the tokenizer's template), "plain" (role names) or "raw" (the text itself, for base models).
    """

    tokenizer: PreTrainedTokenizerBase
    system: str = ""
    style: str = "chat"

    def __post_init__(self) -> None:
        if self.style not in ("chat", "plain", "raw"):
            raise ConfigError(f"style {self.style!r}: 'chat', 'plain' or 'raw' is needed.")

    @property
    def reads(self) -> str:
        """The style as it is carried out: "plain" in place of "chat" where the tokenizer has no template."""
        return "plain" if self.style == "chat" and not self.tokenizer.chat_template else self.style

    def decode(self, ids: Sequence[int]) -> str:
        """The reply as text, without special tokens and surrounding space."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, nothing added; what looks like a special token stays text."""
        return list(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Each token as text, whole characters only: a token that is part of a character shows as its last one."""
        shown, out = "", []
        for i in range(len(ids)):
            text = str(self.tokenizer.decode(list(ids[: i + 1])))
            text = text.rstrip("�")
            out.append(text[len(shown) :])
            shown = text
        return out

    def render(self, prompt: str | Sequence[Message]) -> list[int]:
        """Tokens up to where the reply begins."""
        if self.style == "raw":
            if not isinstance(prompt, str):
                raise ConfigError("style 'raw' takes strings, not messages.")
            return self.begin(prompt) + self.encode(prompt)
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(m) for m in prompt]
        if self.system and messages[0].get("role") != "system":
            messages = [{"role": "system", "content": self.system}, *messages]
        if self.reads == "plain":
            lines = [f"{m['role'].capitalize()}: {m['content']}" for m in messages]
            text = "\n".join([*lines, "Assistant:"])
            return self.begin(text) + self.encode(text)
        return self._chat(messages)

    def begin(self, text: str) -> list[int]:
        """The tokens put before a text that no chat template renders: those that the tokenizer itself adds, often none.

        An empty text gets a token to begin after, so that the first token of what follows has a probability; see
        first_context.
        """
        return added_start(self.tokenizer) if text else first_context(self.tokenizer)

    def start(self, prompt: str) -> str:
        """What begin puts before this prompt, as the tokenizer writes it; "" for nothing, and under a chat template."""
        if self.reads == "chat":
            return ""
        return "".join(self.tokenizer.convert_ids_to_tokens(self.begin(prompt if self.style == "raw" else "User:")))

    def _chat(self, messages: list[dict[str, str]]) -> list[int]:
        """The template's own special tokens become tokens; those inside a message stay text.

        A window may begin with an answer. A template that insists on a user's message first is not shown that answer.
        """
        from jinja2 import TemplateError

        marks = [f"\x00{i}\x00" for i in range(len(messages))]
        blank = [{**m, "content": mark} for m, mark in zip(messages, marks, strict=True)]
        try:
            text = str(self.tokenizer.apply_chat_template(blank, tokenize=False, add_generation_prompt=True))
        except TemplateError:
            first = next((i for i, m in enumerate(messages) if m["role"] != "system"), 0)
            if messages[first]["role"] != "assistant" or first + 1 == len(messages):
                raise
            return self._chat([*messages[:first], *messages[first + 1 :]])
        ids: list[int] = []
        for mark, message in zip(marks, messages, strict=True):
            before, found, text = text.partition(mark)
            if not found:
                raise ConfigError(f"the chat template dropped the message {message['content'][:40]!r}.")
            ids += self.tokenizer.encode(before, add_special_tokens=False) + self.encode(message["content"])
        return ids + list(self.tokenizer.encode(text, add_special_tokens=False))

    def prompts(self, given: Sequence[Any], columns: Mapping[str, Sequence[Any]] | None = None) -> Prompts:
        """Render each prompt; `columns` reach rewards by name."""
        return Prompts(tuple(tuple(self.render(g)) for g in given), tuple(given), self, columns or {})
