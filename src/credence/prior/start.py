"""The token that a text begins after where no chat template is used: never the marker of a chat turn."""

from collections.abc import Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

SEPARATORS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
"""What base models are taught between two documents, where the chat model that came of one names another end token."""


def added_start(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that the tokenizer itself puts before a text, markers of a chat turn left out; most put none."""
    bare, whole = tokenizer.encode("a", add_special_tokens=False), tokenizer.encode("a")
    begins = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), 0)
    return [t for t in whole[:begins] if t not in turn_markers(tokenizer)]


def first_context(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What a text that follows no prompt begins after, so that its first token has a probability.

    The tokenizer's own start, else its bos token, else its eos token, else the separator of documents: the first that
    is no marker of a chat turn. Empty where there is none. Tested in tests/unit/test_start.py.
    """
    if own := added_start(tokenizer):
        return own
    known = {str(token): i for i, token in tokenizer.added_tokens_decoder.items()}
    markers = turn_markers(tokenizer)
    named = [tokenizer.bos_token_id, tokenizer.eos_token_id, *(known.get(name) for name in SEPARATORS)]
    return next(([t] for t in named if isinstance(t, int) and t not in markers), [])


def turn_markers(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Special tokens that the chat template writes with every message; none where there is no template.

    A start of the text that a template writes once is none of them. Of a template that refuses a conversation of three
    turns, every special token that its source spells out is one.
    """
    if not tokenizer.chat_template:
        return frozenset()
    turns = [{"role": role, "content": "a"} for role in ("user", "assistant", "user")]
    special: Sequence[int] = [i for i, token in tokenizer.added_tokens_decoder.items() if token.special]
    try:
        text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    except TemplateError:
        source = str(tokenizer.chat_template)
        return frozenset(i for i in special if str(tokenizer.convert_ids_to_tokens(i)) in source)
    written = tokenizer.encode(text, add_special_tokens=False)
    return frozenset(i for i in special if written.count(i) >= len(turns))
