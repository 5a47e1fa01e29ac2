"""Metropolis–Hastings by blocks: draw a few tokens in the middle of a text anew, and keep what stands around them."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Guarantee, StepPrior, Target
from credence.core.types import Draws, Prompts
from credence.prior.steps import row_numbers
from credence.sample.record import Record, check_settings, planned
from credence.sample.regrow import lots
from credence.sample.suffix_mh import Move, cuts, suffix_log_alpha
from credence.sample.texts import Texts, begin, log_alpha, log_weight, moved, redrawn, stepped, taken


@dataclass(frozen=True)
class BlockMH:
    """Chains of texts that change inside: `size` tokens from place i on are drawn anew, what follows them is kept.

    i is uniform on the places where the block fits before the last token, which is always kept. A new text x' is
    accepted with probability

        min(1, π0(x') w(x') / (π0(x) w(x)) · q(block | x_:i) / q(block' | x_:i)),   w = exp(log_lik),

    in which π0 counts what follows the block, given the new block: that is why it is scored after every draw. With the
    prior as q only what follows remains of π0. A block that holds an end token is refused. Such a move keeps the
    length, so that alone it could not reach every text: each step is one of suffixes (SuffixMH) with probability
    `suffix`, by a coin that does not look at the text.

    Guarantee: CONSISTENT: p* is invariant. log_z is NaN. Impossible texts, status and info: as SuffixMH, and
    block_acceptance, the share of block moves taken after burn-in (acceptance counts both kinds).

    Args:
        chains: a prompt.
        burn_in: steps before the first draw.
        thin: steps between two draws of a chain.
        size: tokens of a block; fewer where the text has no more than that before its last token.
        suffix: probability that a step redraws a suffix.
        proposal: a StepPrior to draw from; the prior by default.

    Raises:
        ConfigError: as SuffixMH; a size below 1, or a share of suffixes that is not in (0, 1].

    Cost: as SuffixMH. Source: Metropolis 1953; Hastings 1970; blocks with lookahead as in Mix-and-match (Mireshghallah
    et al. 2022), with the exact acceptance. The kernel is enumerated in tests/oracle/test_chain_kernels.py, the engine
    held in tests/statistical/test_chains.py.
    """

    chains: int = 4
    burn_in: int = 50
    thin: int = 5
    size: int = 3
    suffix: float = 0.5
    proposal: StepPrior | None = None
    guarantee: ClassVar[Guarantee] = Guarantee.CONSISTENT

    def __post_init__(self) -> None:
        check_settings("BlockMH", self.chains, self.burn_in, self.thin)
        if self.size < 1 or not 0 < self.suffix <= 1:
            raise ConfigError(
                f"BlockMH(size={self.size}, suffix={self.suffix}): a block has at least one token, and some steps must "
                "redraw a suffix (a share in (0, 1]), because blocks never change a text's length."
            )

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        """n equally weighted draws a prompt, prompt-major."""
        record = Record(planned(self.chains, self.burn_in, self.thin, n, prompts), prompts)
        proposal = stepped("BlockMH", posterior, self.proposal)
        texts, record.tokens = begin(posterior, proposal, key.fold("start"), prompts, self.chains)
        rows = row_numbers(len(prompts), self.chains)
        blocks, hits = torch.zeros_like(texts.log_lik), torch.zeros_like(texts.log_lik)
        for step in range(1, record.plan.steps + 1):
            move, block = self._step(key.fold("step", step), posterior, proposal, prompts, texts, rows)
            texts = move.texts
            record.add(step, texts, move.accepted, move.tokens)
            if record.plan.counts(step):
                blocks, hits = blocks + block, hits + (block & move.accepted)
        share = hits.view(len(prompts), -1).sum(-1) / blocks.view(len(prompts), -1).sum(-1)
        return record.draws(key, {"block_acceptance": share})

    def _step(
        self, key: Key, target: Target, proposal: StepPrior, prompts: Prompts, texts: Texts, rows: Int[Tensor, " R"]
    ) -> tuple[Move, Tensor]:
        """One step of every row, and which rows tried a block: none does in a text of one token, where none fits."""
        lengths = texts.completions.lengths
        coin, place = (torch.from_numpy(key.fold(what).uniform(rows.numpy(), 0)) for what in ("kind", "place"))
        block, place = (coin >= self.suffix).to(lengths.device), place.to(lengths.device)
        start, stop = block_at(place, lengths, self.size)
        first = torch.where(block, start, cuts(place, lengths))
        last = torch.where(block, stop, texts.completions.ids.shape[1])
        new, tokens = redrawn(target, proposal, lots(key.fold("token"), rows), prompts, texts, first, last)
        accept = torch.zeros_like(texts.log_lik)
        accept[~block] = suffix_log_alpha(texts.rows(~block), new.rows(~block), first[~block])
        accept[block] = block_log_alpha(texts.rows(block), new.rows(block), first[block], last[block])
        accepted = taken(accept, key, rows)
        return Move(moved(accepted, texts, new), new, accepted, tokens), block & (stop > start)


def block_at(
    uniform: Float[Tensor, " R"], lengths: Int[Tensor, " R"], size: int
) -> tuple[Int[Tensor, " R"], Int[Tensor, " R"]]:
    """First place of a block and the place behind it, uniform among those before the last token.

    It depends on the text by its length alone, which the move keeps: so it cancels in the acceptance. A text of one
    token has an empty block.
    """
    width = (lengths - 1).clamp(max=size)
    first = cuts(uniform, lengths - width)
    return first, first + width


def block_log_alpha(old: Texts, new: Texts, first: Int[Tensor, " R"], last: Int[Tensor, " R"]) -> Float[Tensor, " R"]:
    """log acceptance of first ≤ t < last drawn anew and the rest kept; -inf where the new text ended inside."""
    same = new.completions.lengths == old.completions.lengths
    after = torch.where(same, log_weight(new, first, last), -torch.inf)
    before = log_weight(old, first, last)
    # A text cut short by an end token has lost what was to be kept: no move, not even away from the impossible.
    return torch.where(same, log_alpha(before, after), -torch.inf)
