"""Configs: what is accepted, what is refused, and in which words."""

import math
import re
import tomllib
from pathlib import Path

import pytest

from credence.core.errors import ConfigError
from credence.study import values
from credence.study.config import RunConfig
from credence.study.engines import Engines
from credence.study.toml import load_config, merge, paths, template, toml_value
from credence.study.trainable import check_training

ROOT = Path(__file__).parents[2]
EVIDENCE = '[evidence.reward]\nfn = "vader"\nbeta = 0.1\n'


def write(folder: Path, text: str, name: str = "run.toml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def refusal(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(write(folder, text), overrides)
    return str(caught.value)


def test_the_example_is_the_main_job_and_trains() -> None:
    config = load_config(ROOT / "examples/cheerful.toml")
    check_training(config)
    (reward,) = config.evidence.reward
    assert (reward.fn, reward.beta, reward.bound, reward.on_prefix) == ("vader", 0.1, 1.0, True)
    assert config.evidence.ended.cut == -3
    assert (config.prior.temperature, config.prior.horizon, config.prompts.heldout) == (0.7, 24, 8)
    assert (config.measure.draws, config.measure.best_of_n, config.measure.smc.particles) == (256, 16, 16)
    for profile in ("fast", "long"):
        assert load_config(ROOT / "examples/cheerful.toml", profile=profile).measure.best_of_n == 16
    assert load_config(ROOT / "examples/cheerful.toml", profile="fast").measure.draws < 256


def test_the_template_loads_and_every_setting_says_what_it_is(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, template()))
    assert config.model_dump() == load_config(None, ["name=my-run"]).model_dump()
    lines = template().splitlines()
    assert {f"[sample.{name}]" for name in Engines.model_fields} <= set(lines)
    assert {"# [[evidence.expert]]", "# [evidence.realign]", '# policy = "runs/latest"'} <= {
        x.split("  #")[0] for x in lines
    }
    assert max(map(len, lines)) <= 120
    uncommented = [x.removeprefix("# ") for x in lines if "  # " in x and x.startswith("# ")]
    assert all(tomllib.loads(line) for line in uncommented)  # what stands behind a # is a setting to be used
    undescribed = [path for path, field in paths(RunConfig) if not field.description]
    assert undescribed == []


def test_overrides_win_in_toml_syntax(tmp_path: Path) -> None:
    file = write(tmp_path, EVIDENCE + "[fast]\nseed = 3\nmeasure.draws = 4\n")
    given = ["evidence.reward.beta=0.2", "prior.system=be kind = be brief", 'name="x"', "measure.smc={particles=8}"]
    config = load_config(file, [*given, "seed=5"], profile="fast")
    assert config.evidence.reward[0].beta == 0.2
    assert (config.prior.system, config.name, config.measure.smc.particles) == ("be kind = be brief", "x", 8)
    assert (config.seed, config.measure.draws) == (5, 4)
    assert config.folder == tmp_path


def test_several_rewards_and_constraints(tmp_path: Path) -> None:
    many = EVIDENCE.replace("[evidence.reward]", "[[evidence.reward]]") * 2
    file = write(tmp_path, many + '[[evidence.constraint]]\ncontains = ["a"]\notherwise = -1\n')
    config = load_config(file, ["evidence.reward.1.beta=7"])
    assert [r.beta for r in config.evidence.reward] == [0.1, 7]
    assert config.evidence.constraint[0].otherwise == -1
    assert "by number: 0, 1" in refusal(tmp_path, many, "evidence.reward.beta=7")
    check_training(config)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[prior]\ntemprature = 1.0\n", "prior.temprature: there is no such setting. Did you mean 'temperature'?"),
        ("temperature = 1.0\n", "Did you mean prior.temperature?"),
        ("[measure.smc]\nparticle = 4\n", "measure.smc.particle: there is no such setting. Did you mean 'particles'?"),
        ("[sample.smc]\nparticle = 4\n", "sample.smc.particle: there is no such setting. Did you mean 'particles'?"),
        ("[sample.smcc]\nparticles = 4\n", "sample.smcc: there is no such setting. Did you mean 'smc'?"),
        (
            '[sample]\nengine = "importence"\n',
            "'importence': there is no such engine. Did you mean 'importance'? Known:",
        ),
        ('[prior]\nhorizon = "24"\n', "prior.horizon = '24': a valid integer is needed."),
        ("[prior]\nhorizon = true\n", "prior.horizon = True: a valid integer is needed."),
        ("[prior]\nhorizon = 0\n", "prior.horizon = 0: greater than or equal to 1 is needed."),
        ("[prior]\ntemperature = inf\n", "prior.temperature = inf"),
        ('[prior]\nstyle = "chatty"\n', "prior.style = 'chatty': 'chat', 'plain' or 'raw' is needed."),
        ("name = nan\n", """name = nan: a valid string is needed; in quotes it is one: name="nan", on """),
        ("[prior]\nsystem = true\n", """prior.system="true", on the command line --set 'prior.system="true"'."""),
        ('name = "../up"\n', "name = '../up'"),
        ("[evidence.ended]\ncut = 1.0\n", "evidence.ended.cut = 1.0: less than or equal to 0 is needed."),
        ("[evidence.ended]\ncut = nan\n", "evidence.ended.cut = nan"),
        ("[[evidence.constraint]]\notherwise = -1.0\n", "exactly one of contains, matches, or min_chars/max_chars"),
        ('[[evidence.constraint]]\nmatches = "("\n', "not a regular expression"),
        ('[prompts]\nsource = "chatterbot:klingon"\n', "chatterbot has no 'klingon'"),
        ('[prompts]\nsource = "mine.txt"\n', "no such prompt file"),
        ("[fast]\nprior.horizn = 3\n", "in [fast]: prior.horizn: there is no such setting."),
        ("seed = \n", "is not TOML"),
    ],
)
def test_what_cannot_be_is_named_with_what_can(tmp_path: Path, text: str, says: str) -> None:
    message = refusal(tmp_path, text + EVIDENCE if not text.startswith("[fast]") else EVIDENCE + text)
    assert says in message


@pytest.mark.parametrize("bound", ["nan", "inf"])
def test_a_bound_that_bounds_nothing_is_left_out_instead(tmp_path: Path, bound: str) -> None:
    assert "evidence.reward.bound" in refusal(tmp_path, EVIDENCE, f"evidence.reward.bound={bound}")


@pytest.mark.parametrize("beta", ["0", "-0.1", "nan", "inf", "-inf"])
def test_beta_must_be_finite_and_positive(tmp_path: Path, beta: str) -> None:
    message = refusal(tmp_path, EVIDENCE, f"evidence.reward.beta={beta}")
    assert message.startswith("evidence.reward.beta = ")
    assert "finite and above 0" in message


def test_a_reward_is_called_as_the_user_wrote_it(tmp_path: Path) -> None:
    single = EVIDENCE.replace("vader", "vadr")
    assert refusal(tmp_path, single).startswith("evidence.reward.fn = 'vadr': ")
    listed = single.replace("[evidence.reward]", "[[evidence.reward]]")
    assert refusal(tmp_path, listed).startswith("evidence.reward.0.fn = 'vadr': ")
    assert refusal(tmp_path, EVIDENCE, "evidence.reward.fn=vadr").startswith("evidence.reward.fn = 'vadr': ")


def test_a_word_of_toml_as_a_name_is_quoted_as_the_error_says(tmp_path: Path) -> None:
    assert """--set 'name="nan"'.""" in refusal(tmp_path, EVIDENCE, "name=nan")
    assert load_config(write(tmp_path, EVIDENCE), ['name="nan"']).name == "nan"


def test_missing_evidence_and_files_are_named(tmp_path: Path) -> None:
    assert "evidence is missing" in refusal(tmp_path, "seed = 1\n")
    assert "evidence.reward.beta is missing: reward units per nat" in refusal(tmp_path, '[evidence.reward]\nfn="vader"')
    with pytest.raises(ConfigError, match=r"no such config.*'run\.toml'"):
        load_config(tmp_path / "rum.toml")
    with pytest.raises(ConfigError, match=r"no \[long\] table"):
        load_config(write(tmp_path, EVIDENCE), profile="long")
    assert "write key=value" in refusal(tmp_path, EVIDENCE, "seed")
    assert "is no table" in refusal(tmp_path, EVIDENCE, "evidence.reward.beta.x=1")
    assert "there is no such setting" in refusal(tmp_path, EVIDENCE, "evidnce.reward.beta=1")


def test_training_refuses_what_only_sampling_can_do() -> None:
    for override in ("prior.top_k=50", "prior.top_p=0.9"):
        with pytest.raises(ConfigError, match="would be inf"):
            check_training(load_config(None, [override]))
    for override in ("evidence.ended.cut=-inf", "evidence.constraint.contains=['a']"):
        with pytest.raises(ConfigError, match=r"forbids replies.*finite nats"):
            check_training(load_config(None, [override]))
    hard = "evidence.ended.cut=-inf"
    for allowed in (["train.engine='distil'"], ["train.reinforce.steps=0"], ["train.engine='expert_iteration'"]):
        check_training(load_config(None, [hard, *allowed]))
    for refused in (["train.engine='ppo'"], ["train.reinforce.steps=0", "train.value.learner='soft_q'"]):
        with pytest.raises(ConfigError, match="forbids replies"):
            check_training(load_config(None, [hard, "train.method='value'", *refused]))


def test_a_held_log_z_is_refused_where_the_target_moves() -> None:
    """Off policy a wrong log Z moves the minimum. Rejects a run that ends at another law in silence."""
    held = ["train.engine='trajectory_balance'", "train.trajectory_balance.log_z_lr=0.0", "train.beta.schedule='kl'"]
    with pytest.raises(ConfigError, match=r"moves the target.*log_z_lr = 0 holds.*vargrad"):
        check_training(load_config(None, [*held, "train.trajectory_balance.draws='prior'"]))
    check_training(load_config(None, held))  # on policy it is a baseline


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("learner='fudge'", "span=2"), "span is no setting of train.value.learner = 'fudge', but of 'path': remove"),
        (("learner='path'", "cql=0.1"), "cql is no setting of train.value.learner = 'path', but of 'ilql'"),
        (("tilt=1.0",), "train.value.tilt is a setting of a learner of values, and train.value.learner is none"),
        (("learner='path'", "span=2", "tilt=1.0"), "with span=2 leave it at 0"),
    ],
)
def test_a_learner_of_values_is_refused_before_anything_is_drawn(overrides: tuple[str, ...], says: str) -> None:
    given = ["train.method='value'", *(f"train.value.{override}" for override in overrides)]
    with pytest.raises(ConfigError, match=re.escape(says)):
        check_training(load_config(None, given))


def test_settings_of_a_learner_of_values_reach_it() -> None:
    for name, own in (("path", {"span": 3}), ("path", {"tilt": 1.0}), ("ilql", {"expectile": 0.9, "cql": 0.1})):
        given = [f"train.value.learner='{name}'", *(f"train.value.{key}={value}" for key, value in own.items())]
        config = load_config(None, ["train.method='value'", *given])
        check_training(config)
        made = vars(values.learner(config.train.value, 16))
        assert {key: made[key] for key in own} == own


EXPERT = '[[evidence.expert]]\nmodel = "tuned"\n'
REALIGN = '[evidence.realign]\npolicy = "runs/latest"\nbeta = 0.1\nto = 0.2\n'


def test_other_models_alone_are_the_whole_target(tmp_path: Path) -> None:
    """A policy's ratio holds what it learnt of ends: no further nats for them, unless something else is said."""
    for text in (EXPERT, REALIGN, EXPERT + REALIGN):
        given = load_config(write(tmp_path, text)).evidence
        assert (given.ended.cut, given.compares) == (0, True)
    assert load_config(write(tmp_path, EXPERT + EVIDENCE)).evidence.ended.cut == -3
    assert load_config(write(tmp_path, EXPERT + "[evidence.ended]\ncut = -1.0\n")).evidence.ended.cut == -1
    both = load_config(write(tmp_path, EXPERT * 2), ["evidence.expert.1.weight=-0.5"]).evidence.expert
    assert [(e.model, e.against, e.weight) for e in both] == [("tuned", None, 1.0), ("tuned", None, -0.5)]
    for text, name in ((EXPERT, "expert"), (REALIGN, "realign")):
        with pytest.raises(ConfigError, match=rf"evidence\.{name} states.*nothing is trained towards it"):
            check_training(load_config(write(tmp_path, text)))


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("sample.suffix_mh.chains=0", "sample.suffix_mh.chains = 0: greater than or equal to 1 is needed."),
        ("sample.suffix_mh.burn_in=-1", "sample.suffix_mh.burn_in = -1: greater than or equal to 0 is needed."),
        ("sample.independent_mh.thin=0", "sample.independent_mh.thin = 0"),
        ("sample.block_mh.suffix=0.0", "sample.block_mh.suffix = 0.0: greater than 0 is needed."),
        ("sample.block_mh.size=0", "sample.block_mh.size = 0"),
        ("sample.parallel_tempering.rungs=1", "rungs = 1: greater than or equal to 2 is needed."),
        ("sample.parallel_tempering.power=inf", "power = inf"),
        ("sample.annealed.moves=0", "sample.annealed.moves = 0"),
        ("sample.speculative.ahead=0", "sample.speculative.ahead = 0"),
        ("sample.speculative.draft_temperature=0.0", "draft_temperature = 0.0: greater than 0 is needed."),
        ("sample.stochastic_beam.n=3", "sample.stochastic_beam.n: there is no such setting. Known here: none."),
        ("sample.token_product.particles=3", "sample.token_product.particles: there is no such setting."),
        ("sample.sequence_product.threshold=2.0", "threshold = 2.0: less than or equal to 1 is needed."),
        (
            "sample.smc.scheme=best",
            "sample.smc.scheme = 'best': 'multinomial', 'stratified', 'systematic' or 'residual'",
        ),
        ("sample.smc.segment_tokens=0", "sample.smc.segment_tokens = 0"),
        ("sample.particle_gibbs.particles=1", "sample.particle_gibbs.particles = 1: greater than or equal to 2"),
        ("sample.annealed.chains=4", "Did you mean"),
        ("evidence.expert.against=x", "evidence.expert.model is missing: what has learnt something"),
        ("evidence.expert={model='a', weight=0.0}", "remove the entry to ignore the expert"),
        ("evidence.realign.policy=x", "evidence.realign.beta is missing: at which it was trained"),
        ("evidence.realign={policy='x', beta=0.0, to=1.0}", "evidence.realign.beta = 0.0: greater than 0 is needed."),
        ("evidence.realign={policy='x', beta=1e300, to=1e-300}", "no finite power above 0"),
    ],
)
def test_nonsense_of_an_engine_or_an_expert_is_named(override: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [override])
    assert says in str(caught.value)


def test_merge_lays_tables_over_tables_and_replaces_the_rest() -> None:
    assert merge({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 3}, "d": [2]}) == {"a": {"b": 3, "c": 2}, "d": [2]}
    assert [toml_value(v) for v in (True, 1e-4, -math.inf, ["a"], "é\n")] == [
        "true",
        "0.0001",
        "-inf",
        '["a"]',
        '"é\\n"',
    ]
