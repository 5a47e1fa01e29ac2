"""A broken prior for each law of a prior and of its steps; the right one breaks none."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from credence.core.errors import ContractError
from credence.core.keys import Key
from credence.core.types import Completions, Prompts, concat, pad_to
from credence.prior.reshape import reshape
from credence.prior.table import TablePrior
from credence.testing import Laws, Verdict, check_prior, check_step_prior, toy_prior
from credence.testing.toys import EOS, HORIZON, prior_logits

TOKENS = 2000


def right() -> TablePrior:
    return toy_prior()


class Table(TablePrior):
    def __init__(self) -> None:
        super().__init__(prior_logits, 3, EOS, HORIZON)


class EndLeftOut(Table):
    """The end token is not part of the completion."""

    def sample(self, key: Key, prompts: Prompts, n: int) -> Any:
        rows, log_q = super().sample(key, prompts, n)
        mask = rows.mask & (rows.ids != EOS)
        return replace(rows, mask=mask), torch.where(mask, log_q, 0.0)


class ScoredHot(Table):
    """Sampled at one temperature, scored at another."""

    def score(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return reshape(right(), 1.3).score(prompts, completions)


class Stateful(Table):
    """A hidden generator: the same key gives other draws each time."""

    calls = count()

    def sample(self, key: Key, prompts: Prompts, n: int) -> Any:
        return super().sample(key.fold(next(self.calls)), prompts, n)


class Keyless(Table):
    """The key is not read."""

    def sample(self, key: Key, prompts: Prompts, n: int) -> Any:
        return super().sample(Key(0), prompts, n)


class ByBatch(Table):
    """One stream of random numbers for the whole batch."""

    def sample(self, key: Key, prompts: Prompts, n: int) -> Any:
        return super().sample(key.fold(n, len(prompts)), prompts, n)


class OneStream(Table):
    """Each prompt is drawn by the same numbers, so equal prompts have equal draws."""

    def sample(self, key: Key, prompts: Prompts, n: int) -> Any:
        parts = [super(OneStream, self).sample(key, prompts.take([b]), n) for b in range(len(prompts))]
        rows = concat([rows for rows, _ in parts], range(len(prompts)))
        return rows, torch.cat([pad_to(log_q, rows.ids.shape[1]) for _, log_q in parts])


class ByBatchScored(Table):
    """A network whose normalisation runs over the batch."""

    def score(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return super().score(prompts, completions) - (len(completions) < 6) * 1e-3 * completions.mask


class ReadsPadding(Table):
    """Attention that sees what stands behind the mask."""

    def score(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        seen = (completions.ids * ~completions.mask).sum(1, keepdim=True)
        return super().score(prompts, completions) - 1e-3 * seen * completions.mask


class TakesZero(Table):
    def sample(self, key: Key, prompts: Prompts, n: int) -> Any:
        return super().sample(key, prompts, max(n, 1))


class HotSteps(Table):
    """Sampled and scored by one law, stepped by another."""

    def next_logits(self, state: Any) -> torch.Tensor:
        return super().next_logits(state) / 1.3

    def sample(self, key: Key, prompts: Prompts, n: int) -> Any:
        return right().sample(key, prompts, n)

    def score(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return right().score(prompts, completions)


class SortsRows(Table):
    """Rows are taken in their old order: resampling mixes up what belongs to whom."""

    def take(self, state: Any, rows: torch.Tensor) -> Any:
        return super().take(state, rows.sort().values)


class EndUnscored(Table):
    """The end token's log-probability is left out, in sampling and in scoring."""

    def sample(self, key: Key, prompts: Prompts, n: int) -> Any:
        rows, log_q = super().sample(key, prompts, n)
        return rows, torch.where(rows.ids == EOS, 0.0, log_q)

    def score(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return torch.where(completions.ids == EOS, 0.0, super().score(prompts, completions))


class SampledCold(Table):
    """Sampled at temperature 0.6, and log q written down as if it had been 1."""

    def sample(self, key: Key, prompts: Prompts, n: int) -> Any:
        rows, _ = reshape(right(), 0.6).sample(key, prompts, n)
        return rows, right().score(prompts, rows)


def only(prior: TablePrior, names: Sequence[str]) -> SimpleNamespace:
    return SimpleNamespace(**{name: getattr(prior, name) for name in names})


PRIOR = ("codec", "ends", "horizon", "sample", "score")
BROKEN: dict[str, tuple[Any, ...]] = {
    "has the members of a Prior": (only(right(), PRIOR[:-1]),),
    "draws rows that are prompt-major and well formed": (EndLeftOut(),),
    "scores what it sampled": (ScoredHot(),),
    "gives the same draws for the same key, others for another": (Stateful(), Keyless()),
    "gives a draw the same tokens in any batch": (ByBatch(),),
    "gives equal prompts in other places other draws": (OneStream(),),
    "scores each row by itself": (ByBatchScored(),),
    "does not read what stands behind the mask": (ReadsPadding(),),
    "refuses n = 0": (TakesZero(),),
    "has the members of a StepPrior": (only(right(), PRIOR),),
    "steps and scores by one law": (HotSteps(),),
    "keeps rows apart when they are taken": (SortsRows(),),
    "has outcomes that sum to one, the cut ones too": (EndUnscored(),),
    "draws tokens by its steps' law [false alarm 1e-06]": (SampledCold(),),
}


def held(prior: object, tokens: int = 0) -> Laws:
    prompts = right().codec.prompts([(0, 1), (1,), (2, 0, 2), (0, 1), (2, 2)])
    return check_step_prior(prior, prompts, tokens=tokens)


def test_a_right_prior_keeps_them_all() -> None:
    found = held(right(), 400)
    assert found.ok
    assert [law.text for law in found.laws] == list(BROKEN)  # each law has its broken prior
    assert all(law.verdict is Verdict.KEPT for law in found.laws)
    assert found.require() is found


@pytest.mark.parametrize(
    ("law", "prior"),
    [(law, prior) for law, priors in BROKEN.items() for prior in priors],
    ids=lambda x: type(x).__name__ if not isinstance(x, str) else x.split()[0],
)
def test_each_law_catches_what_breaks_it(law: str, prior: object) -> None:
    # Temperature 0.6 for 1: p < 1e-30 on 2,000 tokens.
    found = held(prior, TOKENS if "steps' law" in law else 0)
    assert law in [broken.text for broken in found.broken], str(found)
    with pytest.raises(ContractError, match="laws"):
        found.require()


def test_a_prior_without_steps_is_held_to_its_own_laws() -> None:
    found = check_prior(only(right(), PRIOR), right().codec.prompts([(0,), (1,)]))
    assert found.ok
    assert len(found.laws) == 9


def test_laws_that_cannot_be_tried_say_why() -> None:
    found = {law.text: law for law in held(only(right(), PRIOR[:-1])).laws}
    assert found["scores what it sampled"].verdict is Verdict.UNTRIED
    assert found["scores what it sampled"].found == "needs: has the members of a Prior"
    wide = TablePrior(lambda _: [0.0] * 40, 40, 39, 4)
    laws = check_step_prior(wide, wide.codec.prompts([(0,)]), n=2, tokens=10).laws
    assert [law.found for law in laws[-2:]] == [
        "up to 2.4e+06 completions: over 20,000",
        "tokens=10: at least 200 are needed",
    ]
    assert laws[4].found == "one prompt"


def test_a_prior_that_raises_breaks_the_law_and_not_the_table() -> None:
    class Raises(Table):
        def score(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
            raise RuntimeError("no memory")

    assert any(law.found == "raised RuntimeError: no memory" for law in held(Raises()).broken)


def test_coinciding_draws_of_a_sure_law_are_no_fault() -> None:
    """A prior that says one thing only has the same draws by every key: chance 1, so nothing is broken."""
    sure = reshape(toy_prior(), top_k=1)
    found = check_step_prior(sure, sure.codec.prompts([(0,), (1,)]), tokens=0)
    assert found.ok
    assert "too few draws to tell" in found.laws[3].found
