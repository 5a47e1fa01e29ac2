"""A value of prompts, or of each prefix, learnt beside a policy: V(s) = log E_π0[e^log_lik | s] in nats.

V of the empty reply is the prompt's log Z. As free numbers (one a prompt; one a prefix of an enumerable prior), or as a
linear head on a frozen language model's states, which speaks of prompts and prefixes that it never saw.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from credence.core.errors import ConfigError
from credence.core.types import Completions, Prompts
from credence.prior.hf import LMPrior, trim
from credence.prior.table import Tokens
from credence.prior.tabular import TabularPolicy


@runtime_checkable
class Flow(Protocol):
    """V(s) = log E_π0[e^log_lik | s], learnt: nats of a prompt, and perhaps of each prefix of its replies."""

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by name."""
        ...

    def root(self, prompts: Prompts) -> Float[Tensor, " B"]:
        """log Z of each prompt, with gradient."""
        ...

    def along(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """V of the prefix before each token, with gradient; zero outside the mask."""
        ...


@dataclass(eq=False)
class PromptFlow:
    """One free number a prompt: log Z, and nothing of prefixes."""

    places: Mapping[Tokens, int]
    log_z: nn.Parameter

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The numbers."""
        return {"log_z": self.log_z}

    def root(self, prompts: Prompts) -> Float[Tensor, " B"]:
        """The prompts' own.

        Raises:
            ConfigError: a prompt without one.
        """
        missing = [ids for ids in prompts.ids if ids not in self.places]
        if missing:
            raise ConfigError(f"the prompt {missing[0]} has no log Z here: name it where the flow is made.")
        return self.log_z[torch.tensor([self.places[ids] for ids in prompts.ids], device=self.log_z.device)]

    def along(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """There is none.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "this flow knows log Z of prompts, and no value of prefixes: take with_table_flow(policy) (an enumerable "
            "prior), with_state_flow(policy, prior) (a language model), or a guide (guided_policy, guided_table)."
        )


@dataclass(eq=False)
class TableFlow:
    """One free number a prefix, on the tree of a tabular policy."""

    table: TabularPolicy
    v: nn.Parameter

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The numbers."""
        return {"v": self.v}

    def root(self, prompts: Prompts) -> Float[Tensor, " B"]:
        """V of the empty reply."""
        return self.v[torch.tensor([self.table.places[ids, ()] for ids in prompts.ids])]

    def along(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """V of the prefix before each token."""
        place, _ = self.table.locate(prompts, completions)
        return torch.where(completions.mask, self.v[place], 0.0)


@dataclass(eq=False)
class StateFlow:
    """V = a · LayerNorm(h) + c of a language model's last hidden states h, which stay as they are."""

    lm: LMPrior
    a: nn.Parameter
    c: nn.Parameter

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """a and c."""
        return {"a": self.a, "c": self.c}

    def root(self, prompts: Prompts) -> Float[Tensor, " B"]:
        """V before the first token. Cost: a pass over the prompts."""
        ids = torch.zeros(len(prompts), 1, dtype=torch.long, device=self.lm.device)  # which token it is, is not read
        one = torch.ones_like(ids, dtype=torch.bool)
        first = Completions(ids, one, one[:, 0], torch.arange(len(prompts), device=self.lm.device))
        return self.along(prompts, first)[:, 0]

    def along(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """V of the prefix before each token. Cost: a pass over prompts and rows."""
        out = torch.zeros(completions.mask.shape, dtype=torch.float64, device=self.lm.device)
        for rows in self.lm.pieces(prompts, completions):
            part = trim(completions.rows(rows))
            with torch.no_grad():
                hidden = self.lm.hidden(prompts, part)
            v = (nn.functional.layer_norm(hidden.to(self.a), self.a.shape) @ self.a + self.c).double()
            width = part.ids.shape[1]
            v = nn.functional.pad(torch.where(part.mask, v, 0.0), (0, out.shape[1] - width))
            out = out.index_copy(0, rows.to(out.device), v)
        return out
