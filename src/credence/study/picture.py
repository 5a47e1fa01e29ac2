"""The frontier, the marks on it, and the replies shown."""

import torch

from credence.core.keys import Key
from credence.core.types import Completions
from credence.diagnose.bounds import balance
from credence.diagnose.frontier import frontier
from credence.evidence.product import measure
from credence.report.schema import FrontierPoint, Mark, Reply, RulerRow
from credence.sample.best_of_n import pick
from credence.study.found import Found, said
from credence.study.ruler import Ruler

COLOURED = 6
"""Replies shown token by token."""


def optimum(ruler: Ruler, beta: float) -> tuple[FrontierPoint, ...]:
    """The path π0·e^(λ log_lik) from λ = 1/20 to 4, through the posterior at λ = 1, from all pooled draws.

    The whole evidence is tempered, so the path starts at the prior; `beta` of a point is β/λ.
    """
    nats, rewards, base = [], [], []
    for group in ruler.groups():
        rows, _ = ruler.pooled(group)
        nats.append(rows[:, 2])
        rewards.append(rows[:, 3])
        if ruler.final:
            counts = torch.tensor([group["prior"].shape[0], group[f"policy:{ruler.final}"].shape[0]])
            base.append(balance(rows[:, 1], torch.stack([rows[:, 1], rows[:, 0]], -1), counts))
        else:
            base.append(torch.zeros(len(rows), dtype=torch.float64))
    inverse = [20 * (80 ** (-i / 47)) for i in range(48)]
    out: list[FrontierPoint] = []
    for point in frontier(nats, inverse, None, base):
        shares = [torch.softmax(m + lik / point.beta, 0) for lik, m in zip(nats, base, strict=True)]
        mean = sum(float(w @ r) for w, r in zip(shares, rewards, strict=True)) / len(rewards)
        out.append(FrontierPoint(beta * point.beta, point.kl, mean, point.trusted))
    return tuple(out)


def marks(rows: tuple[RulerRow, ...]) -> tuple[Mark, ...]:
    """Each law's place on the reward–KL plane."""
    return tuple(Mark(r.name, r.title, r.kind, r.kl_prior, r.reward) for r in rows)


def replies(found: Found, key: Key) -> tuple[Reply, ...]:
    """One reply of each law to each held-out prompt, the same draw for all: number 0, not the best one."""
    prior = found.prior
    if prior is None:
        return ()
    laws: dict[str, tuple[Completions, list[int]]] = {}
    count = len(found.heldout)
    laws["prior"] = _first(prior.completions, count)
    if found.ruler is not None:
        laws["best_of_n"] = _first(pick(prior, found.ruler.of, key).completions, count)
    if found.smc is not None:
        runs = len(found.smc.prompts) // count
        size = len(found.smc.completions) // len(found.smc.prompts)
        laws["smc"] = (found.smc.completions, [b * runs * size for b in range(count)])
    for name, (rows, _, _) in found.shown.items():
        laws[f"policy_{name}"] = _first(rows, count)
    laws["posterior"] = _first(prior.resample(key, 1).completions, count)
    by_law = [_shown(law, rows, index, found) for law, (rows, index) in laws.items()]
    return tuple(of_prompt[b] for b in range(count) for of_prompt in by_law)


def _first(rows: Completions, count: int) -> tuple[Completions, list[int]]:
    return rows, [int(torch.nonzero(rows.prompt == b).flatten()[0]) for b in range(count)]


def _shown(law: str, rows: Completions, index: list[int], found: Found) -> list[Reply]:
    codec = found.heldout.codec
    some = rows.rows(torch.tensor(index))
    some = Completions(some.ids, some.mask, some.ended, torch.arange(len(index)))
    _, readings = measure(found.posterior.evidence, found.heldout, some)
    values = readings[found.reward].tolist()
    texts, ended = some.texts(codec), some.ended.tolist()
    nats: list[tuple[tuple[str, ...], tuple[float, ...]]] = [((), ())] * len(index)
    stage = law.removeprefix("policy_")
    if stage in found.shown and stage == list(found.shown)[-1]:
        _, log_q, log_prior = found.shown[stage]
        split = getattr(codec, "pieces", None)
        tokens = some.tokens()
        for place, row in enumerate(index[:COLOURED]):
            if split is not None:
                length = len(tokens[place])
                gain = (log_q[row] - log_prior[row])[:length].tolist()
                nats[place] = (tuple(split(tokens[place])), tuple(gain))
    return [
        Reply(said(found.heldout.given[b]), law, str(texts[b]), values[b], bool(ended[b]), *nats[b])
        for b in range(len(index))
    ]
