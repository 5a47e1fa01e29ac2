"""Belief by hand-made numbers: Bayes, evidence, tempering, forgetting, and what it refuses."""

import math

import pytest
import torch

from credence.belief.belief import Belief
from credence.core.errors import ConfigError, ContractError, DegeneracyError, ShapeError


def nats(*p: float) -> torch.Tensor:
    return torch.tensor(p, dtype=torch.float64).log()


def test_bayes_by_hand() -> None:
    # A rare fault (2 %), a test that finds it 9 times of 10 and errs once in 20: 0.018/(0.018 + 0.049).
    belief = Belief(("fault", "sound"), nats(0.02, 0.98)).update(nats(0.9, 0.05))
    assert belief.probability("fault") == pytest.approx(0.018 / 0.067, abs=1e-12)
    assert belief.log_evidence == pytest.approx(math.log(0.067), abs=1e-12)
    assert belief.updates == 1
    assert belief.top(1) == [("sound", pytest.approx(math.log(0.049 / 0.067)))]


def test_uniform_and_entropy() -> None:
    belief = Belief.uniform(["a", "b", "c", "d"])
    assert belief.entropy() == pytest.approx(math.log(4), abs=1e-12)
    assert belief.information() == 0
    certain = belief.update(torch.tensor([0.0, -math.inf, -math.inf, -math.inf]))
    assert certain.entropy() == 0
    assert certain.information() == pytest.approx(math.log(4), abs=1e-12)
    assert certain.top(9)[0] == ("a", 0.0)


def test_batch_equals_sequence_and_evidence_is_prequential() -> None:
    heard = torch.tensor([[-1.0, -2.0, -0.3], [0.0, -4.0, -1.0], [-2.0, -0.1, -5.0]]).double()
    start = Belief(("a", "b", "c"), nats(0.5, 0.3, 0.2))
    batch, whole = start.update(heard), start.update(heard.sum(0))
    step = start
    for row in heard:
        step = step.update(row)
    for other in (step, whole):
        assert torch.allclose(batch.log_p, other.log_p, atol=1e-12)
        assert batch.log_evidence == pytest.approx(other.log_evidence, abs=1e-12)
    expected = float(torch.logsumexp(start.log_p + heard.double().sum(0), 0))
    assert batch.log_evidence == pytest.approx(expected, abs=1e-12)


def test_tempering_is_a_power_of_the_likelihood() -> None:
    start, lik = Belief(("a", "b"), nats(0.3, 0.7)), nats(0.8, 0.1)
    tempered = start.update(lik, tau=0.5)
    assert tempered.probability("a") == pytest.approx(0.3 * 0.8**0.5 / (0.3 * 0.8**0.5 + 0.7 * 0.1**0.5), abs=1e-12)


def test_forgetting_keeps_a_geometric_memory() -> None:
    # log p_t = log p_0 + Σ γ^{t−i} log L_i, up to the normaliser
    start = Belief(("a", "b", "c"), nats(0.6, 0.3, 0.1))
    heard = torch.tensor([[-1.0, -2.0, -0.3], [0.0, -4.0, -1.0], [-2.0, -0.1, -5.0]], dtype=torch.float64)
    gamma = 0.7
    weights = torch.tensor([gamma**2, gamma, 1.0], dtype=torch.float64)
    expected = torch.log_softmax(start.log_p + weights @ heard, 0)
    assert torch.allclose(start.update(heard, gamma=gamma).log_p, expected, atol=1e-12)
    # without evidence it goes back to where it began
    drifted = start.update(heard[0] * 5)
    for _ in range(80):
        drifted = drifted.update(torch.zeros(3), gamma=0.7)
    assert torch.allclose(drifted.log_p, start.log_p, atol=1e-9)


def test_an_impossible_hypothesis_stays_impossible() -> None:
    start = Belief(("a", "b", "c"), nats(0.5, 0.5, 0.0))
    later = start.update(torch.tensor([-3.0, -1.0, 0.0]), gamma=0.5)
    assert later.probability("c") == 0
    assert math.isfinite(later.entropy())


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Belief((), torch.zeros(0)), ConfigError, "no hypothesis"),
        (lambda: Belief(("a", "a"), nats(0.5, 0.5)), ConfigError, "twice"),
        (lambda: Belief(("a", "b"), torch.tensor([-1.0, -1.0])), ConfigError, "normalise"),
        (lambda: Belief(("a", "b"), torch.tensor([0.0])), ShapeError, "2 hypotheses"),
        (lambda: Belief(("a", "b"), torch.tensor([math.nan, 0.0])), ContractError, "NaN"),
        (lambda: Belief.uniform(["a", "b"]).update(torch.zeros(3)), ShapeError, "(3,)"),
        (lambda: Belief.uniform(["a", "b"]).update(torch.tensor([math.nan, 0])), ContractError, "NaN"),
        (lambda: Belief.uniform(["a", "b"]).update(torch.tensor([math.inf, 0])), ContractError, "inf"),
        (lambda: Belief.uniform(["a", "b"]).update(torch.zeros(2), tau=0.0), ConfigError, "tau"),
        (lambda: Belief.uniform(["a", "b"]).update(torch.zeros(2), gamma=0.0), ConfigError, "gamma"),
        (lambda: Belief.uniform(["a"]).update(torch.tensor([-math.inf])), DegeneracyError, "nothing fits"),
        (lambda: Belief.uniform(["a"]).probability("b"), ConfigError, "no hypothesis 'b'"),
    ],
)
def test_what_it_refuses(make, error, says) -> None:  # noqa: ANN001 - a table of lambdas
    with pytest.raises(error) as caught:
        make()
    assert says in str(caught.value)
