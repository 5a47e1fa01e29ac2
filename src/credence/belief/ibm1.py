"""IBM model 1: p(x | y) of a text x given its translation y, every unit of x from one unit of y or from none.

    p(x | y) = p(m | l) Π_j 1/(l + 1) Σ_{i=0..l} t(x_j | y_i)        y_0 = NULL, m = |x|, l = |y|

Brown et al. 1993 (J93-2003), model 1: the sum over all (l + 1)^m alignments factorises, so it is exact, and EM finds
the one optimum of t. Left out on purpose: the order of units, and how many a unit gives rise to (models 2 to 5).
Here p(m | l) is a law (belief.length_law), and t is mixed with a background so that no text is impossible:

    t̃(x | y) = (1 − ε) t(x | y) + ε u(x)        u alone where y was never seen;  u(x) = (n(x) + 1)/(N + X + 1)

One class holds all unseen x, so that the law sums to one over units known or not. Tests by enumeration of alignments
and of whole texts: tests/oracle/test_ibm1.py.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from credence.belief.length_law import LengthLaw, fit_length_law
from credence.core.errors import ConfigError

Units = Sequence[str]
NULL = ""
"""The unit of y that is always there and stands for no word."""
SMOOTHING = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""Of ε; the one under which held-out pairs are likeliest is taken."""
ITERATIONS = 8
MOST = 60_000_000
"""Pairs of units that may be aligned at once: about 1.5 GB."""
_PIECE = 4_000_000


@dataclass(frozen=True, eq=False)
class IBM1:
    """A fitted channel.

    Attributes:
        said: index of each unit of x.
        given: index of each unit of y; NULL is 0.
        keys: (P,) sorted, index(y)·X + index(x) of the pairs that were seen together.
        t: (P,) t(x | y) of each.
        background: (X + 1,) u(x), the last for units never seen.
        smoothing: ε.
        length: p(m | l).
        history: log-likelihood of the training pairs before each EM step and after the last, nats, lengths left out.
    """

    said: dict[str, int]
    given: dict[str, int]
    keys: NDArray[np.int64]
    t: NDArray[np.float64]
    background: NDArray[np.float64]
    smoothing: float
    length: LengthLaw
    history: tuple[float, ...] = ()

    def table(self, x: Units, y: Units) -> NDArray[np.float64]:
        """(m, l + 1) t̃(x_j | y_i), the column of NULL first."""
        said, unseen = np.array([self.said.get(u, -1) for u in x], dtype=np.int64), len(self.said)
        given = np.array([0, *(self.given.get(u, -1) for u in y)], dtype=np.int64)
        base = self.background[np.where(said < 0, unseen, said)][:, None]
        key = given[None, :] * unseen + said[:, None]
        place = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        known = (said[:, None] >= 0) & (given[None, :] >= 0)
        seen = known & (self.keys[place] == key)
        mixed = (1 - self.smoothing) * np.where(seen, self.t[place], 0.0) + self.smoothing * base
        return np.where(given[None, :] >= 0, mixed, base)

    def log_p(self, x: Units, y: Units) -> float:
        """log p(x | y), nats. Cost: |x|·|y| look-ups."""
        length = float(self.length.log_p(torch.tensor([len(x)]), torch.tensor([len(y)]))[0])
        return length + float(np.log(self.table(x, y).mean(1)).sum())

    def unit_log_p(self, x: Units, y: Units) -> NDArray[np.float64]:
        """(m,) nats of each unit of x given y; with the length's they sum to log p(x | y)."""
        return np.log(self.table(x, y).mean(1))

    def knows(self, x: Units) -> int:
        """How many units of x were seen in training."""
        return sum(u in self.said for u in x)


def fit_ibm1(
    pairs: Sequence[tuple[Units, Units]],
    heldout: Sequence[tuple[Units, Units]] = (),
    iterations: int = ITERATIONS,
    tick: Callable[[float], None] = lambda share: None,
) -> IBM1:
    """EM from the uniform table, then ε by the likelihood of held-out pairs.

    Args:
        pairs: (x, y) in units.
        heldout: pairs that choose ε; without any, the middle of SMOOTHING.
        iterations: EM steps.
        tick: told how far it is, 0 to 1.

    Raises:
        ConfigError: no pair, no unit, fewer than one step, or more pairs of units than fit.

    Cost: Σ m (l + 1) numbers an iteration: about two seconds for 4,000 pairs of ordinary sentences. Memory: 24 bytes of
    each. Tests: likelihood never falls (tests/oracle/test_ibm1.py).
    """
    if not pairs:
        raise ConfigError("no aligned pair to learn from.")
    if iterations < 1:
        raise ConfigError(f"iterations={iterations}: at least one EM step is needed.")
    said, given = _index(x for x, _ in pairs), {NULL: 0}
    for unit in _index(y for _, y in pairs):
        given.setdefault(unit, len(given))
    length = fit_length_law([len(x) for x, _ in pairs], [len(y) for _, y in pairs])
    keys, place, sizes = _together(pairs, said, given)
    t, history = _expectation_maximisation(keys, place, sizes, len(said), len(given), iterations, tick)
    counts = np.bincount([said[u] for x, _ in pairs for u in x], minlength=len(said) + 1) + 1.0
    made = IBM1(said, given, keys, t, counts / counts.sum(), SMOOTHING[2], length, tuple(history))
    if heldout:
        made = max(
            (replace(made, smoothing=e) for e in SMOOTHING),
            key=lambda law: sum(float(law.unit_log_p(x, y).sum()) for x, y in heldout),
        )
    return made


def _index(texts: Iterable[Units]) -> dict[str, int]:
    found: dict[str, int] = {}
    for text in texts:
        for unit in text:
            found.setdefault(unit, len(found))
    return found


def _together(
    pairs: Sequence[tuple[Units, Units]], said: dict[str, int], given: dict[str, int]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """The distinct (y, x), for each possible link its place among them, and how many links each x_j has."""
    whole = sum(len(x) * (len(y) + 1) for x, y in pairs)
    if whole > MOST:
        raise ConfigError(
            f"{len(pairs):,} pairs hold {whole:,} possible links between units, and {MOST:,} are allowed: train on "
            "fewer pairs, or leave out longer ones."
        )
    links: list[NDArray[np.int64]] = []
    sizes: list[NDArray[np.int64]] = []
    for x, y in pairs:
        if x:
            own = np.array([said[u] for u in x], dtype=np.int64)
            theirs = np.array([0, *(given[u] for u in y)], dtype=np.int64) * len(said)
            links.append((own[:, None] + theirs[None, :]).ravel())
            sizes.append(np.full(len(x), len(theirs), dtype=np.int64))
    if not links:
        raise ConfigError("no unit in any text: there is nothing to align.")
    keys, place = np.unique(np.concatenate(links), return_inverse=True)
    return keys, place.astype(np.int32).ravel(), np.concatenate(sizes)


def _expectation_maximisation(
    keys: NDArray[np.int64],
    place: NDArray[np.int32],
    sizes: NDArray[np.int64],
    said: int,
    given: int,
    iterations: int,
    tick: Callable[[float], None],
) -> tuple[NDArray[np.float64], list[float]]:
    """t and the log-likelihoods. Each x_j's links lie together; they are walked in pieces that hold whole x_j."""
    owner, t = keys // said, np.full(len(keys), 1.0 / said)
    begins = np.concatenate([[0], np.cumsum(sizes)])
    cuts = [0]
    while cuts[-1] < len(sizes):
        reach = int(np.searchsorted(begins, begins[cuts[-1]] + _PIECE, side="right")) - 1
        cuts.append(min(len(sizes), max(cuts[-1] + 1, reach)))
    fixed, history = float(np.log(sizes).sum()), list[float]()
    for step in range(iterations + 1):
        counts, nats = np.zeros(len(keys)), -fixed
        for a, b in pairwise(cuts):
            here = place[begins[a] : begins[b]]
            p = t[here]
            whole = np.add.reduceat(p, begins[a:b] - begins[a])
            nats += float(np.log(whole).sum())
            counts += np.bincount(here, p / np.repeat(whole, sizes[a:b]), len(keys))
        history.append(nats)
        if step < iterations:
            t = counts / np.bincount(owner, counts, given)[owner]
        tick((step + 1) / (iterations + 1))
    return t, history
