"""Wrong learners of recorded replies, and wrong gathering; each must fail a check that the right one passes."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch

from credence.core.protocols import Scored
from credence.evidence import comparisons, ensemble
from credence.evidence.comparisons import gather
from credence.learn import dpo, ipo, kto, sft
from credence.learn.losses import preference, recorded
from credence.learn.losses.groups import row_weights
from tests.mutants.runner import SEEDS, Mutant, kill, params
from tests.preferring import (
    check_dpo_gradient,
    check_ensemble,
    check_gathering,
    check_ipo_gap,
    check_ipo_gradient,
    check_kto_gradient,
    check_links,
    check_posterior,
    check_sft_gradient,
)

Patch = pytest.MonkeyPatch
RATIO, LINK = preference.log_ratio, preference.link


def ratios_are(wrong: Callable[[Scored], torch.Tensor], patch: Patch) -> None:
    patch.setattr(preference, "log_ratio", wrong)
    patch.setattr(recorded, "log_ratio", wrong)


def no_prior(scored: Scored) -> torch.Tensor:
    """h is log π alone: what is likely counts as what is preferred."""
    return scored.log_pi.sum(-1)


def per_token(scored: Scored) -> torch.Tensor:
    """h as a mean over tokens: β differs from reply to reply."""
    return RATIO(scored) / scored.mask.sum(-1)


def end_left_out(scored: Scored) -> torch.Tensor:
    """The end token is not scored."""
    last = scored.mask.sum(-1, keepdim=True) - 1
    keep = torch.arange(scored.mask.shape[1]) < last
    return torch.where(keep, scored.log_pi - scored.log_prior, 0.0).sum(-1)


def swapped(patch: Patch) -> None:
    """Chosen and rejected in each other's place."""
    right = preference.compared

    def wrong(scored: Scored) -> preference.Compared:
        at = right(scored)
        return replace(at, votes=at.votes.flip(-1))

    patch.setattr(preference, "compared", wrong)


def first_always_wins(patch: Patch) -> None:
    """Votes are read as a winner and a loser: ties and shares are lost."""
    right = preference.compared

    def wrong(scored: Scored) -> preference.Compared:
        at = right(scored)
        return replace(at, votes=torch.stack([at.weight, torch.zeros_like(at.weight)], -1))

    patch.setattr(preference, "compared", wrong)


def one_beta(patch: Patch) -> None:
    """β is 1 whatever the data say."""
    right = preference.compared

    def wrong(scored: Scored) -> preference.Compared:
        at = right(scored)
        return replace(at, beta=torch.ones_like(at.beta))

    patch.setattr(preference, "compared", wrong)


def summed_over_pairs(patch: Patch) -> None:
    """The sum over comparisons in place of their mean: the step grows with the batch."""
    right = dpo.bradley_terry

    def wrong(scored: Scored, *given: object) -> tuple[torch.Tensor, dict[str, float]]:
        value, info = right(scored, *given)  # pyright: ignore[reportArgumentType]
        return value * scored.prompts, dict(info)

    patch.setattr(dpo, "bradley_terry", wrong)


def full_gap(patch: Patch) -> None:
    """IPO's gap 1/β in place of 1/2β."""
    right = ipo.identity_preference

    def wrong(scored: Scored) -> tuple[torch.Tensor, dict[str, float]]:
        halved = {**scored.readings, preference.BETA: scored.readings[preference.BETA] / 2}
        value, info = right(replace(scored, readings=halved))
        return value, dict(info)

    patch.setattr(ipo, "identity_preference", wrong)


def links_are(wrong: Callable[..., torch.Tensor], patch: Patch) -> None:
    import tests.preferring

    patch.setattr(tests.preferring, "link", wrong)


def forward_without_its_sign(h: torch.Tensor, divergence: str, alpha: float = 0.5) -> torch.Tensor:
    """+π0/π: the less likely a reply has become, the better it was."""
    return torch.exp(-h) if divergence == "forward_kl" else LINK(h, divergence, alpha)  # pyright: ignore


def js_of_the_ratio_turned(h: torch.Tensor, divergence: str, alpha: float = 0.5) -> torch.Tensor:
    """log 2/(1 + t): the other argument's derivative."""
    return -torch.nn.functional.softplus(h) if divergence == "js" else LINK(h, divergence, alpha)  # pyright: ignore


def alpha_by_its_complement(h: torch.Tensor, divergence: str, alpha: float = 0.5) -> torch.Tensor:
    """1 − α in the place of α."""
    return LINK(h, divergence, 1 - alpha if divergence == "alpha" else alpha)  # pyright: ignore[reportArgumentType]


def drift_with_gradient(patch: Patch) -> None:
    """KTO's z0 is differentiated."""

    def wrong(scored: Scored, liked: float = 1.0, disliked: float = 1.0) -> tuple[torch.Tensor, dict[str, float]]:
        h, label, beta = RATIO(scored), scored.readings["liked"], scored.readings[preference.BETA]
        own = label != 0
        side = label[own] * (h[own] - h[~own].mean().clamp(min=0))
        weight = torch.where(label[own] > 0, liked, disliked)
        return (weight * torch.sigmoid(-beta[own] * side)).mean(), {}

    patch.setattr(kto, "prospect", wrong)


def drift_of_the_same_prompt(patch: Patch) -> None:
    """z0 is the mean h of the labelled replies themselves: it rises with what is learnt."""
    right = kto.prospect

    def wrong(scored: Scored, liked: float = 1.0, disliked: float = 1.0) -> tuple[torch.Tensor, dict[str, float]]:
        own = scored.readings["liked"] != 0
        h = RATIO(scored)
        moved = torch.where(
            own[:, None], scored.log_pi, scored.log_prior + (h[own].mean() / scored.mask.sum(-1))[:, None]
        )
        value, info = right(replace(scored, log_pi=torch.where(scored.mask, moved, 0.0)), liked, disliked)
        return value, dict(info)

    patch.setattr(kto, "prospect", wrong)


def every_token_alike(patch: Patch) -> None:
    """SFT as a mean over tokens: long replies take the short ones' share."""

    def wrong(scored: Scored) -> tuple[torch.Tensor, dict[str, float]]:
        return -scored.log_pi.sum() / scored.mask.sum(), {}

    patch.setattr(sft, "maximum_likelihood", wrong)


def rows_before_prompts(patch: Patch) -> None:
    """SFT as a mean over rows: prompts with many replies take the others' share."""

    def wrong(scored: Scored) -> tuple[torch.Tensor, dict[str, float]]:
        return -(scored.log_pi.sum(-1) / len(row_weights(scored))).sum(), {}

    patch.setattr(sft, "maximum_likelihood", wrong)


def repeats_count(patch: Patch) -> None:
    """A copied line counts again."""
    patch.setattr("tests.preferring.gather", lambda *given, **_: gather(*given, repeats="count"))


def order_matters(patch: Patch) -> None:
    """(x, y) and (y, x) are two comparisons."""
    patch.setattr(comparisons, "sorted", lambda pair: list(pair), raising=False)


def members_add_up(patch: Patch) -> None:
    """An ensemble as a product: the same question answered twice counts twice."""

    def wrong(self: ensemble.Ensemble, prompts: object, rows: object) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        nats = torch.stack([m.log_lik(prompts, rows) for m in self.members])  # pyright: ignore[reportArgumentType]
        return nats.sum(0), {}

    patch.setattr(ensemble.Ensemble, "measure", wrong)


def spread_rewarded(patch: Patch) -> None:
    """+ k·sd: what the members disagree about is what is chosen."""
    right = ensemble.Ensemble.measure

    def wrong(self: ensemble.Ensemble, prompts: object, rows: object) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        found, told = right(self, prompts, rows)  # pyright: ignore[reportArgumentType]
        return found + 2 * self.k * told["ensemble_sd"], dict(told)

    patch.setattr(ensemble.Ensemble, "measure", wrong)


MUTANTS = (
    Mutant("h without the prior, DPO", check_dpo_gradient, partial(ratios_are, no_prior)),
    Mutant("h without the prior, optimum", check_posterior, partial(ratios_are, no_prior)),
    Mutant("h a mean over tokens, optimum", check_posterior, partial(ratios_are, per_token)),
    Mutant("h a mean over tokens, IPO", check_ipo_gradient, partial(ratios_are, per_token)),
    Mutant("end token left out of h", check_dpo_gradient, partial(ratios_are, end_left_out)),
    Mutant("chosen and rejected swapped", check_posterior, swapped),
    Mutant("shares of votes read as winners", check_posterior, first_always_wins),
    Mutant("β of the data ignored", check_posterior, one_beta),
    Mutant("sum over comparisons", check_dpo_gradient, summed_over_pairs),
    Mutant("IPO's gap doubled", check_ipo_gap, full_gap),
    Mutant("forward KL's link without its sign", check_links, partial(links_are, forward_without_its_sign)),
    Mutant("JS link of the other argument", check_links, partial(links_are, js_of_the_ratio_turned)),
    Mutant("α for 1 − α", check_links, partial(links_are, alpha_by_its_complement)),
    Mutant("KTO's drift differentiated", check_kto_gradient, drift_with_gradient),
    Mutant("KTO's drift from the labelled replies", check_kto_gradient, drift_of_the_same_prompt),
    Mutant("SFT a mean over tokens", check_sft_gradient, every_token_alike),
    Mutant("SFT a mean over rows", check_sft_gradient, rows_before_prompts),
    Mutant("copied lines count", check_gathering, repeats_count),
    Mutant("turned comparisons are others", check_gathering, order_matters),
    Mutant("an ensemble's members add up", check_ensemble, members_add_up),
    Mutant("an ensemble's spread rewarded", check_ensemble, spread_rewarded),
)


LONG = ()
"""None: together they take some seconds."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mutant", params(MUTANTS, LONG))
def test_mutant_dies(mutant: Mutant, seed: int) -> None:
    kill(mutant, seed)
