"""Broken evidence for each law of evidence and of its twist; the right one breaks none."""

import math
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from credence.core.types import Completions, Prompts
from credence.evidence.product import Composable
from credence.testing import Laws, Verdict, check_evidence, check_prefix_evidence, toy_prior


def readings(rows: Completions) -> torch.Tensor:
    """A value of each row's own tokens, at most 1."""
    own = torch.where(rows.mask, rows.ids, 0).double()
    return torch.sin(1.0 + own @ 3.0 ** torch.arange(own.shape[1]).double())


class Right(Composable):
    """A reward of the row's own tokens that already says something of a prefix."""

    max_log_lik = 1.0

    def log_lik(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return readings(completions)

    def readings(self, prompts: Prompts, completions: Completions) -> dict[str, torch.Tensor]:
        return {"mine": readings(completions)}

    def measure(self, prompts: Prompts, completions: Completions) -> Any:
        return self.log_lik(prompts, completions), self.readings(prompts, completions)

    def log_twist(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return torch.where(completions.ended, self.log_lik(prompts, completions), 0.1 * readings(completions))


class NotANumber(Right):
    def log_lik(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return torch.log(readings(completions))


class Single(Right):
    """float32."""

    def log_lik(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return readings(completions).float()


class MeanReading(Right):
    def readings(self, prompts: Prompts, completions: Completions) -> dict[str, torch.Tensor]:
        return {"mine": readings(completions).mean(0, keepdim=True)}


class NoReading(Right):
    def readings(self, prompts: Prompts, completions: Completions) -> dict[str, torch.Tensor]:
        return {}


class Drifting(Right):
    """Noise, or a cache that grows: no two looks agree."""

    calls = count()

    def log_lik(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return readings(completions) - 1e-6 * next(self.calls)


class Standardised(Right):
    """Centred over the batch, as advantages are."""

    def log_lik(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return readings(completions) - readings(completions).mean()


class ReadsPadding(Right):
    def log_lik(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return readings(completions) - 0.1 * (completions.ids * ~completions.mask).sum(1)


class CountsPrompts(Right):
    def log_lik(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return readings(completions) - 0.1 * len(prompts)


class LowBound(Right):
    max_log_lik = 0.5


class MeasuresOtherwise(Right):
    def measure(self, prompts: Prompts, completions: Completions) -> Any:
        return 2 * self.log_lik(prompts, completions), self.readings(prompts, completions)


class PowerForgets(Right):
    def __pow__(self, tau: float) -> Any:
        return self


class NoTwist(Right):
    log_twist: Any = property(lambda self: (_ for _ in ()).throw(AttributeError("log_twist")))


class TwistTwice(Right):
    """The final weight gains log_lik a second time."""

    def log_twist(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return 2 * self.log_lik(prompts, completions)


class TwistIsNan(Right):
    def log_twist(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return torch.where(completions.ended, self.log_lik(prompts, completions), math.nan)


class TwistCentred(Right):
    def log_twist(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        return torch.where(
            completions.ended, self.log_lik(prompts, completions), readings(completions) - readings(completions).mean()
        )


class NotYetIsNever(Right):
    """A word that has not come yet is taken for one that never will."""

    def log_twist(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        has = ((completions.ids == 1) & completions.mask).any(1)
        return torch.where(completions.ended, self.log_lik(prompts, completions), torch.where(has, 0.0, -math.inf))


BROKEN: dict[str, tuple[Any, ...]] = {
    "has the members of an Evidence": (SimpleNamespace(log_lik=Right().log_lik),),
    "gives a number of nats a row, never NaN or +inf": (NotANumber(), Single()),
    "names its readings, one value a row": (MeanReading(), NoReading()),
    "says the same at a second look": (Drifting(),),
    "reads each row by itself": (Standardised(),),
    "does not read what stands behind the mask": (ReadsPadding(),),
    "does not depend on which other prompts there are": (CountsPrompts(),),
    "never exceeds the bound it states": (LowBound(),),
    "measures what it gives apart": (MeasuresOtherwise(),),
    "multiplies and tempers in nats": (PowerForgets(),),
    "has the members of a PrefixEvidence": (NoTwist(),),
    "has a twist that is log_lik on rows that have ended": (TwistTwice(),),
    "has a twist of unfinished rows that is never NaN or +inf": (TwistIsNan(),),
    "reads each prefix by itself": (TwistCentred(),),
    "calls no beginning of a possible reply impossible": (NotYetIsNever(),),
}


def held(evidence: object) -> Laws:
    return check_prefix_evidence(evidence, toy_prior(), toy_prior().codec.prompts([(), (0,), (1, 0)]))


def test_right_evidence_keeps_them_all() -> None:
    found = held(Right())
    assert [law.text for law in found.laws] == list(BROKEN)  # each law has its broken evidence
    assert all(law.verdict is Verdict.KEPT for law in found.laws), str(found)


@pytest.mark.parametrize(
    ("law", "evidence"),
    [(law, evidence) for law, several in BROKEN.items() for evidence in several],
    ids=lambda x: type(x).__name__ if not isinstance(x, str) else x.split()[0],
)
def test_each_law_catches_what_breaks_it(law: str, evidence: object) -> None:
    found = held(evidence)
    assert law in [broken.text for broken in found.broken], str(found)


def test_evidence_without_bound_operators_or_measure_is_not_broken() -> None:
    plain = SimpleNamespace(log_lik=Right().log_lik, readings=Right().readings)
    found = check_evidence(plain, toy_prior(), toy_prior().codec.prompts([()]))
    untried = [law.found for law in found.laws if law.verdict is Verdict.UNTRIED]
    assert found.ok
    assert len(found.laws) == 10
    assert [reason.split()[0] for reason in untried] == ["one", "it", "it", "it"]
