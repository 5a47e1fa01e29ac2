"""Annealed importance sampling: texts carried from prior to posterior in small steps, with the weight they gather."""

import time
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.protocols import Guarantee, StepPrior, Target
from credence.core.status import Status
from credence.core.types import Cost, Draws, Prompts
from credence.prior.steps import row_numbers
from credence.sample.importance import log_z_from
from credence.sample.suffix_mh import suffix_step
from credence.sample.texts import Texts, begin, stepped, together
from credence.sample.thermodynamic import ladder


@dataclass(frozen=True)
class Annealed:
    """n independent runs a prompt: x_0 ~ π0; at each λ_k gain (λ_k − λ_k−1) · log_lik(x_k−1), then move towards p_λ_k.

    p_λ ∝ π0 · exp(λ log_lik), λ_k = (k/steps)^power. A move is `moves` suffix steps (SuffixMH), which leave p_λ_k
    invariant; the last ones are at λ = 1 and cost no weight. However badly the moves mix, E[exp(log_w)] = Z and
    E[exp(log_w) f(x)] = Z · E_p*[f]: bad moves cost variance only.

    Guarantee: UNBIASED_Z; the draws are weighted, as Importance's (`draws.resample` gives equal ones). A run that
    starts at an impossible text weighs 0 and is not moved; a prompt with such runs only has log_z = -inf and
    Status.DEGENERATE. log_q is the prior's.

    info, a prompt: ess (draws), acceptance (share of moves taken by the runs that have weight; NaN without any).

    Args:
        steps: positions after the prior's; 1 is importance sampling with moves afterwards.
        moves: suffix steps at each position.
        power: above 1, positions lie denser near the prior.

    Raises:
        ConfigError: a setting out of range, or a prior that cannot be stepped.
        ShapeError: n below 1, or no prompt.

    Cost: n · (1 + steps · moves) replies a prompt. Source: Neal 2001; SCIENCE 1. Tested in
    tests/statistical/test_chains.py.
    """

    steps: int = 16
    moves: int = 1
    power: float = 2.0
    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED_Z

    def __post_init__(self) -> None:
        if self.steps < 1 or self.moves < 1:
            raise ConfigError(
                f"Annealed(steps={self.steps}, moves={self.moves}): at least one position after the prior's, and one "
                "move at each, are needed."
            )
        ladder(self.steps + 1, self.power)

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        """n weighted draws a prompt, prompt-major."""
        began = time.process_time()
        if n < 1 or len(prompts) == 0:
            raise ShapeError(f"n={n} draws of {len(prompts)} prompts were asked for: at least 1 of each is needed.")
        prior = stepped("Annealed", posterior, None)
        start, tokens = begin(posterior, prior, key.fold("start"), prompts, n)
        live = start.possible()
        log_w = torch.where(live, 0.0, -torch.inf).double()
        moved, acceptance = start, torch.full((len(prompts),), torch.nan, dtype=torch.float64, device=log_w.device)
        if bool(live.any()):
            end, gained, acceptance, more = self._anneal(key, posterior, prior, prompts, start, live)
            tokens += more
            log_w = log_w.index_put((live,), gained)
            moved = _put(start, end, live)
        log_z, se, ess = log_z_from(log_w, moved.completions.prompt, len(prompts))
        used = int(moved.completions.mask.sum(-1).max())
        text = moved.completions
        return Draws(
            prompts=prompts,
            completions=replace(text, ids=text.ids[:, :used], mask=text.mask[:, :used]),
            log_q=moved.log_q[:, :used],
            log_w=log_w,
            log_z=log_z,
            log_z_se=se,
            status=tuple(Status.DEGENERATE if dead else Status.OK for dead in torch.isneginf(log_z).tolist()),
            cost=Cost(tokens, time.process_time() - began),
            key=key,
            info={"ess": ess, "acceptance": acceptance},
            readings=dict(moved.readings),
        )

    def _anneal(
        self, key: Key, target: Target, prior: StepPrior, prompts: Prompts, start: Texts, live: Bool[Tensor, " R"]
    ) -> tuple[Texts, Float[Tensor, " L"], Float[Tensor, " B"], int]:
        """The L runs that can gain weight: their last texts, log weights, share of moves taken a prompt, tokens."""
        texts = start.rows(live)
        owner = texts.completions.prompt
        rows = row_numbers(len(prompts), len(live) // len(prompts))[live.cpu()]
        log_w, hits = torch.zeros_like(texts.log_lik), torch.zeros_like(texts.log_lik)
        at, tokens = ladder(self.steps + 1, self.power), 0
        for k in range(1, self.steps + 1):
            log_w = log_w + gain(at[k - 1], at[k], texts)
            for move in range(self.moves):
                step = suffix_step(key.fold("step", k, move), target, prior, prompts, texts, rows, at[k])
                texts, tokens, hits = step.texts, tokens + step.tokens, hits + step.accepted
        share = torch.zeros(len(prompts), dtype=torch.float64, device=hits.device).index_add(0, owner, hits)
        tried = torch.bincount(owner, minlength=len(prompts)) * self.steps * self.moves
        return texts, log_w, share / tried, tokens


def gain(before: float, after: float, texts: Texts) -> Float[Tensor, " R"]:
    """log p_after/p_before of the texts as they stand, unnormalised: (after − before) · log_lik in nats."""
    return (after - before) * texts.log_lik


def _put(start: Texts, end: Texts, live: Bool[Tensor, " R"]) -> Texts:
    """The last texts of the runs that lived, the first ones of the others."""
    place = torch.arange(len(live), device=live.device)
    place[live] = len(live) + torch.arange(len(end.log_lik), device=live.device)
    return together([start, end]).rows(place)
