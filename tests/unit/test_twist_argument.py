"""A twist given to SMC: what is done with it, and what is said of one that breaks its law."""

import math
from dataclasses import dataclass

import pytest
import torch

from credence.core.errors import ConfigError, ContractError
from credence.core.keys import Key
from credence.core.types import Completions, Prompts
from credence.diagnose.twists import twist_support
from credence.evidence.constraint import Constraint
from credence.posterior.posterior import Posterior
from credence.sample.conditional_smc import sweep
from credence.sample.importance import Importance
from credence.sample.rules import Rules
from credence.sample.smc import SMC
from tests.toys import toy_a, toy_prior, toy_prompts


@dataclass(frozen=True)
class Says:
    """The same answer to every prefix that begins with 1, and 0 nats to the others."""

    value: float

    def log_twist(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return torch.where(completions.ids[:, 0] == 1, self.value, 0.0).float()


class OneTooMany:
    def log_twist(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return torch.zeros(len(completions) + 1)


class AList:
    def log_twist(self, prompts: Prompts, completions: Completions) -> list[float]:
        return [0.0] * len(completions)


class WithGradient:
    """A learnt twist hands over what it computed, gradient and all."""

    def log_twist(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return torch.zeros(len(completions), requires_grad=True) * 2


def test_a_given_twist_replaces_the_evidence_s_own() -> None:
    own = toy_a()
    plain = SMC(32, 2, 0.9).draw(Key(1), own, toy_prompts(), 20)
    given = SMC(32, 2, 0.9, twist=Says(3.0)).draw(Key(1), own, toy_prompts(), 20)
    assert given.info["resamplings"][0] > plain.info["resamplings"][0]
    assert not torch.equal(given.log_z, plain.log_z)
    learnt = SMC(32, 2, 0.9, twist=WithGradient()).draw(Key(1), own, toy_prompts(), 20)
    assert not learnt.log_z.requires_grad
    assert torch.equal(learnt.log_z, plain.log_z)  # TOY-A's reward says nothing of prefixes: 0 nats, like this one


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_twist_that_is_no_number_is_named_with_its_text(bad: float) -> None:
    with pytest.raises(ContractError, match=rf"log_twist of Says is {bad} for the text \(1.*\(prompt \(\)\)"):
        SMC(16, 1, twist=Says(bad)).draw(Key(1), toy_a(), toy_prompts(), 2)


@pytest.mark.parametrize(("twist", "given"), [(OneTooMany(), r"\(\d+,\)"), (AList(), "list")])
def test_a_twist_of_another_shape_is_refused(twist: OneTooMany | AList, given: str) -> None:
    with pytest.raises(ContractError, match=f"log_twist of {type(twist).__name__} returned {given} for"):
        SMC(16, 1, twist=twist).draw(Key(1), toy_a(), toy_prompts(), 2)  # pyright: ignore[reportArgumentType]


def test_what_is_no_twist_is_refused() -> None:
    """Built past the type checker that tests run under: a user has none."""
    for name, value, said in (
        ("twist", 3, "log_twist"),
        ("scheme", "best", "multinomial, stratified, systematic, resi"),
    ):
        wrong = Rules(4)
        object.__setattr__(wrong, name, value)
        with pytest.raises(ConfigError, match=said):
            wrong.__post_init__()


def test_a_twist_of_minus_infinity_is_counted_and_found() -> None:
    """From inside SMC it is a loss of Z without a trace but `barred`; draws of the prior give it away."""
    blind, posterior = Says(-math.inf), toy_a()
    draws = SMC(64, 2, 0.5, twist=blind).draw(Key(1), posterior, toy_prompts(), 2)
    assert float(draws.info["barred"][0]) > 0
    assert float(SMC(64, 2, 0.5).draw(Key(1), posterior, toy_prompts(), 2).info["barred"][0]) == 0
    stored = Importance().draw(Key(2), posterior, toy_prompts(), 200)
    found = twist_support(posterior, blind, stored)
    assert not found.ok
    begins = [row[0] == 1 and len(row) > 1 for row in stored.texts()]
    assert found.value == pytest.approx(sum(begins) / 200)
    assert "the text (1,)" in found.meaning
    assert twist_support(posterior, None, stored).ok
    fine = twist_support(posterior, Says(5.0), stored)
    assert (fine.ok, fine.value) == (True, 0.0)


def test_nothing_can_be_said_of_a_twist_without_a_possible_draw() -> None:
    never = Posterior(toy_prior(), Constraint(lambda tokens: False, "never"))
    found = twist_support(never, Says(0.0), Importance().draw(Key(2), never, toy_prompts(), 20))
    assert not found.ok
    assert math.isnan(found.value)


def test_a_retained_completion_shows_a_twist_that_bars_it() -> None:
    path = Completions(torch.tensor([[1, 0, 2]]), torch.ones(1, 3).bool(), torch.tensor([True]), torch.tensor([0]))
    with pytest.raises(ContractError, match=r"the twist is -inf at the text \(1,\).* a possible completion goes on"):
        sweep(Key(1), toy_a(), toy_prompts(), path, Rules(4, twist=Says(-math.inf)))
