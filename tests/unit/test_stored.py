"""report.json, read back."""

import json
from pathlib import Path

import pytest

from credence.core.errors import ConfigError
from credence.study.stored import read_report
from tests.example_report import example_report


def test_a_report_comes_back_as_it_was_written(tmp_path: Path) -> None:
    # Rejects: tuples left as lists, NaN left as None, "inf" left as text, an absent Estimate turned into NaN.
    data = example_report().to_json()
    file = tmp_path / "report.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    back = read_report(file)
    assert back.to_json() == data
    assert isinstance(back.ruler, tuple)
    assert back.ruler[0] == example_report().ruler[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": 99}, "schema 99"),
        ({"beta": "x"}, "beta: 'x' found, a number is needed"),
        ({"title": 3}, "title: 3 found, str is needed"),
        ({"gap_closed": 3}, "an object is needed"),
        ({"gap_closed": {"value": 1}}, "lacks bound, high, low"),
    ],
)
def test_what_credence_did_not_write_is_refused(tmp_path: Path, change: dict[str, object], says: str) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps({**example_report().to_json(), **change}), encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        read_report(file)
    file.write_text("[1", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not JSON"):
        read_report(file)
