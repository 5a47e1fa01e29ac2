"""The reward belief against quadrature in one and two dimensions, and against wrong versions of itself."""

import math
from dataclasses import replace

import pytest
import torch

from credence.evidence.feedback import Head, Opinions, fit_head, left_out

TAU = 2.0


def opinions(d: int, n: int = 96, seed: int = 1) -> Opinions:
    """Asymmetric on purpose: unequal numbers of thumbs up and down, a true θ off zero."""
    rng = torch.Generator().manual_seed(seed)
    truth = torch.tensor([1.3, -0.6][:d], dtype=torch.float64)
    thumbs = torch.randn(n, d, generator=rng, dtype=torch.float64)
    liked = torch.rand(n, generator=rng, dtype=torch.float64) < torch.sigmoid(thumbs @ truth + 0.7)
    pairs = torch.randn(n // 2, d, generator=rng, dtype=torch.float64)
    won = torch.rand(n // 2, generator=rng, dtype=torch.float64) < torch.sigmoid(pairs @ truth)
    return Opinions(thumbs, liked, torch.where(won[:, None], pairs, -pairs))


def quadrature(found: Opinions, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of θ on a grid of ±4 with a step of 0.2, a integrated too: exact to 1e-6 here."""
    axis = torch.arange(-4.0, 4.0, 0.2, dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * (d + 1))
    log_p = -0.5 * (grid[:, :d] ** 2).sum(-1) * d / TAU**2 - 0.5 * grid[:, d] ** 2
    for row in found.rows():
        log_p += torch.nn.functional.logsigmoid(grid @ row)
    p = torch.softmax(log_p, 0)
    mean = p @ grid[:, :d]
    return mean, (p @ (grid[:, :d] - mean) ** 2).sqrt()


def misfit(head: Head, found: Opinions, d: int) -> tuple[float, float]:
    """Largest error of the mean in posterior standard deviations, and of log sd."""
    mean, sd = quadrature(found, d)
    mode, width = head.mean[:d], head.cov.diagonal()[:d].sqrt()
    return float(((mode - mean) / sd).abs().max()), float((width / sd).log().abs().max())


def head(found: Opinions, d: int) -> Head:
    return fit_head(found, torch.ones(d, dtype=torch.float64), TAU)


@pytest.mark.parametrize("d", [1, 2])
def test_laplace_is_near_the_exact_posterior(d: int) -> None:
    # Laplace's own error with 144 opinions, which falls as 1/√n (below): the mode lies less than 0.25 sd from the mean
    # (the posterior is skewed), and its width is less than 10 % off. Counting each opinion twice makes it 30 % off.
    found = opinions(d)
    off, wide = misfit(head(found, d), found, d)
    assert off < 0.25
    assert wide < 0.10


@pytest.mark.parametrize("d", [1, 2])
def test_wrong_versions_are_rejected(d: int) -> None:
    found = opinions(d)
    twice = Opinions(*(torch.cat([x, x]) for x in (found.thumbs, found.liked, found.pairs)))
    moved = replace(found, liked=~found.liked)
    thumbs_only = replace(found, pairs=found.pairs[:0])
    for wrong in (twice, moved, thumbs_only):
        off, wide = misfit(head(wrong, d), found, d)
        assert off > 0.25 or wide > 0.10


def test_the_error_of_laplace_falls_with_the_number_of_opinions() -> None:
    few, many = opinions(1, 24), opinions(1, 400)
    assert misfit(head(many, 1), many, 1)[0] < 0.5 * misfit(head(few, 1), few, 1)[0]


def test_it_is_the_mode() -> None:
    found = opinions(2)
    fitted = head(found, 2)
    weight = fitted.mean.clone().requires_grad_()
    rows = found.rows()
    precision = torch.tensor([2 / TAU**2, 2 / TAU**2, 1.0], dtype=torch.float64)
    log_p = torch.nn.functional.logsigmoid(rows @ weight).sum() - 0.5 * (precision * weight**2).sum()
    (gradient,) = torch.autograd.grad(log_p, weight, create_graph=True)
    assert float(gradient.detach().abs().max()) < 1e-9
    hessian = torch.autograd.functional.hessian(
        lambda w: -torch.nn.functional.logsigmoid(rows @ w).sum() + 0.5 * (precision * w**2).sum(), fitted.mean
    )
    assert torch.allclose(torch.linalg.inv(hessian), fitted.cov, atol=1e-10)


def test_order_does_not_matter_and_what_is_taken_back_leaves_no_trace() -> None:
    found = opinions(2)
    order = torch.randperm(96, generator=torch.Generator().manual_seed(0))
    shuffled = Opinions(found.thumbs[order], found.liked[order], found.pairs.flip(0))
    assert torch.allclose(head(found, 2).mean, head(shuffled, 2).mean, atol=1e-9)
    assert torch.allclose(head(found, 2).cov, head(shuffled, 2).cov, atol=1e-9)
    less = found.without(3).without(102)
    assert (len(less), len(less.pairs)) == (142, 47)
    never_said = Opinions(
        torch.cat([found.thumbs[:3], found.thumbs[4:]]),
        torch.cat([found.liked[:3], found.liked[4:]]),
        torch.cat([found.pairs[:7], found.pairs[8:]]),
    )
    assert torch.equal(head(less, 2).mean, head(never_said, 2).mean)


def test_separable_opinions_stay_finite_and_one_opinion_moves_the_right_way() -> None:
    far = Opinions(
        torch.full((5, 1), 1e3, dtype=torch.float64), torch.ones(5, dtype=torch.bool), torch.zeros(0, 1).double()
    )
    fitted = fit_head(far, torch.ones(1, dtype=torch.float64), 3.0)
    assert torch.isfinite(fitted.mean).all()
    one = Opinions(torch.zeros(0, 2).double(), torch.zeros(0, dtype=torch.bool), torch.tensor([[2.0, 0.0]]).double())
    mean, sd = head(one, 2).reward(torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0]]).double())
    assert mean[0] > 0.3
    assert mean[0] == -mean[1]
    assert abs(float(mean[2])) < 1e-12
    assert sd[0] < sd[2]


def test_approval_averages_over_the_belief() -> None:
    found = opinions(1)
    fitted = head(found, 1)
    phi = torch.tensor([[1.0], [-2.0], [5.0]]).double()
    rng = torch.Generator().manual_seed(2)
    draws = (
        fitted.mean + torch.randn(200_000, 2, generator=rng, dtype=torch.float64) @ torch.linalg.cholesky(fitted.cov).T
    )
    wanted = torch.sigmoid(draws[:, :1] @ phi.T + draws[:, 1:]).mean(0)
    assert torch.allclose(fitted.approval(phi), wanted, atol=0.021)  # MacKay's 0.02 and the draws' 0.001


def test_left_out_predicts_better_than_a_coin_where_there_is_something_to_learn() -> None:
    found = opinions(1, 60)
    scale = torch.ones(1, dtype=torch.float64)
    assert float(left_out(found, scale, TAU).mean()) > -math.log(2) + 0.05
    noise = replace(found, liked=torch.arange(60) % 2 == 0, pairs=found.pairs[:0])
    assert float(left_out(noise, scale, TAU).mean()) < -math.log(2) + 0.02
    single = found.without(0)
    while len(single) > 1:
        single = single.without(0)
    assert left_out(single, scale).tolist() == [-math.log(2)]
