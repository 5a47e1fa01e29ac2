"""Prompts that begin alike: each beginning is read once, and only what follows it for each prompt.

The turns of a dialogue are prompts of their own, each the one before with a reply and a question behind it; read whole,
they cost most of a training step (docs/log.md).
"""

from collections.abc import Sequence

Ids = tuple[int, ...]

PAYS = 0.75
"""Share of the whole prompts' tokens under which two passes are taken instead of one."""


def distinct(prompts: Sequence[Ids]) -> tuple[list[Ids], list[int]]:
    """The distinct token tuples and, for each prompt, where it stands among them."""
    place: dict[Ids, int] = {}
    index = [place.setdefault(ids, len(place)) for ids in prompts]
    return list(place), index


def stems(prompts: Sequence[Ids]) -> tuple[list[Ids], list[int]] | None:
    """Beginnings that prompts share, and which of them each has; None where reading them apart does not pay.

    Neighbours in lexicographic order are joined while what they share is at least half of the longer one. At least one
    token of each prompt is left, from whose state the reply goes on. A function of the prompts alone. Test:
    tests/unit/test_stems.py.

    Args:
        prompts: distinct, each of at least one token.
    """
    found: list[Ids] = []
    owner = [0] * len(prompts)
    for i in sorted(range(len(prompts)), key=prompts.__getitem__):
        most = prompts[i][:-1]
        common = shared(found[-1], most) if found else 0
        if found and 2 * common >= max(len(found[-1]), len(most)) and common > 0:
            found[-1] = most[:common]
        else:
            found.append(most)
        owner[i] = len(found) - 1
    whole = len(prompts) * max(map(len, prompts))
    rest = max(len(prompt) - len(found[of]) for prompt, of in zip(prompts, owner, strict=True))
    apart = len(found) * max(map(len, found)) + len(prompts) * rest
    return (found, owner) if all(found) and apart <= PAYS * whole else None


def shared(one: Ids, other: Ids) -> int:
    """Tokens that both begin with."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))
