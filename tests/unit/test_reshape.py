import math

import pytest
import torch

from credence.core.errors import ConfigError
from credence.prior.reshape import Reshaped, reshape
from credence.prior.table import TablePrior

LOGITS = [2.0, 1.0, 0.0, -1.0, 1.0]


@pytest.fixture
def prior() -> TablePrior:
    return TablePrior(lambda _: LOGITS, 5, 4, 3)


def law(found: Reshaped) -> torch.Tensor:
    return torch.softmax(found.map_logits(torch.tensor([LOGITS], dtype=torch.float64)), -1)[0]


def test_temperature(prior: TablePrior) -> None:
    wanted = torch.softmax(torch.tensor(LOGITS, dtype=torch.float64) / 0.5, 0)
    assert torch.allclose(law(reshape(prior, 0.5)), wanted)
    assert not reshape(prior, 0.5).truncates


def test_top_k_keeps_ties_at_the_edge(prior: TablePrior) -> None:
    assert (law(reshape(prior, top_k=2)) > 0).tolist() == [True, True, False, False, True]
    assert (law(reshape(prior, top_k=1)) > 0).tolist() == [True, False, False, False, False]
    assert torch.allclose(law(reshape(prior, top_k=99)), law(reshape(prior)))


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    """Probabilities .5, .3, .15, .05: top_p = .6 keeps two, .5 keeps one; transformers' generate does the same."""
    found = TablePrior(lambda _: [math.log(p) for p in (0.3, 0.05, 0.5, 0.15)], 4, 3, 2)
    logits = found.logits(())[None]
    for top_p, kept in {0.49: [2], 0.6: [0, 2], 0.81: [0, 2, 3], 0.99: [0, 1, 2, 3], 1.0: [0, 1, 2, 3]}.items():
        shaped = torch.softmax(reshape(found, top_p=top_p).map_logits(logits), -1)[0]
        assert torch.nonzero(shaped).flatten().tolist() == kept
        assert float(shaped.sum()) == pytest.approx(1)


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(0.7, 3, None), (1.3, None, 0.8), (0.6, 4, 0.7)])
def test_the_order_is_that_of_generate(temperature: float, top_k: int | None, top_p: float | None) -> None:
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = torch.randn(20, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2
    theirs = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        theirs.append(TopKLogitsWarper(top_k))
    if top_p:
        theirs.append(TopPLogitsWarper(top_p))
    wanted = theirs(torch.zeros(20, 1, dtype=torch.long), logits)
    found = reshape(TablePrior(lambda _: [0.0] * 30, 30, 0, 1), temperature, top_k, top_p).map_logits(logits)
    assert torch.allclose(torch.softmax(found, -1), torch.softmax(wanted, -1))


def test_bad_settings_are_refused(prior: TablePrior) -> None:
    for temperature in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="temperature"):
            reshape(prior, temperature)
    with pytest.raises(ConfigError, match="top_k"):
        reshape(prior, top_k=0)
    for top_p in (0.0, 1.5, math.nan):
        with pytest.raises(ConfigError, match="top_p"):
            reshape(prior, top_p=top_p)
    assert reshape(prior, top_k=2).truncates
    assert reshape(prior, top_p=0.9).truncates
    assert not reshape(prior, top_p=1.0).truncates
