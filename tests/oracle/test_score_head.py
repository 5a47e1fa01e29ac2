"""The head of numeric scores against grids and scipy's normal law; Laplace's evidence against a grid."""

import math
from typing import Any

import pytest
import torch
from scipy import stats

from credence.core.errors import ConfigError, DegeneracyError
from credence.core.keys import Key
from credence.evidence.feedback import Head, fit_head
from credence.evidence.fitted import TAUS, fit_by_evidence, log_evidence
from credence.evidence.scores import bootstrap_scores, conjugate, fit_scores
from tests.oracle.test_feedback_head import opinions

ONE = torch.ones(1, dtype=torch.float64)


def scored(n: int, d: int, seed: int = 3, noise: float = 0.6) -> tuple[torch.Tensor, torch.Tensor]:
    """Asymmetric on purpose: features off centre, a level off zero."""
    rng = Key(seed).generator()
    phi = torch.from_numpy(rng.normal(size=(n, d)) + 0.7)
    truth = torch.linspace(1.1, -0.5, d, dtype=torch.float64)
    return phi, phi @ truth + 2.5 + noise * torch.from_numpy(rng.normal(size=n))


def on_grid(phi: torch.Tensor, y: torch.Tensor, tau: float, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of (θ, a) on a grid around the answer; a flat."""
    axis = torch.linspace(-2.0, 4.0, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    gap = y - (grid[:, :1] * phi[:, 0] + grid[:, 1:])
    p = torch.softmax(-0.5 * gap.square().sum(1) / noise**2 - 0.5 * grid[:, 0] ** 2 / tau**2, 0)
    mean = p @ grid
    return mean, (grid - mean).T @ ((grid - mean) * p[:, None])


def test_the_posterior_is_the_grid_s() -> None:
    phi, y = scored(7, 1)
    head = conjugate(phi, y, ONE, 1.3, 0.6)
    mean, cov = on_grid(phi, y, 1.3, 0.6)
    assert torch.allclose(head.mean, mean, atol=1e-5)
    assert torch.allclose(head.cov, cov, atol=1e-5)
    reward, sd = head.reward(torch.tensor([[2.0]]).double())
    assert float(reward) == pytest.approx(2 * float(mean[0]), abs=1e-5)  # without the level
    assert float(sd) == pytest.approx(2 * float(cov[0, 0].sqrt()), abs=1e-5)
    logit, _ = head.logit(torch.tensor([[2.0]]).double())
    assert float(logit - reward) == pytest.approx(float(mean[1]), abs=1e-5)


def test_wrong_versions_are_rejected() -> None:
    phi, y = scored(7, 1)
    mean, cov = on_grid(phi, y, 1.3, 0.6)

    def right(head: Head) -> bool:
        return torch.allclose(head.mean, mean, atol=1e-3) and torch.allclose(head.cov, cov, atol=1e-3)

    twice = torch.full((7,), 2.0)
    flat = conjugate(phi - phi.mean(0), y - y.mean(), ONE, 1.3, 0.6)  # the level is lost
    squared, wide = conjugate(phi, y, ONE, 1.3, 0.36), conjugate(phi, y, ONE, 1.69, 0.6)
    for wrong in (conjugate(phi, y, ONE, 1.3, 0.6, twice), squared, wide, flat):
        assert not right(wrong)


def test_a_weight_is_a_repetition_and_order_does_not_matter() -> None:
    phi, y = scored(9, 2)
    two = torch.ones(2).double()
    weight = torch.tensor([2.0, 1, 1, 0, 3, 1, 1, 1, 1])
    again = torch.repeat_interleave(torch.arange(9), weight.long()).flip(0)
    a, b = conjugate(phi, y, two, 1.0, 0.5, weight), conjugate(phi[again], y[again], two, 1.0, 0.5)
    assert torch.allclose(a.mean, b.mean, atol=1e-10)
    assert torch.allclose(a.cov, b.cov, atol=1e-10)
    tenfold = conjugate(phi * 10, y, two * 10, 1.0, 0.5)
    assert torch.allclose(tenfold.mean, conjugate(phi, y, two, 1.0, 0.5).mean, atol=1e-10)


def marginal(phi: torch.Tensor, y: torch.Tensor, tau: float, noise: float) -> float:
    """log ∫ N(y; a, σ²I + τ²/d ΦΦᵀ) da, by the trapezoid rule over a."""
    law = noise**2 * torch.eye(len(y)).double() + tau**2 / phi.shape[1] * phi @ phi.T
    level = torch.linspace(-30.0, 35.0, 1301, dtype=torch.float64)
    logs = stats.multivariate_normal(None, law.numpy()).logpdf((y[None] - level[:, None]).numpy())
    return float(torch.logsumexp(torch.from_numpy(logs), 0)) + math.log(0.05)


@pytest.mark.parametrize(("n", "d"), [(12, 2), (30, 40)])
def test_noise_and_tau_are_those_of_the_largest_marginal_likelihood(n: int, d: int) -> None:
    phi, y = scored(n, d)
    found = fit_scores(phi, y, torch.ones(d).double())
    assert found.log_evidence == pytest.approx(marginal(phi, y, found.tau, found.noise), abs=1e-6)
    for by in (0.8, 1.25):
        assert marginal(phi, y, found.tau * by, found.noise) < found.log_evidence + 1e-9
        assert marginal(phi, y, found.tau, found.noise * by) < found.log_evidence + 1e-9
    assert -3 < math.log10(found.tau / found.noise) < 1 - 1e-6
    same = conjugate(phi, y, torch.ones(d).double(), found.tau, found.noise)
    assert torch.equal(found.head.mean, same.mean)


def test_much_data_gives_back_what_made_it_and_noise_alone_gives_no_reward() -> None:
    phi, y = scored(4000, 2)
    found = fit_scores(phi, y, torch.ones(2).double())
    assert found.noise == pytest.approx(0.6, rel=0.05)
    assert torch.allclose(found.head.mean, torch.tensor([1.1, -0.5, 2.5]).double(), atol=0.06)
    nothing = fit_scores(phi[:200], y[200:400], torch.ones(2).double())
    assert float(nothing.head.reward(torch.eye(2).double())[0].abs().max()) < 0.2
    assert nothing.noise == pytest.approx(float(y[200:400].std()), rel=0.05)


def test_an_ensemble_of_scores_repeats_and_what_cannot_be_is_refused() -> None:
    phi, y = scored(20, 2)
    two = torch.ones(2).double()
    found = fit_scores(phi, y, two)
    a, b = (bootstrap_scores(phi, y, found, Key(4), 3) for _ in range(2))
    assert all(torch.equal(x.mean, z.mean) for x, z in zip(a, b, strict=True))
    assert not torch.allclose(a[0].mean, a[1].mean)
    cases: tuple[tuple[Any, Any, Any, type[Exception], str], ...] = (
        (phi, torch.full((20,), 3.0), two, ConfigError, "not all the same"),
        (phi[:2], y[:2], two, ConfigError, "at least three"),
        (phi, y, torch.zeros(2), ConfigError, "above 0"),
        (phi, y * math.inf, two, DegeneracyError, "not finite"),
    )
    for features, values, scale, kind, says in cases:
        with pytest.raises(kind, match=says):
            fit_scores(features, values, scale)
    with pytest.raises(ConfigError, match="at least 2"):
        bootstrap_scores(phi, y, found, Key(0), 1)


def test_laplace_s_evidence_is_near_the_grid_s_and_chooses() -> None:
    found = opinions(1)
    axis = torch.arange(-3.0, 5.0, 0.1, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    for tau in (0.5, 2.0):
        log_p = -0.5 * grid[:, 0] ** 2 / tau**2 - math.log(tau) - 0.5 * grid[:, 1] ** 2 - math.log(2 * math.pi)
        log_p += torch.nn.functional.logsigmoid(grid @ found.rows().T).sum(1)
        exact = float(torch.logsumexp(log_p, 0)) + 2 * math.log(0.1)
        assert log_evidence(fit_head(found, ONE, tau), found, tau) == pytest.approx(exact, abs=0.03)
    best = fit_by_evidence(found, ONE)
    each = [log_evidence(fit_head(found, ONE, tau), found, tau) for tau in TAUS]
    assert best.log_evidence == max(each)
    assert best.tau == TAUS[each.index(max(each))]
    assert best.noise == 0.0
