"""Whether the law that was sampled is the law that is believed: log q as drawn against a prior's own score."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ContractError, ShapeError
from credence.core.protocols import Prior
from credence.core.types import Completions, Finding, Prompts


@dataclass(frozen=True)
class Drift:
    """|log q − score| in nats; 0 everywhere when what is scored is what was sampled.

    Attributes:
        token_mean: mean over tokens.
        token_max: largest token.
        sequence_mean: mean over rows of |Σ_t (log q − score)|.
        sequence_max: largest row.
        rows: rows compared.
        tokens: tokens compared.
        worst: row number of the largest sequence drift; -1 without rows.
    """

    token_mean: float
    token_max: float
    sequence_mean: float
    sequence_max: float
    rows: int
    tokens: int
    worst: int

    def finding(self, tolerance: float = 1e-3) -> Finding:
        """Held to `tolerance` nats a token: float32 stays below it, another temperature or a hidden top-k does not."""
        ok = self.token_max <= tolerance
        verdict = (
            "what is scored is what was sampled."
            if ok
            else "the law that was sampled is not the one that is scored: look for another temperature, top-k or top-p."
        )
        meaning = f"Largest difference {self.token_max:.3g} nats a token over {self.rows} replies: {verdict}"
        return Finding("drift", self.token_max, None, tolerance, ok, meaning)


def drift(prior: Prior, prompts: Prompts, completions: Completions, log_q: Float[Tensor, "R T"]) -> Drift:
    """Compare log q as sampled with what `prior` believes of the same tokens; never re-tokenised.

    Returns:
        +inf where the prior calls a sampled token impossible.

    Raises:
        ShapeError: log_q does not fit the completions. ContractError: NaN on either side.

    Cost: one scoring pass. Test: 0 for its own draws, > 0 at another temperature, in tests/contract/test_priors.py.
    """
    if log_q.shape != completions.ids.shape:
        raise ShapeError(f"log_q {tuple(log_q.shape)} for completions {tuple(completions.ids.shape)}: one a token.")
    mask = completions.mask.cpu()
    drawn = log_q.detach().double().cpu()
    believed = prior.score(prompts, completions).detach().double().cpu()
    if bool(torch.isnan(drawn[mask]).any() | torch.isnan(believed[mask]).any()) or bool(
        (~torch.isfinite(drawn[mask])).any()
    ):
        raise ContractError("log q or the score is NaN, or log q is infinite at a token that was drawn.")
    gap = torch.where(mask, drawn - believed, 0.0)
    tokens = int(mask.sum())
    if tokens == 0:
        return Drift(0.0, 0.0, 0.0, 0.0, len(completions), 0, -1)
    each = gap.sum(-1).abs()
    return Drift(
        float(gap[mask].abs().mean()),
        float(gap.abs().max()),
        float(each.mean()),
        float(each.max()),
        len(completions),
        tokens,
        int(each.argmax()),
    )
