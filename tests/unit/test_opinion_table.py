"""Files of opinions: three kinds by their columns, any encoding; what is left out, broken or useless is said."""

import json
from pathlib import Path
from typing import Any

import pytest

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.study.opinion_table import Opinion, OpinionTable, kept_apart, read_opinions


def written(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def lines(folder: Path, rows: list[dict[str, Any]]) -> Path:
    return written(folder, "said.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def test_columns_say_what_a_file_holds(tmp_path: Path) -> None:
    pairs = read_opinions(lines(tmp_path, [
        {"prompt": "Hi", "chosen": "a", "rejected": "b"},
        {"prompt": "Hi", "chosen": "c", "rejected": "d", "votes": [1, 3]},
        {"chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "x"}],
         "rejected": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "y"}]},
        {"chosen": "\n\nHuman: Q\n\nAssistant: x", "rejected": "\n\nHuman: Q\n\nAssistant: z"},
    ]))  # fmt: skip
    assert pairs.kind == "comparisons"
    assert [o.value for o in pairs.opinions] == [1.0, 0.25, 1.0, 1.0]
    assert pairs.opinions[2].given == [{"role": "user", "content": "Q"}]
    assert pairs.opinions[3].texts == ("x", "z")
    labels = read_opinions(written(tmp_path, "l.csv", "reply,label\na,good\nb,0\nc,TRUE\nd,差\n"))
    assert (labels.kind, [o.value for o in labels.opinions]) == ("labels", [1.0, 0.0, 1.0, 0.0])
    scores = read_opinions(written(tmp_path, "s.tsv", "text\tscore\tprompt\na\t4.5\tHi\nb\t-1\t\n"))
    assert (scores.kind, [o.value for o in scores.opinions]) == ("scores", [4.5, -1.0])
    assert [o.given for o in scores.opinions] == ["Hi", None]


def test_chinese_in_gb18030_is_read_and_said(tmp_path: Path) -> None:
    text = "text,label\n" + "".join(f"第{i}间房，早餐也不错,{'好' if i % 2 else '差'}\n" for i in range(20))
    found = read_opinions(written(tmp_path, "zh.csv", text, "gb18030"))
    assert found.opinions[3].texts == ("第3间房，早餐也不错",)
    assert found.encoding == "gb18030"
    assert "read as gb18030" in found.remarks[0]


def test_what_says_nothing_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = "a,1\nb,0\na,1\n,1\nc,\n"
    found = read_opinions(written(tmp_path, "l.csv", f"text,label\n{rows}"))
    assert len(found) == 2
    assert found.remarks == ("l.csv: left out 1 repeated, 1 with an empty text, 1 without a label.",)
    pairs = read_opinions(lines(tmp_path, [{"chosen": "a", "rejected": "b"}, {"chosen": "a", "rejected": "a"},
                                           {"chosen": "", "rejected": "b"}]))  # fmt: skip
    assert len(pairs) == 1
    assert "1 that compare a text with itself" in pairs.remarks[0]


def test_broken_lines_are_named_and_over_one_in_a_hundred_refused(tmp_path: Path) -> None:
    good = "".join(f"t{i},{i % 2}\n" for i in range(150))
    found = read_opinions(written(tmp_path, "l.csv", f"text,label\n{good}x,maybe\n"))
    assert len(found) == 150
    assert "1 of 151 lines left out: line 152 (label 'maybe' is none of" in found.remarks[0]
    with pytest.raises(ConfigError, match=r"More than 1% of the lines are broken"):
        read_opinions(written(tmp_path, "l.csv", f"text,label\n{good}x,maybe\ny,so,so\n"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("text,label\na,1\nb,1\n", "every label of .* says good"),
        ("text,label\na,0\nb,bad\n", "every label of .* says bad"),
        ("text,score\na,3\nb,3\n", "every score of .* is 3"),
        ("text,label\n,1\n", "holds no opinion that can be used"),
        ("text,label\n", "holds no row"),
        ("text,lable\na,1\n", "Did you mean 'label'"),
        ("texts,rating\na,1\n", "are needed as columns"),
        ("text,label,score\na,1,2\n", "labels and scores at once"),
        ("text,score\na,nan\n", "'nan' is no finite number"),
        ("chosen,rejected,votes\na,b,x\n", "no judges for chosen"),
        ('chosen,rejected,votes\na,b,"1,1"\n', "is a tie"),
    ],
)
def test_a_file_that_teaches_nothing_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_opinions(written(tmp_path, "said.csv", text))


def table(said: list[tuple[str | None, tuple[str, ...]]]) -> OpinionTable:
    opinions = tuple(Opinion(i, given, texts, float(i % 2)) for i, (given, texts) in enumerate(said))
    return OpinionTable("said.csv", "utf-8", "labels", opinions, ())


def test_what_belongs_together_stays_together() -> None:
    by_prompt = table([(f"p{i // 4}", (f"t{i}",)) for i in range(80)])
    learnt, apart = kept_apart(by_prompt, 0.25, Key(1))
    assert sorted(learnt + apart) == list(range(80))
    assert 16 <= len(apart) <= 24
    assert not {i // 4 for i in learnt} & {i // 4 for i in apart}
    assert kept_apart(by_prompt, 0.25, Key(1)) == (learnt, apart)
    assert kept_apart(by_prompt, 0.25, Key(2)) != (learnt, apart)
    few_prompts = table([("p", (f"t{i // 2}", f"u{i}")) for i in range(40)])
    learnt, apart = kept_apart(few_prompts, 0.25, Key(1))
    assert not {i // 2 for i in learnt} & {i // 2 for i in apart}
    tied = table([(None, ("same", f"u{i}")) for i in range(40)])
    learnt, apart = kept_apart(tied, 0.25, Key(1))
    assert (len(learnt), len(apart)) == (30, 10)
    with pytest.raises(ConfigError, match="too few"):
        kept_apart(table([(None, (f"t{i}",)) for i in range(3)]), 0.5, Key(0))
