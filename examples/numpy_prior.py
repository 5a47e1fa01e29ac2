"""A model of your own as a prior: a few lines of numpy, held to the laws, then given evidence.

    python examples/numpy_prior.py

The model here is a table of letter pairs, counted in a few words; any function from a numpy state to logits will do.
With JAX: compute `logits` with jax.numpy, jitted if you like, and hand back np.asarray(...); nothing else changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from credence import SMC, Key, Posterior, Prompts, Reward, enumerate_posterior
from credence.core.types import Completions
from credence.prior.steps import sample_by_steps, score_by_steps
from credence.testing import check_step_prior

TEXT = "red rose teal tan lead sand eel ale earl toner stone seal oat ran deal lard east note"
LETTERS = sorted(set(TEXT) - {" "})
END = len(LETTERS)  # one token more ends a word


def pair_counts(words: Sequence[str]) -> np.ndarray:
    """(V, V) how often one token follows another; row END is the beginning of a word. A tenth is added everywhere."""
    counts = np.full((END + 1, END + 1), 0.1)
    for word in words:
        tokens = [END, *(LETTERS.index(c) for c in word), END]
        for before, after in pairwise(tokens):
            counts[before, after] += 1
    counts[END, END] = 0.0  # no empty word: a logit of -inf
    return counts


@dataclass(frozen=True)
class Letters:
    """Between strings and tokens."""

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(LETTERS[i] for i in ids if i != END)

    def prompts(self, given: Sequence[str], columns: Mapping[str, Sequence[Any]] | None = None) -> Prompts:
        return Prompts(tuple(tuple(LETTERS.index(c) for c in g) for g in given), tuple(given), self, columns or {})


@dataclass(frozen=True, eq=False)
class NumpyPrior:
    """π0(next | last token) from a matrix of counts. State: the last token of each row, a numpy array."""

    counts: np.ndarray
    horizon: int = 4
    codec = Letters()
    ends = frozenset({END})

    def logits(self, last: np.ndarray) -> np.ndarray:
        """Your model: (rows,) -> (rows, V) unnormalised log-probabilities."""
        with np.errstate(divide="ignore"):
            return np.log(self.counts[last])

    def start(self, prompts: Prompts, n: int) -> np.ndarray:
        return np.repeat([ids[-1] if ids else END for ids in prompts.ids], n)

    def next_logits(self, state: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(self.logits(state))

    def extend(self, state: np.ndarray, token: torch.Tensor) -> np.ndarray:
        return token.numpy()

    def take(self, state: np.ndarray, rows: torch.Tensor) -> np.ndarray:
        return state[rows.numpy()]

    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, torch.Tensor]:
        return sample_by_steps(self, key, prompts, n)

    def score(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return score_by_steps(self, prompts, completions)


def vowels(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    """The reward: how many vowels a word has."""
    return [float(sum(c in "aeiou" for c in word)) for word in completions]


def main() -> None:
    prior = NumpyPrior(pair_counts(TEXT.split()))
    prompts = prior.codec.prompts(["", "s"])
    print(check_step_prior(prior, prompts).require())

    posterior = Posterior(prior, Reward(vowels, beta=0.5, on_prefix=True))
    draws = SMC(particles=64, islands=16).draw(Key(0), posterior, prompts, n=4)
    for b, given in enumerate(prompts.given):
        exact = enumerate_posterior(posterior, prompts.take([b]))
        error = float(draws.log_z_se[b])
        print(f"\nbehind {given!r}: log Z {float(draws.log_z[b]):.3f} ± {error:.3f}, exact {exact.log_z:.3f}")
        print(" ", *(given + draws.texts()[r] for r in draws.of(b).tolist()))
        assert abs(float(draws.log_z[b]) - exact.log_z) < 5 * error


if __name__ == "__main__":
    main()
