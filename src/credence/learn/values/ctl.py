"""Contrastive twist learning: prefixes of the posterior against prefixes of the twist's own target.

    −∇ Σ_t KL(p*(x_1:t) ‖ σ_t) = Σ_t {E_p*[∇log ψ_t] − E_σ_t[∇log ψ_t]}      σ_t ∝ π0(x_1:t) ψ_t(x_1:t)

Both means are self-normalised over one prompt's stored draws, weighted by e^log_lik and by ψ_t, so that

    loss = Σ_t [log Σ_i (π0/q)_i ψ_t(i) − Σ_i w̄_i log ψ_t(i)]
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.protocols import Valued
from credence.core.types import Info
from credence.learn.losses.groups import log_sums, sums
from credence.learn.values.rows import Recall, Shape, check_shape, learnt, told


@dataclass(frozen=True)
class CTL(Recall):
    """Twists by forward KL at every length.

    Args:
        shape: "token" or "state" (values.rows.Shape).

    Target: the posterior. A row that has ended stays in σ_t with ψ = e^log_lik, as in SMC. ψ_t is found up to a
    constant of the length wherever no reply is shorter, so V(root) is not log Z; neither the law nor SMC asks for it.

    Cost: no product with the vocabulary. Errors: both means are biased by O(1/draws); a prompt whose draws are all
    impossible teaches nothing. Impossible draws are legal.

    Source: SCIENCE 5.2; Zhao et al. 2024 (2404.17546), section 4.1. Tested against the exact gradient in
    tests/oracle/test_token_values.py.

    Raises:
        ConfigError: no such shape, or fewer than 2 draws.
    """

    shape: Shape = "token"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shape(self.shape)
        if self.group < 2:
            raise ConfigError(f"group={self.group}: draws of one prompt are contrasted, so at least 2 are needed.")

    @property
    def target(self) -> str:
        """The posterior."""
        return "posterior"

    def value_loss(self, valued: Valued) -> tuple[Float[Tensor, ""], Info]:
        """Mean over prompts of the sum over lengths, nats."""
        u = torch.where(valued.mask, learnt(valued, self.shape), valued.log_lik[:, None])
        from_q = (valued.log_prior - valued.log_q).sum(-1)
        log_w = valued.log_lik + from_q
        total = log_sums(log_w, valued)
        known = ~torch.isneginf(total)
        w = torch.exp(log_w - torch.where(known, total, 0.0)[valued.prompt])
        loss = u.new_zeros(())
        for t in range(u.shape[1]):
            growing = known & (sums(valued.mask[:, t].to(w), valued) > 0)
            against = log_sums(from_q + u[:, t], valued)
            towards = sums(torch.where(w > 0, w * u[:, t], 0.0), valued)
            loss = loss + torch.where(growing, against - towards, 0.0).sum()
        loss = loss / valued.prompts
        return loss, told(loss, valued)
