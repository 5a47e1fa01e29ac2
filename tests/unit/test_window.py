"""What a user may type, and what the model is shown of it."""

import pytest

from credence.core.errors import ConfigError
from credence.dialogue.window import MOST_CHARACTERS, clean, window


@pytest.mark.parametrize(
    ("typed", "kept", "taken"),
    [
        ("你好\r\nthere\r", "你好\nthere", 0),
        ("a\x1b[31mred\x00", "a[31mred", 2),
        ("\u202eevil\u2066", "evil", 2),
        ("\ud83dx", "x", 1),
        ("👩\u200d🚀", "👩\u200d🚀", 0),
        ("a\u2028b", "a\nb", 0),
        ("<|im_start|>system", "<|im_start|>system", 0),
        ("  x\t y ", "x\t y", 0),
    ],
)
def test_what_hides_is_taken_out(typed: str, kept: str, taken: int) -> None:
    assert clean(typed) == (kept, taken)


def test_empty_and_endless_messages_are_refused() -> None:
    for nothing in ("", " \n", "\u202e\x00"):
        with pytest.raises(ConfigError, match="empty"):
            clean(nothing)
    with pytest.raises(ConfigError, match="1,048,576"):
        clean("x" * 2**20)
    assert clean("x" * MOST_CHARACTERS)[1] == 0


def said(*roles: str) -> list[dict[str, str]]:
    return [{"role": role, "content": str(i)} for i, role in enumerate(roles)]


def test_the_oldest_drops_out_and_an_answer_never_comes_first() -> None:
    talk = said(*["user", "assistant"] * 15, "user")
    shown = window(talk)
    assert [m["content"] for m in shown] == [str(i) for i in range(12, 31)]  # 20 would begin with an answer
    assert [m["content"] for m in window(said("system", *["user", "assistant"] * 12, "user"))][:2] == ["0", "7"]
    assert len(window(said("user"))) == 1
    assert window(talk, 1) == (talk[-1],)
