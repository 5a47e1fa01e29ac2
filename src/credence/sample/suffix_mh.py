"""Metropolis–Hastings by suffixes: cut a text at random, say the rest anew, keep the better by chance."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.keys import Key
from credence.core.protocols import Guarantee, StepPrior, Target
from credence.core.types import Draws, Prompts
from credence.prior.steps import row_numbers
from credence.sample.record import Record, check_settings, planned
from credence.sample.regrow import lots
from credence.sample.texts import Texts, begin, log_alpha, log_weight, moved, redrawn, stepped, taken


@dataclass(frozen=True)
class SuffixMH:
    """Chains of texts: keep the first i tokens, i uniform below the length |x|, and draw the rest from a proposal q.

    A new text x' is accepted with probability

        min(1, π0(x') w(x') / (π0(x) w(x)) · q(x_i: | x_:i) / q(x'_i: | x_:i) · |x| / |x'|),   w = exp(log_lik),

    where prior and proposal cancel if q is the prior, the default. |x|/|x'| stands there because x offers |x| places to
    cut and x' offers |x'|: without it short texts are drawn too seldom or too often (TOY-A: total variation 0.105).

    Guarantee: CONSISTENT: p* is invariant, and draws tend to it as burn_in grows. log_z is NaN: where chains stand says
    nothing of the normaliser. Chains begin at draws of the prior; from an impossible text every move is taken, to one
    none. A prompt all of whose draws are impossible has log_z = -inf and Status.DEGENERATE; a single impossible draw
    weighs 0.

    info, a prompt: rhat, tau (steps), ess (draws that the steps after burn-in are worth), each by the worst of
    log-likelihood, log q and length (NaN under 4 steps a chain); acceptance (share of moves taken after burn-in),
    unique (distinct texts among the draws), impossible (share of the draws). log_q: the proposal's.

    Args:
        chains: a prompt; several, because R̂ compares them.
        burn_in: steps before the first draw.
        thin: steps between two draws of a chain.
        proposal: a StepPrior to draw suffixes from; the prior by default.

    Raises:
        ConfigError: a setting out of range, a proposal that cannot be stepped, whose completions are not the prior's,
            or that is found unable to say what the posterior allows.

    Cost: chains · (burn_in + thin · ⌈n/chains⌉) replies a prompt, all chains of all prompts in one forward pass a token
    (256 rows at most); with a proposal of its own, as many scorings by the prior too.
    Source: Metropolis 1953; Hastings 1970; QUEST, Faria et al. 2024 (2406.00049); SCIENCE 5.3. The kernel is enumerated
    in tests/oracle/test_chain_kernels.py, the engine held in tests/statistical/test_chains.py.
    """

    chains: int = 4
    burn_in: int = 50
    thin: int = 5
    proposal: StepPrior | None = None
    guarantee: ClassVar[Guarantee] = Guarantee.CONSISTENT

    def __post_init__(self) -> None:
        check_settings("SuffixMH", self.chains, self.burn_in, self.thin)

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        """n equally weighted draws a prompt, prompt-major."""
        record = Record(planned(self.chains, self.burn_in, self.thin, n, prompts), prompts)
        proposal = stepped("SuffixMH", posterior, self.proposal)
        texts, record.tokens = begin(posterior, proposal, key.fold("start"), prompts, self.chains)
        rows = row_numbers(len(prompts), self.chains)
        for step in range(1, record.plan.steps + 1):
            move = suffix_step(key.fold("step", step), posterior, proposal, prompts, texts, rows)
            texts = move.texts
            record.add(step, texts, move.accepted, move.tokens)
        return record.draws(key)


@dataclass(frozen=True, eq=False)
class Move:
    """One step of some chains: where they stand now, what was proposed, who moved, and the model tokens it cost."""

    texts: Texts
    proposed: Texts
    accepted: Bool[Tensor, " R"]
    tokens: int


def cuts(uniform: Float[Tensor, " R"], lengths: Int[Tensor, " R"]) -> Int[Tensor, " R"]:
    """How many tokens to keep: uniform on 0 … |x| − 1 of each row's own length."""
    return torch.minimum((uniform * lengths).long(), lengths - 1)


def suffix_log_alpha(
    old: Texts, new: Texts, first: Int[Tensor, " R"], lam: float | Float[Tensor, " R"] = 1.0
) -> Float[Tensor, " R"]:
    """log acceptance of the suffix from `first` on drawn anew, towards π0 · exp(lam · log_lik), with |x|/|x'|.

    Where lam = 0 the cut was not chosen (whole texts are drawn), so no |x|/|x'|.
    """
    end = torch.full_like(first, old.completions.ids.shape[1])
    ratio = torch.log(old.completions.lengths.double()) - torch.log(new.completions.lengths.double())
    ratio = torch.where(torch.as_tensor(lam, device=first.device) == 0, 0.0, ratio)
    return log_alpha(log_weight(old, first, end, lam), log_weight(new, first, end, lam) + ratio)


def suffix_step(
    key: Key,
    target: Target,
    proposal: StepPrior,
    prompts: Prompts,
    texts: Texts,
    rows: Int[Tensor, " R"],
    lam: float | Float[Tensor, " R"] = 1.0,
) -> Move:
    """One Metropolis–Hastings step of every row; leaves π0 · exp(lam · log_lik) invariant.

    Args:
        key: of this step.
        target: prior and evidence.
        proposal: draws the suffixes.
        prompts: whom the texts answer.
        texts: where the chains stand.
        rows: each chain's number, which its randomness goes by.
        lam: of each row; where it is 0 the whole text is drawn anew.
    """
    lengths = texts.completions.lengths
    first = cuts(torch.from_numpy(key.fold("cut").uniform(rows.numpy(), 0)).to(lengths.device), lengths)
    first = torch.where(torch.as_tensor(lam, device=first.device) == 0, 0, first)
    end = torch.full_like(first, texts.completions.ids.shape[1])
    new, tokens = redrawn(target, proposal, lots(key.fold("token"), rows), prompts, texts, first, end)
    accepted = taken(suffix_log_alpha(texts, new, first, lam), key, rows)
    return Move(moved(accepted, texts, new), new, accepted, tokens)
