"""Labels in words: templates, their space, what a tokenizer makes of it, and what is refused."""

import pytest

from credence.belief.verbaliser import Verbaliser, read_texts, room
from credence.core.errors import ConfigError
from tests.classifying import LABELS, WORDS, byte_model

TWO = {"bad": "bad", "good": "good"}


def test_space_at_the_end_of_a_template_belongs_to_what_follows() -> None:
    spaced = Verbaliser("v", TWO, "A {label} one: ", "{text} is ")
    assert spaced.before("bad") == "A bad one:"
    assert spaced.asking("x") == "x is"
    assert spaced.gap == " "
    prior = byte_model()
    assert read_texts(prior, ["hm"], spaced.gap).ids[0] == tuple(prior.codec.encode(" hm"))
    assert spaced.answers(prior, LABELS) == [prior.codec.encode(" bad"), prior.codec.encode(" good")]


def test_braces_and_placeholders_in_a_text_stay_text() -> None:
    assert WORDS.asking("{label} {0}") == "{label} {0} is"


def test_long_texts_are_cut_at_whole_characters_and_counted() -> None:
    prior = byte_model()
    found = read_texts(prior, ["好" * 10, "ok"], "", 7)  # three bytes a character
    assert found.cut == 1
    assert found.texts == ("好好", "ok")
    assert [len(ids) for ids in found.ids] == [7, 2]
    longest = room(prior, [WORDS], LABELS)
    assert 0 < longest < prior.context
    with pytest.raises(ConfigError, match="no text fits"):
        room(prior, [Verbaliser("v", TWO, "x" * 300 + "{label}", "{text}")], LABELS)


@pytest.mark.parametrize(
    ("words", "channel", "direct", "says"),
    [
        (TWO, "no place", "{text}", "needs {label}"),
        (TWO, "{label} {label}", "{text}", "once"),
        (TWO, "{label}", "no place", "needs {text}"),
        ({}, "{label}", "{text}", "no words"),
        ({"bad": " ", "good": "x"}, "{label}", "{text}", "is empty"),
        ({"bad": "x", "good": "x "}, "{label}", "{text}", "for both 'bad' and 'good'"),
    ],
)
def test_what_cannot_be_a_verbaliser(words: dict[str, str], channel: str, direct: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Verbaliser("v", words, channel, direct)


def test_words_that_the_model_cannot_tell_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    prior = byte_model()
    begins = Verbaliser("v", {"bad": "un", "good": "unseen"}, "{label}", "{text}")
    with pytest.raises(ConfigError, match="is how 'unseen' begins"):
        begins.answers(prior, LABELS)
    encode = prior.codec.encode
    monkeypatch.setattr(type(prior.codec), "encode", lambda self, text: [] if text.strip() == "好" else encode(text))
    nothing = Verbaliser("v", {"bad": "bad", "good": "好"}, "{label}", "{text}")
    with pytest.raises(ConfigError, match="no token at all"):
        nothing.answers(prior, LABELS)
    with pytest.raises(ConfigError, match="no token at all"):
        read_texts(prior, ["好"])
