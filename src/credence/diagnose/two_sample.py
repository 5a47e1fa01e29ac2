"""Whether two sets of draws follow one law: MMD with a token kernel, and a classifier that tries to tell them apart.

Both are tests by permutation: under one law the labels of the pooled draws are exchangeable, so the p-value holds at
any size and for any kernel. They need independent, equally weighted draws: of SMC one a run, of MCMC thinned ones.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.types import Draws, Finding

Sequences = Sequence[Sequence[Hashable]]
"""Token sequences, or strings, which are sequences of characters."""

LEAST = 8
"""Draws of each prompt on each side below which no test is made."""

LEVEL = 0.01
"""p below which the two laws are called different."""

_RIDGE = 0.1
"""Of the classifier: it must not follow every row it was trained on, for the kernel's diagonal is 1."""


@dataclass(frozen=True)
class TwoSample:
    """What two sets of draws say of each other.

    Attributes:
        mmd2: unbiased estimate of the squared maximum mean discrepancy, averaged over prompts; may be below 0.
        mmd_p: its p-value by permutation.
        accuracy: share of held-out draws that the classifier puts on the right side, ½ where the laws are one.
        accuracy_se: standard error at ½, √(¼/tested).
        accuracy_p: its p-value by permutation of the held-out labels.
        tested: held-out draws.
    """

    mmd2: float
    mmd_p: float
    accuracy: float
    accuracy_se: float
    accuracy_p: float
    tested: int

    @property
    def total_variation(self) -> float:
        """A lower bound of the total variation between the laws, in expectation: 2 · accuracy − 1, at least 0."""
        return max(0.0, 2 * self.accuracy - 1)

    def findings(self, level: float = LEVEL) -> tuple[Finding, Finding]:
        """A verdict each; ok where the laws are not told apart, which is no proof that they are one."""
        mmd = Finding(
            "mmd", self.mmd2, None, level, self.mmd_p >= level,
            f"MMD² {self.mmd2:.2g}, p = {self.mmd_p:.3g}: {_verdict(self.mmd_p, level)}",
        )  # fmt: skip
        c2st = Finding(
            "c2st", self.accuracy, self.accuracy_se, level, self.accuracy_p >= level,
            f"A classifier is right on {self.accuracy:.1%} of {self.tested} held-out draws (½ if there is nothing to "
            f"see), p = {self.accuracy_p:.3g}: {_verdict(self.accuracy_p, level)}",
        )  # fmt: skip
        return mmd, c2st


def _verdict(p: float, level: float) -> str:
    return "the laws are not told apart." if p >= level else "the laws differ."


def token_kernel(sequences: Sequences, grams: int = 3) -> Float[Tensor, "n n"]:
    """k(x, y) = ½ cos(counts of n-grams up to `grams` tokens) + ½ [x = y]; beginning and end count as tokens.

    The first half sees likeness, so that few draws say something; the second makes the kernel characteristic: its MMD
    is 0 only where the laws are equal. k(x, x) = 1. Cost: n² · (distinct n-grams) in one product.
    """
    if grams < 1:
        raise ConfigError(f"grams={grams}: n-grams of at least one token are needed.")
    if not sequences:
        raise ShapeError("no sequence: at least one is needed.")
    rows = [tuple(s) for s in sequences]
    counts = [_grams(row, grams) for row in rows]
    column = {gram: j for j, gram in enumerate(dict.fromkeys(g for c in counts for g in c))}
    features = torch.zeros(len(rows), len(column), dtype=torch.float64)
    for i, c in enumerate(counts):
        features[i, [column[g] for g in c]] = torch.tensor(list(c.values()), dtype=torch.float64)
    features /= features.norm(dim=1, keepdim=True)
    number: dict[tuple[Hashable, ...], int] = {}
    name = torch.tensor([number.setdefault(row, len(number)) for row in rows])
    return (features @ features.T + (name[:, None] == name).double()) / 2


_EDGE = ("edge",)
"""Stands before the first token and behind the last; no token is this tuple."""


def _grams(row: tuple[Hashable, ...], most: int) -> Counter[tuple[Hashable, ...]]:
    framed = (_EDGE, *row, _EDGE)
    return Counter(framed[i : i + n] for n in range(1, most + 1) for i in range(len(framed) - n + 1))


def mmd2(kernel: Float[Tensor, "n n"], side: NDArray[np.bool_]) -> float:
    """Unbiased MMD² of the rows where `side` is True against the others: E k(x, x') + E k(y, y') − 2 E k(x, y).

    The diagonal does not count. Source: Gretton et al. 2012, lemma 6. Test: its mean is (p − q)ᵀ K (p − q) on TOY-A.
    """
    x = torch.from_numpy(np.asarray(side)).double()
    y = 1 - x
    off = kernel - torch.diag(kernel.diagonal())
    m, n = float(x.sum()), float(y.sum())
    within = float(x @ off @ x) / (m * (m - 1)) + float(y @ off @ y) / (n * (n - 1))
    return within - 2 * float(x @ off @ y) / (m * n)


def _p(observed: float, permuted: Sequence[float]) -> float:
    """Share of all arrangements, the observed one included, that are at least as extreme; ties count against."""
    slack = 1e-12 * max(1.0, abs(observed))
    return (1 + sum(value >= observed - slack for value in permuted)) / (1 + len(permuted))


def _split(side: NDArray[np.bool_], least: int, key: Key) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows to train on and rows held out: `least` of each side, at random, half and half."""
    rng = key.generator()
    places = [rng.permutation(np.flatnonzero(side == of))[:least] for of in (True, False)]
    half = least // 2
    return np.concatenate([p[:half] for p in places]), np.concatenate([p[half:] for p in places])


def _guess(
    kernel: Float[Tensor, "n n"], side: NDArray[np.bool_], train: NDArray[np.intp], test: NDArray[np.intp]
) -> Tensor:
    """Score of each held-out row by kernel ridge regression on ±1, trained on the others: above 0 is side True."""
    sign = torch.from_numpy(np.where(side[train], 1.0, -1.0))
    rows, held = torch.from_numpy(train), torch.from_numpy(test)
    inner = kernel[rows][:, rows] + _RIDGE * torch.eye(len(train), dtype=torch.float64)
    return kernel[held][:, rows] @ torch.linalg.solve(inner, sign - sign.mean())


def two_sample(
    a: Sequences,
    b: Sequences,
    key: Key,
    prompt_a: Sequence[int] | None = None,
    prompt_b: Sequence[int] | None = None,
    permutations: int = 999,
    grams: int = 3,
) -> TwoSample:
    """MMD and the classifier two-sample test of two sets of sequences, both with permutation p-values.

    Args:
        a: independent draws of one law, as token sequences or strings.
        b: of the other.
        key: of the permutations and of the split into training and held-out draws.
        prompt_a: the prompt of each of a; one prompt by default. Draws are compared within a prompt, and labels
            permuted within it; the classifier is trained on half of each prompt's draws, as many from either side.
        prompt_b: the prompt of each of b.
        permutations: p-values are multiples of 1/(permutations + 1).
        grams: longest n-gram of the kernel.

    Returns:
        both statistics. P(p ≤ α) ≤ α where the laws are one, at every size (measured in
        tests/statistical/test_two_sample.py).

    Raises:
        ShapeError: fewer than 8 draws of a prompt on a side, or prompts that do not fit the draws.

    Cost: a kernel matrix a prompt, `permutations` products with it, one solve. Source: Gretton et al. 2012; Lopez-Paz &
    Oquab 2017; SCIENCE 8.
    """
    own = [list(prompt_a or [0] * len(a)), list(prompt_b or [0] * len(b))]
    if len(own[0]) != len(a) or len(own[1]) != len(b):
        raise ShapeError(
            f"{len(own[0])} and {len(own[1])} prompts for {len(a)} and {len(b)} draws: one each is needed."
        )
    if permutations < 1:
        raise ConfigError(f"permutations={permutations}: at least 1 is needed (99 for p-values down to 0.01).")
    groups = [_group(a, b, own, prompt, key, grams) for prompt in sorted(set(own[0]) | set(own[1]))]
    rng = key.fold("permute").generator()

    def discrepancy(sides: Sequence[NDArray[np.bool_]]) -> float:
        return sum(mmd2(g.kernel, side) for g, side in zip(groups, sides, strict=True)) / len(groups)

    observed = discrepancy([g.side for g in groups])
    shuffled = [discrepancy([rng.permutation(g.side) for g in groups]) for _ in range(permutations)]
    right = sum(g.right(g.side[g.test]) for g in groups)
    tested = sum(len(g.test) for g in groups)
    chance = [sum(g.right(rng.permutation(g.side[g.test])) for g in groups) for _ in range(permutations)]
    return TwoSample(
        observed, _p(observed, shuffled), right / tested, math.sqrt(0.25 / tested), _p(right, chance), tested
    )


@dataclass(frozen=True, eq=False)
class _Group:
    """One prompt's pooled draws: whose each is, and what the classifier says of those held out."""

    kernel: Tensor
    side: NDArray[np.bool_]
    test: NDArray[np.intp]
    score: NDArray[np.float64]

    def right(self, side: NDArray[np.bool_]) -> float:
        """How many held-out labels the classifier gets right; a tie is half."""
        return float(np.where(self.score == 0, 0.5, (self.score > 0) == side).sum())


def _group(a: Sequences, b: Sequences, own: Sequence[list[int]], prompt: int, key: Key, grams: int) -> _Group:
    ours = [s for s, p in zip(a, own[0], strict=True) if p == prompt]
    theirs = [s for s, p in zip(b, own[1], strict=True) if p == prompt]
    least = min(len(ours), len(theirs))
    if least < LEAST:
        raise ShapeError(
            f"prompt {prompt}: {len(ours)} draws against {len(theirs)}; at least {LEAST} on each side are needed, and "
            "some hundred to see small differences."
        )
    kernel = token_kernel([*ours, *theirs], grams)
    side = np.arange(len(ours) + len(theirs)) < len(ours)
    train, test = _split(side, least, key.fold("split", prompt))
    return _Group(kernel, side, test, _guess(kernel, side, train, test).numpy())


def compare(a: Draws, b: Draws, key: Key, permutations: int = 999, grams: int = 3) -> TwoSample:
    """`two_sample` of two engines' draws on the same prompts, by tokens.

    Raises:
        ConfigError: draws that are weighted, or not of the same prompts.
        ShapeError: too few draws of a prompt.
    """
    if a.prompts.ids != b.prompts.ids:
        raise ConfigError("the two sets of draws answer different prompts: draw both on the same ones.")
    for name, draws in (("first", a), ("second", b)):
        if draws.log_w.numel() and float(draws.log_w.max()) != float(draws.log_w.min()):
            raise ConfigError(
                f"the {name} draws are weighted, and a two-sample test needs draws that count equally and are "
                "independent. Take them from rejection, or one draw a run: prompts.take([b] * runs) and n = 1."
            )
    rows = [draws.completions for draws in (a, b)]
    return two_sample(
        rows[0].tokens(), rows[1].tokens(), key, rows[0].prompt.tolist(), rows[1].prompt.tolist(), permutations, grams
    )
