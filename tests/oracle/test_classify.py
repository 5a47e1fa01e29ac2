"""Classification on enumerable laws: the channel equals Bayes' rule, corrections equal hand numbers."""

import pytest
import torch

from credence.belief.classify import channel_law, corrected, direct_law, label_prior, log_odds_steps, mean_answer
from credence.belief.verbaliser import Texts, channel_log_lik
from credence.core.errors import ConfigError, ContractError, ShapeError
from tests.classifying import (
    check_correction_moves_the_mean,
    check_direct_sums_all_tokens,
    check_prior_is_heard,
    check_tempered_channel,
    check_test_labels_choose_nothing,
)
from tests.oracle.test_channel import channel, every


def test_texts_of_different_lengths_are_scored_as_one_by_one() -> None:
    both, start = channel()
    x = every()
    ids = tuple(tuple(row) for row in x.tokens())
    found = channel_log_lik(both, Texts(ids, ("",) * len(ids), 0))
    summed = torch.stack([one.sum(0) for one in found])
    whole = both.log_lik(x).sum(1)
    assert torch.allclose(summed, whole, atol=1e-12)
    # equals enumeration, and TOY-A's accuracy and log-loss as SCIENCE has them
    law, joint = channel_law(summed, start.log_p), (start.log_p + whole).exp()
    assert torch.allclose(law.exp(), joint / joint.sum(1, keepdim=True), atol=1e-12)
    assert float(joint.gather(1, law.argmax(1, keepdim=True)).sum()) == pytest.approx(0.745646, abs=1e-6)
    assert float(-(joint * law).sum()) == pytest.approx(0.558004, abs=1e-6)
    for row in (3, 17):  # and equals a belief that hears the tokens
        assert torch.allclose(law[row], start.update(found[row]).log_p, atol=1e-12)


def test_the_steps_of_the_log_odds_sum_to_the_evidence() -> None:
    both, start = channel()
    ids = tuple(tuple(row) for row in every().tokens())[9:12]
    for one in channel_log_lik(both, Texts(ids, ("",) * 3, 0)):
        steps = log_odds_steps(one, start.log_p, 1, 0.7)
        assert torch.allclose(steps, 0.7 * (one[:, 1] - one[:, 0]), atol=1e-12)
    # of three labels: against all others together
    three = torch.tensor([[-1.0, -2.0, -0.5], [-0.3, -3.0, -1.0]]).double()
    prior = torch.tensor([0.2, 0.5, 0.3]).double().log()
    after = (prior + three.sum(0)).exp()
    odds = torch.log(after[0] / (after[1] + after[2])) - torch.log(torch.tensor(0.2 / 0.8).double())
    assert float(log_odds_steps(three, prior, 0).sum()) == pytest.approx(float(odds))


def test_the_correction_by_hand() -> None:
    # Answers .9 and .7 for the first label: mean .8. Divided: (1.125, .5) -> 9/13, (.875, 1.5) -> 7/19.
    law = direct_law(torch.tensor([[0.9, 0.1], [0.7, 0.3]]).double().log() - 3.0)
    mean = mean_answer(law)
    assert mean.exp().tolist() == pytest.approx([0.8, 0.2])
    even = torch.tensor([0.5, 0.5]).double().log()
    assert corrected(law, mean, even)[:, 0].exp().tolist() == pytest.approx([9 / 13, 7 / 19])
    # With shares of 3/4 and 1/4 in their place: 1.125·3 : .5 -> 27/31, and .875·3 : 1.5 -> 7/11.
    uneven = torch.tensor([0.75, 0.25]).double().log()
    assert corrected(law, mean, uneven)[:, 0].exp().tolist() == pytest.approx([27 / 31, 7 / 11])


@pytest.mark.parametrize("seed", [1, 2])
def test_the_checks_that_mutants_fail(seed: int) -> None:
    check_direct_sums_all_tokens(seed)
    check_test_labels_choose_nothing(seed)
    check_tempered_channel(seed)
    check_correction_moves_the_mean(seed)
    check_prior_is_heard(seed)


def test_what_it_refuses() -> None:
    with pytest.raises(ConfigError, match="has 1 training text"):
        label_prior(torch.tensor([0, 0, 1]), ("a", "b"))
    with pytest.raises(ContractError, match="under every label"):
        channel_law(torch.full((1, 2), -torch.inf), torch.zeros(2).double())
    with pytest.raises(ShapeError, match="over texts"):
        mean_answer(torch.zeros(0, 2))
