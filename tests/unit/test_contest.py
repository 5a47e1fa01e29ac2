"""What a comparison is of: names, chains, variants of a config; and what an engine left, kept and read back."""

import math

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.types import Completions, Cost
from credence.report.schema import Estimate
from credence.study.allowance import Budget
from credence.study.contest import KNOWN, Contest, Entrant, entrant, entrants, variant
from credence.study.contest_ruler import widened
from credence.study.engines import NAMES
from credence.study.learners import LEARNERS
from credence.study.measured import Measured, distinct, unpack
from credence.study.ruler import Drawn
from credence.study.toml import load_config


def test_every_registered_engine_can_be_named() -> None:
    for name in (*NAMES, *LEARNERS, "dpg"):
        found = entrant(name)
        assert found.kind == ("draw" if name in NAMES else "train")
    assert len(set(KNOWN)) == len(KNOWN), "a name that both draws and trains would be two engines"


def test_lists_and_chains() -> None:
    found = entrants(" smc, dpg + reinforce ,best-of-n,")
    assert found == (Entrant("smc"), Entrant("dpg+reinforce", ("dpg", "reinforce")), Entrant("best_of_n"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names none"),
        (" , ", "names none"),
        ("smc,reinforc", "no engine 'reinforc'. Did you mean 'reinforce'"),
        ("smc,dpg,smc", "names smc twice"),
        ("dpg+smc", "smc draws, and + joins stages of training"),
        ("reinforce+dpg", "stages follow one another as dpg+reinforce"),
        ("dpg+ppo+grpo", "ppo and grpo are both engines of the last stage"),
        ("dpg+dpg", "stages follow one another as dpg"),
    ],
)
def test_each_mistake_is_worded(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as told:
        entrants(text)
    assert says in str(told.value)


def test_a_variant_trains_these_stages_and_no_other() -> None:
    config = load_config(None, ["train.dpg.epochs=2", "train.reinforce.seconds=9.0", "train.dpg.seconds=8.0"])
    alone = variant(config, ("dpg",))
    assert alone.train.dpg.epochs == 2
    assert alone.train.dpg.seconds is None, "only the budget ends the last stage"
    assert alone.train.chosen.steps == 0
    both = variant(config, ("dpg", "reinforce"))
    assert (both.train.dpg.seconds, both.train.reinforce.seconds) == (8.0, None)
    late = variant(load_config(None, ["train.ppo.steps=0"]), ("ppo",))
    assert (late.train.engine, late.train.dpg.epochs, late.train.ppo.steps) == ("ppo", 0, 1)
    assert late.folder == config.folder


def test_what_cannot_be_trained_says_why() -> None:
    hard = load_config(None, ["evidence.ended.cut=-inf"])
    with pytest.raises(ConfigError, match="forbids replies"):
        variant(hard, ("reinforce",))
    assert variant(hard, ("dpg",)).train.dpg.epochs == 1, "the forward KL allows -inf"
    with pytest.raises(ConfigError, match="names no loss"):
        variant(load_config(None), ("value",))
    with pytest.raises(ConfigError, match="top_k"):
        variant(load_config(None, ["prior.top_k=5"]), ("dpg",))


def test_no_seed_is_no_comparison() -> None:
    with pytest.raises(ConfigError, match="--seeds 0"):
        Contest(load_config(None), entrants("smc"), Budget("tokens", 5), 0)
    assert Contest(load_config(None), entrants("smc"), Budget("tokens", 5)).name == "run-compare"


def test_what_an_engine_left_comes_back() -> None:
    table = torch.arange(6, dtype=torch.float64).view(2, 3)
    made = Measured(
        Drawn(*(table + i for i in range(5))), table, torch.ones(4, 5), table, table[:, 0], table[:, 1], table[:, 2],
        table[:, 0], table[:, 1], bound="upper", note="n", why={"ess": "so"}, curve=({"step": 1},), replies=3,
        cost=Cost(5, 1.5), each=Cost(2, 0.5),
    )  # fmt: skip
    found = unpack(made.pack())
    assert found.drawn is not None
    assert made.drawn is not None
    assert torch.equal(found.drawn.reward, made.drawn.reward)
    for name in ("on_prior", "units", "log_z", "forward", "ess", "pareto_k", "unique", "draws"):
        assert torch.equal(getattr(found, name), getattr(made, name)), name
    for name in ("bound", "note", "why", "curve", "replies", "cost", "each", "refused"):
        assert getattr(found, name) == getattr(made, name), name
    refused = unpack(Measured(refused="why").pack())
    assert (refused.refused, refused.drawn, refused.each) == ("why", None, None)


def test_distinct_replies_are_counted_by_prompt_and_without_padding() -> None:
    ids = torch.tensor([[1, 2], [1, 9], [1, 8], [1, 2], [3, 2]])
    mask = torch.tensor([[True, True], [True, False], [True, False], [True, True], [True, True]])
    rows = Completions(ids, mask, mask[:, 0], torch.tensor([0, 0, 0, 1, 1]))
    possible = torch.tensor([True, True, True, True, False])
    assert distinct(rows, possible, 3).tolist() == [2, 1, 0]


def test_seeds_widen_an_interval_by_student_s_law() -> None:
    """Seeds at 1, 2, 3: sd 1, t(2) = 4.303, half width 4.303/√3, joined in quadrature with ½ and 1."""
    half = 4.3027 / math.sqrt(3)
    found = widened(Estimate(2.0, 1.5, 3.0), [1.0, 2.0, 3.0])
    assert found.low == pytest.approx(2 - math.hypot(0.5, half), abs=1e-3)
    assert found.high == pytest.approx(2 + math.hypot(1.0, half), abs=1e-3)
    same = Estimate(2.0, 1.5, 3.0)
    assert widened(same, [2.0]) == widened(same, []) == same
    assert widened(Estimate(math.inf, 1.0, math.inf), [math.inf, math.inf]).high == math.inf
