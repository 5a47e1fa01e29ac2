"""A dialogue run's settings: the examples load, and what cannot be says so."""

from pathlib import Path

import pytest

from credence.core.errors import ConfigError
from credence.study.dialogue_config import DialogueConfig, load_dialogue
from credence.study.dialogue_template import dialogue_template
from credence.study.talking import check_together
from credence.study.toml import paths

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", ["helpdesk_en.toml", "helpdesk_zh.toml"])
@pytest.mark.parametrize("profile", ["", "fast"])
def test_the_examples_load(name: str, profile: str) -> None:
    config = load_dialogue(EXAMPLES / name, profile=profile)
    check_together(config)
    assert (config.candidates is None) == (name == "helpdesk_en.toml")
    assert config.folder == EXAMPLES


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("profile", ["", "fast"])
def test_the_template_is_the_example_with_every_setting_explained(language: str, profile: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(dialogue_template(language), encoding="utf-8")
    same = ["name=x", 'users.rewordings=""']
    found = load_dialogue(path, same, profile)
    check_together(found)
    assert found.model_dump() == load_dialogue(EXAMPLES / f"helpdesk_{language}.toml", same, profile).model_dump()
    assert [name for name, field in paths(DialogueConfig) if not field.description] == []


def test_a_template_in_another_language_is_refused() -> None:
    with pytest.raises(ConfigError, match="language 'fr'"):
        dialogue_template("fr")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learn.rollouts=1", "learn.rollouts"),
        ("users.patiense=3", "Did you mean"),
        ("users.satisfaction=overlapp", "'overlap'"),
        ("users.satisfaction=answr", "Did you mean 'answer'"),
        ("evidence.reward.0.fn=nothing.py:f", "nothing.py"),
    ],
)
def test_what_cannot_be_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_dialogue(EXAMPLES / "helpdesk_en.toml", [override])


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("helpdesk_en.toml", "prior.top_p=0.9", "top_p"),
        ("helpdesk_en.toml", "evidence.ended.cut=-inf", "-inf"),
        ("helpdesk_en.toml", "talk.system=no place", "knowledge"),
        ("helpdesk_zh.toml", 'talk.knowledge=""', "talk.knowledge"),
    ],
)
def test_what_does_not_go_together_is_refused(name: str, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_together(load_dialogue(EXAMPLES / name, [override]))


def test_an_optional_table_is_taken_out_by_none() -> None:
    assert load_dialogue(EXAMPLES / "helpdesk_zh.toml", ["candidates=none"]).candidates is None
    assert load_dialogue(EXAMPLES / "helpdesk_en.toml", ["learn.seconds = none"]).learn.seconds is None
    with pytest.raises(ConfigError, match=r"learn\.steps = 'none'"):
        load_dialogue(EXAMPLES / "helpdesk_en.toml", ["learn.steps=none"])


def test_a_bound_says_what_the_setting_is_for() -> None:
    for override, why in (("measure.rollouts=1", "intervals see by them"), ("learn.rollouts=1", "its baseline")):
        with pytest.raises(ConfigError, match=rf"equal to 2 is needed\. It is: .*{why}"):
            load_dialogue(EXAMPLES / "helpdesk_en.toml", [override])


def test_what_may_stay_empty_is_shown_as_an_example() -> None:
    lines = dialogue_template("zh").splitlines()
    (place,) = [i for i, line in enumerate(lines) if "rewordings =" in line]
    assert lines[place] == '# rewordings = "my_questions.csv"'
    assert any("as people ask them" in line for line in lines[place - 4 : place])
