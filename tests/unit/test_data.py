"""Prompts from files and packages; functions of a user's. Every fault is named by file, line and what to do."""

import json
from pathlib import Path

import pytest

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.study.data import load_prompts, split
from credence.study.functions import check_function, load_function


def write(folder: Path, name: str, content: str | bytes) -> str:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def test_chatterbot_english_has_749_unique_openers_in_a_fixed_order() -> None:
    # Rejects: forgetting to remove duplicates (2,026) and counting whole conversations instead of openers.
    first, again = load_prompts("chatterbot:english"), load_prompts("chatterbot:english")
    assert (len(first), first.duplicates) == (749, 2026 - 749)
    assert first.given == again.given
    assert len(set(first.given)) == 749


def test_txt_csv_and_jsonl_give_the_same_prompts(tmp_path: Path) -> None:
    bom = "\ufeff"
    txt = load_prompts(write(tmp_path, "a.txt", bom + "Hello\n\n 你好 \nHello\n"), tmp_path)
    csv = load_prompts(write(tmp_path, "a.csv", bom + 'level,prompt\n1,Hello\n2,"你好"\n3,Hello\n'), tmp_path)
    lines = [{"prompt": "Hello", "level": "1"}, {"prompt": "你好"}, {"prompt": "Hello"}]
    jsonl = load_prompts(write(tmp_path, "a.jsonl", bom + "\n".join(json.dumps(x) for x in lines)), tmp_path)
    assert txt.given == csv.given == jsonl.given == ("Hello", "你好")
    assert txt.duplicates == csv.duplicates == jsonl.duplicates == 1
    assert csv.columns == {"level": ["1", "2"]}
    assert jsonl.columns == {"level": ["1", None]}
    assert jsonl.take([1]).columns == {"level": [None]}


def test_a_prompt_that_comes_again_with_other_columns_is_said(tmp_path: Path) -> None:
    """The reward would have read them. A second pair of recorded replies to one prompt is nothing to say."""
    asked = [{"prompt": "a", "solution": "1"}, {"prompt": "b", "solution": "1"}, {"prompt": "a", "solution": "2"}]
    found = load_prompts(write(tmp_path, "a.jsonl", "\n".join(json.dumps(x) for x in asked)), tmp_path)
    assert found.words().startswith("a.jsonl: 1 lines repeat a prompt with other columns")
    assert found.take([0]).words() == found.words()
    pairs = [{"prompt": "a", "chosen": str(i), "rejected": "x"} for i in range(3)]
    assert load_prompts(write(tmp_path, "b.jsonl", "\n".join(json.dumps(x) for x in pairs)), tmp_path).words() == ""


def test_messages_lose_the_recorded_reply(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    found = load_prompts(write(tmp_path, "m.jsonl", json.dumps({"messages": talk})), tmp_path)
    assert found.given == ([{"role": "user", "content": "Hi"}],)


def test_a_line_break_inside_a_json_string_is_no_new_line(tmp_path: Path) -> None:
    # Rejects str.splitlines, which cuts at U+2028 inside a JSON string.
    found = load_prompts(write(tmp_path, "u.jsonl", json.dumps({"prompt": "a\u2028b"}, ensure_ascii=False)), tmp_path)
    assert found.given == ("a\u2028b",)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("p.xml", "x", r"\.jsonl, \.csv, \.parquet, \.txt"),
        ("p.txt", " \n", "holds no prompt"),
        ("p.csv", "", "holds no prompt"),
        ("p.csv", "promt,x\na,1\n", "line 2: neither prompt nor messages.*'promt'"),
        ("p.csv", "prompt\na,b\n", "line 2: more fields"),
        ("p.csv", "prompt,x\n,1\n", "line 2: the prompt is empty"),
        ("p.csv", 'prompt\n"a\n', "not CSV"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": \n', "line 2: not JSON"),
        ("p.jsonl", '["a"]', "line 1: list found"),
        ("p.jsonl", '{"text": "a"}', "neither prompt nor messages.*Its fields: text"),
        ("p.jsonl", '{"prompt": " "}', "line 1: the prompt is empty"),
        ("p.jsonl", '{"messages": [{"role": "user"}]}', "is no message"),
        ("p.jsonl", '{"messages": [{"role": "assistant", "content": "a"}]}', "nothing to reply to"),
        ("p.txt", "今天".encode("gb18030"), "not UTF-8: byte 0x.. in line 1"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: str | bytes, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_prompts(write(tmp_path, name, content), tmp_path)


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, "questions.txt", "a")
    with pytest.raises(ConfigError, match=r"no such prompt file.*'questions\.txt'"):
        load_prompts("question.txt", tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        load_prompts("nowhere/question.txt", tmp_path)
    with pytest.raises(ConfigError, match="'english'"):
        load_prompts("chatterbot:englsh")


def test_split_is_disjoint_by_seed_and_keeps_the_held_out() -> None:
    a = split(100, 0, 10, 20, Key(3))
    assert sorted(a.train + a.validation + a.heldout) == list(range(100))
    assert a == split(100, 0, 10, 20, Key(3))
    assert a.heldout != split(100, 0, 10, 20, Key(4)).heldout
    fewer = split(100, 5, 3, 20, Key(3))  # rejects: training drawn first, so that its size moves the held-out set
    assert (len(fewer.train), len(fewer.validation), fewer.heldout) == (5, 3, a.heldout)
    with pytest.raises(ConfigError, match="29 unique prompts"):
        split(29, 0, 10, 20, Key(0))


def test_a_users_function_is_found_run_once_and_may_import_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, "neighbour_of_rewards.py", "FACTOR = 2.0\n")
    source = "from neighbour_of_rewards import FACTOR\ndef f(p, c):\n    return [FACTOR] * len(c)\ng = 3\n"
    write(tmp_path, "mine.py", source)
    fn = load_function("mine.py:f", tmp_path)
    assert fn(["a"], ["b"]) == [2.0]
    assert load_function("mine.py:f", tmp_path) is fn
    with pytest.raises(ConfigError, match="g is int, a function is needed"):
        load_function("mine.py:g", tmp_path)


def test_a_users_function_is_checked_without_running_the_file(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", "import json\nraise SystemExit\ndef cheerful(p, c): ...\n")
    check_function("mine.py:cheerful", tmp_path, "fn")
    with pytest.raises(ConfigError, match=r"'cheerful'.*It defines: cheerful\.$"):
        check_function("mine.py:cheeful", tmp_path, "fn")
    check_function("mine.py:json", tmp_path, "fn")  # an import may be a reward, it is only not offered as one
    write(tmp_path, "none.py", "import json\n")
    with pytest.raises(ConfigError, match=r"defines no 'jsn'\. It defines no function\.$"):
        check_function("none.py:jsn", tmp_path, "fn")
    with pytest.raises(ConfigError, match=r"'mine\.py'"):
        check_function("mime.py:cheerful", tmp_path, "fn")
    with pytest.raises(ConfigError, match="'vader'"):
        check_function("vadr", tmp_path, "fn")
    with pytest.raises(ConfigError, match="line 1: not Python"):
        check_function(write(tmp_path, "bad.py", "def (") + ":f", tmp_path, "fn")


def test_a_file_that_raises_is_named(tmp_path: Path) -> None:
    write(tmp_path, "raises.py", "1 / 0\ndef f(p, c): ...\n")
    with pytest.raises(ConfigError, match="raised ZeroDivisionError"):
        load_function("raises.py:f", tmp_path)
