"""Judgements between two replies to one prompt, gathered so that no line of a file counts more than it should."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.types import Completions, Prompts

Repeats = Literal["once", "count"]
"""What the same two replies judged again are worth: together one judgement, shared by the votes; or one each."""


@dataclass(frozen=True, eq=False)
class Comparisons:
    """N comparisons of two different replies.

    Attributes:
        prompts: N, one a comparison; a prompt may come again.
        replies: 2N rows; rows 2i and 2i + 1 answer prompt i.
        votes: (N, 2) judgements won by either reply; fractions are legal, (½, ½) is a tie.

    Raises:
        ShapeError: axes that do not fit.
        ConfigError: a negative or infinite vote, or a comparison without any.
    """

    prompts: Prompts
    replies: Completions
    votes: Float[Tensor, "N 2"]

    def __post_init__(self) -> None:
        n = len(self.prompts)
        if len(self.replies) != 2 * n or len(self.votes) != n:
            raise ShapeError(
                f"{n} prompts, {len(self.replies)} replies, {len(self.votes)} votes: N, 2N and N are needed."
            )
        if self.replies.prompt.tolist() != [i for i in range(n) for _ in range(2)]:
            raise ShapeError("rows 2i and 2i + 1 must answer prompt i: gather(...) puts them so.")
        usable = torch.isfinite(self.votes).all(-1) & (self.votes >= 0).all(-1) & (self.votes.sum(-1) > 0)
        if not bool(usable.all()):
            i = int((~usable).nonzero()[0])
            raise ConfigError(f"comparison {i} has the votes {self.votes[i].tolist()}: at least 0 each, more in sum.")

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, index: Sequence[int]) -> "Comparisons":
        """The comparisons at these positions."""
        at = torch.tensor(list(index), dtype=torch.long)
        rows = self.replies.rows(torch.stack([2 * at, 2 * at + 1], -1).flatten())
        place = torch.arange(len(at)).repeat_interleave(2)
        rows = Completions(rows.ids, rows.mask, rows.ended, place)
        return Comparisons(self.prompts.take(list(index)), rows, self.votes[at])

    def softened(self, wrong: float) -> "Comparisons":
        """Votes when each judgement is wrong by this chance: (1, 0) becomes (1 − wrong, wrong), so no gap is infinite.

        Raises:
            ConfigError: a chance outside [0, ½).
        """
        if not 0 <= wrong < 0.5:
            raise ConfigError(f"softened({wrong}): a chance in [0, 0.5) is needed; at one half nothing was said.")
        return Comparisons(self.prompts, self.replies, (1 - wrong) * self.votes + wrong * self.votes.flip(-1))


@dataclass(frozen=True)
class Gathered:
    """What gathering found: positions in the list that was given.

    Attributes:
        same: comparisons of a reply with itself; they say nothing and were dropped.
        repeated: that came before already, judged the same way.
        contradicted: that came before already, judged the other way.
        ties: given as undecided.
        kept: comparisons that are left.
    """

    same: tuple[int, ...]
    repeated: tuple[int, ...]
    contradicted: tuple[int, ...]
    ties: tuple[int, ...]
    kept: int

    def words(self, where: Sequence[str] = ()) -> list[str]:
        """A sentence for each kind that there is; `where` names the positions, such as "pairs.jsonl, line 3"."""

        def some(found: Sequence[int]) -> str:
            names = [where[i] if where else str(i) for i in found[:3]]
            return f"{'; '.join(names)}{' …' if len(found) > 3 else ''}"

        told = (
            (self.same, "compare a reply with itself and were left out"),
            (self.repeated, "repeat a judgement"),
            (self.contradicted, "contradict an earlier one of the same two replies"),
            (self.ties, "are ties"),
        )
        return [f"{len(found)} comparisons {what} ({some(found)})" for found, what in told if found]


def gather(
    prompts: Prompts, replies: Completions, votes: Float[Tensor, "N 2"], repeats: Repeats = "once"
) -> tuple[Comparisons, Gathered]:
    """Merge judgements of the same two replies to the same prompt, in either order, and say what was found.

    "once": together they weigh one, each side with its share of the votes. A line that was copied a thousand times
    then pulls no harder than one that was not, and two that contradict each other 3 to 1 ask DPO for the gap log(3)/β,
    not for an infinite one. "count": each judgement weighs one, as when other people made them.

    Args:
        prompts: N.
        replies: 2N rows; rows 2i and 2i + 1 answer prompt i.
        votes: (N, 2) who won: (1, 0), (0, 1), or (½, ½) for a tie.
        repeats: see above.

    Raises:
        ConfigError: nothing is left, or bad votes.
        ShapeError: axes that do not fit.
    """
    given = Comparisons(prompts, replies, votes.double())
    tokens = [tuple(row) for row in replies.tokens()]
    first: dict[tuple[object, ...], tuple[int, bool]] = {}
    summed: dict[int, Tensor] = {}
    same, repeated, contradicted, ties = [list[int]() for _ in range(4)]
    for i, (one, two) in enumerate(given.votes):
        a, b = tokens[2 * i], tokens[2 * i + 1]
        if a == b:
            same.append(i)
            continue
        if one == two:
            ties.append(i)
        place, turned = first.setdefault((prompts.ids[i], *sorted((a, b))), (i, a > b))
        mine = given.votes[i] if turned == (a > b) else given.votes[i].flip(-1)
        if place in summed:
            against = (summed[place][0] - summed[place][1]) * (mine[0] - mine[1]) < 0
            (contradicted if bool(against) else repeated).append(i)
            summed[place] = summed[place] + mine
        else:
            summed[place] = mine
    if not summed:
        raise ConfigError(
            "no comparison is left: every one compares a reply with itself. Two different replies are needed."
        )
    found = Gathered(tuple(same), tuple(repeated), tuple(contradicted), tuple(ties), len(summed))
    kept = given.take(list(summed))
    merged = torch.stack(list(summed.values()))
    if repeats == "once":
        merged = merged / merged.sum(-1, keepdim=True)
    return Comparisons(kept.prompts, kept.replies, merged), found
