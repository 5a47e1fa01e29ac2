"""Where chains stand: a text a row with its nats, and how one text weighs against another that was drawn from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Prior, StepPrior, Target
from credence.core.types import Completions, Prompts, concat, pad_to
from credence.evidence.product import measure
from credence.prior.agreement import same_completions
from credence.sample.importance import PROPOSED
from credence.sample.regrow import Lot, Regrown, regrow


@dataclass(frozen=True, eq=False)
class Texts:
    """R texts, each `horizon` tokens wide.

    Attributes:
        completions: the texts.
        log_q: (R, T) nats of each token under the proposal.
        log_prior: (R, T) nats under the prior; the same where the proposal is the prior.
        log_lik: (R,) nats.
        readings: (R,) raw evidence values by name.
    """

    completions: Completions
    log_q: Float[Tensor, "R T"]
    log_prior: Float[Tensor, "R T"]
    log_lik: Float[Tensor, " R"]
    readings: Mapping[str, Float[Tensor, " R"]]

    def rows(self, index: Tensor) -> "Texts":
        """The texts at these rows, repeats allowed."""
        return Texts(
            self.completions.rows(index),
            self.log_q[index],
            self.log_prior[index],
            self.log_lik[index],
            {name: values[index] for name, values in self.readings.items()},
        )

    def log_joint(self, lam: float | Float[Tensor, " R"] = 1.0) -> Float[Tensor, " R"]:
        """log π0 + lam · log_lik in nats; an impossible text stays impossible at every lam, as in Tempered."""
        scaled = torch.where(torch.isneginf(self.log_lik), self.log_lik, lam * self.log_lik)
        return self.log_prior.sum(-1) + scaled

    def possible(self) -> Bool[Tensor, " R"]:
        """Which texts the posterior gives any mass."""
        return ~torch.isneginf(self.log_joint())


def stepped(engine: str, target: Target, proposal: Prior | None) -> StepPrior:
    """The proposal as one that can be walked; the prior itself where none is given.

    Raises:
        ConfigError: it cannot be stepped, or its completions are not the prior's.
    """
    chosen = target.prior if proposal is None else proposal
    if not isinstance(chosen, StepPrior):
        raise ConfigError(
            f"{engine} keeps a part of a text and draws the rest, and {type(chosen).__name__} cannot be walked by "
            "tokens: use IndependentMH or Importance there, which draw whole texts."
        )
    same_completions(target.prior, chosen, PROPOSED)
    return chosen


def begin(target: Target, proposal: Prior, key: Key, prompts: Prompts, chains: int) -> tuple[Texts, int]:
    """As many draws of the prior a prompt as there are chains, and the tokens that they cost.

    Of the prior, not of the proposal, so that a proposal which cannot reach what the posterior can shows itself.
    """
    completions, log_prior = target.prior.sample(key, prompts, chains)
    tokens = int(completions.mask.sum())
    same = proposal is target.prior
    log_q = log_prior if same else proposal.score(prompts, completions)
    log_lik, readings = measure(target.evidence, prompts, completions)
    texts = Texts(completions, log_q, log_prior, log_lik, readings)
    return widened(texts, target.prior.horizon), tokens if same else 2 * tokens


def weighed(target: Target, proposal: Prior, prompts: Prompts, drawn: Completions, log_q: Tensor) -> Texts:
    """Ask the evidence, and the prior where the proposal is another, about texts of the proposal.

    Cost: one look of the evidence a text, and one scoring pass if the proposal is not the prior.
    """
    log_lik, readings = measure(target.evidence, prompts, drawn)
    log_prior = log_q if proposal is target.prior else target.prior.score(prompts, drawn)
    return Texts(drawn, log_q, log_prior, log_lik, readings)


def redrawn(
    target: Target, proposal: StepPrior, lot: Lot, prompts: Prompts, texts: Texts, first: Tensor, last: Tensor
) -> tuple[Texts, int]:
    """The texts with their tokens at first ≤ t < last drawn anew from the proposal, and the tokens that it cost."""
    new: Regrown = regrow(proposal, lot, prompts, texts.completions, texts.log_q, first, last)
    scored = 0 if proposal is target.prior else int(new.completions.mask.sum())
    return weighed(target, proposal, prompts, new.completions, new.log_q), new.tokens + scored


def log_weight(
    texts: Texts, first: Int[Tensor, " R"], last: Int[Tensor, " R"], lam: float | Float[Tensor, " R"] = 1.0
) -> Float[Tensor, " R"]:
    """log π0(x) + lam · log_lik(x) − Σ log q(x_t | x_<t) over first ≤ t < last, in nats; -inf where impossible.

    The difference of two such weights is the Metropolis–Hastings ratio of redrawing that part of one text into the
    other, but for how the part was chosen.

    Raises:
        ConfigError: a possible text that the proposal cannot draw.
    """
    place = torch.arange(texts.completions.ids.shape[1], device=first.device)[None]
    drawn = texts.completions.mask & (first[:, None] <= place) & (place < last[:, None])
    log_joint = texts.log_joint(lam)
    log_q = torch.where(drawn, texts.log_q, 0.0).sum(-1)
    out = torch.where(torch.isneginf(log_joint), log_joint, log_joint - log_q)
    unreached = torch.nonzero(torch.isposinf(out)).flatten()
    if len(unreached):
        raise ConfigError(
            f"the proposal gives probability 0 to tokens {texts.completions.rows(unreached[:1]).tokens()[0]}, which "
            "the posterior allows: chains could never leave or reach that text. Give a proposal that can say whatever "
            "the prior can (a higher temperature in place of top-k or top-p)."
        )
    return out


def log_alpha(old: Float[Tensor, "*n"], new: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """log min(1, exp(new − old)) of two log weights. From an impossible text every move is taken, to one none."""
    return torch.where(torch.isneginf(old), 0.0, (new - old).clamp(max=0.0))


def taken(log_accept: Float[Tensor, " R"], key: Key, rows: Int[Tensor, " R"]) -> Bool[Tensor, " R"]:
    """Which moves are taken: one uniform a row."""
    uniform = torch.from_numpy(key.fold("accept").uniform(rows.numpy(), 0)).to(log_accept.device)
    return torch.log(uniform) < log_accept


def moved(accepted: Bool[Tensor, " R"], old: Texts, new: Texts) -> Texts:
    """The new text where it was accepted, the old one elsewhere."""
    by_token, a, b = accepted[:, None], old.completions, new.completions
    return Texts(
        Completions(
            torch.where(by_token, b.ids, a.ids),
            torch.where(by_token, b.mask, a.mask),
            torch.where(accepted, b.ended, a.ended),
            a.prompt,
            close_calls=a.close_calls + b.close_calls,
        ),
        torch.where(by_token, new.log_q, old.log_q),
        torch.where(by_token, new.log_prior, old.log_prior),
        torch.where(accepted, new.log_lik, old.log_lik),
        {name: torch.where(accepted, values, old.readings[name]) for name, values in new.readings.items()},
    )


def together(parts: Sequence[Texts]) -> Texts:
    """All parts' texts, one part after the other; they answer the same prompts."""
    close = parts[-1].completions.close_calls  # a chain's texts carry the count of all steps before them
    return Texts(
        replace(concat([p.completions for p in parts], [0] * len(parts)), close_calls=close),
        torch.cat([p.log_q for p in parts]),
        torch.cat([p.log_prior for p in parts]),
        torch.cat([p.log_lik for p in parts]),
        {name: torch.cat([p.readings[name] for p in parts]) for name in parts[0].readings},
    )


def widened(texts: Texts, width: int) -> Texts:
    """The same texts, padded on the right to this width."""
    more = width - texts.completions.ids.shape[1]
    c = texts.completions
    return replace(
        texts,
        completions=replace(
            c, ids=torch.nn.functional.pad(c.ids, (0, more)), mask=torch.nn.functional.pad(c.mask, (0, more))
        ),
        log_q=pad_to(texts.log_q, width),
        log_prior=pad_to(texts.log_prior, width),
    )
