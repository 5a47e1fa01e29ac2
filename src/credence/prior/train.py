"""How a policy is trained: Adam on its parameters, and the gradient of a loss piece by piece."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from credence.core.protocols import Batch, Loss, Scored, Valued
from credence.core.types import Completions, Info
from credence.prior.hf import trim

_ADAM = ("step", "exp_avg", "exp_avg_sq")
"""What torch's Adam remembers of a parameter."""


@dataclass(eq=False)
class Trainer:
    """Adam on given parameters, with the gradient's norm clipped; the mutable half of a policy."""

    parameters: list[nn.Parameter]
    clip: float = 1.0
    betas: tuple[float, float] = (0.9, 0.98)
    adam: torch.optim.Adam = field(init=False)

    def __post_init__(self) -> None:
        self.adam = torch.optim.Adam(self.parameters, lr=1.0, betas=self.betas)

    def step(self, lr: float) -> Info:
        """One Adam step; returns the gradient's norm before clipping."""
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.clip))
        for group in self.adam.param_groups:
            group["lr"] = lr
        if math.isfinite(norm):  # any other gradient is reported, never applied: clipping an inf makes a NaN
            self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        return {"grad_norm": norm}

    def forget(self) -> None:
        """Drop gradients and moments: they belong to weights that are no longer there."""
        self.adam.zero_grad(set_to_none=True)
        self.adam.state.clear()

    def moments(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Adam's moments and step counts, as "exp_avg/name" and so on; not copied, so to be used before the next step.

        Args:
            names: of the parameters, in their order.
        """
        return {
            f"{kind}/{name}": value
            for name, parameter in zip(names, self.parameters, strict=True)
            for kind, value in self.adam.state.get(parameter, {}).items()
        }

    def recall(self, names: Sequence[str], moments: Mapping[str, Tensor]) -> None:
        """Put back what `moments` gave: the next step is then the one that would have been taken."""
        self.forget()
        for name, parameter in zip(names, self.parameters, strict=True):
            kept = {kind: moments[f"{kind}/{name}"] for kind in _ADAM if f"{kind}/{name}" in moments}
            if not kept:
                continue  # it has had no gradient yet
            own = {kind: torch.empty_like(parameter).copy_(kept[kind]) for kind in _ADAM[1:]}
            self.adam.state[parameter] = {"step": kept["step"].clone(), **own}


LogProbs = Callable[[Completions], Float[Tensor, "R T"]]
"""Log-probabilities of completions, masked, without graph."""

Columns = Mapping[str, Float[Tensor, "R T"]]
"""Numbers of each token by name: log_pi, and of kl and value what a batch needs."""

Look = Callable[[Completions], Columns]
"""What a policy says of completions, unmasked, with graph."""


def accumulate(
    batch: Batch,
    loss: Loss,
    pieces: Sequence[Tensor],
    look: Look,
    score: LogProbs,
    products: torch.dtype | None = None,
) -> Info:
    """The gradient of `loss` on a batch, piece by piece, exact for losses that mix rows (baselines, groups).

    The loss is differentiated at the columns themselves (log-probabilities, KLs, values); each piece then only carries
    those coefficients back. On-policy batches use the log-probabilities recorded at sampling for it; others are scored
    once without graph (`score`), unless they fit in one piece; where a batch needs more columns, all of them are
    computed once without graph. Rows whose coefficients are all zero skip their passes. Tested against one plain pass
    in tests/oracle/test_gradients.py.

    With `products` the passes that carry coefficients back take their matrix products in that format. What the loss
    sees never does: rounding in a return would be a gradient where there is none (tests/contract/test_products.py).
    """
    mask, more = batch.completions.mask, batch.needs & MORE
    if len(pieces) == 1 and products is None and (more or not batch.on_policy):
        columns = look(batch.completions)
        scalar, info = loss(scored(batch, **{n: torch.where(mask, x.double(), 0.0) for n, x in columns.items()}))
        scalar.backward()
        return info
    values = dict(_values(batch, pieces, look)) if more else {}
    if batch.on_policy:
        values["log_pi"] = torch.where(mask, batch.log_q, 0.0)
    elif not more:
        values["log_pi"] = score(batch.completions)
    leaves = {name: x.detach().clone().requires_grad_() for name, x in values.items()}
    scalar, info = loss(scored(batch, **leaves))
    scalar.backward()
    slopes = {name: x.grad for name, x in leaves.items() if x.grad is not None}
    for rows in pieces:
        asked = [(slope[rows] != 0).any(-1) for slope in slopes.values()]
        rows = rows[torch.stack(asked).any(0)] if asked else rows[:0]
        if not len(rows):
            continue
        part = trim(batch.completions.rows(rows))
        width = part.ids.shape[1]
        with torch.autocast(part.ids.device.type, products, enabled=products is not None):
            columns = {name: torch.where(part.mask, x.double(), 0.0) for name, x in look(part).items()}
        torch.stack([(columns[n] * slope[rows, :width]).sum() for n, slope in slopes.items()]).sum().backward()
    return info


MORE = frozenset({"kl", "value"})
"""What a policy adds to log_pi where a batch needs it."""


@torch.no_grad()
def _values(batch: Batch, pieces: Sequence[Tensor], look: Look) -> Columns:
    """The columns of all rows, masked, without graph."""
    out: dict[str, Tensor] = {}
    for rows in pieces:
        part = trim(batch.completions.rows(rows))
        for name, x in look(part).items():
            whole = out.setdefault(name, x.new_zeros(batch.completions.mask.shape, dtype=torch.float64))
            whole[rows, : part.ids.shape[1]] = torch.where(part.mask, x.double(), 0.0)
    return out


def scored(batch: Batch, log_pi: Tensor, kl: Tensor | None = None, value: Tensor | None = None) -> Scored:
    """What a loss sees: the batch, and what the policy says of its tokens."""
    return Scored(
        log_pi=log_pi,
        log_prior=batch.log_prior,
        log_q=batch.log_q,
        log_lik=batch.log_lik,
        mask=batch.completions.mask,
        prompt=batch.completions.prompt,
        prompts=len(batch.prompts),
        log_z=batch.log_z,
        readings=batch.readings,
        kl=kl,
        value=value,
        value_q=batch.value_q,
    )


Column = Callable[[], Float[Tensor, "R T"]]


def valued(batch: Batch, chosen: Column, soft: Column, ahead: Column, state: Column) -> Valued:
    """What a value's loss sees: the batch, and what the value says of its prefixes."""

    @torch.no_grad()
    def detached() -> Tensor:
        return ahead()

    return Valued(
        chosen=chosen,
        soft=soft,
        ahead=detached,
        state=state,
        log_prior=batch.log_prior,
        log_q=batch.log_q,
        log_lik=batch.log_lik,
        mask=batch.completions.mask,
        prompt=batch.completions.prompt,
        prompts=len(batch.prompts),
        log_z=batch.log_z,
        readings=batch.readings,
    )
