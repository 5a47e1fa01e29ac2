"""From a log's fields to numbers: features that a belief can read, and policies given as columns."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from credence.belief.bandit import Floats
from credence.core.errors import ConfigError, nearest
from credence.study.logged import NEEDED, Line, LogFile, number_of

MOST_KINDS = 12
"""Different values up to which a text column is a feature: each but the first is a column of 0 and 1."""


@dataclass(frozen=True)
class Feature:
    """One column as features: a number, centred and scaled; or words, each but the first 0 or 1."""

    column: str
    centre: float = 0.0
    scale: float = 1.0
    kinds: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """What the features are called."""
        return tuple(f"{self.column}={kind}" for kind in self.kinds[1:]) if self.kinds else (self.column,)

    def of(self, value: Any, where: str) -> list[float]:  # noqa: ANN401 - whatever the file held
        """The features of one value.

        Raises:
            ConfigError: no number, or a word that no line of the log has.
        """
        if self.kinds:
            word = str(value).strip()
            if word not in self.kinds:
                raise ConfigError(
                    f"{where}: {self.column} = {word!r} stands nowhere in the log.{nearest(word, self.kinds)} "
                    f"It has: {', '.join(self.kinds)}."
                )
            return [float(word == kind) for kind in self.kinds[1:]]
        found = number_of(value)
        if found is None:
            raise ConfigError(f"{where}: {self.column} = {str(value)[:20]!r} is no finite number.")
        return [(found - self.centre) / self.scale]


def features_of(log: LogFile, asked: Sequence[str], policies: Sequence[str]) -> tuple[tuple[Feature, ...], list[str]]:
    """Which columns are features, and notes on those that are not.

    Args:
        log: the file.
        asked: columns to read; ("none",) for none; empty: all that are neither needed nor a policy.
        policies: columns that hold policies.

    Raises:
        ConfigError: no such column (with the nearest), a column of too many words, or one with gaps.
    """
    free = [name for name in log.columns if name not in policies]
    if list(asked) == ["none"]:
        return (), []
    for name in asked:
        if name not in free:
            taken = "it is not a context" if name in (*NEEDED, *policies) else "there is no such column"
            known = f" Columns that can be: {', '.join(free) or 'none'}."
            raise ConfigError(f"--context {name}: {taken} in {log.source}.{nearest(name, free)}{known}")
    found: list[Feature] = []
    notes: list[str] = []
    for name in asked or free:
        feature = _feature(log, name)
        if isinstance(feature, str):
            notes.append(feature)
        else:
            found.append(feature)
    return tuple(found), notes


def _feature(log: LogFile, name: str) -> Feature | str:
    values = [line.fields.get(name) for line in log.lines]
    gap = next((line.number for line, v in zip(log.lines, values, strict=True) if v is None or v == ""), None)
    if gap is not None:
        raise ConfigError(
            f"{log.source}, line {gap}: no {name}. Fill it, or choose the contexts by name (--context; --context none)."
        )
    numbers = [number_of(value) for value in values]
    known = [value for value in numbers if value is not None]
    if len(known) == len(values):
        spread = float(np.std(known))
        if spread == 0:
            return f"{name} is the same in every line: it tells nothing and is left out"
        return Feature(name, float(np.mean(known)), spread)
    kinds = tuple(sorted({str(value).strip() for value in values}))
    if len(kinds) > MOST_KINDS:
        raise ConfigError(
            f"{log.source}: the column {name!r} holds {len(kinds)} different words, as {kinds[0][:30]!r}; a text with "
            f"at most {MOST_KINDS} is a feature. Choose the contexts by name (--context; --context none), or log "
            "numbers, such as the text's length."
        )
    if len(kinds) == 1:
        return f"{name} is the same in every line: it tells nothing and is left out"
    return Feature(name, kinds=kinds)


def matrix(features: Sequence[Feature], lines: Sequence[Line], source: str) -> Floats:
    """(N, d) features of every line."""
    rows = [
        [
            x
            for feature in features
            for x in feature.of(line.fields.get(feature.column), f"{source}, line {line.number}")
        ]
        for line in lines
    ]
    return np.array(rows, np.float64).reshape(len(lines), sum(len(feature.names) for feature in features))


def point(features: Sequence[Feature], given: Sequence[str]) -> Floats:
    """(1, d) features of one context, given as column=value.

    Raises:
        ConfigError: not column=value, a column that is no context (with the nearest), or one that is missing.
    """
    values: dict[str, str] = {}
    known = [feature.column for feature in features]
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--at {text!r}: COLUMN=VALUE is needed, such as --at length=12.")
        if name not in known:
            raise ConfigError(
                f"--at {text!r}: no context {name!r}.{nearest(name, known)} The contexts: {', '.join(known) or 'none'}."
            )
        values[name] = value
    missing = [name for name in known if name not in values]
    if missing:
        raise ConfigError(f"--at says nothing of {', '.join(missing)}: a choice needs its whole context.")
    return np.array([[x for feature in features for x in feature.of(values[feature.column], "--at")]], np.float64)


def policy_law(log: LogFile, column: str, names: Sequence[str]) -> Floats:
    """A policy from a column: (N, K) its law, or (N,) the probability of the logged arm alone.

    A cell holds the arm that the policy would choose; or an object {arm: probability}; or, where all cells are numbers
    that are no arms' names, the probability that the policy gives to the arm that was chosen.

    Raises:
        ConfigError: no such column, an arm that no line chose (with the nearest), or probabilities that are none.
    """
    if column not in log.columns:
        raise ConfigError(
            f"--policy {column}: no such column in {log.source}.{nearest(column, log.columns)} "
            f"Its columns: {', '.join(log.columns) or 'none'}."
        )
    cells = [_cell(line.fields.get(column)) for line in log.lines]
    if not any(isinstance(cell, dict) for cell in cells) and not all(str(cell) in names for cell in cells):
        numbers = [number_of(cell) for cell in cells]
        if all(value is not None for value in numbers):
            return _probabilities(log, column, numbers)
    out = np.zeros((len(cells), len(names)))
    for row, (line, cell) in enumerate(zip(log.lines, cells, strict=True)):
        where = f"{log.source}, line {line.number}, policy {column!r}"
        law: Mapping[str, Any] = cell if isinstance(cell, dict) else {str(cell): 1.0}
        for arm, p in law.items():
            if arm not in names:
                raise ConfigError(
                    f"{where}: no line of the log chose the arm {arm!r}.{nearest(arm, names)} "
                    f"It has: {', '.join(names)}. What was never tried cannot be valued."
                )
            value = number_of(p)
            if value is None or not 0 <= value <= 1:
                raise ConfigError(f"{where}: {p!r} for {arm!r}; a probability in [0, 1] is needed.")
            out[row, list(names).index(arm)] = value
        if abs(out[row].sum() - 1) > 1e-6:
            raise ConfigError(f"{where}: the probabilities sum to {out[row].sum():.6g}, not 1.")
    return out


def _cell(value: Any) -> Any:  # noqa: ANN401 - whatever the file held
    """An object where a cell of text holds one as JSON."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value.strip() if isinstance(value, str) else value


def _probabilities(log: LogFile, column: str, numbers: Sequence[float | None]) -> Floats:
    for line, value in zip(log.lines, numbers, strict=True):
        if value is not None and not 0 <= value <= 1:
            raise ConfigError(
                f"{log.source}, line {line.number}, policy {column!r}: {value:g} is neither an arm nor a probability."
            )
    return np.array(numbers, np.float64)
