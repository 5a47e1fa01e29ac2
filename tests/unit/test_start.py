"""What a text begins after without a chat template: never a marker of a chat turn."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from credence.prior.start import added_start, first_context, turn_markers

CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
BEGUN = "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
REFUSING = CHATML + "{{ raise_exception('no') }}"
CONTENT = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def tokenizer(
    template: str | None, marks: tuple[str, ...], bos: str | None, eos: str, own: tuple[str, ...] = ()
) -> PreTrainedTokenizerFast:
    """Bytes and these special tokens; the tokenizer itself puts `own` before a text."""
    inner = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=bos, eos_token=eos, additional_special_tokens=list(marks)
    )
    if own:
        pairs = [(mark, made.convert_tokens_to_ids(mark)) for mark in own]
        made.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join([*own, "$A"]), special_tokens=pairs
        )
    made.chat_template = template
    return made


MARKS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>")


@pytest.mark.parametrize(
    ("template", "bos", "eos", "own", "added", "first"),
    [
        (CHATML, "<|im_start|>", "<|im_end|>", (), [], ["<|endoftext|>"]),  # SmolLM2-Instruct
        (CHATML, None, "<|im_end|>", (), [], ["<|endoftext|>"]),  # Qwen
        (BEGUN, "<s>", "<|im_end|>", ("<s>",), ["<s>"], ["<s>"]),  # Llama: the template writes its start, once
        (CHATML, "<s>", "<|im_end|>", (), [], ["<s>"]),
        (CHATML, "<|im_start|>", "<|im_end|>", ("<|im_start|>",), [], ["<|endoftext|>"]),
        (None, "<s>", "<|endoftext|>", (), [], ["<s>"]),
        (None, None, "<|endoftext|>", (), [], ["<|endoftext|>"]),
        (REFUSING, "<|im_start|>", "<|im_end|>", (), [], ["<|endoftext|>"]),
        (CONTENT, "<|im_start|>", "<|im_end|>", (), [], ["<|im_start|>"]),
    ],
)
def test_what_stands_before_a_text(
    template: str | None, bos: str | None, eos: str, own: tuple[str, ...], added: list[str], first: list[str]
) -> None:
    made = tokenizer(template, MARKS, bos, eos, own)
    assert made.convert_ids_to_tokens(added_start(made)) == added
    assert made.convert_ids_to_tokens(first_context(made)) == first


def test_where_every_token_marks_a_turn_there_is_no_start() -> None:
    made = tokenizer(CHATML, MARKS[:2], "<|im_start|>", "<|im_end|>")
    assert first_context(made) == []
    assert set(made.convert_ids_to_tokens(list(turn_markers(made)))) == {"<|im_end|>", "<|im_start|>"}
