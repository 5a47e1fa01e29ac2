"""The registry: every engine by name, with its table of settings, as a Sampler that draws on a table."""

from pathlib import Path

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Guarantee, Sampler, StepPrior
from credence.evidence.experts import Expert
from credence.posterior.exact import enumerate_posterior
from credence.posterior.experts import product_of_experts
from credence.posterior.posterior import Posterior
from credence.prior.reshape import reshape
from credence.study import build, laws
from credence.study.config import RunConfig
from credence.study.engines import NAMES, PRIOR
from credence.study.toml import load_config
from tests.small_engines import SMALL
from tests.toys import toy_a, toy_policy, toy_prior, toy_prompts

EXPERT = ("evidence.expert.model=tuned", "evidence.reward=[]")
INSIDE = {"draft_temperature": "draft", "segment_tokens": "segments", "segment_ends": "segments"}
"""Settings that are a part of a field of the engine."""


def chosen(*overrides: str) -> RunConfig:
    return load_config(None, overrides)


def engine_of(name: str, *overrides: str) -> Sampler:
    own = [f"sample.{name}.{setting}" for setting in SMALL[name]]
    extra = EXPERT if name.endswith("_product") else ()
    config = chosen(f"sample.engine={name}", *own, *extra, *overrides)
    table = config.sample.chosen
    assert table is not None
    return table.sampler(config, toy_prior())


def test_every_engine_has_its_line_in_this_table() -> None:
    assert {PRIOR, *SMALL} == set(NAMES)


@pytest.mark.parametrize("name", SMALL)
def test_every_engine_is_built_from_its_table_and_draws(name: str) -> None:
    engine = engine_of(name)
    assert isinstance(engine, Sampler)
    fields = {INSIDE.get(field, field) for field in type(getattr(chosen().sample, name)).model_fields}
    assert not fields - set(vars(engine))  # a setting that the engine does not have reaches nothing
    product = product_of_experts(toy_prior(), Expert(toy_policy(), toy_prior()))
    draws = engine.draw(Key(1), product if name.endswith("_product") else toy_a(), toy_prompts(), 6)
    assert draws.status[0].ok
    assert len(draws.completions) == 6
    assert float(draws.weights().sum()) == pytest.approx(1)
    assert bool(torch.isfinite(draws.log_z).all()) == (name not in ("suffix_mh", "block_mh"))
    assert engine.guarantee in Guarantee


def test_settings_reach_the_engine() -> None:
    config = chosen("sample.smc.particles=5", "sample.smc.islands=2", "sample.smc.threshold=0.25")
    assert config.sample.engine == "smc"
    table = config.sample.chosen
    assert table is not None
    engine = vars(table.sampler(config, toy_prior()))
    assert (engine["particles"], engine["islands"], engine["threshold"], engine["proposal"]) == (5, 2, 0.25, None)
    assert vars(engine_of("smc"))["segments"].most == 2
    gibbs = vars(engine_of("particle_gibbs", "sample.particle_gibbs.segment_tokens=3"))
    assert (gibbs["segments"].most, gibbs["burn"], gibbs["chains"]) == (3, 1, 4)
    block = vars(engine_of("block_mh", "sample.block_mh.suffix=0.25"))
    assert [block[name] for name in ("chains", "burn_in", "thin", "size", "suffix")] == [4, 2, 1, 2, 0.25]
    ladder = vars(engine_of("parallel_tempering", "sample.parallel_tempering.power=3.0"))
    assert [ladder[name] for name in ("chains", "burn_in", "thin", "rungs", "power")] == [4, 2, 1, 3, 3.0]
    annealed = vars(engine_of("annealed", "sample.annealed.moves=2", "sample.annealed.power=1.5"))
    assert [annealed[name] for name in ("steps", "moves", "power")] == [3, 2, 1.5]


def test_a_draft_of_the_prior_itself_has_its_own_temperature() -> None:
    config = chosen("sample.engine=speculative", "sample.speculative.draft_temperature=2.0")
    table = config.sample.chosen
    assert table is not None
    engine = vars(table.sampler(config, reshape(toy_prior(), 0.7)))
    assert (engine["draft"].temperature, type(engine["draft"].inner).__name__) == (2.0, "TablePrior")
    assert engine["ahead"] == 4


def test_what_an_engine_needs_and_has_not_is_named() -> None:
    for name in ("token_product", "sequence_product"):
        config = chosen(f"sample.engine={name}")
        table = config.sample.chosen
        assert table is not None
        with pytest.raises(ConfigError, match=r"\[\[evidence\.expert\]\] .*or \[evidence\.realign\]"):
            table.sampler(config, toy_prior())
    speculative = chosen("sample.engine=speculative")
    table = speculative.sample.chosen
    assert table is not None
    with pytest.raises(ConfigError, match=r"sample\.speculative\.draft_temperature = 1\.0"):
        table.sampler(speculative, toy_prior())
    with pytest.raises(ConfigError, match="give segment_tokens instead"):
        engine_of("smc", "sample.smc.segment_ends=.")


def test_the_prior_needs_no_engine() -> None:
    assert chosen(f"sample.engine={PRIOR}").sample.chosen is None


@pytest.mark.parametrize(
    "name", [name for name in SMALL if "proposal" in type(getattr(chosen().sample, name)).model_fields]
)
def test_a_proposal_that_is_not_there_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs/cheerful").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="'cheerful'"):
        engine_of(name, f"sample.{name}.proposal=runs/cheerfull")


def test_experts_and_realignment_are_the_library_s_own_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two experts and a realigned policy, by name, beside the same product made by hand: equal to 1e-12 (TOY-A)."""
    prior, asked = toy_prior(), list[str]()
    known = {"tuned": toy_policy(), "before": reshape(prior, 1.5)}

    def named(name: str, *_: object) -> StepPrior:
        asked.append(name)
        return known[name]

    monkeypatch.setattr(laws, "law", named)
    experts = 'evidence.expert=[{model="tuned", against="before", weight=0.5}, {model="before", weight=-0.25}]'
    realign = 'evidence.realign={policy="tuned", beta=0.1, to=0.2}'
    config = chosen("evidence.reward=[]", experts, realign)
    assert config.evidence.ended.cut == 0
    made = enumerate_posterior(Posterior(prior, build.evidence(config, prior=prior)), toy_prompts())
    pairs = [
        Expert(known["tuned"], known["before"], 0.5),
        Expert(known["before"], prior, -0.25),
        Expert(known["tuned"], prior, 0.5),
    ]
    truth = enumerate_posterior(product_of_experts(prior, *pairs), toy_prompts())
    assert torch.allclose(made.log_p, truth.log_p, rtol=0, atol=1e-12)
    assert sorted(asked) == ["before", "tuned"]  # each is loaded once
    with pytest.raises(ConfigError, match="compare other models with the prior"):
        build.evidence(config)
