import math

import numpy as np
import pytest
import torch
from scipy import stats

from credence.core.keys import Key, philox4x32
from credence.core.logspace import inverse_cdf

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ONES, ONES, ONES, ONES), (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_published_answers(counter: tuple, key: tuple, words: tuple) -> None:
    """Known answers of Random123: zeros, ones, digits of pi."""
    found = philox4x32(np.array([counter], dtype=np.uint64), key)
    assert tuple(int(w) for w in found[0]) == words


def test_uniforms_are_uniform_over_rows_and_over_steps() -> None:
    """Kolmogorov–Smirnov, each at a false-alarm rate of 1e-6; rejects 32-bit words that were not divided alike."""
    rows = np.arange(20_000)
    assert stats.kstest(Key(1).uniform(rows, 0), "uniform").pvalue > 1e-6
    steps = np.array([Key(1).uniform(np.array([5]), t)[0] for t in range(2000)])
    assert stats.kstest(steps, "uniform").pvalue > 1e-6
    u = Key(1).uniform(rows, 0)
    assert u.min() > 0
    assert u.max() < 1


def test_rows_steps_keys_and_folds_are_independent() -> None:
    """Correlations of 20,000 pairs stay within 4.9/√20,000 (1e-6); a key that ignores one of the three gives 1."""
    rows = np.arange(20_000)
    base = Key(1).uniform(rows, 0)
    others = [
        Key(1).uniform(rows, 1),
        Key(2).uniform(rows, 0),
        Key(1).uniform(rows + (1 << 32), 0),
        Key(1).fold("a").uniform(rows, 0),
        Key(1).fold(1).uniform(rows, 0),
        Key(1 << 32).uniform(rows, 0),
    ]
    for other in others:
        assert abs(np.corrcoef(base, other)[0, 1]) < 4.9 / math.sqrt(20_000)


def test_a_uniform_depends_on_its_own_row_only() -> None:
    rows = np.array([7, 3, 7, 100_000_000_000])
    found = Key(4).uniform(rows, 9)
    assert found[0] == found[2]
    for r, u in zip(rows, found, strict=True):
        assert Key(4).uniform(np.array([r]), 9)[0] == u


def test_folds_differ_by_value_and_by_type() -> None:
    key = Key(3)
    folded = [key.fold("train", 3), key.fold("eval", 3), key.fold("3"), key.fold(3), key.fold(3, 3), key.fold()]
    assert len({k.seed for k in folded}) == len(folded)
    assert key.fold("train", 3) == Key(3).fold("train", 3)


def test_generator_is_the_key_s_own() -> None:
    assert Key(5).generator().integers(1 << 60) == Key(5).generator().integers(1 << 60)
    assert Key(5).generator().integers(1 << 60) != Key(6).generator().integers(1 << 60)


def test_inverse_cdf_follows_the_law() -> None:
    """χ² of 40,000 draws over 50 tokens at 1e-6; rejects a law at another temperature and one shifted by a token."""
    logits = torch.randn(50, generator=torch.Generator().manual_seed(1)).double() * 1.5
    n = 40_000
    token, log_p, _ = inverse_cdf(logits.expand(n, -1), torch.from_numpy(Key(2).uniform(np.arange(n), 0)))
    count = torch.bincount(token, minlength=50).numpy()

    def p_value(law: torch.Tensor) -> float:
        p = torch.softmax(law, 0).numpy()
        keep = p * n >= 5
        seen, wanted = np.append(count[keep], count[~keep].sum()), np.append(p[keep], p[~keep].sum()) * n
        used = wanted > 0
        return float(stats.chisquare(seen[used], wanted[used]).pvalue)

    assert p_value(logits) > 1e-6
    assert p_value(logits / 1.1) < 1e-6
    assert p_value(logits.roll(1)) < 1e-6
    assert torch.allclose(log_p, torch.log_softmax(logits, 0)[token], atol=1e-12)


@pytest.mark.parametrize("vocab", [1, 2, 3, 10, 16, 17, 97])
def test_inverse_cdf_agrees_with_a_plain_cumulative_sum(vocab: int) -> None:
    rng = torch.Generator().manual_seed(vocab)
    logits = torch.randn(500, vocab, generator=rng).double() * 3
    logits[torch.rand(500, vocab, generator=rng) < 0.3] = -math.inf
    logits[:, vocab // 2] = 0.0
    uniform = torch.from_numpy(Key(vocab).uniform(np.arange(500), 0))
    token, log_p, margin = inverse_cdf(logits, uniform)
    cumulative = torch.softmax(logits, -1).cumsum(-1)
    plain = torch.searchsorted(cumulative, uniform[:, None]).squeeze(1)
    assert torch.equal(token, plain)
    assert torch.isfinite(log_p).all()
    edges = torch.cat([torch.zeros(500, 1), cumulative], 1)
    inside = torch.minimum(
        uniform - edges.gather(1, token[:, None])[:, 0], edges.gather(1, token[:, None] + 1)[:, 0] - uniform
    )
    assert torch.allclose(margin, inside, atol=1e-12)


def test_an_impossible_token_is_never_drawn_over_a_large_vocabulary() -> None:
    """49,152 words in float32, nine tenths of them impossible, the last ones too; the ends of (0, 1) as well."""
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 49_152, generator=rng) * 4
    logits[torch.rand(200, 49_152, generator=rng) < 0.9] = -math.inf
    logits[:, -300:] = -math.inf
    logits[:, :300] = -math.inf
    uniform = torch.from_numpy(Key(1).uniform(np.arange(200), 0))
    uniform[:20] = 0.5 / 2**53
    uniform[20:40] = 1 - 0.5 / 2**53
    token, log_p, _ = inverse_cdf(logits, uniform)
    assert torch.isfinite(logits.gather(1, token[:, None])).all()
    exact = torch.log_softmax(logits.double(), -1).gather(1, token[:, None]).squeeze(1)
    assert torch.allclose(log_p, exact, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_inverse_cdf_of_short_floats_follows_their_softmax(dtype: torch.dtype) -> None:
    """Exact lengths of the tokens' intervals by bisection; rejects sums in bfloat16 (1.7e-3) and float16 (2.3e-4)."""
    logits = (torch.randn(1, 600, generator=torch.Generator().manual_seed(3)) * 2).to(dtype)
    many = logits.expand(600, -1)
    low, high = torch.zeros(600, dtype=torch.float64), torch.ones(600, dtype=torch.float64)
    for _ in range(40):  # the end of token v's interval: the tokens follow each other in order
        middle = (low + high) / 2
        within = inverse_cdf(many, middle)[0] <= torch.arange(600)
        low, high = torch.where(within, middle, low), torch.where(within, high, middle)
    length = torch.diff(low, prepend=low.new_zeros(1))
    law = torch.softmax(logits[0].double(), -1)
    assert float((length - law).abs().sum() / 2) < 1e-6
    token, log_p, _ = inverse_cdf(many, torch.from_numpy(Key(1).uniform(np.arange(600), 0)))
    assert torch.allclose(log_p, torch.log_softmax(logits[0].float(), -1)[token].double(), atol=1e-5)
