"""R̂ and autocorrelation times on hand-made numbers and closed forms."""

import math

import numpy as np
import pytest
import torch

from credence.core.errors import ContractError, ShapeError
from credence.core.keys import Key
from credence.core.status import Status
from credence.core.types import Cost, Draws
from credence.diagnose.chains import chain_findings
from credence.sample.mixing import autocorrelation_time, mixing, rank_normal, rhat, split, split_rhat
from tests.toys import toy_prior, toy_prompts


def autoregressive(phi: float, chains: int, steps: int, seed: int) -> torch.Tensor:
    """Stationary x_t = φ x_{t−1} + √(1 − φ²) e_t: τ = (1 + φ)/(1 − φ)."""
    noise = Key(seed).generator().standard_normal((chains, steps))
    out = np.empty_like(noise)
    out[:, 0] = noise[:, 0]
    for t in range(1, steps):
        out[:, t] = phi * out[:, t - 1] + math.sqrt(1 - phi**2) * noise[:, t]
    return torch.from_numpy(out)


def test_rhat_by_hand() -> None:
    """W = (1 + 4)/2, B/S = var(2, 5) = 4.5, S = 3; a variance divided by S instead of S − 1 would be rejected."""
    x = torch.tensor([[1.0, 2.0, 3.0], [3.0, 5.0, 7.0]])
    assert float(rhat(x)) == pytest.approx(math.sqrt(2 / 3 + 4.5 / 2.5), abs=1e-12)


def test_halves_and_ranks_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    assert split(x).tolist() == [[1.0, 2.0], [4.0, 5.0]]
    ranks = torch.tensor([1.5, 1.5, 3.0, 4.0], dtype=torch.float64)
    wanted = torch.special.ndtri((ranks - 0.375) / 4.25)
    found = rank_normal(torch.tensor([[-math.inf, 7.0], [2.0, -math.inf]]))
    assert torch.allclose(found.flatten(), wanted[[0, 3, 2, 1]], atol=1e-14, rtol=0)


@pytest.mark.parametrize("phi", [-0.3, 0.0, 0.5, 0.9])
def test_autocorrelation_time_in_closed_form(phi: float) -> None:
    """(1 + φ)/(1 − φ), mean of 40 runs of 4 chains of 1,000 steps, within 5 % (10 % at φ = .9).

    Rejects: the sum of lags counted once (τ = (1 + 1/(1−φ)·φ)), pairs summed on to the end, a biased lag-0.
    """
    x = torch.stack([autoregressive(phi, 4, 1000, seed) for seed in range(40)])
    mean = float(autocorrelation_time(x).mean())
    assert mean == pytest.approx((1 + phi) / (1 - phi), rel=0.1 if phi == 0.9 else 0.05)


def test_rhat_of_chains_that_agree_that_are_apart_that_spread_unlike_and_that_drift() -> None:
    x = torch.stack([autoregressive(0.3, 4, 400, seed) for seed in range(50)])
    assert float(split_rhat(x).median()) < 1.01
    shifted, wider, drifting = x.clone(), x.clone(), x.clone()
    shifted[:, 0] += 1
    wider[:, 0] *= 3  # same places: only the folded ranks see it
    drifting += torch.linspace(-1, 1, 400, dtype=torch.float64)  # each chain alike: only its halves differ
    for bad in (shifted, wider, drifting):
        assert float(split_rhat(bad).min()) > 1.02
    assert float(rhat(split(rank_normal(wider))).median()) < 1.02


def test_chains_that_stand_still() -> None:
    still = torch.tensor([0.1, 0.7, 0.1]).double()[:, None].expand(3, 50)
    assert float(split_rhat(still)) == math.inf
    assert float(autocorrelation_time(still)) == pytest.approx(2 * 50 - 1, abs=1e-9)  # every lag counts in full
    same = torch.full((3, 50), 0.1)
    assert math.isnan(float(split_rhat(same)))
    assert math.isnan(float(autocorrelation_time(same)))
    found = mixing(torch.stack([same.double(), still]))
    assert float(found.rhat) == math.inf
    assert math.isnan(float(mixing(same[None]).ess))


def test_impossible_values_have_a_rank_and_nan_has_none() -> None:
    x = autoregressive(0.2, 4, 200, 1)
    x[0] = -math.inf  # one chain never became possible
    assert float(split_rhat(x)) > 1.2
    x[:3] = -math.inf
    assert float(split_rhat(x)) > 1.2
    x[0, 0] = math.nan
    with pytest.raises(ContractError, match="NaN"):
        split_rhat(x)
    with pytest.raises(ShapeError, match="3 steps"):
        split_rhat(x[:, :3])
    assert math.isnan(float(mixing(x[None, :, 1:4]).rhat))


def test_groups_do_not_mix_and_effective_draws_add_up() -> None:
    a, b = autoregressive(0.6, 3, 101, 1), autoregressive(-0.2, 3, 101, 2)
    both = mixing(torch.stack([a, b])[:, None])
    for g, x in enumerate((a, b)):
        alone = mixing(x[None])
        assert float(both.rhat[g]) == pytest.approx(float(alone.rhat), abs=1e-12)
        assert float(both.tau[g]) == pytest.approx(float(alone.tau), abs=1e-9)
        assert float(both.ess[g]) == pytest.approx(303 / float(alone.tau), rel=1e-9)
    worst = mixing(torch.stack([a, b]))
    assert float(worst.tau) == pytest.approx(max(both.tau.tolist()), abs=1e-9)


def test_findings_say_what_to_do() -> None:
    nats = torch.zeros(1, dtype=torch.float64)
    completions, log_q = toy_prior().sample(Key(1), toy_prompts(), 1)

    def drawn(rhat: float, ess: float) -> Draws:
        info = {name: torch.tensor([value]) for name, value in (("rhat", rhat), ("ess", ess), ("tau", 2.0))}
        return Draws(toy_prompts(), completions, log_q, nats, nats, nats, (Status.OK,), Cost(), Key(1), info)

    good, enough = chain_findings(drawn(1.003, 500.0))[0]
    assert good.ok
    assert enough.ok
    for value, word in ((1.2, "tempering"), (math.inf, "stands still"), (math.nan, "cannot be known")):
        bad, few = chain_findings(drawn(value, 12.0 if value == 1.2 else math.nan))[0]
        assert not bad.ok
        assert not few.ok
        assert word in bad.meaning
    plain = Draws(toy_prompts(), completions, log_q, nats, nats, nats, (Status.OK,), Cost(), Key(1))
    with pytest.raises(ShapeError, match=r"say \[\] of themselves"):
        chain_findings(plain)
