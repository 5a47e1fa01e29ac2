"""The particles of some islands: what SMC carries from token to token."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.types import Completions


@dataclass(eq=False)
class Swarm:
    """The particles of some islands. R = islands · K rows, island-major; the prompts are one an island.

    Attributes:
        islands: how many.
        ids: (R, horizon) tokens.
        mask: (R, horizon).
        log_q: (R, horizon) nats under the proposal.
        ended: (R,).
        log_w: (R,) log weights since the island was last resampled.
        log_twist: (R,) log ψ of the text so far, log_lik once it is final.
        root: (R,) the first-generation particle that each descends from.
        since: (R,) tokens since its last segment ended.
        fresh: (R,) whether a segment of it ended since its island was last looked at.
        log_z: (islands,) log of the mean weights banked at resamplings.
        resamplings: (islands,) how many there were.
        least_ess: (islands,) the smallest ESS, in draws, that an island came to, before it was resampled.
        barred: (islands,) growing particles that a twist of -inf has stopped.
        kept: (islands,) the place of the retained particle within its island, in conditional SMC.
        readings: (R,) raw evidence values of the final texts, by name.
        tokens: drawn so far.
        close: draws that lay within the logits' error of another token.
    """

    islands: int
    ids: Int[Tensor, "R T"]
    mask: Bool[Tensor, "R T"]
    log_q: Float[Tensor, "R T"]
    ended: Bool[Tensor, " R"]
    log_w: Float[Tensor, " R"]
    log_twist: Float[Tensor, " R"]
    root: Int[Tensor, " R"]
    since: Int[Tensor, " R"]
    fresh: Bool[Tensor, " R"]
    log_z: Float[Tensor, " islands"]
    resamplings: Int[Tensor, " islands"]
    least_ess: Float[Tensor, " islands"]
    barred: Int[Tensor, " islands"]
    kept: Int[Tensor, " islands"] | None = None
    readings: dict[str, Tensor] = field(default_factory=dict)
    tokens: int = 0
    close: int = 0

    @staticmethod
    def born(islands: int, particles: int, horizon: int, device: torch.device) -> "Swarm":
        """Particles that have said nothing yet."""
        rows = islands * particles
        nats = torch.zeros(rows, dtype=torch.float64, device=device)
        return Swarm(
            islands,
            torch.zeros(rows, horizon, dtype=torch.long, device=device),
            torch.zeros(rows, horizon, dtype=torch.bool, device=device),
            torch.zeros(rows, horizon, dtype=torch.float64, device=device),
            torch.zeros(rows, dtype=torch.bool, device=device),
            nats,
            nats.clone(),
            torch.arange(rows, device=device),
            torch.zeros(rows, dtype=torch.long, device=device),
            torch.zeros(rows, dtype=torch.bool, device=device),
            torch.zeros(islands, dtype=torch.float64, device=device),
            torch.zeros(islands, dtype=torch.long, device=device),
            torch.full((islands,), float(particles), dtype=torch.float64, device=device),
            torch.zeros(islands, dtype=torch.long, device=device),
        )

    @property
    def particles(self) -> int:
        """K."""
        return len(self.ended) // self.islands

    def completions(self, width: int) -> Completions:
        """The first `width` tokens of every row; row r answers the prompt of its island."""
        island = torch.arange(self.islands, device=self.ids.device).repeat_interleave(self.particles)
        return Completions(self.ids[:, :width], self.mask[:, :width], self.ended, island, close_calls=self.close)

    def retained(self) -> Int[Tensor, " islands"]:
        """The row of each island's retained particle; none where there is none."""
        if self.kept is None:
            return torch.zeros(0, dtype=torch.long, device=self.ids.device)
        return self.kept + self.particles * torch.arange(self.islands, device=self.ids.device)

    def pick(self, ancestor: Int[Tensor, " R"]) -> None:
        """Put a copy of row ancestor[r] in the place of each row r."""
        for name in ("ids", "mask", "log_q", "ended", "log_w", "log_twist", "root", "since", "fresh"):
            setattr(self, name, getattr(self, name)[ancestor])
        self.readings = {name: values[ancestor] for name, values in self.readings.items()}
