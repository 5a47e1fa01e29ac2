"""Labelled texts: files in any encoding, broken lines by number, each text once, parts by seed."""

from pathlib import Path

import pytest

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.study.labelled import each_once, from_file, part
from credence.study.table import decoded, read_table

HEAD = "text,label\n"


def written(tmp_path: Path, text: str, name: str = "a.csv", encoding: str = "utf-8") -> Path:
    place = tmp_path / name
    place.write_bytes(text.encode(encoding))
    return place


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "big5"])
def test_encodings_are_found_and_said(tmp_path: Path, encoding: str) -> None:
    text = "房間很大，早餐也好。" if encoding == "big5" else "房间很干净，早餐也好。就是太吵了。"
    found = from_file(written(tmp_path, f"{HEAD}{text},good\n太吵,bad\n", "a.csv", encoding), "text", "label")
    assert found.texts[0] == text
    assert bool(found.remarks) is (not encoding.startswith("utf-8"))
    if found.remarks:
        assert encoding.replace("_", "-") in found.remarks[0]


def test_short_files_of_neighbours_are_not_taken_for_chinese() -> None:
    for text, encoding in (
        ("방이 깨끗하고 좋았어요. 아침 식사도 좋았습니다.", "euc-kr"),
        ("部屋はとてもきれいでした。", "euc-jp"),
    ):
        assert decoded(text.encode(encoding), Path("a.csv"))[1] != "gb18030"


def test_broken_lines_are_named_and_over_one_percent_is_an_error(tmp_path: Path) -> None:
    good = "".join(f'"so, {i}",{"good" if i % 2 else "bad"}\n' for i in range(200))
    table = read_table(written(tmp_path, HEAD + good + "a,b,c\n"), "file")
    assert (table.broken, len(table.lines)) == (((202, "3 fields for 2 columns"),), 200)
    assert "1 of 201 lines left out: line 202 (3 fields for 2 columns)" in table.remarks()[0]
    with pytest.raises(ConfigError, match=r"4 of 204 lines left out: line 202 .* line 205 .*More than 1%"):
        read_table(written(tmp_path, HEAD + good + "a,b,c\n" * 4), "file")
    with pytest.raises(ConfigError, match="broken"):  # an open quote swallows all that follows
        read_table(written(tmp_path, HEAD + '"open\n' + good.replace('"', "")), "file")
    lines = '{"text": "a", "label": 1}\n\n{"text": "b", "label": 0}\n' + '{"text": "x", "label": 1}\n' * 100
    found = read_table(written(tmp_path, lines + "[1]\n", "a.jsonl"), "file")
    assert (len(found.lines), found.broken, found.columns) == (102, ((104, "no JSON object"),), ("text", "label"))


def test_each_text_once_and_none_under_two_labels() -> None:
    pairs = [("a", "x"), ("a", "x"), ("b", "y"), ("c", "x"), ("c", "y"), ("", "x"), ("d", ""), ("e", "x")]
    found = each_once(pairs, "f")
    assert dict(zip(found.texts, found.labels, strict=True)) == {"a": "x", "b": "y", "e": "x"}
    assert found.remarks[0] == "f: left out 2 repeated, 1 empty text, 1 no label, 1 under two labels."
    for bad, says in (([("", "x")], "no text with a label"), ([("a", "x")], "every text")):
        with pytest.raises(ConfigError, match=says):
            each_once(bad, "f")


def test_parts_do_not_meet_and_follow_the_seed() -> None:
    found = each_once([(f"t{i}", "xy"[i % 2]) for i in range(50)], "f")
    parts = part(found, 0, 10, 15, Key(1))
    texts = [*parts.train.texts, *parts.validation.texts, *parts.test.texts]
    assert sorted(texts) == sorted(found.texts)
    assert (len(parts.train), len(parts.validation), len(parts.test), parts.left) == (25, 10, 15, 0)
    assert part(found, 0, 10, 15, Key(1)).test.texts == parts.test.texts
    assert part(found, 5, 10, 15, Key(2)).test.texts != parts.test.texts
    assert part(found, 5, 10, 15, Key(1)).left == 20
    with pytest.raises(ConfigError, match="ask for fewer"):
        part(found, 30, 10, 15, Key(1))


def test_a_label_that_training_never_sees() -> None:
    found = each_once([(f"t{i}", "x") for i in range(30)] + [("odd", "z")], "f")
    refused = 0
    for seed in range(20):
        try:
            assert "z" in part(found, 5, 13, 13, Key(seed)).train.labels
        except ConfigError as error:
            refused += 1
            assert "'z' stands in" in str(error)  # noqa: PT017 - either may happen, by seed
    assert refused > 5


def test_what_cannot_be_read(tmp_path: Path) -> None:
    written(tmp_path, HEAD + "a,b\n")
    for name, says in (("b.csv", "Did you mean 'a.csv'"), ("a.xls", r"end in \.csv, \.tsv, \.jsonl")):
        with pytest.raises(ConfigError, match=says):
            read_table(tmp_path / name, "file")
    with pytest.raises(ConfigError, match=r"no column 'txt'.*Did you mean 'text'"):
        from_file(tmp_path / "a.csv", "txt", "label")
    with pytest.raises(ConfigError, match="holds no row"):
        read_table(written(tmp_path, HEAD), "file")
