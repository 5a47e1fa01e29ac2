"""The oracle of control against enumerated trajectories, closed forms and TOY-A's golden numbers."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from credence.core.errors import ConfigError, DegeneracyError, ShapeError
from credence.core.logspace import kl
from credence.core.soft import log_soft_policy, soft_value
from credence.evidence.constraint import Constraint
from credence.posterior.exact import enumerate_posterior
from credence.posterior.mdp import MDP, from_table, token_mdp
from credence.posterior.posterior import Posterior
from credence.posterior.soft_values import solve, worth
from tests.toys import BETA, toy_a, toy_prior, toy_prompts
from tests.worlds import COIN_BETA, chain, coin, even, leaning, toy_world

HORIZON = 4


def by_trajectories(mdp: MDP, law: Tensor, prior: Tensor, discount: float) -> tuple[float, float, float]:
    """E[Σ γ^t r], E[Σ γ^t log π/q] and E[steps] of `HORIZON` steps, path by path; law is (S, A) or (H, S, A)."""
    reward = nats = length = 0.0
    paths = [(float(p), s, 0.0, 0.0, 0) for s, p in enumerate(mdp.start) if p > 0]
    for t in range(HORIZON):
        now = law[t] if law.ndim == 3 else law
        grown = []
        for (p, s, r, n, _), a, k in product(paths, range(mdp.actions), range(mdp.chance.shape[2])):
            q = p * float(now[s, a].exp()) * float(mdp.chance[s, a, k])
            if q == 0:
                continue
            r += discount**t * float(mdp.reward[s, a, k])
            n += discount**t * float(now[s, a] - prior[s, a])
            if mdp.ends[s, a, k] or t == HORIZON - 1:
                reward, nats, length = reward + q * r, nats + q * n, length + q * (t + 1)
            else:
                grown.append((q, int(mdp.state[s, a, k]), r, n, t))
        paths = grown
    return reward, nats, length


@pytest.mark.parametrize("discount", [1.0, 0.8])
@pytest.mark.parametrize("timed", [False, True])
def test_worth_is_the_sum_over_trajectories(discount: float, timed: bool) -> None:
    # Rejects: KL not discounted like the reward, KL at a step dropped or doubled, values behind an end.
    mdp = chain()
    prior, law = leaning(mdp, 0.5), leaning(mdp)
    if timed:
        law = torch.stack([leaning(mdp, 1 + t) for t in range(HORIZON)])
    reward, nats, length = by_trajectories(mdp, law, prior, discount)
    found = worth(mdp, law[None], prior, 0.3, discount, HORIZON)
    assert found.reward.item() == pytest.approx(reward, abs=1e-12)
    assert found.kl.item() == pytest.approx(nats, abs=1e-12)
    assert found.steps.item() == pytest.approx(length, abs=1e-12)
    assert found.j.item() == pytest.approx(reward - 0.3 * nats, abs=1e-12)


@pytest.mark.parametrize("discount", [1.0, 0.8])
@pytest.mark.parametrize("horizon", [1, 5, None])
def test_the_gap_is_beta_times_the_kl_to_the_optimum(discount: float, horizon: int | None) -> None:
    # J* − J(π) = β E_π[Σ γ^t KL(π‖π*)] on *any* world: so no policy beats the optimum, and J* is attained.
    # Rejects: log-mean-exp over outcomes, max instead of soft max, a wrong sign of the KL.
    mdp, beta = chain(), 0.3
    prior, law = leaning(mdp, 0.5), leaning(mdp)
    best = solve(mdp, prior, beta, discount, horizon)
    own = worth(mdp, law, prior, beta, discount, horizon)
    optimum = best.log_pi if horizon is None else best.log_pi[None]
    there = worth(mdp, optimum, prior, beta, discount, horizon)
    assert there.j.item() == pytest.approx(best.j, abs=1e-10)
    if horizon is None:
        gap = worth(mdp, law, best.log_pi[0], beta, discount, None).kl.item()
    else:  # the optimum counts the steps, so its KL is summed by hand
        zero, total = MDP(mdp.chance, mdp.state, torch.zeros_like(mdp.reward), mdp.ends, mdp.start), 0.0
        at = mdp.start.clone()
        for t in range(horizon):
            total += discount**t * float(at @ kl(law, best.log_pi[t]))
            flow = at[:, None, None] * law.exp()[..., None] * torch.where(zero.ends, 0.0, zero.chance)
            at = torch.zeros_like(at).index_add(0, zero.state.flatten(), flow.flatten())
        gap = total
    assert best.j - own.j.item() == pytest.approx(beta * gap, abs=1e-10)
    assert gap > 0.01


def test_a_long_time_limit_tends_to_none() -> None:
    mdp, beta = chain(), 0.3
    prior = leaning(mdp, 0.5)
    long, free = solve(mdp, prior, beta, 1.0, 400), solve(mdp, prior, beta)
    assert long.j == pytest.approx(free.j, abs=1e-10)
    law = leaning(mdp)
    a, b = (worth(mdp, law, prior, beta, 1.0, h) for h in (600, None))
    for name in ("j", "reward", "kl", "steps"):
        assert getattr(a, name).item() == pytest.approx(getattr(b, name).item(), abs=1e-9)


def test_coin_against_sure() -> None:
    # SCIENCE 4.4. The mean stands inside: the two actions are worth the same. Conditioning would hope for luck.
    mdp, q = coin(), even(coin())
    best = solve(mdp, q, COIN_BETA, 1.0, 1)
    assert best.log_pi.exp().flatten().tolist() == pytest.approx([0.5, 0.5], abs=1e-12)
    assert best.j == pytest.approx(0.5, abs=1e-12)
    ratio = torch.tensor([(1 + math.exp(10)) / 2, math.exp(5)])
    hoping = (ratio / ratio.sum())[0].item()
    assert hoping == pytest.approx(0.987, abs=5e-4)
    assert COIN_BETA * math.log(ratio.mean()) == pytest.approx(0.863, abs=5e-4)
    law = torch.tensor([[math.log(hoping), math.log(1 - hoping)]], dtype=torch.float64)
    assert worth(mdp, law, q, COIN_BETA, 1.0, 1).j.item() < 0.5 - 0.05  # what hoping costs
    assert not mdp.deterministic


def test_one_reply_is_the_deterministic_case() -> None:
    mdp, log_prior, prefixes = toy_world()
    assert mdp.deterministic
    exact = enumerate_posterior(toy_a(), toy_prompts())
    for horizon in (4, None):
        best = solve(mdp, log_prior, BETA, 1.0, horizon)
        assert best.j == pytest.approx(0.4260483780, abs=1e-10)
        assert best.j == pytest.approx(BETA * exact.log_z, abs=1e-12)
    for s, prefix in enumerate(prefixes):
        torch.testing.assert_close(best.log_pi[0, s], exact.soft_optimal(prefix), atol=1e-10, rtol=0)
        assert float(best.values[0, s]) == pytest.approx(BETA * exact.log_value[prefix], abs=1e-10)
    tokens = {prefix: s for s, prefix in enumerate(prefixes)}
    law = torch.stack([sum(best.log_pi[0, tokens[x[:t]], x[t]] for t in range(len(x))) for x in exact.sequences])
    torch.testing.assert_close(law, exact.log_p, atol=1e-10, rtol=0)
    found = worth(mdp, best.log_pi, log_prior, BETA)
    assert found.kl.item() == pytest.approx(0.5392896809, abs=1e-9)
    assert found.reward.item() == pytest.approx(0.6956932185, abs=1e-9)


def test_linear_values_are_another_policy() -> None:
    # SCIENCE 4.1, declared bias: V_lin = E_π0[r | s] and π0 e^{V_lin/β} miss p* by TV .2018775.
    mdp, log_prior, prefixes = toy_world()
    exact = enumerate_posterior(toy_a(), toy_prompts())
    values = torch.zeros(mdp.states, dtype=torch.float64)
    for _ in range(4):
        ahead = mdp.look_ahead(values, 1.0)
        values = (log_prior.exp() * ahead).sum(-1)
    law = log_soft_policy(ahead, log_prior, BETA)
    place = {prefix: s for s, prefix in enumerate(prefixes)}
    log_p = torch.stack([sum(law[place[x[:t]], x[t]] for t in range(len(x))) for x in exact.sequences])
    assert 0.5 * float((log_p.exp() - exact.log_p.exp()).abs().sum()) == pytest.approx(0.2018775, abs=1e-7)
    assert float(kl(log_p, exact.log_p)) == pytest.approx(0.0931181, abs=1e-6)


def test_soft_value_is_the_best_penalised_mean() -> None:
    values = torch.tensor([0.3, -1.0, 0.8], dtype=torch.float64)
    q = torch.log(torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64))
    for beta in (0.05, 0.7, 30.0):
        law, best = log_soft_policy(values, q, beta), soft_value(values, q, beta)
        assert float(law.exp() @ values - beta * kl(law, q)) == pytest.approx(float(best), abs=1e-12)
        for nudge in torch.eye(3, dtype=torch.float64):
            other = torch.log_softmax(law + 0.1 * nudge, -1)
            lost = float(best - other.exp() @ values + beta * kl(other, q))
            assert lost == pytest.approx(beta * float(kl(other, law)), abs=1e-12)
    assert float(soft_value(values, q, 0.0)) == 0.8
    assert float(soft_value(values, q, 1e9)) == pytest.approx(float(q.exp() @ values), abs=1e-6)


def test_without_a_penalty_the_prior_breaks_ties_only() -> None:
    values, q = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64), torch.tensor([0.1, 0.3, 0.6], dtype=torch.float64)
    assert log_soft_policy(values, q.log(), 0.0).exp().tolist() == pytest.approx([0.25, 0.75, 0.0])
    assert log_soft_policy(values, q.log(), 1e-4).exp().tolist() == pytest.approx([0.25, 0.75, 0.0])
    forbidden = torch.tensor([-math.inf, 0.0, -math.inf], dtype=torch.float64)
    assert float(soft_value(values + torch.tensor([5.0, 0, 0]), forbidden, 0.0)) == 1.0


def test_a_prior_without_an_action_makes_the_kl_infinite() -> None:
    mdp = coin()
    q = torch.tensor([[-math.inf, 0.0]], dtype=torch.float64)
    found = worth(mdp, even(mdp), q, 0.1, 1.0, 1)
    assert (found.kl.item(), found.j.item(), found.reward.item()) == (math.inf, -math.inf, 0.5)
    assert solve(mdp, q, 0.1, 1.0, 1).j == 0.5


def test_what_cannot_be_is_refused() -> None:
    mdp = coin()
    with pytest.raises(ConfigError, match="beta"):
        solve(mdp, even(mdp), -1.0)
    with pytest.raises(ConfigError, match="discount"):
        solve(mdp, even(mdp), 0.1, 1.5)
    with pytest.raises(ShapeError, match="1 needed"):
        from_table({0: {0: [(0.9, 0, 0.0, True)]}}, [1.0])
    loop = from_table({0: {0: [(1.0, 0, 1.0, False)]}}, [1.0])
    with pytest.raises(DegeneracyError, match="time limit"):
        worth(loop, torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64), 0.1)
    never_a = Constraint(lambda reply: 0 not in reply, "no a", -math.inf)
    with pytest.raises(ConfigError, match="forbids"):
        token_mdp(Posterior(toy_prior(), never_a), toy_prompts(), 1.0)
