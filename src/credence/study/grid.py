"""A world that is a map: where its states lie, what they are, and how a person would tell one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NAMES: Mapping[str, tuple[str, ...]] = {
    "FrozenLakeEnv": ("left", "down", "right", "up"),
    "CliffWalkingEnv": ("up", "right", "down", "left"),
    "TaxiEnv": ("south", "north", "east", "west", "pickup", "dropoff"),
}
"""The actions of Gymnasium's toy worlds in words, in their order."""

MOVES: Mapping[str, tuple[int, int]] = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
"""Rows and columns that an action of this name goes."""

KINDS: Mapping[str, str] = {"S": "the start", "F": "free", "H": "a hole", "G": "the goal", "C": "the cliff"}


@dataclass(frozen=True)
class Grid:
    """States row by row on a map.

    Attributes:
        cells: rows of letters: S start, F free, H hole, G goal, C cliff.
        actions: the actions' words.
        place: what the world is called, for the question to a language model.
    """

    cells: tuple[str, ...]
    actions: tuple[str, ...]
    place: str

    @property
    def columns(self) -> int:
        """Cells a row."""
        return len(self.cells[0])

    def at(self, state: int) -> tuple[int, int]:
        """Row and column of a state, from 0."""
        return divmod(state, self.columns)

    def kind(self, row: int, column: int) -> str:
        """The letter there; W for the wall around."""
        inside = 0 <= row < len(self.cells) and 0 <= column < self.columns
        return self.cells[row][column] if inside else "W"

    def goal(self) -> tuple[int, int]:
        """Where the goal is."""
        return next((r, c) for r, row in enumerate(self.cells) for c, letter in enumerate(row) if letter == "G")

    def words(self, state: int) -> dict[str, str]:
        """What a template may say of a state: state, place, row, column, around, goal, toward, words.

        Rows and columns count from 1. `toward` is where the goal lies as the crow flies: "down and right".
        """
        row, column = self.at(state)
        goal_row, goal_column = self.goal()
        around: list[str] = []
        for name in self.actions:
            down, right = MOVES[name]
            kind = self.kind(row + down, column + right)
            around.append(f"{name} is {KINDS.get(kind, 'the edge')}")
        return {
            "state": str(state),
            "place": self.place,
            "row": str(row + 1),
            "column": str(column + 1),
            "around": ", ".join(around),
            "toward": " and ".join(self._toward(state)) or "here",
            "goal": f"row {goal_row + 1}, column {goal_column + 1}",
            "words": ", ".join(self.actions[:-1]) + " or " + self.actions[-1],
        }

    def _toward(self, state: int) -> list[str]:
        row, column = self.at(state)
        goal_row, goal_column = self.goal()
        away = (goal_row - row, goal_column - column)
        return [name for name in self.actions if any(m * d > 0 for m, d in zip(MOVES[name], away, strict=True))]

    def nearer(self, state: int) -> list[int]:
        """By how many cells each action would bring the goal nearer, walls and cliff aside."""
        row, column = self.at(state)
        goal_row, goal_column = self.goal()
        out: list[int] = []
        for name in self.actions:
            to_row = min(max(row + MOVES[name][0], 0), len(self.cells) - 1)
            to_column = min(max(column + MOVES[name][1], 0), self.columns - 1)
            before = abs(goal_row - row) + abs(goal_column - column)
            out.append(before - abs(goal_row - to_row) - abs(goal_column - to_column))
        return out


TOLD = (
    "{place} Rows count from the top, columns from the left. You are in row {row}, column {column}. "
    "The goal is in {goal}. Around you: {around}. Which way do you go: {words}?"
)
"""How a state of a map is told where the config says nothing else."""

TOLD_ANY = "You are in state {state}. What do you do: {words}?"


def grid_of(env: Any, actions: Sequence[str]) -> Grid | None:  # noqa: ANN401 - any Gymnasium environment
    """The map of an environment, or None where it has none that is known here.

    Known are environments with a letter map `desc` (FrozenLake), and those with a `shape` and a boolean `_cliff`.
    """
    inner, moves = env.unwrapped, all(name in MOVES for name in actions)
    desc, shape, cliff = (getattr(inner, name, None) for name in ("desc", "shape", "_cliff"))
    if not moves or not actions:
        return None
    if desc is not None and len(desc) * len(desc[0]) == env.observation_space.n:
        cells = tuple("".join(c.decode() if isinstance(c, bytes) else str(c) for c in row) for row in desc)
        known = set("".join(cells)) <= set(KINDS) and "G" in "".join(cells)
        slip = "slippery " if getattr(inner, "P", None) and len(inner.P[0][0]) > 1 else ""
        return Grid(cells, tuple(actions), f"You walk on a {slip}frozen lake with holes.") if known else None
    if cliff is not None and shape is not None:
        rows, columns = int(shape[0]), int(shape[1])
        letters = [["C" if cliff[r][c] else "F" for c in range(columns)] for r in range(rows)]
        letters[-1][0], letters[-1][-1] = "S", "G"
        return Grid(tuple("".join(row) for row in letters), tuple(actions), "You walk along a cliff.")
    return None
