"""What `credence sample` says of an engine's figures: in phrases, with the reason for what is missing, and warnings."""

import math
from dataclasses import replace

import pytest
import torch

from credence.cli.sample_words import figures, level, warnings
from credence.core.keys import Key
from credence.core.status import Status
from credence.core.types import Draws
from credence.sample.importance import Importance
from credence.study.toml import load_config
from tests.toys import toy_a, toy_prompts

GOOD = {"rhat": 1.01, "tau": 2.0, "ess": 40.0, "unique": 6.0, "impossible": 0.0, "acceptance": 0.4}
SETTINGS = load_config(None).sample.suffix_mh


@pytest.fixture(scope="module")
def six() -> Draws:
    return Importance().draw(Key(1), toy_a(), toy_prompts(), 6)


def told(draws: Draws, **info: float) -> Draws:
    return replace(draws, info={name: torch.tensor([value], dtype=torch.float64) for name, value in info.items()})


def test_figures_are_phrases_and_what_is_not_known_or_nothing_is_left_out() -> None:
    assert figures({"acceptance": 0.5, "rhat": math.nan, "impossible": 0.0}, "suffix_mh") == "50 % of moves taken"
    assert figures({"acceptance": 0.5}, "rejection") == "50 % of proposals accepted"
    assert figures({"acceptance": 0.5}, "speculative") == "50 % of drafted tokens kept"
    rungs = figures({"log_z_low": 1.0, "log_z_high": 2.0, "tau": 3.5}, "parallel_tempering")
    assert rungs == "the rungs allow log Z from 1.000 to 2.000, autocorrelation 3.5 steps"
    assert figures({"new_figure": 1.0}, "x") == "new_figure 1"  # rejects: a figure without a phrase that is lost


@pytest.mark.parametrize(
    ("log_z", "se", "info", "says"),
    [
        (1.0, 0.5, {}, "log Z = 1.000 ± 0.500 nats"),
        (1.0, math.nan, {}, "log Z = 1.000 nats (± not known"),
        (-math.inf, math.nan, {}, "log Z = -inf nats"),
        (math.nan, math.nan, GOOD, "not given (where chains stand says nothing of it"),
        (math.nan, math.nan, {**GOOD, "swaps": 0.5}, "a rung still stands at an impossible text"),
        (math.nan, math.nan, {}, "mine does not estimate it"),
    ],
)
def test_log_z_or_why_there_is_none(log_z: float, se: float, info: dict[str, float], says: str) -> None:
    assert says in level(log_z, se, info, "mine")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"rhat": 1.06}, "The chains have not come together (R̂ = 1.060, limit 1.05)"),
        ({"rhat": math.inf}, "Every chain stands still at a place of its own"),
        ({"rhat": math.nan}, "Whether the chains have mixed cannot be known"),
        (
            {"ess": 3.0},
            "6 draws of these chains are worth about 3 independent ones (autocorrelation 2 steps): raise thin",
        ),
        ({"impossible": 0.1}, "Some chains still stand at a text that the evidence forbids"),
        ({"swaps": 0.1}, "Neighbouring rungs hardly exchange texts (10 % of swaps"),
        ({"kl": 0.6}, "This is not the posterior: normalising after each token puts it 0.6 nats away"),
        ({"passes": 1.0}, "The draft saves no pass of the model"),
        ({"kl_token": math.nan, "unique": 1.0}, "The particles hold 1 different text: these draws are copies"),
        ({"moved": 0.1}, "The chains stand still: 10 % of sweeps took another path"),
    ],
)
def test_each_finding_is_a_sentence(six: Draws, changed: dict[str, float], says: str) -> None:
    (said,) = warnings(told(six, **{**GOOD, **changed}), SETTINGS)
    assert says in said


def test_weights_that_one_draw_decides_are_said_to_be_so(six: Draws) -> None:
    (said,) = warnings(told(six, ess=1.2), SETTINGS)
    assert said.startswith("One draw decides: 6 weighted draws are worth 1.2 equal ones")
    assert warnings(told(six, ess=2.5), SETTINGS) == []
    equal = replace(told(six, ess=1.2), log_w=torch.zeros(6, dtype=torch.float64))
    assert warnings(equal, SETTINGS) == []


@pytest.mark.parametrize(("shape", "says"), [(0.2, ""), (0.9, "The tail is heavy (k̂ = 0."), (1.6, "may not exist")])
def test_a_heavy_tail_of_weights_is_named(shape: float, says: str) -> None:
    """Pareto weights at even quantiles: w = u^−k, ESS far above two, so that only k̂ sees what is missing."""
    draws = Importance().draw(Key(1), toy_a(), toy_prompts(), 200)
    log_w = -shape * torch.log((torch.arange(200, dtype=torch.float64) + 0.5) / 200)
    said = warnings(told(replace(draws, log_w=log_w), ess=20.0), SETTINGS)
    assert len(said) == bool(says)
    assert says in "".join(said)
    assert warnings(told(replace(draws, log_w=log_w)), SETTINGS) == []  # a beam's weights: no ESS is claimed of them


def test_good_chains_the_prior_and_a_status_say_nothing_more(six: Draws) -> None:
    assert warnings(told(six, **GOOD), SETTINGS) == []
    bad = told(six, **{**GOOD, "rhat": 2.0})
    assert warnings(bad, None) == []
    assert warnings(replace(bad, status=(Status.DEGENERATE,)), SETTINGS) == []
    two = load_config(None, ["sample.suffix_mh.chains=2"]).sample.suffix_mh
    assert warnings(told(six, **GOOD), two) == ["Too few chains: R̂ compares 2 chains; give at least 4."]
