"""IBM model 1 against the sum over every alignment and every text; EM against its own definition."""

import itertools
import math

import numpy as np
import pytest
import torch

from credence.belief import ibm1
from credence.belief.ibm1 import SMOOTHING, fit_ibm1
from credence.belief.length_law import LengthLaw, fit_length_law
from credence.belief.units import units
from credence.core.errors import ConfigError
from tests.translating import sentences

PAIRS = [(tuple("abc"), ("x", "y")), (tuple("ab"), ("x",)), (tuple("ca"), ("y", "z", "y")), (tuple("bbd"), ("x", "z"))]


def test_the_probability_is_the_sum_over_all_alignments() -> None:
    law = fit_ibm1(PAIRS, iterations=3)
    for x, y in (("abd", ("y", "x")), ("cq", ("z", "never")), ("bb", ())):
        table, length = (
            law.table(tuple(x), y),
            float(law.length.log_p(torch.tensor([len(x)]), torch.tensor([len(y)]))[0]),
        )
        whole = sum(
            math.prod(table[j, i] / (len(y) + 1) for j, i in enumerate(links))
            for links in itertools.product(range(len(y) + 1), repeat=len(x))
        )
        assert law.log_p(tuple(x), y) == pytest.approx(length + math.log(whole), abs=1e-12)
        assert law.unit_log_p(tuple(x), y).sum() == pytest.approx(math.log(whole), abs=1e-12)


def test_texts_of_a_length_sum_to_the_length_s_probability() -> None:
    """Over every text of known units and one that was never seen, whatever is given; rejects t and u that leak."""
    law = fit_ibm1(PAIRS, iterations=3)
    for y in (("x", "z"), ("never",), ()):
        found = sum(math.exp(law.log_p(x, y)) for x in itertools.product([*law.said, "?"], repeat=2))
        wanted = math.exp(float(law.length.log_p(torch.tensor([2]), torch.tensor([len(y)]))[0]))
        assert found == pytest.approx(wanted, rel=1e-10)


def test_an_em_step_is_the_expected_counts_over_alignments() -> None:
    """From the uniform table, by enumeration; rejects counts that leave NULL out or weigh pairs by their length."""
    counts: dict[tuple[str, str], float] = {}
    for x, y in PAIRS:
        given = ("", *y)
        alignments = list(itertools.product(range(len(given)), repeat=len(x)))
        for links in alignments:  # uniform t: every alignment is as likely
            for j, i in enumerate(links):
                key = (given[i], x[j])
                counts[key] = counts.get(key, 0.0) + 1 / len(alignments)
    total: dict[str, float] = {}
    for (y, _), count in counts.items():
        total[y] = total.get(y, 0.0) + count
    law = fit_ibm1(PAIRS, iterations=1)
    names, theirs = list(law.said), list(law.given)
    for key, t in zip(law.keys.tolist(), law.t.tolist(), strict=True):
        y, x = theirs[key // len(names)], names[key % len(names)]
        assert t == pytest.approx(counts[y, x] / total[y], abs=1e-12)
    assert len(law.keys) == len(counts)


def test_the_likelihood_never_falls_and_is_the_one_reported() -> None:
    pairs = [(units(x), units(y)) for x, y in sentences()[::3]]
    law = fit_ibm1(pairs, iterations=12)
    assert len(law.history) == 13
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(law.history))
    assert law.history[-1] > law.history[0] + 10
    plain = sum(np.log((law.table(x, y) - law.smoothing * law.background[[law.said[u] for u in x]][:, None]).mean(1)
                       / (1 - law.smoothing)).sum() for x, y in pairs)  # fmt: skip
    assert plain == pytest.approx(law.history[-1], abs=1e-6)


def test_pieces_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit_ibm1(PAIRS, iterations=4)
    for size in (1, 4, 7):
        monkeypatch.setattr(ibm1, "_PIECE", size)
        found = fit_ibm1(PAIRS, iterations=4)
        assert found.t == pytest.approx(whole.t, abs=1e-12)
        assert found.history == pytest.approx(whole.history, abs=1e-9)


def test_it_finds_the_dictionary() -> None:
    pairs = [(units(x), units(y)) for x, y in sentences()]
    law = fit_ibm1(pairs, iterations=20)
    for own, theirs in (("猫", "cat"), ("买", "buys"), ("肉", "meat"), ("花", "flowers")):
        rows = law.table([*law.said], [theirs])[:, 1]
        assert list(law.said)[int(rows.argmax())] == own


def test_smoothing_is_what_makes_held_out_pairs_likeliest() -> None:
    pairs = [(units(x), units(y)) for x, y in sentences()]
    law = fit_ibm1(pairs[:90], pairs[90:])
    assert law.smoothing in SMOOTHING
    noisy = fit_ibm1(pairs[:90], [(units("猫吃水"), units("nothing of this is known"))])
    assert noisy.smoothing == max(SMOOTHING)


def test_lengths_are_a_law() -> None:
    law = fit_length_law([3, 8, 6, 14, 1], [2, 5, 5, 9, 0])
    assert law.ratio == pytest.approx(32 / 26)
    for given in (0, 7):
        p = law.log_p(torch.arange(400), torch.full((400,), given)).exp()
        assert float(p.sum()) == pytest.approx(1, abs=1e-9)
        assert float((p * torch.arange(400)).sum()) == pytest.approx(law.ratio * (given + 1), abs=1e-6)
    wide = fit_length_law([1, 30, 2, 25, 1, 40], [10, 10, 10, 10, 10, 10])
    for other in (wide.spread / 3, wide.spread * 3):
        m, l = torch.tensor([1, 30, 2, 25, 1, 40]), torch.full((6,), 10)  # noqa: E741 - the letter of the formula
        assert float(wide.log_p(m, l).sum()) > float(LengthLaw(wide.ratio, other).log_p(m, l).sum())


def test_units() -> None:
    assert units("Ｌｉｎｕｘ内核 2.6，don't") == ["linux", "内", "核", "2", ".", "6", ",", "don", "'", "t"]
    assert units(" \n") == []
    assert units("かなABCдом") == ["か", "な", "abcдом"]


def test_what_cannot_be_learnt_from() -> None:
    for pairs, says in (([], "no aligned pair"), ([((), ("x",))], "no unit")):
        with pytest.raises(ConfigError, match=says):
            fit_ibm1(pairs)
    with pytest.raises(ConfigError, match="at least one EM step"):
        fit_ibm1(PAIRS, iterations=0)
    long = tuple("a" * 9000)
    with pytest.raises(ConfigError, match="possible links"):
        fit_ibm1([(long, long)])
