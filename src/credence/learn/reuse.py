"""Parts of a batch: the rows of some of its prompts, and how often a learner goes over one batch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch

from credence.core.keys import Key
from credence.core.protocols import Batch
from credence.core.types import Completions


@runtime_checkable
class Reusing(Protocol):
    """A learner that takes several steps on the rows of one collection; log_q then is its old policy."""

    @property
    def passes(self) -> int:
        """Over all rows of a collection."""
        ...

    @property
    def parts(self) -> int:
        """Gradient steps of one pass, each on the rows of its share of the prompts."""
        ...


def pick(batch: Batch, index: Sequence[int], most: int | None = None) -> Batch:
    """The rows of the prompts at these positions, renumbered in this order; groups stay whole.

    Args:
        batch: with its prompts.
        index: of the prompts, repeats allowed.
        most: rows a prompt, the first ones; default: all.
    """
    rows = [torch.nonzero(batch.completions.prompt == b).flatten()[:most] for b in index]
    picked = torch.cat(rows)
    whole = batch.completions.rows(picked)
    place = torch.cat([torch.full((len(r),), i) for i, r in enumerate(rows)]).to(picked)
    return replace(
        batch,
        prompts=batch.prompts.take(index),
        completions=Completions(whole.ids, whole.mask, whole.ended, place),
        log_q=batch.log_q[picked],
        log_prior=batch.log_prior[picked],
        log_lik=batch.log_lik[picked],
        log_z=None if batch.log_z is None else batch.log_z[torch.tensor(index)],
        readings={name: values[picked] for name, values in batch.readings.items()},
        value_q=None if batch.value_q is None else batch.value_q[picked],
    )


def shares(learner: object, key: Key, batch: Batch) -> Iterator[Batch]:
    """What each gradient step on this collection learns from; only the first can be on policy.

    Args:
        learner: a Reusing one, or one that takes a single step.
        key: of the order of prompts in each pass.
        batch: the collection.
    """
    passes, parts = (learner.passes, learner.parts) if isinstance(learner, Reusing) else (1, 1)
    parts, on_policy = min(parts, len(batch.prompts)), batch.on_policy
    for again in range(passes):
        order = key.fold("pass", again).generator().permutation(len(batch.prompts)).tolist()
        for part in range(parts):
            given = batch if parts == 1 else pick(batch, order[part::parts])
            yield replace(given, on_policy=on_policy)
            on_policy = False


def merged(infos: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """One record of several gradient steps: means, and of what ends in "_max" the largest."""
    if len(infos) == 1:
        return infos[0]
    out: dict[str, Any] = {}
    for name in {name: None for info in infos for name in info}:
        values = [info[name] for info in infos if name in info]
        out[name] = max(values) if name.endswith("_max") else sum(values) / len(values)
    return out
