"""Recorded replies in the forms that TRL users have; every fault is named by line, field and what was expected."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from credence.core.errors import ConfigError, MissingExtraError
from credence.study.data import load_prompts
from credence.study.recorded import Recorded, load_recorded

ASKED = [{"role": "user", "content": "Sky?"}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def read(folder: Path, kind: Any, *lines: Any, name: str = "a.jsonl") -> Recorded:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / name).write_text(text, encoding="utf-8")
    return load_recorded(name, kind, folder)


def test_comparisons_in_every_form_are_the_same(tmp_path: Path) -> None:
    """Explicit and implicit prompts, as text and as messages, as lines and as cells."""
    human = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Sky?\n\nAssistant: "
    talk = [{"role": "user", "content": "Hi"}, *said("Yes?"), *ASKED]
    forms: list[tuple[Any, Any]] = [
        ("Sky?", {"prompt": "Sky?", "chosen": "Blue.", "rejected": "Red."}),
        (ASKED, {"prompt": ASKED, "chosen": said("Blue."), "rejected": said("Red.")}),
        (ASKED, {"prompt": ASKED, "chosen": ASKED + said("Blue."), "rejected": ASKED + said("Red.")}),
        (ASKED, {"chosen": ASKED + said("Blue."), "rejected": ASKED + said("Red.")}),
        (talk, {"chosen": human + "Blue.", "rejected": human + "Red."}),
        ("The sky is", {"chosen": "The sky is Blue.", "rejected": "The sky is Red."}),
    ]
    for given, line in forms:
        found = read(tmp_path, "comparison", line)
        assert found.given == (given,), line
        assert found.replies == (("Blue.", "Red."),), line
        assert found.said == ((1.0, 0.0),)
    csv = read(tmp_path, "comparison", "prompt,chosen,rejected,who", "Sky?,Blue.,Red.,me", name="a.csv")
    assert (csv.given, csv.replies, csv.columns) == (("Sky?",), (("Blue.", "Red."),), {"who": ["me"]})
    cells = f'chosen,rejected\n"{_cell(ASKED + said("Blue."))}","{_cell(ASKED + said("Red."))}"'
    assert read(tmp_path, "comparison", cells, name="b.csv").given == (ASKED,)


def _cell(value: Any) -> str:
    return json.dumps(value).replace('"', '""')


def test_no_word_is_torn_where_texts_part_inside_it(tmp_path: Path) -> None:
    found = read(tmp_path, "comparison", {"chosen": "Say: bluebell", "rejected": "Say: bluebird"})
    assert (found.given, found.replies) == (("Say:",), (("bluebell", "bluebird"),))


def test_two_equal_conversations_still_end_in_a_reply(tmp_path: Path) -> None:
    line = {"chosen": ASKED + said("Blue."), "rejected": ASKED + said("Blue.")}
    assert read(tmp_path, "comparison", line).replies == (("Blue.", "Blue."),)


def test_votes_say_who_won_and_ties_are_legal(tmp_path: Path) -> None:
    line = {"prompt": "a", "chosen": "b", "rejected": "c"}
    found = read(tmp_path, "comparison", line | {"votes": [3, 1]}, line | {"votes": "1,1"}, line | {"judge": "x"})
    assert found.said == ((3.0, 1.0), (1.0, 1.0), (1.0, 0.0))
    assert found.columns == {"judge": [None, None, "x"]}
    assert found.where[1].endswith("a.jsonl, line 2")


def test_demonstrations_and_labels(tmp_path: Path) -> None:
    talk = [*ASKED, *said("Blue."), {"role": "user", "content": "Sea?"}, *said("Green.")]
    found = read(
        tmp_path, "demonstration", {"prompt": "Sky?", "completion": said("Blue."), "topic": "t"}, {"messages": talk}
    )
    assert found.given == ("Sky?", ASKED, talk[:3])
    assert found.replies == (("Blue.",), ("Blue.",), ("Green.",))
    assert found.columns["topic"] == ["t", None, None]
    labels = read(
        tmp_path, "label", *({"prompt": "a", "completion": "b", "label": x} for x in (True, False, 1, 0, "true", "0"))
    )
    assert labels.said == ((1.0,), (0.0,)) * 3


@pytest.mark.parametrize(
    ("kind", "line", "says"),
    [
        (
            "comparison",
            {"prompt": "a", "choosen": "b", "rejected": "c"},
            r"line 1: no 'chosen'\. Did you mean 'choosen'",
        ),
        ("comparison", {"prompt": "a", "chosen": "b", "rejected": ""}, r"no 'rejected' \(it is empty\)"),
        ("comparison", {"chosen": "blue", "rejected": "red"}, "share no beginning.*Add the field prompt"),
        ("comparison", {"chosen": ASKED + said("x"), "rejected": said("y")}, "do not begin with the same message"),
        ("comparison", {"chosen": "a b", "rejected": said("y")}, "line 1, chosen: 'a b' found; text, or a list"),
        ("comparison", {"prompt": "a", "chosen": ASKED + said("x"), "rejected": "y"}, "user, assistant messages found"),
        ("comparison", {"prompt": "a", "chosen": "b", "rejected": "c", "votes": [0, 0]}, "votes: .* such as .3, 1."),
        ("comparison", {"prompt": "a", "chosen": "b", "rejected": "c", "votes": "many"}, "votes: 'many' found"),
        ("comparison", {"prompt": "a", "completion": "b", "label": True}, "These are labels, which kto reads"),
        ("label", {"prompt": "a", "chosen": "b", "rejected": "c"}, "no 'completion'.*comparisons, which dpo or ipo"),
        ("label", {"prompt": "a", "completion": "b", "label": "good"}, "label: 'good' found; true or false"),
        (
            "comparison",
            {"prompt": ASKED + said("x"), "chosen": said("b"), "rejected": said("c")},
            "prompt: its last mess",
        ),
        ("label", {"prompt": ASKED + said("x"), "completion": "b", "label": 1}, "move that message into the reply"),
        ("demonstration", {"text": "a b"}, "In one `text` nothing says where the reply begins"),
        ("demonstration", {"messages": ASKED}, "no assistant message that answers something"),
        ("demonstration", {"prompt": "a", "completion": 3}, "line 1, completion: 3 found; text, or a list"),
        ("demonstration", "[1]", "line 1: list found"),
        (
            "comparison",
            {"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c", "rejected": "\n\nHuman: a\n\nAssistant: d"},
            "differ in more than one reply .a further turn of Human",
        ),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, kind: str, line: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read(tmp_path, kind, line)


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no example"):
        read(tmp_path, "label", "")
    with pytest.raises(ConfigError, match=r"a text file holds prompts alone"):
        read(tmp_path, "label", "x", name="a.txt")
    with pytest.raises(ConfigError, match=r"files of examples end in \.jsonl"):
        read(tmp_path, "label", "x", name="a.xml")
    read(tmp_path, "label", {"prompt": "a", "completion": "b", "label": True})
    with pytest.raises(ConfigError, match=r"no such file of recorded replies.*'a\.jsonl'"):
        load_recorded("b.jsonl", "label", tmp_path)


def test_prompts_are_read_from_recorded_replies_too(tmp_path: Path) -> None:
    """A file of comparisons without prompts asks what both conversations begin with; replies become columns."""
    read(
        tmp_path, "comparison", {"chosen": ASKED + said("Blue."), "rejected": ASKED + said("Red."), "solution": "blue"}
    )
    found = load_prompts("a.jsonl", tmp_path)
    assert found.given == (ASKED,)
    assert found.columns["solution"] == ["blue"]


def test_parquet_needs_its_package_and_is_read_by_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"credence-lm\[parquet\]"):
        load_recorded("p.parquet", "label", tmp_path)
    with pytest.raises(ConfigError, match="no such prompt file"):
        load_prompts("q.parquet", tmp_path)

    class Table:
        def to_pylist(self) -> list[dict[str, Any]]:
            return [
                {"prompt": "a", "completion": "b", "label": True},
                {"prompt": "a", "completion": "c", "label": None},
            ]

    arrow = types.ModuleType("pyarrow")
    arrow.ArrowException = RuntimeError  # pyright: ignore[reportAttributeAccessIssue]
    arrow.parquet = types.SimpleNamespace(read_table=lambda path: Table())  # pyright: ignore
    monkeypatch.setitem(sys.modules, "pyarrow", arrow)
    with pytest.raises(ConfigError, match=r"p\.parquet, row 2: no 'label' \(it is empty\)"):
        load_recorded("p.parquet", "label", tmp_path)
    assert load_prompts("p.parquet", tmp_path).given == ("a",)
