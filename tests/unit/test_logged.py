"""Logs of choices from files: what is read, left out and named, and refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from credence.core.errors import ConfigError
from credence.study.choose import judge_log, read_world
from credence.study.log_features import features_of, matrix, point, policy_law
from credence.study.logged import read_log

HEAD = "arm,reward,propensity,length,lang"
GOOD = ["plain,1,0.5,10,en", "worked,0,0.5,20,zh", "plain,0,0.25,30,en", "worked,1,0.75,40,zh"]


def written(folder: Path, lines: list[str], name: str = "log.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes("\n".join(lines).encode(encoding))
    return path


def many(n: int = 200) -> list[str]:
    return [HEAD, *(GOOD[i % 4] for i in range(n))]


def test_a_csv_and_a_jsonl_are_read_alike(tmp_path: Path) -> None:
    table = read_log(written(tmp_path, [HEAD, *GOOD]))
    objects = [
        {"arm": a, "reward": float(r), "propensity": float(p), "context": {"length": int(length), "lang": lang}}
        for a, r, p, length, lang in (row.split(",") for row in GOOD)
    ]
    rows = read_log(written(tmp_path, [json.dumps(o) for o in objects], "log.jsonl"))
    assert [(x.arm, x.reward, x.propensity) for x in rows.lines] == [
        (x.arm, x.reward, x.propensity) for x in table.lines
    ]
    assert rows.columns == ("context.length", "context.lang")
    assert table.columns == ("length", "lang")
    features, notes = features_of(table, (), ())
    assert notes == []
    assert [name for f in features for name in f.names] == ["length", "lang=zh"]
    numbers = matrix(features, table.lines, "log")
    assert numbers[:, 0].mean() == pytest.approx(0)
    assert numbers[:, 0].std() == pytest.approx(1)
    assert numbers[:, 1].tolist() == [0, 1, 0, 1]
    assert point(features, ["length=25", "lang=en"]).tolist() == [[0, 0]]


@pytest.mark.parametrize(("encoding", "told"), [("utf-8", "utf-8"), ("gb18030", "gb18030"), ("utf-16", "utf-16")])
def test_encodings_are_detected_and_told(tmp_path: Path, encoding: str, told: str) -> None:
    path = written(
        tmp_path, ["arm,reward,propensity", "直接回答,1,0.5", "一步一步,0,0.5", "直接回答,0,0.5"], encoding=encoding
    )
    found = judge_log(path)
    assert found.encoding == told
    assert {row.arm for row in found.arms} == {"直接回答", "一步一步"}
    assert (f"read as {told}" in found.notes) == (told != "utf-8")


def test_broken_lines_are_counted_and_named(tmp_path: Path) -> None:
    lines = many()
    lines[7], lines[40] = "plain,1,0.5", "plain,n/a,0.5,10,en"
    found = read_log(written(tmp_path, lines))
    assert found.broken == ((8, "3 fields for 5 columns"), (41, "reward 'n/a' is no finite number"))
    assert found.broken_words().startswith("2 of 200 lines left out: line 8 (3 fields for 5 columns), line 41")
    lines[90] = ",1,0.5,10,en"
    with pytest.raises(ConfigError, match=r"3 of 200 lines left out.*line 91 \(no arm\).*More than 1%"):
        read_log(written(tmp_path, lines))


def test_a_quote_never_closed_breaks_every_line_that_it_swallows(tmp_path: Path) -> None:
    lines = many()
    lines[190] = '"plain,1,0.5,10,en'
    with pytest.raises(ConfigError, match="11 of 200 lines left out"):
        read_log(written(tmp_path, lines))


def test_broken_objects(tmp_path: Path) -> None:
    row = json.dumps({"arm": "a", "reward": True, "propensity": 0.5})
    other = json.dumps({"arm": 2, "reward": 0, "propensity": 1})
    found = read_log(written(tmp_path, [row, other] * 150 + ["[1]", "", "{oops"], "log.jsonl"))
    assert found.broken == ((301, "no JSON object"), (303, "not JSON"))
    assert {line.arm for line in found.lines} == {"a", "2"}
    assert found.lines[0].reward == 1


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["arm,reward,propensty", "a,1,0.5"], r"no column 'propensity'. Did you mean 'propensty'"),
        ([HEAD], "holds no row"),
        ([""], "holds no row"),
        ([HEAD, *GOOD, "plain,1,0,10,en"], r"line 6: propensity 0; .* \(0, 1\]"),
        ([HEAD, *GOOD, "plain,1,1.01,10,en"], r"line 6: propensity 1\.01"),
        ([HEAD, GOOD[0], GOOD[2]], "every line chose the arm 'plain'"),
        (["arm,arm,reward,propensity", "a,a,1,1"], "'arm' stands twice"),
        ([HEAD, *GOOD, "plain,1,0.5,,en"], "line 6: no length"),
        (
            ["arm,reward,propensity,text", *(f"{'ab'[i % 2]},1,0.5,question {i}" for i in range(20))],
            "20 different words",
        ),
    ],
)
def test_files_that_cannot_be(tmp_path: Path, lines: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        judge_log(written(tmp_path, lines))


def test_other_refusals(tmp_path: Path) -> None:
    path = written(tmp_path, [HEAD, *GOOD])
    for given, words in (
        ({"contexts": ["lenght"]}, "Did you mean 'length'"),
        ({"policies": ["langs"]}, "Did you mean 'lang'"),
        ({"policies": ["lang"]}, "no line of the log chose the arm 'en'"),
        ({"at": ["length=3"]}, "says nothing of lang"),
        ({"at": ["length=3", "lang=fr"]}, "stands nowhere in the log"),
        ({"at": ["length"]}, "COLUMN=VALUE"),
        ({"model": "beta"}, "no model 'beta'"),
        ({"model": "bernoulli", "contexts": ["length"]}, "reads no context"),
    ):
        with pytest.raises(ConfigError, match=words):
            judge_log(path, **given)  # pyright: ignore[reportArgumentType] - one keyword at a time
    outside = written(tmp_path, [HEAD, *GOOD, "plain,3,0.5,10,en"], "outside.csv")
    with pytest.raises(ConfigError, match=r"line 6: reward 3; the logistic model takes rewards in \[0, 1\]"):
        judge_log(outside, model="logistic")
    assert judge_log(outside).model == "linear"
    with pytest.raises(ConfigError, match=r"no such log of choices: .*Did you mean 'log.csv'"):
        judge_log(tmp_path / "lgo.csv")
    with pytest.raises(ConfigError, match=r"log of choices .* tables end in"):
        judge_log(tmp_path / "log.txt")
    mixed = tmp_path / "mixed.csv"
    mixed.write_bytes("arm,reward,propensity\n直接回答,1,0.5\n".encode() + "一步一步,0,0.5\n".encode("gb18030"))
    with pytest.raises(ConfigError, match="mixes encodings"):
        judge_log(mixed)


def test_policies_from_columns(tmp_path: Path) -> None:
    head = "arm;reward;propensity;new;law;p"
    rows = ['plain;1;0.5;worked;{"plain": 0.25, "worked": 0.75};0.25', 'worked;0;0.5;plain;{"worked": 1};1']
    log = read_log(
        written(tmp_path, [head, *(row.replace('"', '""').replace("{", '"{').replace("}", '}"') for row in rows)])
    )
    names = ("plain", "worked")
    assert policy_law(log, "new", names).tolist() == [[0, 1], [1, 0]]
    assert policy_law(log, "law", names).tolist() == [[0.25, 0.75], [0, 1]]
    assert policy_law(log, "p", names).tolist() == [0.25, 1]
    for cells, words in (
        (["wrked", "plain"], "Did you mean 'worked'"),
        (["0.5", "1.5"], "line 3.*neither an arm nor a probability"),
        (['"{""plain"": 0.5}"', "plain"], "sum to 0.5"),
        (['"{""plain"": 2}"', "plain"], "a probability in"),
    ):
        lines = ["arm,reward,propensity,new", f"plain,1,0.5,{cells[0]}", f"worked,1,0.5,{cells[1]}"]
        with pytest.raises(ConfigError, match=words):
            policy_law(read_log(written(tmp_path, lines, "p.csv")), "new", names)


def test_what_the_log_asks_for(tmp_path: Path) -> None:
    found = judge_log(written(tmp_path, many()), contexts=["none"])
    assert found.model == "bernoulli"
    plain = next(row for row in found.arms if row.arm == "plain")
    assert plain.belief.value == pytest.approx(51 / 102)  # Beta(1 + 50, 1 + 50)
    assert plain.belief.low < 0.5 < plain.belief.high
    assert sum(row.p_best for row in found.arms) == pytest.approx(1)
    assert judge_log(written(tmp_path, many()), contexts=["length"]).model == "logistic"
    names = [row.policy for row in found.policies]
    assert names == ["as logged", "always plain", "always worked", "uniform", "greedy", "thompson"]
    constant = judge_log(
        written(tmp_path, ["arm,reward,propensity,same", *(f"{'ab'[i % 2]},{i},0.5,7" for i in range(8))])
    )
    assert any("same is the same in every line" in note for note in constant.notes)
    assert constant.model == "linear"
    low, high = (next(row.belief.value for row in constant.arms if row.arm == arm) for arm in "ab")
    assert low == pytest.approx(3, abs=0.15)  # means 3 and 4, drawn a little together by the prior
    assert high == pytest.approx(4, abs=0.15)


def test_the_linear_belief_does_not_mind_the_units(tmp_path: Path) -> None:
    rows = [(i % 2, 0.3 * (i % 5) - (i % 2), i % 7) for i in range(60)]
    files = [
        written(
            tmp_path, ["arm,reward,propensity,x", *(f"{'ab'[a]},{s * r + t},0.5,{x}" for a, r, x in rows)], f"{s}.csv"
        )
        for s, t in ((1, 0), (1000, 5000))
    ]
    one, other = (judge_log(path) for path in files)
    for a, b in zip(one.arms, other.arms, strict=True):
        assert b.belief.value == pytest.approx(1000 * a.belief.value + 5000)
        assert b.p_best == a.p_best
    for a, b in zip(one.policies, other.policies, strict=True):
        assert a.dr is None or (b.dr is not None and b.dr.value == pytest.approx(1000 * a.dr.value + 5000))


def test_worlds_from_files(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text('{"kind": "linear", "arms": {"a": [1, 0.5], "b": [0, 0.7]}, "noise": 0.2}')
    world = read_world(str(path), None)
    assert (world.kind, world.names, world.features, world.noise) == ("linear", ("a", "b"), 1, 0.2)
    assert np.allclose(world.means(np.array([[2.0]])), [[2.5, 0.7]])
    assert read_world("bernoulli", [0.1, 0.2]).names == ("0.1", "0.2")
    for text, words in (
        ('{"kind": "linear"}', "is no bandit"),
        ("[]", "is no bandit"),
        ('{"kind": "liner", "arms": {}}', "Did you mean 'linear'"),
        ('{"kind": "linear", "arms": {"a": [1, 2], "b": [1]}}', "2, 1 weights"),
        ('{"kind": "bernoulli", "arms": {"a": 0.5}}', "1 arm"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=words):
            read_world(str(path), None)
    with pytest.raises(ConfigError, match="Leave one of them out"):
        read_world("linear", [0.5, 0.2])
