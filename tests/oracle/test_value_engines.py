"""Value engines and the actor reach their declared optimum; the actor's gradient is exact by enumeration."""

import math
from itertools import product

import pytest
import torch

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.learn.actor import Actor, Played, actor_loss, learn_policy, returns
from credence.learn.sarsa import SoftSarsa
from credence.learn.soft_q import SoftQ
from credence.learn.temporal import ValueEngine, learn_values
from credence.learn.world import TableWorld
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


@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("discount", [1.0, 0.7])
def test_the_actors_gradient_is_exact(beta: float, discount: float) -> None:
    # Rejects: KL outside the return, the KL of the action itself left out, γ^t left out, returns from the beginning.
    mdp, horizon = chain(), 3
    prior = leaning(mdp, 0.5)
    logits = leaning(mdp).clone().requires_grad_()

    def law(at: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(at, -1)

    (exact,) = torch.autograd.grad(worth(mdp, law(logits), prior, beta, discount, horizon).j.sum(), logits)
    weights, rows = [], []
    paths = [(float(p), s, []) for s, p in enumerate(mdp.start)]
    for t in range(horizon):
        longer = []
        for (p, s, path), a, k in product(paths, range(2), range(3)):
            chance = p * float(law(logits.detach())[s, a].exp()) * float(mdp.chance[s, a, k])
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
    chosen = law(logits)[state, action]
    ratio = chosen.detach() - prior[state, action]
    got = returns(Played(state, action, reward, taken), ratio, beta, discount)
    baseline = torch.tensor([0.3, -0.2, 0.9, 0.1], dtype=torch.float64)[state]
    weighted = torch.tensor(weights, dtype=torch.float64)[:, None] * (got - baseline)
    (found,) = torch.autograd.grad(actor_loss(chosen, weighted, taken, discount), logits)
    torch.testing.assert_close(-found, exact, atol=1e-12, rtol=0)
    assert sum(weights) == pytest.approx(1.0, abs=1e-12)


def test_the_actor_comes_to_rest_at_the_soft_optimum() -> None:
    mdp, log_prior, _ = toy_world()
    best = solve(mdp, log_prior, BETA)
    engine = Actor(episodes=32, lr=0.05)
    world = TableWorld(mdp, Key(3), 2 * engine.episodes)
    learnt = learn_policy(engine, world, log_prior, BETA, Key(4), [0, 30_000])
    j = worth(mdp, learnt.log_pi.flatten(0, 1), log_prior, BETA).j.view(2, 2)
    assert j[0].tolist() == pytest.approx([0.1170083145] * 2, abs=1e-9)  # from the prior on
    assert float(best.j - j[1].min()) / BETA < 5e-3  # nats


def test_rows_do_not_depend_on_one_another() -> None:
    # Rejects: chance shared between rows, a world whose counters run together.
    mdp = chain()
    prior = leaning(mdp, 0.5)

    def run(rows: int) -> torch.Tensor:
        return learn_values(SoftQ(), TableWorld(mdp, Key(1), rows, 5), prior, 0.3, Key(2), [300]).log_pi

    def act(runs: int) -> torch.Tensor:
        world = TableWorld(mdp, Key(1), 2 * runs, 5)
        return learn_policy(Actor(episodes=2), world, prior, 0.3, Key(2), [0, 100, 300]).log_pi

    assert torch.equal(run(3)[:, :2], run(2))
    assert torch.equal(act(3)[:, :2], act(2))


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in (
        lambda: SoftQ(rate=0.0),
        lambda: SoftQ(power=2.0),
        lambda: SoftSarsa(explore=1.5),
        lambda: Actor(episodes=0),
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
