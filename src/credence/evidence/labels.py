"""Replies that were liked or disliked, gathered so that no line of a file counts more than it should."""

from collections.abc import Sequence
from dataclasses import dataclass

from credence.core.errors import ConfigError, ShapeError
from credence.core.types import Completions, Prompts
from credence.evidence.comparisons import Repeats


@dataclass(frozen=True)
class Labelled:
    """What gathering found: positions in the list that was given.

    Attributes:
        kept: to learn from.
        repeated: the same reply to the same prompt, judged the same way before.
        contradicted: the same reply to the same prompt, judged the other way before.
    """

    kept: tuple[int, ...]
    repeated: tuple[int, ...]
    contradicted: tuple[int, ...]

    def words(self, where: Sequence[str] = ()) -> list[str]:
        """A sentence for each kind that there is; `where` names the positions, such as "thumbs.jsonl, line 3"."""

        def some(found: Sequence[int]) -> str:
            names = [where[i] if where else str(i) for i in found[:3]]
            return f"{'; '.join(names)}{' …' if len(found) > 3 else ''}"

        told = (
            (self.repeated, "repeat a judgement"),
            (self.contradicted, "contradict an earlier one of the same reply"),
        )
        return [f"{len(found)} labels {what} ({some(found)})" for found, what in told if found]


def gather_labels(prompts: Prompts, replies: Completions, liked: Sequence[bool], repeats: Repeats = "once") -> Labelled:
    """Which labels to learn from, and what was found among them.

    "once": the same reply to the same prompt counts once for being liked and once for being disliked. A line that was
    copied a thousand times then pulls no harder than one that was not, and two that contradict each other pull against
    each other alike. "count": each label counts, as when other people gave them. Tested in tests/unit/test_labels.py.

    Args:
        prompts: N.
        replies: N rows, row i answers prompt i.
        liked: N labels.
        repeats: see above.

    Raises:
        ShapeError: other than one reply and one label a prompt.
        ConfigError: nothing to learn from.
    """
    tokens = [tuple(row) for row in replies.tokens()]
    if not len(prompts) == len(tokens) == len(liked):
        raise ShapeError(f"{len(prompts)} prompts, {len(tokens)} replies, {len(liked)} labels: one each is needed.")
    if not tokens:
        raise ConfigError("no label was given: at least one reply that was liked or disliked is needed.")
    seen: set[tuple[object, ...]] = set()
    kept, repeated, contradicted = [list[int]() for _ in range(3)]
    for i, (ids, said, like) in enumerate(zip(prompts.ids, tokens, liked, strict=True)):
        again = (ids, said, like) in seen
        if again:
            repeated.append(i)
        elif (ids, said, not like) in seen:
            contradicted.append(i)
        if repeats == "count" or not again:
            kept.append(i)
        seen.add((ids, said, like))
    return Labelled(tuple(kept), tuple(repeated), tuple(contradicted))
