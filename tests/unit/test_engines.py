"""The registry: every engine by name, with its table of settings, as a Sampler."""

from pathlib import Path

import pytest

from credence.core.errors import ConfigError
from credence.core.protocols import Sampler
from credence.study.config import RunConfig
from credence.study.engines import NAMES, PRIOR
from credence.study.toml import load_config
from tests.toys import toy_prior


def chosen(*overrides: str) -> RunConfig:
    return load_config(None, overrides)


@pytest.mark.parametrize("name", [name for name in NAMES if name != PRIOR])
def test_every_engine_is_built_from_its_table(name: str) -> None:
    config = chosen(f"sample.engine={name}")
    table = config.sample.chosen
    assert table is not None
    engine = table.sampler(config, toy_prior())
    assert isinstance(engine, Sampler)
    assert not set(type(table).model_fields) - set(
        vars(engine)
    )  # a setting that the engine does not have reaches nothing


def test_settings_reach_the_engine() -> None:
    config = chosen("sample.smc.particles=5", "sample.smc.islands=2", "sample.smc.threshold=0.25")
    assert config.sample.engine == "smc"
    table = config.sample.chosen
    assert table is not None
    engine = vars(table.sampler(config, toy_prior()))
    assert (engine["particles"], engine["islands"], engine["threshold"], engine["proposal"]) == (5, 2, 0.25, None)


def test_the_prior_needs_no_engine() -> None:
    assert chosen(f"sample.engine={PRIOR}").sample.chosen is None


@pytest.mark.parametrize("name", ["importance", "smc"])
def test_a_proposal_that_is_not_there_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs/cheerful").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    config = chosen(f"sample.engine={name}", f"sample.{name}.proposal=runs/cheerfull")
    table = config.sample.chosen
    assert table is not None
    with pytest.raises(ConfigError, match="'cheerful'"):
        table.sampler(config, toy_prior())
