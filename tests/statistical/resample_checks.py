"""What resampling is held to: E[copies of i] = K w̄_i, exactly; and the law of its conditional form.

As in checks.py, functions of a seed that pass or raise AssertionError. The first kind has no chance in it: each place
reads one uniform alone, so the mean over a fine grid of uniforms, shared by all places, is the expectation. The second
is held at a false-alarm rate of 1e-6 (z-tests with Bonferroni, chi-square).
"""

import math
from collections.abc import Callable

import torch
from scipy.stats import chi2

from credence.core.keys import Key
from credence.sample import conditional_resample as conditional
from credence.sample import resample
from credence.sample.resample import SCHEMES, Scheme
from tests.statistical.checks import hold

SIZE = 5
GRID = 20_000


def weights(seed: int) -> torch.Tensor:
    """Five uneven weights that sum to one, one of them zero: E[copies] lies on either side of whole numbers."""
    raw = torch.from_numpy(Key(seed).fold("weights").uniform(torch.arange(SIZE).numpy(), 0)) + 0.05
    raw[seed % SIZE] = 0.0
    return raw / raw.sum()


def copies(index: torch.Tensor) -> torch.Tensor:
    """(groups, SIZE) how often each particle was taken."""
    return torch.nn.functional.one_hot(index, SIZE).sum(1).double()


def check_share(seed: int, scheme: Scheme) -> None:
    """E[copies of i] = K w̄_i, to the grid's step."""
    w = weights(seed)
    grid = (torch.arange(GRID, dtype=torch.float64) + 0.5) / GRID
    lot = grid[:, None].expand(-1, 1 if scheme == "systematic" else SIZE).contiguous()
    mean = copies(resample.resample(scheme, torch.log(w).expand(GRID, -1), lot)).mean(0)
    assert torch.allclose(mean, SIZE * w, atol=2 * SIZE / GRID, rtol=0), f"{scheme}: {mean} for {SIZE * w}"


def check_keeping(seed: int, scheme: Scheme) -> None:
    """With the survivor drawn by weight, the conditional form is the scheme itself, and the survivor's place uniform.

    30,000 groups of either kind; first and second moments of the copies, and the place by chi-square.
    """
    groups, w = 30_000, weights(seed)
    log_w = torch.log(w).expand(groups, -1)
    key = Key(seed).fold("keeping", scheme)
    number = torch.arange(groups).numpy()
    kept = torch.searchsorted(w.cumsum(0), torch.from_numpy(key.fold("kept").uniform(number, 0)))
    place = torch.from_numpy(key.fold("place").uniform(number, 0))
    lot = resample.lots(scheme, key.fold("lot"), groups, SIZE, 0)
    index, slot = conditional.resample_keeping(scheme, log_w, kept, lot, place)
    assert torch.equal(index.gather(1, slot[:, None]).squeeze(1), kept)
    plain = copies(resample.resample(scheme, log_w, resample.lots(scheme, key.fold("plain"), groups, SIZE, 0)))
    z = [_z(_moments(copies(index)), _moments(plain))]
    hold(float(torch.cat(z).shape[0] * torch.erfc(torch.cat(z).abs().max() / math.sqrt(2))), f"copies under {scheme}")
    seen = torch.bincount(slot, minlength=SIZE).double()
    hold(float(chi2.sf(float(((seen - groups / SIZE) ** 2 / (groups / SIZE)).sum()), SIZE - 1)), f"place, {scheme}")


def _moments(counts: torch.Tensor) -> torch.Tensor:
    pairs = torch.triu_indices(SIZE, SIZE)
    return torch.cat([counts, counts[:, pairs[0]] * counts[:, pairs[1]]], 1)


def _z(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Two-sample z of each column; a column without spread in both must agree exactly."""
    gap, spread = a.mean(0) - b.mean(0), torch.sqrt(a.var(0) / len(a) + b.var(0) / len(b))
    same = (spread == 0) & (gap.abs() < 1e-12)
    return torch.where(same, 0.0, gap / spread)


def named(check: Callable[[int, Scheme], None], scheme: Scheme) -> Callable[[int], None]:
    """The check of one scheme as a function of the seed."""

    def run(seed: int) -> None:
        check(seed, scheme)

    run.__name__ = f"{check.__name__}_{scheme}"
    return run


SHARE = {scheme: named(check_share, scheme) for scheme in SCHEMES}
KEEPING = {scheme: named(check_keeping, scheme) for scheme in SCHEMES}
