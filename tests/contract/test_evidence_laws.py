"""Laws of every Evidence: nats of the right shape, the same for a row wherever it stands, twists that end well."""

import math

import pytest
import torch

from credence.core.keys import Key
from credence.core.protocols import Evidence, PrefixEvidence
from credence.core.types import Completions, Prompts
from credence.evidence.constraint import Constraint
from credence.evidence.ended import Ended
from credence.evidence.product import twist
from credence.evidence.reward import Reward
from credence.evidence.sentence import Exactly, Near
from tests.toys import toy_prior, toy_reward


def forbidding(prompts: list, completions: list) -> list[float]:
    return [-math.inf if c[0] == 0 else 1.0 for c in completions]


REWARD, ON_PREFIX = Reward(toy_reward, 0.5), Reward(toy_reward, 0.5, on_prefix=True)
EVIDENCE = {
    "reward": REWARD,
    "reward on prefixes": ON_PREFIX,
    "forbidding on prefixes": Reward(forbidding, 0.5, on_prefix=True),
    "ended": Ended(-3.0),
    "hard ended": Ended(-math.inf),
    "constraint": Constraint(lambda tokens: 1 in tokens, "has b"),
    "soft constraint": Constraint(lambda tokens: 1 in tokens, "has b", -2.0),
    "product": ON_PREFIX * Ended(-1.0) * Constraint(lambda tokens: 1 in tokens, "has b", -2.0),
    "exactly": Exactly((1, 0, 2), 3.0, -1.0),
    "point mass": Exactly((1, 0, 2), 0.0, -math.inf),
    "near": Near((1, 0, 2), 0.5),
    "tempered": ON_PREFIX**0.3,
    "tempered product": (REWARD * Ended(-1.0)) ** 2.0,
}


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    return toy_prior().codec.prompts([(), (0,), (1, 0)])


@pytest.fixture(scope="module")
def completions(prompts: Prompts) -> Completions:
    return toy_prior().sample(Key(3), prompts, 20)[0]


@pytest.mark.parametrize("evidence", EVIDENCE.values(), ids=EVIDENCE)
class TestEvidence:
    def test_is_nats_a_row(self, evidence: Evidence, prompts: Prompts, completions: Completions) -> None:
        nats = evidence.log_lik(prompts, completions)
        assert nats.shape == (60,)
        assert nats.dtype == torch.float64
        assert not bool((torch.isnan(nats) | torch.isposinf(nats)).any())
        assert isinstance(evidence, Evidence)
        for values in evidence.readings(prompts, completions).values():
            assert values.shape == (60,)

    def test_rows_do_not_see_each_other(self, evidence: Evidence, prompts: Prompts, completions: Completions) -> None:
        nats = evidence.log_lik(prompts, completions)
        index = torch.tensor([41, 3, 3, 59, 20])
        assert torch.equal(evidence.log_lik(prompts, completions.rows(index)), nats[index])

    def test_twist_is_log_lik_at_the_end(self, evidence: Evidence, prompts: Prompts, completions: Completions) -> None:
        ended = completions.rows(completions.ended)
        assert 0 < len(ended) < 60
        assert torch.equal(twist(evidence, prompts, ended), evidence.log_lik(prompts, ended))
        mixed = twist(evidence, prompts, completions)
        assert torch.equal(mixed[completions.ended], evidence.log_lik(prompts, ended))

    def test_twist_of_an_unfinished_text_is_never_nan(
        self, evidence: Evidence, prompts: Prompts, completions: Completions
    ) -> None:
        open_rows = torch.nonzero(completions.lengths > 2).flatten()
        cut = completions.rows(open_rows)
        prefix = Completions(cut.ids[:, :2], cut.mask[:, :2], torch.zeros(len(cut), dtype=torch.bool), cut.prompt)
        found = twist(evidence, prompts, prefix)
        assert found.shape == (len(cut),)
        assert not bool((torch.isnan(found) | torch.isposinf(found)).any())

    def test_power_one_is_itself_and_powers_multiply(
        self, evidence: Evidence, prompts: Prompts, completions: Completions
    ) -> None:
        nats = evidence.log_lik(prompts, completions)
        assert torch.equal((evidence**1.0).log_lik(prompts, completions), nats)  # pyright: ignore
        assert torch.allclose(
            ((evidence**0.5) ** 0.5).log_lik(prompts, completions),  # pyright: ignore
            (evidence**0.25).log_lik(prompts, completions),  # pyright: ignore
        )

    def test_square_is_the_product_with_itself(
        self, evidence: Evidence, prompts: Prompts, completions: Completions
    ) -> None:
        twice = (evidence * evidence).log_lik(prompts, completions)  # pyright: ignore
        assert torch.allclose(twice, (evidence**2.0).log_lik(prompts, completions))  # pyright: ignore

    def test_no_value_exceeds_the_stated_bound(
        self, evidence: Evidence, prompts: Prompts, completions: Completions
    ) -> None:
        bound = getattr(evidence, "max_log_lik", math.inf)
        assert float(evidence.log_lik(prompts, completions).max()) <= bound


def test_prefix_evidence_is_told_by_its_door() -> None:
    assert isinstance(ON_PREFIX, PrefixEvidence)
    assert isinstance(ON_PREFIX * Ended(), PrefixEvidence)
