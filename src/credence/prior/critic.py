"""A learnt value of each prefix beside a policy: one number, linear in the model's state there.

    v(s) = a · LayerNorm(h(s)) + c

It begins at 0 nats. No gradient of it reaches the model: it never moves the policy, which only reads it.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from credence.core.types import Info
from credence.prior.train import Trainer

PACE = 10.0
"""A value's step size over the policy's: it starts from nothing, the policy from a good model."""


class ValueHead(nn.Module):
    """v, with an Adam of its own: its gradients, in nats², must not eat the policy's share of a common norm.

    Args:
        size: d of the model's states.
        pace: step size over the policy's.
    """

    def __init__(self, size: int, pace: float = PACE) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size, elementwise_affine=False)
        self.line = nn.Linear(size, 1)
        self.pace = pace
        with torch.no_grad():
            self.line.weight.zero_()
            self.line.bias.zero_()
        self.trainer = Trainer(list(self.line.parameters()), clip=1e9, betas=(0.9, 0.99))

    def forward(self, hidden: Float[Tensor, "*n d"]) -> Float[Tensor, "*n"]:
        """v, with gradient in the head's own numbers only."""
        return self.line(self.norm(hidden.detach().to(self.line.weight.dtype))).squeeze(-1)

    def step(self, lr: float) -> Info:
        """One Adam step, where a loss has spoken of v."""
        if self.line.weight.grad is None:
            return {}
        return {"value_grad_norm": self.trainer.step(self.pace * lr)["grad_norm"]}

    def own(self) -> dict[str, Tensor]:
        """A copy of its numbers, under names apart from the model's."""
        return {f"value.{name}": x.detach().clone() for name, x in self.line.named_parameters()}

    def moments(self) -> dict[str, Tensor]:
        """What its optimiser remembers; not copied."""
        return self.trainer.moments(_NAMES)

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> None:
        """Put its numbers and moments back."""
        for name, x in self.line.named_parameters():
            x.copy_(state[f"value.{name}"])
        self.trainer.recall(_NAMES, moments)


_NAMES = ("value.weight", "value.bias")
