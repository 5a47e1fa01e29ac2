"""Checks of bandits and off-policy estimates that the tests run on the right version and the mutants on wrong ones."""

import math
from functools import cache

import numpy as np
from scipy import stats

from credence.belief import beta_law, off_policy, strategies
from credence.belief.bandit import Arms, Floats, no_context
from credence.belief.beta_arms import BetaArms
from credence.belief.linear_arms import LinearArms, with_intercept
from credence.belief.logistic_arms import LogisticArms, sigmoid
from credence.belief.off_policy import Logged, Value, evaluate, folds_of
from credence.belief.regret import simulate
from credence.belief.worlds import built_in
from credence.core.keys import Key

ALARM = 1e-6
Z = float(stats.norm.isf(ALARM / 2))
NAMES = ("a", "b", "c")
GOLDEN = {"thompson": 11.7, "greedy": 75.7}
"""Mean regrets of SCIENCE 6.4, of 300 runs each."""


def check_golden_regrets(seed: int) -> None:
    """300 runs against SCIENCE's 300: both are noisy, so the difference is held to z standard errors of a difference.

    False-alarm rate 1e-6 a strategy (|z| < 4.9). Thompson's standard error is .5, so 8.0 to 15.4 passes; greedy's 4.5.
    """
    for strategy, golden in GOLDEN.items():
        found = simulate(built_in("bernoulli"), strategies.check_strategy(strategy), Key(seed), 1000, 300)
        final = found.regret[:, -1]
        error = math.sqrt(2) * float(final.std(ddof=1)) / math.sqrt(len(final))
        assert abs(float(final.mean()) - golden) < Z * error, (strategy, float(final.mean()))


def ucb1(means: tuple[float, ...], steps: int, rng: np.random.Generator) -> float:
    """UCB1 (Auer et al. 2002) as a plain loop, written apart from ours; its regret."""
    wins, tries, lost = [0.0] * len(means), [0] * len(means), 0.0
    for t in range(1, steps + 1):
        new = [k for k in range(len(means)) if tries[k] == 0]
        if new:
            k = int(rng.choice(new))
        else:
            k = max(
                range(len(means)),
                key=lambda j: (wins[j] / tries[j] + math.sqrt(2 * math.log(t) / tries[j]), rng.random()),
            )
        tries[k] += 1
        wins[k] += float(rng.random() < means[k])
        lost += max(means) - means[k]
    return lost


@cache
def _plain(seed: int) -> tuple[float, float]:
    rng = Key(seed).fold("plain").generator()
    found = np.array([ucb1((0.9, 0.8, 0.7), 300, rng) for _ in range(100)])
    return float(found.mean()), float(found.var(ddof=1)) / len(found)


def check_ucb(seed: int) -> None:
    """Regret of 200 runs of 300 choices against 100 of a plain loop: |z| < 4.9, false-alarm rate 1e-6."""
    final = simulate(built_in("bernoulli"), "ucb", Key(seed), 300, 200).regret[:, -1]
    mean, variance = _plain(seed)
    assert abs(float(final.mean()) - mean) < Z * math.sqrt(variance + float(final.var(ddof=1)) / len(final))


LEARNERS, DRAWS, HEARD = 4000, 19, 12


def _ranks_are_uniform(truth: Floats, draws: list[Floats]) -> None:
    ranks = (np.stack(draws) < truth).sum(0)
    p = float(stats.chisquare(np.bincount(ranks.ravel(), minlength=DRAWS + 1)).pvalue)
    assert p > ALARM, p


def check_beta_ranks(seed: int) -> None:
    """Simulation-based calibration: θ ~ Beta(2, 1), 12 rewards, rank of θ among 19 posterior draws; χ², 1e-6."""
    rng = Key(seed).fold("beta").generator()
    theta = rng.beta(2.0, 1.0, LEARNERS)
    arms = BetaArms.start(("a", "b"), LEARNERS, (2.0, 1.0))
    first, none = np.zeros(LEARNERS, np.int64), no_context(LEARNERS)
    for _ in range(HEARD):
        arms = arms.update(first, (rng.random(LEARNERS) < theta).astype(np.float64), none)
    _ranks_are_uniform(theta, [strategies.index("thompson", arms, rng, 1, none)[:, 0] for _ in range(DRAWS)])


def check_linear_ranks(seed: int) -> None:
    """The same for the linear belief: σ² and θ from their prior, 4 rewards at random contexts, judged at another.

    So few, because σ must still be uncertain for the check to see whether it is drawn.
    """
    rng = Key(seed).fold("linear").generator()
    sigma = np.sqrt(3 * 0.7**2 / rng.chisquare(3, LEARNERS))
    theta = sigma[:, None] / math.sqrt(0.25) * rng.standard_normal((LEARNERS, 3))
    arms = LinearArms.start(("a", "b"), 2, LEARNERS, scale=0.7)
    first = np.zeros(LEARNERS, np.int64)
    for _ in range(4):
        x = rng.standard_normal((LEARNERS, 2))
        arms = arms.update(first, (theta * with_intercept(x)).sum(1) + sigma * rng.standard_normal(LEARNERS), x)
    at = 1 + rng.standard_normal((LEARNERS, 2))
    truth = (theta * with_intercept(at)).sum(1)
    _ranks_are_uniform(truth, [strategies.index("thompson", arms, rng, 1, at)[:, 0] for _ in range(DRAWS)])


def check_beta_coverage(seed: int) -> None:
    """20,000 θ ~ U(0, 1), 15 rewards each: 95 % intervals hold θ .95 of the time, ±.75 % (1e-6)."""
    rng, n = Key(seed).fold("coverage").generator(), 20_000
    theta = rng.random(n)
    wins = rng.binomial(15, theta)
    spans: list[list[float]] = []
    for s in range(16):
        arms = BetaArms.start(("a", "b"))
        arms = arms.hear(np.zeros(15, np.int64), np.array([1.0] * s + [0.0] * (15 - s)), no_context(15))
        spans.append(beta_law.quantiles(float(arms.counts[0][0, 0]), float(arms.counts[1][0, 0]), (0.025, 0.975)))
    ends = np.array(spans)[wins]
    held = float(((ends[:, 0] < theta) & (theta < ends[:, 1])).mean())
    assert abs(held - 0.95) < Z * math.sqrt(0.95 * 0.05 / n), held


def check_logistic_coverage(seed: int) -> None:
    """200 true (θ, a) from the prior, d = 2, n = 150: 95 % intervals of σ(θ·x + a) from 400 draws.

    Laplace's are not exact (SCIENCE 6.4: .948 at n = 200), so .95 ± 4.9 standard errors (±7.6 %) is asked for.
    """
    rng, runs, n = Key(seed).fold("logistic").generator(), 200, 150
    held = 0
    for _ in range(runs):
        theta = np.append(3 / math.sqrt(2) * rng.standard_normal(2), rng.standard_normal())
        x = rng.standard_normal((n, 2))
        reward = (rng.random(n) < sigmoid(with_intercept(x) @ theta)).astype(np.float64)
        arms = LogisticArms.start(("a", "b"), 2).hear(np.zeros(n, np.int64), reward, x)
        at = rng.standard_normal((1, 2))
        drawn = arms.draws(rng, 400, at)[:, 0, 0]
        low, high = np.quantile(drawn, (0.025, 0.975))
        held += int(low < float(sigmoid(with_intercept(at) @ theta)[0]) < high)
    assert abs(held / runs - 0.95) < Z * math.sqrt(0.95 * 0.05 / runs), held / runs


def contraction(arms: Arms, rng: np.random.Generator, theta: Floats, sigma: float) -> tuple[float, float]:
    """Slopes in log n of the belief's spread and of its error, n = 64 … 4,096, at one context, over many learners."""
    learners, features = len(theta), theta.shape[1] - 1
    first, sizes = np.zeros(learners, np.int64), (64, 256, 1024, 4096)
    at = np.full((learners, features), 0.5)
    truth = (theta * with_intercept(at)).sum(1)
    spreads: list[float] = []
    errors: list[float] = []
    for step in range(1, sizes[-1] + 1):
        x = rng.standard_normal((learners, features))
        mean = (theta * with_intercept(x)).sum(1)
        reward = (
            mean + sigma * rng.standard_normal(learners) if features else (rng.random(learners) < mean).astype(float)
        )
        arms = arms.update(first, reward, x)
        if step in sizes:
            drawn = np.stack([arms.draw(rng, at)[:, 0] for _ in range(50)])
            spreads.append(float(drawn.std(0).mean()))
            errors.append(float(np.sqrt(((arms.mean(at)[:, 0] - truth) ** 2).mean())))
    log_n = np.log(sizes)
    return float(np.polyfit(log_n, np.log(spreads), 1)[0]), float(np.polyfit(log_n, np.log(errors), 1)[0])


def check_contraction(seed: int) -> None:
    """200 learners: spread and error of the beliefs fall as n^−½.

    A spread's slope has a standard error of .002 (±.02 asked for); that of an error, a root mean square of 200, .016
    (±.08: 5 standard errors, false-alarm rate about 1e-6).
    """
    rng = Key(seed).fold("contraction").generator()
    theta = rng.uniform(0.2, 0.7, (200, 1))
    linear = rng.standard_normal((200, 2))
    for arms, truth in ((BetaArms.start(("a", "b"), 200), theta), (LinearArms.start(("a", "b"), 1, 200), linear)):
        spread, error = contraction(arms, rng, truth, 0.8)
        assert abs(spread + 0.5) < 0.02, spread
        assert abs(error + 0.5) < 0.08, error


def log_of(rng: np.random.Generator, n: int) -> tuple[Logged, Floats, Floats]:
    """A log of an asymmetric world, a policy that differs from its own, and the true means (n, K)."""
    x = rng.standard_normal((n, 1))
    means = sigmoid(np.concatenate([0.3 + x, -0.4 * np.ones((n, 1)), 0.9 - 0.8 * x], 1))
    logging = 0.1 + 0.7 * np.array([0.6, 0.3, 0.1]) * np.ones((n, 1))
    target = np.where(x > 0, [[0.7, 0.1, 0.2]], [[0.05, 0.15, 0.8]])
    arm = (rng.random((n, 1)) > np.cumsum(logging, 1)).sum(1).clip(max=2)
    at = np.arange(n), arm
    reward = (rng.random(n) < means[at]).astype(np.float64)
    return Logged(NAMES, arm, reward, logging[at], x), target, means


WRONG = np.array([0.9, 0.1, 0.1])
"""A reward model that is far from the truth: DR must not mind."""


def true_value() -> float:
    """By quadrature over x."""
    x = np.linspace(-9, 9, 20_001)[:, None]
    means = sigmoid(np.concatenate([0.3 + x, -0.4 * np.ones_like(x), 0.9 - 0.8 * x], 1))
    target = np.where(x > 0, [[0.7, 0.1, 0.2]], [[0.05, 0.15, 0.8]])
    density = np.exp(-0.5 * x[:, 0] ** 2)
    return float(((target * means).sum(1) * density).sum() / density.sum())


def check_off_policy_unbiased(seed: int) -> None:
    """400 logs of 100 choices: the means of IPS and of DR with a wrong model are the truth; |z| < 4.9 each."""
    rng, truth = Key(seed).fold("unbiased").generator(), true_value()
    found = [_estimates(rng, 100) for _ in range(400)]
    for values in (np.array([v.ips[0] for v in found if v.ips]), np.array([v.dr[0] for v in found if v.dr])):
        error = float(values.std(ddof=1)) / math.sqrt(len(values))
        assert abs(float(values.mean()) - truth) < Z * error, (float(values.mean()), truth, error)


def _estimates(rng: np.random.Generator, n: int) -> Value:
    logged, target, _ = log_of(rng, n)
    return evaluate(logged, "target", target, np.broadcast_to(WRONG, target.shape))


def check_off_policy_coverage(seed: int) -> None:
    """1,000 logs of 400 choices: 95 % intervals of IPS, SNIPS and DR hold the truth .95 of the time, ±3.4 % (1e-6)."""
    rng, truth, runs = Key(seed).fold("coverage").generator(), true_value(), 1000
    held = np.zeros(3)
    for _ in range(runs):
        found = _estimates(rng, 400)
        for i, span in enumerate((found.ips, found.snips, found.dr)):
            assert span is not None
            held[i] += span[1] < truth < span[2]
    assert (np.abs(held / runs - 0.95) < Z * math.sqrt(0.95 * 0.05 / runs)).all(), held / runs


def check_learnt_policy(seed: int) -> None:
    """All arms are worth .5, 40 choices: greedy, learnt on other folds, is worth .5; 400 logs, |z| < 4.9 each.

    Judged on the choices that it was learnt from it would seem to be worth .6.
    """
    rng, values = Key(seed).fold("learnt").generator(), []
    for run in range(400):
        arm = rng.integers(3, size=40)
        logged = Logged(NAMES, arm, (rng.random(40) < 0.5).astype(np.float64), np.full(40, 1 / 3), no_context(40))
        law = off_policy.cross_fitted(
            logged,
            BetaArms.start(NAMES),
            folds_of(40, 5, Key(run)),
            lambda arms, x: strategies.law("greedy", arms, Key(0), 40, x),
        )
        found = evaluate(logged, "greedy", law)
        values.append(found.ips[0] if found.ips else 0.0)
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    assert abs(float(np.mean(values)) - 0.5) < Z * error, (float(np.mean(values)), error)
