"""GAE, the clip and what PPO reports, on numbers made by hand."""

import pytest
import torch

from credence.core.protocols import Scored
from credence.learn.losses.clipped import clipped_gradient, gae, gains
from credence.learn.losses.group_relative import centred, spreads
from tests.policy_gradients import flat


def row(log_pi: list[float], log_q: list[float], log_lik: float, value: float = 0.0) -> Scored:
    wide = [torch.tensor([x], dtype=torch.float64) for x in (log_pi, log_q)]
    zero = torch.zeros_like(wide[0])
    mask = torch.ones_like(zero, dtype=torch.bool)
    here, old = zero + value, zero + value
    return Scored(
        wide[0].requires_grad_(), zero - 1.0, wide[1], torch.tensor([log_lik], dtype=torch.float64), mask,
        torch.tensor([0]), 1, value=here, value_q=old,
    )  # fmt: skip


def test_the_kl_is_paid_token_by_token_and_the_evidence_at_the_end() -> None:
    assert gains(row([-2.0, -0.5], [-2.0, -0.5], 3.0)).tolist() == [[1.0, 2.5]]


def test_gae_between_one_step_and_return_to_go() -> None:
    gain, value = torch.tensor([[1.0, 2.0, 4.0]]).double(), torch.tensor([[10.0, 20.0, 30.0]]).double()
    mask = torch.tensor([[True, True, True]])
    assert gae(gain, value, mask, 1.0).tolist() == [[7 - 10.0, 6 - 20.0, 4 - 30.0]]
    assert gae(gain, value, mask, 0.0).tolist() == [[11.0, 12.0, -26.0]]
    assert gae(gain, value, mask, 0.5).tolist() == [[11 + 6 - 6.5, 12 - 13.0, -26.0]]
    shorter = torch.tensor([[True, True, False]])
    assert gae(gain, torch.where(shorter, value, 0.0), shorter, 1.0).tolist() == [[3 - 10.0, 2 - 20.0, 0.0]]


def test_a_ratio_beyond_the_clip_earns_nothing() -> None:
    """Ratio e^0.5: with a gain it is cut, with a loss it is not."""
    for log_lik, cut in ((5.0, 1.0), (-5.0, 0.0)):
        given = row([-0.5], [-1.0], log_lik)
        _, info = clipped_gradient(given)
        assert info["clip_share"] == cut
        assert info["kl_step"] == pytest.approx(-0.5)
        slope = flat(row([-0.5], [-1.0], log_lik), clipped_gradient)
        assert (float(slope[0, 0]) == 0.0) == bool(cut)


def test_spread_of_a_group() -> None:
    given = row([-1.0], [-1.0], 0.0)
    three = Scored(
        *(torch.zeros(3, 1, dtype=torch.float64) for _ in range(3)), torch.tensor([1.0, 2.0, 6.0]).double(),
        torch.ones(3, 1, dtype=torch.bool), torch.zeros(3, dtype=torch.long), 1,
    )  # fmt: skip
    assert centred(three.log_lik, three).tolist() == [-2.0, -1.0, 3.0]
    assert spreads(three.log_lik, three).tolist() == pytest.approx([7**0.5] * 3)
    assert spreads(given.log_lik, given).tolist() == [0.0]
