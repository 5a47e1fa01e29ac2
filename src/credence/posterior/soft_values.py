"""The oracle of control: soft-optimal values, and the exact J, reward and KL of any policy.

    V(s) = β log Σ_a q(a|s) e^{Q(s,a)/β},   Q(s,a) = E[r + γ V(s')]        J(π) = E_π[Σ γ^t (r_t − β log π/q(a_t|s_t))]

The mean over the world's chance stands inside Q. So this is KL-penalised control and not conditioning on reward, unless
each action has one outcome; a posterior over trajectories would hope for luck (tests/oracle/test_soft_values.py).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, DegeneracyError
from credence.core.logspace import kl
from credence.core.soft import check_beta, log_soft_policy, soft_value
from credence.posterior.mdp import MDP, mixed

SWEEPS = 200_000
"""Sweeps after which a value iteration that has not settled is given up."""
ENDLESS = 1e12
"""Steps beyond which a walk without a time limit counts as endless."""


@dataclass(frozen=True, eq=False)
class Optimal:
    """A soft-optimal solution.

    Attributes:
        values: (H+1, S) soft values by steps gone, 0 in the last row; (1, S) without a time limit.
        log_pi: (H, S, A) nats, the policy by steps gone; (1, S, A) without a time limit.
        j: the best J there is, from the start, in reward units.
    """

    values: Float[Tensor, "N S"]
    log_pi: Float[Tensor, "H S A"]
    j: float


@dataclass(frozen=True, eq=False)
class Worth:
    """What policies are worth from the start, exactly; N policies.

    Attributes:
        j: (N,) E[Σ γ^t (r − β log π/q)], reward units.
        reward: (N,) E[Σ γ^t r].
        kl: (N,) E[Σ γ^t KL_t], nats: the divergence between trajectories, KL(π‖q).
        steps: (N,) E[number of steps], undiscounted; NaN at a discount below 1 without a time limit.
    """

    j: Float[Tensor, " N"]
    reward: Float[Tensor, " N"]
    kl: Float[Tensor, " N"]
    steps: Float[Tensor, " N"]


def check_discount(discount: float) -> float:
    """γ in (0, 1].

    Raises:
        ConfigError: anything else.
    """
    if not 0 < discount <= 1:
        raise ConfigError(f"discount = {discount}: above 0 and at most 1 (1: an episode's rewards simply add up).")
    return discount


def solve(
    mdp: MDP, log_prior: Float[Tensor, "S A"], beta: float, discount: float = 1.0, horizon: int | None = None
) -> Optimal:
    """The soft optimum by backward induction; with a time limit the best policy depends on the steps left.

    Exact. β = 0 gives the plain optimum, whose ties the prior breaks.

    Args:
        mdp: the world.
        log_prior: log q(a|s) in nats, normalised over actions.
        beta: reward units a nat.
        discount: γ; below 1 it is the chance that the world goes on, priced into every later step.
        horizon: steps after which an episode is cut, its later rewards lost; None: value iteration to a fixed point.

    Raises:
        DegeneracyError: no time limit, and the values do not settle.

    Cost: horizon × S × A × K; without a time limit as many sweeps as it takes to move less than 1e-13.
    """
    check_beta(beta)
    check_discount(discount)
    values = torch.zeros(mdp.states, dtype=torch.float64)
    if horizon is None:
        return _settle(mdp, log_prior, beta, discount, values)
    back, laws = [values], list[Tensor]()
    for _ in range(horizon):
        ahead = mdp.look_ahead(back[-1], discount)
        laws.append(log_soft_policy(ahead, log_prior, beta))
        back.append(soft_value(ahead, log_prior, beta))
    return Optimal(torch.stack(back[::-1]), torch.stack(laws[::-1]), float(mdp.start @ back[-1]))


def _settle(mdp: MDP, log_prior: Tensor, beta: float, discount: float, values: Tensor) -> Optimal:
    moved = torch.inf
    for _ in range(SWEEPS):
        ahead = mdp.look_ahead(values, discount)
        new = soft_value(ahead, log_prior, beta)
        moved = float((new - values).abs().max())
        values = new
        if moved < 1e-13 * (1 + float(values.abs().max())):
            law = log_soft_policy(mdp.look_ahead(values, discount), log_prior, beta)
            return Optimal(values[None], law[None], float(mdp.start @ values))
    raise DegeneracyError(
        f"soft values still move by {moved:.3g} after {SWEEPS:,} sweeps at discount {discount}: some state may never "
        "end. Give a time limit (max_steps) or a discount below 1."
    )


def worth(
    mdp: MDP,
    log_pi: Float[Tensor, "*n S A"],
    log_prior: Float[Tensor, "S A"],
    beta: float,
    discount: float = 1.0,
    horizon: int | None = None,
) -> Worth:
    """Exact J, reward, KL and length of policies. Tested against enumerated trajectories in the oracle's tests.

    Args:
        mdp: the world.
        log_pi: (S, A) or (N, S, A) stationary policies, or (N, H, S, A) policies that know the steps gone; nats.
        log_prior: log q(a|s) in nats.
        beta: reward units a nat.
        discount: γ of the sums.
        horizon: steps after which an episode is cut; None: a linear system instead of steps.

    Raises:
        ConfigError: policies that know the steps gone without as many steps.
        DegeneracyError: no time limit, and a policy that may never end.
    """
    laws = log_pi if log_pi.ndim > 2 else log_pi[None]
    timed = laws.ndim == 4
    if timed and laws.shape[1] != horizon:
        raise ConfigError(f"policies for {laws.shape[1]} steps, and a time limit of {horizon}: they must agree.")
    if horizon is None:
        return _solved(mdp, laws, log_prior, beta, discount)
    total = torch.zeros(3, len(laws), mdp.states, dtype=torch.float64)
    for t in reversed(range(horizon)):
        law = laws[:, t] if timed else laws
        total = _back(mdp, law, log_prior, discount, total)
    reward, nats, steps = (mixed(mdp.start, part) for part in total)
    return Worth(reward - beta * nats if beta else reward, reward, nats, steps)


def _back(mdp: MDP, law: Tensor, log_prior: Tensor, discount: float, total: Tensor) -> Tensor:
    """One step back for (reward, KL, steps), each (N, S)."""
    p = law.exp()
    cost = kl(law, log_prior.expand_as(law))
    reward = mixed(p, mdp.look_ahead(total[0], discount))
    silent = torch.where(mdp.ends, 0.0, discount * total[1][..., mdp.state])
    nats = cost + mixed(p, mixed(mdp.chance, silent))
    steps = 1 + mixed(p, mixed(mdp.chance, torch.where(mdp.ends, 0.0, total[2][..., mdp.state])))
    return torch.stack([reward, nats, steps])


def _solved(mdp: MDP, laws: Tensor, log_prior: Tensor, beta: float, discount: float) -> Worth:
    """(1 − γ P_π) x = source, where P_π is the part of the chain that goes on; one system a policy."""
    count, eye = len(laws), torch.eye(mdp.states, dtype=torch.float64)
    p = laws.exp()
    going = torch.where(mdp.ends, 0.0, mdp.chance)
    chain = torch.zeros(count, mdp.states, mdp.states, dtype=torch.float64)
    flow = (p[..., None] * going).reshape(count, mdp.states, -1)
    chain.scatter_add_(2, mdp.state.reshape(mdp.states, -1).expand(count, -1, -1), flow)
    sources = torch.stack([mixed(p, mixed(mdp.chance, mdp.reward)), kl(laws, log_prior.expand_as(laws))], -1)
    ones = torch.ones(count, mdp.states, 1, dtype=torch.float64)
    sums, trouble = torch.linalg.solve_ex(eye - discount * chain, sources)
    length, endless = torch.linalg.solve_ex(eye - chain, ones) if discount == 1 else (ones * torch.nan, trouble)
    if bool(trouble.any() | endless.any()) or bool((length > ENDLESS).any() | (length < 0).any()):
        raise DegeneracyError(
            "a policy may walk for ever, so its J without a time limit does not exist. Give a time limit (max_steps)."
        )
    reward, nats = (mixed(mdp.start, sums[..., i]) for i in range(2))
    long = (mdp.start * length[..., 0]).sum(-1)
    return Worth(reward - beta * nats if beta else reward, reward, nats, long)
