"""chrF against sacrebleu itself, sentence by sentence and over the corpus."""

import numpy as np
import pytest
from sacrebleu.metrics.chrf import CHRF

from credence.core.errors import ShapeError
from credence.evidence.chrf import chrf, chrf_counts, chrf_score

TEXTS = ["The cat sat.", "a", "", "完全 不同 的 text", "Remove the package with apt", "ab cd", "same"]
WANTED = ["A cat sat down.", "abc", "nothing", "完全不同的文字", "Remove packages using apt-get", "", "same"]


def test_it_is_sacrebleu_s() -> None:
    metric, counts = CHRF(), chrf_counts(TEXTS, WANTED)
    for i, (text, wanted) in enumerate(zip(TEXTS, WANTED, strict=True)):
        assert chrf_score(counts[i]) == pytest.approx(metric.sentence_score(text, [wanted]).score, abs=1e-9)
    whole = metric.corpus_score(TEXTS, [WANTED]).score
    assert chrf_score(counts.sum(0)) == pytest.approx(whole, abs=1e-9)
    assert chrf(TEXTS, WANTED) == pytest.approx([float(x) / 100 for x in chrf_score(counts)])


def test_many_sums_at_once() -> None:
    counts = chrf_counts(TEXTS, WANTED)
    index = np.array([[0, 0, 3], [1, 4, 6]])
    found = chrf_score(counts[index].sum(1))
    assert found == pytest.approx([float(chrf_score(counts[row].sum(0))) for row in index])
    assert chrf(["same"], ["same"]) == [1.0]
    with pytest.raises(ShapeError, match="one each"):
        chrf(["a"], [])
