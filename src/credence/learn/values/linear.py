"""Linear values: the mean reward of what follows. Controlled decoding and value-augmented sampling use them.

    loss = ½ (u − r)²,   minimiser u(s) = E_π0[r | s], r = log_lik in nats

The mean stands where the log-mean-exp should. By Jensen u ≤ log ψ*, most where much is still open, so the policy
π0 e^u, normalised token by token, prefers sure things: it is **not** p*, unless what is to come is certain.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.protocols import Valued
from credence.core.types import Info
from credence.learn.values.rows import Recall, Shape, check_shape, learnt, prior_weights, refuse_impossible, told


@dataclass(frozen=True)
class Linear(Recall):
    """Regression of log_lik on prefixes.

    Args:
        shape: "token" or "state" (values.rows.Shape).

    Target: its own law, π(v|s) ∝ π0(v|s) e^E[r|sv]: on TOY-A TV 0.2018775 and KL 0.0931181 from p*. As a twist in SMC
    it is as good as it predicts: SMC corrects it.

    Cost: no product with the vocabulary. Errors: the stated bias, which more draws do not lower; a variance far smaller
    than that of the exponential losses.

    Source: SCIENCE 4.3; Mudgal et al. 2024 (2310.17022). Tested in tests/oracle/test_token_values.py.

    Raises:
        ConfigError: no such shape.
    """

    shape: Shape = "token"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shape(self.shape)

    @property
    def target(self) -> str:
        """Not the posterior."""
        return "linear values: not p*"

    def value_loss(self, valued: Valued) -> tuple[Float[Tensor, ""], Info]:
        """Half the squared error, summed over tokens, nats².

        Raises:
            ContractError: an impossible draw.
        """
        refuse_impossible(valued, "linear regression")
        error = torch.where(valued.mask, learnt(valued, self.shape) - valued.log_lik[:, None], 0.0)
        loss = (prior_weights(valued) * 0.5 * (error**2).sum(-1)).sum()
        return loss, told(loss, valued)
