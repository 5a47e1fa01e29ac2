"""Value engines and the actor reach their declared optimum; the actor's gradient is exact by enumeration."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.learn.actor import Actor, Played, actor_loss, learn_policy, returns
from credence.learn.sarsa import SoftSarsa
from credence.learn.soft_q import SoftQ
from credence.learn.temporal import ValueEngine, learn_values, rest
from credence.learn.world import TableWorld
from credence.posterior.mdp import MDP
from credence.posterior.soft_values import solve, worth
from tests.controlling import check_soft_q, check_sweep
from tests.toys import BETA
from tests.worlds import chain, coin, even, leaning, toy_world


def test_toy_a_is_solved_exactly_by_walking() -> None:
    # SCIENCE 4.2, F9: whole steps on a tree are exact once every branch was seen after its children.
    check_soft_q()


@pytest.mark.parametrize("engine", [SoftQ(), SoftSarsa(), SoftSarsa(expected=False)], ids=["q", "expected", "sampled"])
def test_one_backward_sweep_of_whole_steps_is_exact(engine: ValueEngine) -> None:
    # With the improved policy at hand even the sampled target has no variance: Q − β log π/q is V for every action.
    check_sweep(engine)


def test_both_targets_agree_where_the_policy_is_the_soft_one() -> None:
    values = torch.tensor([[0.3, -0.4, 1.1], [0.0, 2.0, -1.0]], dtype=torch.float64)
    q = torch.log_softmax(torch.tensor([[0.1, 0.7, -0.3], [1.0, 0.0, 0.0]], dtype=torch.float64), -1)
    reward, ended = torch.tensor([0.2, -0.7], dtype=torch.float64), torch.tensor([False, True])
    action = torch.tensor([1, 2])
    given = (reward, ended, values, q, action, 0.4, 0.9)
    torch.testing.assert_close(SoftSarsa().aim(*given), SoftQ().aim(*given), atol=1e-12, rtol=0)
    # at the soft policy Q − β log π/q is V for every action, so the sampled target has no variance left either
    torch.testing.assert_close(SoftSarsa(expected=False).aim(*given), SoftQ().aim(*given), atol=1e-12, rtol=0)
    lagging = SoftSarsa(explore=0.5)
    assert float(lagging.aim(*given)[0]) < float(SoftQ().aim(*given)[0]) - 0.01  # any other law is worth less
    assert float(SoftQ().aim(*given)[1]) == -0.7


def test_without_a_penalty_they_are_the_classic_rules() -> None:
    values, q = torch.tensor([[0.3, 1.1]], dtype=torch.float64), torch.full((1, 2), -math.log(2), dtype=torch.float64)
    given = (torch.tensor([0.5], dtype=torch.float64), torch.tensor([False]), values, q, torch.tensor([0]), 0.0, 0.9)
    assert SoftQ().aim(*given).item() == pytest.approx(0.5 + 0.9 * 1.1)
    assert SoftSarsa(expected=False).aim(*given).item() == pytest.approx(0.5 + 0.9 * 0.3)
    assert SoftSarsa(explore=0.2).aim(*given).item() == pytest.approx(0.5 + 0.9 * (0.9 * 1.1 + 0.1 * 0.3))
    assert SoftQ(explore=0.2).behaviour(values, q, 0.0).exp().flatten().tolist() == pytest.approx([0.1, 0.9])


def every_episode(mdp: MDP, log_pi: torch.Tensor, horizon: int) -> tuple[torch.Tensor, Played]:
    """Probabilities of all episodes under a policy, and the episodes."""
    weights, rows = [], []
    paths = [(float(p), s, []) for s, p in enumerate(mdp.start) if p > 0]
    ways = range(mdp.chance.shape[-1])
    for t in range(horizon):
        longer = []
        for (p, s, path), a, k in product(paths, range(mdp.actions), ways):
            chance = p * float(log_pi[s, a].exp()) * float(mdp.chance[s, a, k])
            step = [*path, (s, a, float(mdp.reward[s, a, k]))]
            if bool(mdp.ends[s, a, k]) or t == horizon - 1:
                weights.append(chance)
                rows.append(step)
            else:
                longer.append((chance, int(mdp.state[s, a, k]), step))
        paths = longer
    padded = [path + [(0, 0, 0.0)] * (horizon - len(path)) for path in rows]
    state, action = (torch.tensor([[step[i] for step in path] for path in padded]) for i in range(2))
    reward = torch.tensor([[step[2] for step in path] for path in padded], dtype=torch.float64)
    taken = torch.tensor([[t < len(path) for t in range(horizon)] for path in rows])
    assert sum(weights) == pytest.approx(1.0, abs=1e-12)
    return torch.tensor(weights, dtype=torch.float64), Played(state, action, reward, taken)


def expected_gradient(
    mdp: MDP, logits: torch.Tensor, prior: torch.Tensor, beta: float, discount: float, horizon: int,
    baseline: torch.Tensor, trace: float,
) -> torch.Tensor:  # fmt: skip
    """The actor's gradient in the mean over all episodes."""
    log_pi = torch.log_softmax(logits, -1)
    weight, played = every_episode(mdp, log_pi.detach(), horizon)
    chosen = log_pi[played.state, played.action]
    ratio = chosen.detach() - prior[played.state, played.action]
    thought = baseline[played.state]
    got = returns(played, ratio, beta, discount, thought, trace)
    (found,) = torch.autograd.grad(
        actor_loss(chosen, weight[:, None] * (got - thought), played.taken, discount), logits
    )
    return -found


@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("discount", [1.0, 0.7])
def test_the_actors_gradient_is_exact(beta: float, discount: float) -> None:
    # Rejects: KL outside the return, the KL of the action itself left out, γ^t left out, returns from the beginning.
    mdp, horizon = chain(), 3
    prior = leaning(mdp, 0.5)
    logits = leaning(mdp).clone().requires_grad_()
    j = worth(mdp, torch.log_softmax(logits, -1), prior, beta, discount, horizon).j
    (exact,) = torch.autograd.grad(j.sum(), logits)
    baseline = torch.tensor([0.3, -0.2, 0.9, 0.1], dtype=torch.float64)
    found = expected_gradient(mdp, logits, prior, beta, discount, horizon, baseline, 1.0)
    torch.testing.assert_close(found, exact, atol=1e-12, rtol=0)


@pytest.mark.parametrize("trace", [0.0, 0.6])
@pytest.mark.parametrize("beta", [0.0, BETA])
def test_a_short_trace_is_exact_where_the_baseline_is_the_policys_value(trace: float, beta: float) -> None:
    # TOY-A, whose states know the steps left, so b can be V^π. Rejects: b(s_t) for b(s_{t+1}), λ and 1 − λ exchanged,
    # b counted after the end; and a wrong b is far off, so the pass says something.
    mdp, prior, _ = toy_world()
    logits = (prior + leaning(mdp)).requires_grad_()
    log_pi = torch.log_softmax(logits, -1)
    (exact,) = torch.autograd.grad(worth(mdp, log_pi, prior, beta, 0.9, 4).j.sum(), logits)
    law, value = log_pi.detach(), torch.zeros(mdp.states, dtype=torch.float64)
    for _ in range(4):
        value = (law.exp() * (mdp.look_ahead(value, 0.9) - beta * (law - prior))).sum(-1)
    found = expected_gradient(mdp, logits, prior, beta, 0.9, 4, value, trace)
    torch.testing.assert_close(found, exact, atol=1e-12, rtol=0)
    wrong = expected_gradient(mdp, logits, prior, beta, 0.9, 4, torch.zeros_like(value), trace)
    assert float((wrong - exact).abs().max()) > 0.01


def test_expected_updates_rest_at_the_soft_optimum_whatever_soft_q_tries() -> None:
    mdp, beta, discount = chain(), 0.3, 0.9
    prior = leaning(mdp, 0.5)
    best = solve(mdp, prior, beta, discount).log_pi[0]
    for engine in (SoftQ(explore=0.7), SoftSarsa()):
        torch.testing.assert_close(rest(engine, mdp, prior, beta, discount, 200), best, atol=1e-10, rtol=0)


def test_soft_sarsa_that_explores_rests_where_its_exploring_policy_is_valued() -> None:
    # Its values are those of b, exploration and KL included: one more look ahead by b changes nothing.
    mdp, beta, discount, engine = chain(), 0.3, 0.9, SoftSarsa(explore=0.2)
    prior = leaning(mdp, 0.5)
    law = rest(engine, mdp, prior, beta, discount, 200)
    log_b = torch.log(0.8 * law.exp() + 0.2 / mdp.actions)
    eye = torch.eye(mdp.states, dtype=torch.float64)
    value = torch.cat([worth(replace(mdp, start=eye[s]), log_b, prior, beta, discount).j for s in range(mdp.states)])
    ahead = mdp.look_ahead(value, discount)
    torch.testing.assert_close(torch.log_softmax(prior + ahead / beta, -1), law, atol=1e-10, rtol=0)
    off = (law - solve(mdp, prior, beta, discount).log_pi[0]).abs().max()
    assert float(off) > 0.01  # and that is not the soft optimum


def test_rows_do_not_depend_on_one_another() -> None:
    # Rejects: chance shared between rows, a world whose counters run together.
    mdp = chain()
    prior = leaning(mdp, 0.5)

    def run(rows: int) -> torch.Tensor:
        return learn_values(SoftQ(), TableWorld(mdp, Key(1), rows, 5), prior, 0.3, Key(2), [120]).log_pi

    def act(runs: int) -> torch.Tensor:
        world = TableWorld(mdp, Key(1), 2 * runs, 5)
        return learn_policy(Actor(episodes=2), world, prior, 0.3, Key(2), [0, 50, 120]).log_pi

    assert torch.equal(run(3)[:, :2], run(2))
    assert torch.equal(act(3)[:, :2], act(2))


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in (
        lambda: SoftQ(rate=0.0),
        lambda: SoftQ(power=2.0),
        lambda: SoftSarsa(explore=1.5),
        lambda: Actor(episodes=0),
        lambda: Actor(trace=1.5),
    ):
        with pytest.raises(ConfigError):
            wrong()
    world = TableWorld(coin(), Key(0), 3)
    with pytest.raises(ShapeError, match="increasing"):
        learn_values(SoftQ(), world, even(coin()), 0.1, Key(0), [5, 5])
    with pytest.raises(ShapeError, match="4 states"):
        learn_values(SoftQ(), TableWorld(chain(), Key(0), 1), even(coin()), 0.1, Key(0), [5])
    with pytest.raises(ConfigError, match="multiple"):
        learn_policy(Actor(episodes=2), world, even(coin()), 0.1, Key(0), [5])
