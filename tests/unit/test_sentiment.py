"""Sentiment as evidence: VADER's own numbers over β, a bound of 1/β, and a twist that reads half a reply."""

import math
from pathlib import Path

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.types import Completions
from credence.evidence.ended import Ended
from credence.evidence.product import max_log_lik
from credence.evidence.reward import Reward
from credence.evidence.sentiment import Sentiment, vader
from credence.evidence.strength import at_beta, beta_of
from credence.study import build
from credence.study.toml import load_config
from tests.worded import TEXTS, worded

PROMPTS, ROWS = worded()


def test_nats_are_vader_s_compound_over_beta() -> None:
    assert vader([], ["I love it!", "I hate it.", "你好", ""]) == [0.6696, -0.5719, 0.0, 0.0]  # its own figures
    wanted = torch.tensor(vader([], TEXTS), dtype=torch.float64)
    assert float(wanted.max()) > 0.5 > -0.4 > float(wanted.min())
    good, bad = Sentiment(beta=0.1), Sentiment(beta=0.1, sign=-1)
    assert torch.equal(good.log_lik(PROMPTS, ROWS), wanted / 0.1)
    assert torch.equal(bad.log_lik(PROMPTS, ROWS), -wanted / 0.1)
    assert list(good.readings(PROMPTS, ROWS)) == ["vader"]
    assert torch.equal(bad.readings(PROMPTS, ROWS)["-vader"], -wanted)
    assert max_log_lik(good) == 10
    assert max_log_lik(good * Ended(-3.0)) == 10


def test_half_a_reply_tells_its_mood_where_it_may() -> None:
    cut = Completions(ROWS.ids, ROWS.mask, torch.zeros_like(ROWS.ended), ROWS.prompt)
    assert torch.equal(Sentiment(0.1).log_twist(PROMPTS, cut), Sentiment(0.1).log_lik(PROMPTS, cut))
    assert not bool(Sentiment(0.1, on_prefix=False).log_twist(PROMPTS, cut).any())


def test_its_beta_is_read_and_changed_as_a_reward_s() -> None:
    both = Sentiment(0.1) * Ended(-3.0)
    assert beta_of(both) == 0.1
    assert torch.allclose(
        at_beta(both, 0.4).log_lik(PROMPTS, ROWS), (Sentiment(0.4) * Ended(-3.0)).log_lik(PROMPTS, ROWS)
    )


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_beta_that_cannot_be_is_refused(bad: float) -> None:
    with pytest.raises(ConfigError, match="beta"):
        Sentiment(bad)
    with pytest.raises(ConfigError, match="sign"):
        Sentiment(0.1, 2)


def written(folder: Path, lines: str) -> Sentiment | Reward:
    (folder / "c.toml").write_text(
        f'[evidence.reward]\nfn = "vader"\nbeta = 0.2\n{lines}\n[evidence.ended]\ncut = 0.0\n'
    )
    return build.evidence(load_config(folder / "c.toml"))  # pyright: ignore[reportReturnType] - one entry


def test_vader_in_a_config_is_this_evidence(tmp_path: Path) -> None:
    made = written(tmp_path, "")
    assert isinstance(made, Sentiment)
    assert (made.beta, made.sign, made.on_prefix, made.name, max_log_lik(made)) == (0.2, 1, False, "vader", 5)
    gloomy = written(tmp_path, 'weight = -2.0\non_prefix = true\nname = "mood"\nbound = 1.0')
    assert isinstance(gloomy, Sentiment)
    assert (gloomy.beta, gloomy.sign, gloomy.on_prefix, gloomy.name) == (0.1, -1, True, "-mood")
    with pytest.raises(ConfigError, match="reaches 1"):
        written(tmp_path, "bound = 0.5")
