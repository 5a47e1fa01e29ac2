"""A translation memory: pairs looked up by how much of a source text they share, with BM25."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from credence.belief.units import grams, units
from credence.core.errors import ConfigError, ShapeError

K1, B = 1.2, 0.75
"""BM25's usual saturation of repeats and share of length correction (Robertson & Zaragoza 2009)."""

_Posting = tuple[NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class TranslationMemory:
    """Sources with their translations; `nearest` finds those that share most with a text.

    score(q, d) = Σ_g idf(g) · f (k1 + 1) / (f + k1 (1 − b + b |d|/mean|d|)) over the grams g of q, units and pairs of
    neighbouring units, f how often d holds g, idf(g) = log(1 + (N − n + ½)/(n + ½)). Test: by hand in
    tests/unit/test_memory.py.

    Args:
        sources: N texts.
        targets: their translations.

    Raises:
        ShapeError: not one translation a source.
        ConfigError: nothing in it.

    Cost: building counts every gram once; a look-up adds up the lists of the text's own grams.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    _lists: dict[str, _Posting] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.sources) != len(self.targets):
            raise ShapeError(f"{len(self.sources)} sources, {len(self.targets)} translations: one each is needed.")
        if not self.sources:
            raise ConfigError("the translation memory is empty: there is nothing to look up.")
        texts = [grams(units(text)) for text in self.sources]
        sizes = np.array([len(text) for text in texts], dtype=np.float64)
        mean, held = max(1.0, float(sizes.mean())), dict[str, dict[int, int]]()
        for d, text in enumerate(texts):
            for gram in text:
                rows = held.setdefault(gram, {})
                rows[d] = rows.get(d, 0) + 1
        lists: dict[str, _Posting] = {}
        for gram, rows in held.items():
            docs, f = np.array(list(rows)), np.array(list(rows.values()), dtype=np.float64)
            idf = np.log1p((len(texts) - len(docs) + 0.5) / (len(docs) + 0.5))
            lists[gram] = docs, idf * f * (K1 + 1) / (f + K1 * (1 - B + B * sizes[docs] / mean))
        object.__setattr__(self, "_lists", lists)

    def __len__(self) -> int:
        return len(self.sources)

    def nearest(self, text: str, k: int) -> list[tuple[int, float]]:
        """At most k pairs that share anything with the text: number and score, best first, ties in the given order."""
        scores = np.zeros(len(self))
        for gram in dict.fromkeys(grams(units(text))):
            found = self._lists.get(gram)
            if found is not None:
                scores[found[0]] += found[1]
        order = np.argsort(-scores, kind="stable")[: max(0, k)]
        return [(int(i), float(scores[i])) for i in order if scores[i] > 0]

    def translations(self, text: str, k: int, without: str = "") -> list[int]:
        """At most k pairs near the text whose translations differ from one another, and from `without`, by a unit."""
        seen, out = {tuple(units(without))}, list[int]()
        for i, _ in self.nearest(text, len(self)):
            said = tuple(units(self.targets[i]))
            if said and said not in seen:
                seen.add(said)
                out.append(i)
            if len(out) == k:
                break
        return out


def candidate_set(
    memory: TranslationMemory, source: str, reference: str, k: int, rng: np.random.Generator
) -> tuple[tuple[str, ...], int]:
    """The reference among k − 1 distractors: the memory's nearest other translations, then any others by chance.

    Args:
        memory: without the pair itself.
        source: text to be translated.
        reference: its translation.
        k: candidates.
        rng: of the chance, and of the reference's place: no scorer may gain by ties.

    Returns:
        The candidates, and where the reference stands among them.

    Raises:
        ConfigError: the memory has too few different translations.
    """
    found = [memory.targets[i] for i in memory.translations(source, k - 1, reference)]
    seen = {tuple(units(text)) for text in (reference, *found)}
    for i in rng.permutation(len(memory)).tolist():
        if len(found) >= k - 1:
            break
        said = tuple(units(memory.targets[i]))
        if said and said not in seen:
            seen.add(said)
            found.append(memory.targets[i])
    if len(found) < k - 1:
        raise ConfigError(
            f"{k} candidates are asked for and the memory has only {len(found)} translations beside the reference: "
            "ask for fewer, or give more pairs."
        )
    place = int(rng.integers(k))
    return (*found[:place], reference, *found[place:]), place


def of_pairs(pairs: Sequence[tuple[str, str]]) -> TranslationMemory:
    """The memory of (source, translation) pairs."""
    return TranslationMemory(tuple(x for x, _ in pairs), tuple(y for _, y in pairs))
