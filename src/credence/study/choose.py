"""What `credence believe choose` does: strategies on a known bandit, or a log read and judged."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from credence.belief.bandit import Arms, Floats, no_context
from credence.belief.beta_arms import BetaArms
from credence.belief.beta_law import quantiles
from credence.belief.linear_arms import LinearArms
from credence.belief.logistic_arms import LogisticArms
from credence.belief.off_policy import Interval, Logged, Value, cross_fitted, evaluate, folds_of
from credence.belief.regret import simulate
from credence.belief.strategies import STRATEGIES, law
from credence.belief.worlds import KINDS, Kind, World, bernoulli, built_in, check_kind
from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.progress import no_tick
from credence.report.choose import ArmRow, LogReport, PolicyRow, RegretCurve, RegretReport
from credence.report.schema import Estimate
from credence.study.examples import read_text
from credence.study.log_features import Feature, features_of, matrix, point, policy_law
from credence.study.logged import LogFile, read_log

FOLDS = 5
DRAWS = 4000
"""Posterior draws behind P(best): its standard error is at most .008."""

RUNS = {"bernoulli": 300, "linear": 300, "logistic": 30}
"""Runs of a simulation where none are asked for: a logistic belief is refitted, which takes longer."""


def read_world(bandit: str, arms: Sequence[float] | None) -> World:
    """A built-in bandit by name, one of given means, or one from a .json file.

    The file: {"kind": "linear", "arms": {"plain": [0.6, 0.0, 0.2], …}, "noise": 0.5}, weights with the intercept last.

    Raises:
        ConfigError: no such bandit or file, or one that cannot be.
    """
    if arms is not None:
        if bandit != "bernoulli":
            raise ConfigError(f"--arms gives Bernoulli means, and --bandit is {bandit!r}. Leave one of them out.")
        return bernoulli(arms)
    if not bandit.endswith(".json"):
        return built_in(bandit)
    text = read_text(Path(bandit), "bandit file")
    try:
        given = json.loads(text)
        kind, rows = check_kind(str(given["kind"])), {str(k): v for k, v in given["arms"].items()}
        wide = [[float(x) for x in (row if isinstance(row, list) else [row])] for row in rows.values()]
        noise = float(given.get("noise", 0.0))
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f'{bandit} is no bandit ({error}): {{"kind": "linear", "arms": {{"a": [0.6, 0.2], "b": [0.1, 0.3]}}, '
            f'"noise": 0.5}} is the form; kinds: {", ".join(KINDS)}; weights with the intercept last.'
        ) from None
    if len({len(row) for row in wide}) > 1:
        raise ConfigError(f"{bandit}: the arms have {', '.join(str(len(r)) for r in wide)} weights; all need as many.")
    return World(kind, tuple(rows), np.array(wide, np.float64), noise)


def regrets(world: World, steps: int, runs: int | None, seed: int, tick: Callable[[], None] = no_tick) -> RegretReport:
    """Every strategy on one bandit; the same contexts and noise for all."""
    wanted = runs if runs is not None else RUNS[world.kind]
    curves: list[RegretCurve] = []
    for strategy in STRATEGIES:
        found = simulate(world, strategy, Key(seed), steps, wanted, tick)
        spans = tuple(found.interval(i) for i in range(len(found.steps)))
        curves.append(RegretCurve(strategy, tuple(found.steps.tolist()), spans, tuple(found.best.tolist())))
    return RegretReport(world.kind, world.names, world.features, steps, wanted, seed, tuple(curves))


@dataclass(frozen=True, eq=False)
class _Read:
    """A log made into numbers; rewards in units of `scale` around `centre` for a linear belief."""

    file: LogFile
    logged: Logged
    features: tuple[Feature, ...]
    model: Kind
    centre: float
    scale: float

    @property
    def inner(self) -> Logged:
        """The log in the belief's own units."""
        return replace(self.logged, reward=(self.logged.reward - self.centre) / self.scale)

    def start(self) -> Arms:
        """The belief before any reward."""
        names, d = self.logged.names, self.logged.context.shape[1]
        match self.model:
            case "bernoulli":
                return BetaArms.start(names)
            case "linear":
                return LinearArms.start(names, d)
            case "logistic":
                return LogisticArms.start(names, d)

    def outer(self, values: Floats) -> Floats:
        """Mean rewards in the log's units."""
        return values * self.scale + self.centre


def judge_log(
    path: Path,
    contexts: Sequence[str] = (),
    policies: Sequence[str] = (),
    model: str | None = None,
    at: Sequence[str] = (),
    seed: int = 0,
) -> LogReport:
    """Posterior of the arms, the next choice, and what each policy is worth.

    Args:
        path: .csv, .tsv or .jsonl with arm, reward, propensity.
        contexts: columns that the choice could see; ("none",); empty: all others.
        policies: columns that hold policies to value.
        model: bernoulli, linear or logistic; by default what the rewards and contexts ask for.
        at: column=value of the next choice's context; empty: the logged contexts, on average.
        seed: of the draws and folds.

    Raises:
        ConfigError: what cannot be read, or cannot be.
    """
    read, notes = _read(path, contexts, policies, model)
    here = point(read.features, at) if at else None
    key, belief = Key(seed).fold("choose"), read.start()
    belief = belief.hear(read.inner.arm, read.inner.reward, read.inner.context)
    values = _values_of(read, belief, key.fold("arms"), here)
    p_best = np.bincount(values.argmax(1), minlength=len(read.logged.names)) / len(values)
    rows = tuple(_arm_row(read, belief, k, values[:, k], float(p_best[k])) for k in range(len(read.logged.names)))
    drawn = float(key.fold("next").uniform(np.zeros(1, np.int64), 0)[0])
    chosen = min(int(np.searchsorted(np.cumsum(p_best), drawn)), len(p_best) - 1)
    folds = min(FOLDS, len(read.logged))
    where = ", ".join(at) if at else "the logged contexts, on average" if read.features else ""
    names = tuple(name for feature in read.features for name in feature.names)
    return LogReport(
        str(path), read.file.encoding, read.model, len(read.logged), read.file.broken, names, where, rows,
        read.logged.names[chosen], float(p_best[chosen]),
        tuple(_row(value) for value in _judged(read, policies, folds, key)), folds, seed, tuple(notes),
    )  # fmt: skip


def _read(path: Path, contexts: Sequence[str], policies: Sequence[str], model: str | None) -> tuple[_Read, list[str]]:
    wanted = None if model is None else check_kind(model)
    file = read_log(path)
    notes = [f"read as {file.encoding}"] if file.encoding != "utf-8" else []
    notes += [file.broken_words()] if file.broken else []
    features, left = features_of(file, contexts, policies)
    names = tuple(sorted({line.arm for line in file.lines}))
    if len(names) == 1:
        raise ConfigError(
            f"{path}: every line chose the arm {names[0]!r}, so there is nothing to compare it with. Log choices of at "
            "least one other arm."
        )
    reward = np.array([line.reward for line in file.lines], np.float64)
    kind = _kind(wanted, reward, features, file)
    arm = np.array([names.index(line.arm) for line in file.lines], np.int64)
    propensity = np.array([line.propensity for line in file.lines], np.float64)
    if kind == "bernoulli":
        if features and contexts and list(contexts) != ["none"]:
            raise ConfigError("--model bernoulli reads no context. Leave --context out, or choose logistic or linear.")
        notes += [f"the bernoulli model reads no context: {', '.join(f.column for f in features)} left out"] * bool(
            features
        )
        features = ()
    if kind != "linear" and bool(((reward > 0) & (reward < 1)).any()):
        notes.append("rewards between 0 and 1 count as shares of a success: intervals of arms are wider than need be")
    logged = Logged(names, arm, reward, propensity, matrix(features, file.lines, str(path)))
    spread = float(reward.std())
    unit = (float(reward.mean()), spread if spread > 0 else 1.0) if kind == "linear" else (0.0, 1.0)
    return _Read(file, logged, features, kind, *unit), [*notes, *left]


def _kind(wanted: Kind | None, reward: Floats, features: Sequence[Feature], file: LogFile) -> Kind:
    """The model asked for, else by the rewards and contexts.

    Raises:
        ConfigError: a reward outside [0, 1] where the model needs that.
    """
    binary = bool(((reward == 0) | (reward == 1)).all())
    kind = wanted or (("logistic" if features else "bernoulli") if binary else "linear")
    outside = next((line for line in file.lines if not 0 <= line.reward <= 1), None)
    if kind != "linear" and outside is not None:
        raise ConfigError(
            f"{file.source}, line {outside.number}: reward {outside.reward:g}; the {kind} model takes rewards in "
            "[0, 1]. Scale them, or take --model linear."
        )
    return kind


def _values_of(read: _Read, belief: Arms, key: Key, here: Floats | None) -> Floats:
    """(DRAWS, K) mean rewards under posterior draws: at one context, or averaged over those of the log."""
    if here is None and read.features and read.model == "linear":
        here = read.logged.context.mean(0, keepdims=True)  # the mean of linear values is the value at the mean
    if here is not None or not read.features:
        context = no_context(1) if here is None else here
        return read.outer(belief.draws(key.generator(), DRAWS, context)[:, 0])
    total, context = np.zeros((DRAWS, len(read.logged.names))), read.logged.context
    block = max(1, 2_000_000 // (DRAWS * len(read.logged.names)))
    for i in range(0, len(context), block):  # the same key: the same draws of the parameters in every block
        total += belief.draws(key.generator(), DRAWS, context[i : i + block]).sum(1)
    return read.outer(total / len(context))


def _arm_row(read: _Read, belief: Arms, k: int, drawn: Floats, p_best: float) -> ArmRow:
    mine = read.logged.reward[read.logged.arm == k]
    if isinstance(belief, BetaArms):
        a, b = (float(counts[0, k]) for counts in belief.counts)
        value, (low, high) = a / (a + b), quantiles(a, b, (0.025, 0.975))
    else:
        value, low, high = float(drawn.mean()), *(float(q) for q in np.quantile(drawn, (0.025, 0.975)))
    raw = float(mine.mean()) if len(mine) else None
    return ArmRow(read.logged.names[k], len(mine), raw, Estimate(value, low, high), p_best)


def _judged(read: _Read, policies: Sequence[str], folds: int, key: Key) -> list[Value]:
    """As logged, each arm always, uniform, greedy, Thompson, and the columns."""
    inner, names, n = read.inner, read.logged.names, len(read.logged)
    fold = folds_of(n, folds, key)
    start = read.start()
    model = read.outer(
        cross_fitted(inner, start, fold, lambda arms, x: np.broadcast_to(arms.mean(x), (len(x), len(names))))
    )
    laws: dict[str, Floats] = {"as logged": read.logged.propensity}
    laws |= {f"always {name}": np.tile(np.eye(len(names))[k], (n, 1)) for k, name in enumerate(names)}
    laws["uniform"] = np.full((n, len(names)), 1 / len(names))
    for strategy in ("greedy", "thompson"):
        chance = key.fold("law", strategy)
        laws[strategy] = cross_fitted(inner, start, fold, lambda a, x, s=strategy, c=chance: law(s, a, c, n, x))
    laws |= {f"column {column}": policy_law(read.file, column, names) for column in policies}
    return [evaluate(read.logged, name, found, model) for name, found in laws.items()]


def _row(value: Value) -> PolicyRow:
    def estimate(found: Interval | None) -> Estimate | None:
        return None if found is None or any(math.isnan(x) for x in found) else Estimate(*found)

    return PolicyRow(value.policy, estimate(value.ips), estimate(value.snips), estimate(value.dr), value.ess,
                     value.matched, value.weight_mean, value.trusted, value.warnings)  # fmt: skip


def as_data(report: RegretReport | LogReport, pictures: Sequence[Path]) -> dict[str, Any]:
    """The report and where its pictures are, for --json."""
    return {**report.to_json(), "pictures": [str(path) for path in pictures]}
