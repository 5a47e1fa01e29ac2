"""Wrong engines of control, and wrong oracles; each must fail a check that the right one passes."""

from functools import partial

import pytest
import torch
from torch import Tensor

from credence.core import soft
from credence.learn import sarsa, soft_q, temporal
from credence.learn.sarsa import SoftSarsa
from credence.learn.soft_q import SoftQ
from credence.posterior.mdp import MDP
from tests.controlling import check_coin, check_optimum_of_the_coin, check_slippery, check_soft_q, check_sweep
from tests.mutants.runner import SEEDS, Mutant, kill, params
from tests.statistical.test_control import BIAS, GAP
from tests.worlds import COIN_BETA

Patch = pytest.MonkeyPatch


def slippery_q(seed: int) -> None:
    check_slippery(SoftQ(), seed, BIAS, GAP)


def slippery_sarsa(seed: int) -> None:
    check_slippery(SoftSarsa(expected=False), seed, BIAS, GAP)


def sweep_q(seed: int) -> None:
    check_sweep(SoftQ())


def sweep_sarsa(seed: int) -> None:
    check_sweep(SoftSarsa())


def hardest(values: Tensor, log_prior: Tensor, beta: float) -> Tensor:
    """The maximum, as in Q-learning: the prior and β only shape the policy."""
    return values.amax(-1)


def linear(values: Tensor, log_prior: Tensor, beta: float) -> Tensor:
    """E_q[Q], as in controlled decoding: declared bias of another method, a bug here."""
    return (log_prior.exp() * values).sum(-1)


def valued(wrong: object, patch: Patch) -> None:
    patch.setattr(soft_q, "soft_value", wrong)


def kl_twice(patch: Patch) -> None:
    """The KL of a' stands in V(s'), and once more in the reward, as with PPO's shaping (SCIENCE 4.2)."""

    def wrong(values: Tensor, log_prior: Tensor, beta: float) -> Tensor:
        log_pi = soft.log_soft_policy(values, log_prior, beta)
        cost = (log_pi.exp() * (log_pi - log_prior)).sum(-1)
        return soft.soft_value(values, log_prior, beta) - beta * cost

    valued(wrong, patch)


def penalised_twice(values: Tensor, log_b: Tensor, log_prior: Tensor, beta: float) -> Tensor:
    return values - 2 * beta * (log_b - log_prior)


def unpenalised(values: Tensor, log_b: Tensor, log_prior: Tensor, beta: float) -> Tensor:
    return values


def sarsa_values(wrong: object, patch: Patch) -> None:
    patch.setattr(sarsa, "penalised", wrong)


def z_learning(beta: float, patch: Patch) -> None:
    """Averages e^{Q/β}: the log-mean-exp over the world's chance, a posterior that hopes for luck."""

    def wrong(value: Tensor, aim: Tensor, pace: Tensor) -> Tensor:
        return beta * torch.logaddexp(value / beta + torch.log1p(-pace), aim / beta + torch.log(pace))

    patch.setattr(temporal, "towards", wrong)


def hoping_oracle(patch: Patch) -> None:
    """β log Σ p e^{(r + V)/β} in the place of Σ p (r + V)."""

    def wrong(mdp: MDP, values: Tensor, discount: float) -> Tensor:
        ahead = mdp.reward + torch.where(mdp.ends, 0.0, discount * values[..., mdp.state])
        return COIN_BETA * torch.logsumexp(torch.log(mdp.chance) + ahead / COIN_BETA, -1)

    patch.setattr(MDP, "look_ahead", wrong)


MUTANTS = (
    Mutant("maximum in place of the soft maximum", sweep_q, partial(valued, hardest)),
    Mutant("maximum in place of the soft maximum, walking", check_soft_q, partial(valued, hardest)),
    Mutant("maximum in place of the soft maximum, slippery", slippery_q, partial(valued, hardest)),
    Mutant("linear values", sweep_q, partial(valued, linear)),
    Mutant("KL counted twice", sweep_q, kl_twice),
    Mutant("KL counted twice, slippery", slippery_q, kl_twice),
    Mutant("KL counted twice in SARSA", sweep_sarsa, partial(sarsa_values, penalised_twice)),
    Mutant("KL counted twice in sampled SARSA", slippery_sarsa, partial(sarsa_values, penalised_twice)),
    Mutant("KL left out of SARSA", sweep_sarsa, partial(sarsa_values, unpenalised)),
    Mutant("log mean exp over the coin", check_coin, partial(z_learning, COIN_BETA)),
    Mutant("log mean exp over the ice", slippery_q, partial(z_learning, 0.3)),
    Mutant("log mean exp in the oracle", check_optimum_of_the_coin, hoping_oracle),
)

LONG = (
    "maximum in place of the soft maximum, walking",
    "maximum in place of the soft maximum, slippery",
    "KL counted twice, slippery",
    "KL counted twice in sampled SARSA",
    "log mean exp over the ice",
)
"""Left to the slow part: a quicker mutant breaks the same thing."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", params(MUTANTS, LONG))
def test_mutant_dies(mutant: Mutant, seed: int) -> None:
    kill(mutant, seed)
