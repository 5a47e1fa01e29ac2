"""A store of what was drawn before: groups of rows that keep their log q, forgotten by age and by room.

A group is one prompt's rows of one step; it stays whole, since a row's baseline is its group. The loop joins some
groups to each step's fresh ones, for learners that correct by log q or need no correction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from credence.core.errors import ConfigError, ContractError
from credence.core.keys import Key
from credence.core.protocols import Batch
from credence.core.types import Completions, Prompts, concat, pad_to

_COLUMNS = ("ids", "mask", "ended", "log_q", "log_prior", "log_lik")


@dataclass(eq=False)
class Replay:
    """Past groups, the oldest forgotten first. Tested in tests/unit/test_replay.py.

    Args:
        groups: joined to the fresh ones of each step, as far as there are so many.
        capacity: groups kept.
        age: most steps between drawing a group and learning from it.
        old: what happens to a group beyond that age: it is dropped and counted, or refused with an error.

    Raises:
        ConfigError: a number below 1.
    """

    groups: int = 8
    capacity: int = 256
    age: int = 50
    old: Literal["drop", "refuse"] = "drop"
    kept: list[tuple[int, int, Mapping[str, Tensor]]] = field(default_factory=list)
    """(step of drawing, number of the prompt among all, its rows by name)."""

    def __post_init__(self) -> None:
        if min(self.groups, self.capacity, self.age) < 1:
            raise ConfigError(
                f"replay of groups={self.groups}, capacity={self.capacity}, age={self.age}: each must be at least 1."
            )

    def add(self, step: int, index: Sequence[int], batch: Batch) -> None:
        """Keep a step's groups.

        Args:
            step: at which they were drawn.
            index: of each of the batch's prompts among all prompts.
            batch: the rows.
        """
        rows = batch.completions
        for place, prompt in enumerate(index):
            mine = torch.nonzero(rows.prompt == place).flatten()
            width = max(1, int(rows.lengths[mine].max()))
            log = {"log_q": batch.log_q, "log_prior": batch.log_prior}
            columns = {"ids": rows.ids[mine, :width], "mask": rows.mask[mine, :width], "ended": rows.ended[mine]}
            columns |= {name: x[mine, :width] for name, x in log.items()} | {"log_lik": batch.log_lik[mine]}
            columns |= {f"reading/{name}": x[mine] for name, x in batch.readings.items()}
            self.kept.append((step, prompt, {name: x.detach().cpu() for name, x in columns.items()}))
        del self.kept[: -self.capacity]

    def join(self, key: Key, step: int, batch: Batch, prompts: Prompts) -> tuple[Batch, Mapping[str, float]]:
        """A batch with some past groups behind its own, and what to record of them.

        Record: replay_groups, joined; replay_age, the mean age of those in steps; replay_dropped, groups that were
        too old. Which are joined depends on key, step and what is kept, and on nothing else.

        Raises:
            ContractError: a group is older than allowed, where that is refused.
        """
        young = [group for group in self.kept if step - group[0] <= self.age]
        dropped = len(self.kept) - len(young)
        if dropped and self.old == "refuse":
            oldest = step - min(born for born, _, _ in self.kept)
            raise ContractError(
                f"{dropped} stored groups are older than the {self.age} steps allowed, the oldest {oldest} at step "
                f"{step}: their law is too far from the policy's. Raise age, or let them be dropped (old='drop')."
            )
        self.kept = young
        count = min(self.groups, len(young))
        picked = key.fold("replay", step).generator().choice(len(young), count, replace=False) if count else []
        chosen = [young[int(i)] for i in picked]
        ages = [step - born for born, _, _ in chosen]
        said = {"replay_groups": float(count), "replay_age": sum(ages) / max(1, count)}
        joined = _behind(batch, chosen, prompts) if chosen else batch
        return joined, {**said, "replay_dropped": float(dropped)}

    def state(self) -> dict[str, Tensor]:
        """All that is kept, as named tensors."""
        out = {f"{i}/{name}": x for i, (_, _, columns) in enumerate(self.kept) for name, x in columns.items()}
        return {**out, "born": torch.tensor([[step, prompt] for step, prompt, _ in self.kept]).view(-1, 2)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        grouped: dict[str, dict[str, Tensor]] = {}
        for name, x in state.items():
            if name != "born":
                place, _, column = name.partition("/")
                grouped.setdefault(place, {})[column] = x
        born = state["born"].tolist() if "born" in state else []
        self.kept = [(step, prompt, grouped[str(i)]) for i, (step, prompt) in enumerate(born)]


def _behind(batch: Batch, chosen: Sequence[tuple[int, int, Mapping[str, Tensor]]], prompts: Prompts) -> Batch:
    """The batch, then these groups, each as a prompt of its own; no longer on policy."""
    here = batch.completions.ids.device
    parts = [{name: x.to(here) for name, x in columns.items()} for _, _, columns in chosen]
    rows = [Completions(p["ids"], p["mask"], p["ended"], torch.zeros_like(p["ended"], dtype=torch.long)) for p in parts]
    fresh = len(batch.prompts)
    asked = batch.prompts.take(range(fresh))
    past = prompts.take([prompt for _, prompt, _ in chosen])
    columns = {name: [*asked.columns[name], *past.columns[name]] for name in asked.columns}
    both = Prompts((*asked.ids, *past.ids), (*asked.given, *past.given), asked.codec, columns)
    joined = concat([batch.completions, *rows], [0, *range(fresh, fresh + len(rows))])
    width = joined.ids.shape[1]

    def stack(first: Tensor, name: str) -> Tensor:
        wide = [first, *(p[name] for p in parts)]
        return torch.cat([pad_to(x, width) if x.dim() == 2 else x for x in wide])

    return Batch(
        both,
        joined,
        stack(batch.log_q, "log_q"),
        stack(batch.log_prior, "log_prior"),
        stack(batch.log_lik, "log_lik"),
        readings={name: stack(x, f"reading/{name}") for name, x in batch.readings.items()},
        needs=batch.needs,
        prior=batch.prior,
    )
