"""What chains leave behind: equally weighted draws after burn-in, and what their course says of their mixing."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.status import Status
from credence.core.types import Cost, Draws, Prompts
from credence.sample.mixing import mixing
from credence.sample.texts import Texts, together


@dataclass(frozen=True)
class Plan:
    """How long chains run for n draws a prompt: burn_in steps, then one draw of each chain every `thin` steps.

    Attributes:
        chains: a prompt.
        burn_in: steps before the first that counts.
        thin: steps a draw.
        n: draws a prompt, shared out among the chains; the last round may be cut.
    """

    chains: int
    burn_in: int
    thin: int
    n: int

    @property
    def rounds(self) -> int:
        """Draws of the busiest chain."""
        return -(-self.n // self.chains)

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.burn_in + self.rounds * self.thin

    def counts(self, step: int) -> bool:
        """Whether this step, from 1, lies after burn-in."""
        return step > self.burn_in

    def gives(self, step: int) -> bool:
        """Whether this step gives a draw of each chain."""
        return step > self.burn_in and (step - self.burn_in) % self.thin == 0


def check_settings(engine: str, chains: int, burn_in: int, thin: int) -> None:
    """Raise ConfigError where no chain could run so."""
    if chains < 1 or burn_in < 0 or thin < 1:
        raise ConfigError(
            f"{engine}(chains={chains}, burn_in={burn_in}, thin={thin}): at least one chain, no negative burn-in and a "
            "draw every step or more seldom are needed."
        )


def planned(chains: int, burn_in: int, thin: int, n: int, prompts: Prompts) -> Plan:
    """The plan for n draws a prompt.

    Raises:
        ShapeError: n below 1, or no prompt.
    """
    if n < 1 or len(prompts) == 0:
        raise ShapeError(f"n={n} draws of {len(prompts)} prompts were asked for: at least 1 of each is needed.")
    return Plan(chains, burn_in, thin, n)


def statistics(texts: Texts) -> Float[Tensor, "R F"]:
    """What mixing is judged by: the evidence's nats, the text's own, its length."""
    return torch.stack([texts.log_lik, texts.log_q.sum(-1), texts.completions.lengths.double()], -1)


@dataclass(eq=False)
class Record:
    """The course of chains·B rows, prompt-major, as it is written."""

    plan: Plan
    prompts: Prompts
    began: float = field(default_factory=time.process_time)
    tokens: int = 0
    kept: list[Texts] = field(default_factory=list)
    course: list[Tensor] = field(default_factory=list)
    accepted: list[Tensor] = field(default_factory=list)

    def add(self, step: int, texts: Texts, accepted: Bool[Tensor, " R"], tokens: int) -> None:
        """Where the rows stand after a step, which of them moved, and what it cost."""
        self.tokens += tokens
        if self.plan.counts(step):
            self.course.append(statistics(texts))
            self.accepted.append(accepted)
        if self.plan.gives(step):
            self.kept.append(texts)

    def draws(self, key: Key, info: Mapping[str, Tensor] | None = None) -> Draws:
        """n draws a prompt: of every chain the first, then of every chain the second, and so on."""
        chains, count, plan = self.plan.chains, len(self.prompts), self.plan
        owner = torch.arange(count)[:, None] * chains
        place = torch.arange(plan.n)[None]
        index = (place // chains) * count * chains + owner + place % chains
        moves = torch.stack(self.accepted, -1).double().view(count, -1)
        return as_draws(
            key,
            self.prompts,
            together(self.kept).rows(index.flatten().to(moves.device)),
            torch.stack(self.course, -1).view(count, chains, -1, len(self.course)).transpose(1, 2),
            {"acceptance": moves.mean(-1), **(info or {})},
            Cost(self.tokens, time.process_time() - self.began),
        )


def as_draws(
    key: Key,
    prompts: Prompts,
    texts: Texts,
    course: Float[Tensor, "B F C S"],
    info: Mapping[str, Tensor],
    cost: Cost,
) -> Draws:
    """Equally weighted draws; an impossible text, which a chain has not left yet, weighs 0.

    log_z is NaN, because where chains stand says nothing of the normaliser, except where all stand at the impossible.
    """
    count, n = len(prompts), len(texts.log_lik) // len(prompts)
    possible = texts.possible()
    dead = ~possible.view(count, n).any(-1)
    mixed = mixing(course)
    used = int(texts.completions.mask.sum(-1).max())
    cut = texts.completions
    unknown = torch.full((count,), torch.nan, dtype=torch.float64, device=possible.device)
    return Draws(
        prompts=prompts,
        completions=replace(cut, ids=cut.ids[:, :used], mask=cut.mask[:, :used]),
        log_q=texts.log_q[:, :used],
        log_w=torch.where(possible, 0.0, -torch.inf).double(),
        log_z=torch.where(dead, -torch.inf, unknown),
        log_z_se=unknown,
        status=tuple(Status.DEGENERATE if d else Status.OK for d in dead.tolist()),
        cost=cost,
        key=key,
        info={
            "rhat": mixed.rhat,
            "tau": mixed.tau,
            "ess": mixed.ess,
            "unique": _unique(texts, possible, count),
            "impossible": (~possible).view(count, n).double().mean(-1),
            **info,
        },
        readings=dict(texts.readings),
    )


def _unique(texts: Texts, possible: Bool[Tensor, " R"], count: int) -> Float[Tensor, " B"]:
    """How many distinct token sequences each prompt's possible draws hold."""
    owner: Int[Tensor, " R"] = texts.completions.prompt
    tokens = torch.where(texts.completions.mask, texts.completions.ids, -1)
    distinct = torch.cat([owner[:, None], tokens], 1)[possible].unique(dim=0)
    return torch.bincount(distinct[:, 0], minlength=count).double()
