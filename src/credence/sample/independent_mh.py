"""Independent Metropolis–Hastings: whole texts of a proposal, each accepted against the one before it."""

import time
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.keys import Key
from credence.core.protocols import Guarantee, Prior, Target
from credence.core.types import Cost, Draws, Prompts
from credence.prior.agreement import same_completions
from credence.prior.steps import row_numbers
from credence.sample.importance import PROPOSED, log_z_from
from credence.sample.record import Plan, as_draws, check_settings, planned, statistics
from credence.sample.texts import Texts, begin, log_alpha, log_weight, together, weighed, widened


@dataclass(frozen=True)
class IndependentMH:
    """Chains whose next text is a draw of the proposal q, whatever stands there now: α = min(1, W(x')/W(x)).

    W = π0 · exp(log_lik)/q. Proposals do not depend on the chains, so all of them are drawn at once, and any Prior will
    do for q, a remote server or a learnt policy too. A chain forgets its start at the rate 1 − Z/max W a step.

    Guarantee: CONSISTENT: p* is invariant. log_z is log of the mean W over all proposals, burn-in included: unbiased
    for Z, with its standard error (as Importance, which these draws turn into equally weighted ones). Chains begin at
    draws of the prior; from an impossible text every move is taken, to one none. A prompt all of whose draws are
    impossible has Status.DEGENERATE.

    info, a prompt: as SuffixMH, and proposals_ess, the effective sample size of the weighted proposals.

    Args:
        chains: a prompt.
        burn_in: steps before the first draw.
        thin: steps between two draws of a chain.
        proposal: where to draw from; the prior by default.

    Raises:
        ConfigError: a setting out of range, a proposal whose completions are not the prior's, or that is found unable
            to say what the posterior allows.

    Cost: chains · (burn_in + thin · ⌈n/chains⌉) replies a prompt, all held at once; with a proposal of its own, as many
    scorings by the prior too. Source: Hastings 1970; Liu 1996 (the rate); SCIENCE 5. The kernel is enumerated in
    tests/oracle/test_chain_kernels.py, the engine held in tests/statistical/test_chains.py.
    """

    chains: int = 4
    burn_in: int = 50
    thin: int = 5
    proposal: Prior | None = None
    guarantee: ClassVar[Guarantee] = Guarantee.CONSISTENT

    def __post_init__(self) -> None:
        check_settings("IndependentMH", self.chains, self.burn_in, self.thin)

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        """n equally weighted draws a prompt, prompt-major."""
        began = time.process_time()
        plan = planned(self.chains, self.burn_in, self.thin, n, prompts)
        proposal = posterior.prior if self.proposal is None else self.proposal
        same_completions(posterior.prior, proposal, PROPOSED)
        start, tokens = begin(posterior, proposal, key.fold("start"), prompts, self.chains)
        made, more = _proposals(posterior, proposal, key.fold("propose"), prompts, plan)
        pool = together([start, made])
        log_w = log_w_of(pool)
        weights = log_w[len(start.log_lik) :].view(len(prompts), plan.steps, self.chains)
        uniform = key.fold("accept").uniform(row_numbers(len(prompts), plan.steps * self.chains).numpy(), 0)
        course, moves = walk(log_w[: len(start.log_lik)].view(-1, self.chains), weights, torch.from_numpy(uniform))
        visited = _pool_rows(course, len(prompts), self.chains)
        draws = _as_draws(key, prompts, plan, pool, visited, moves, Cost(tokens + more, time.process_time() - began))
        log_z, se, ess = log_z_from(weights.flatten(), made.completions.prompt, len(prompts))
        return replace(draws, log_z=log_z, log_z_se=se, info={**draws.info, "proposals_ess": ess})


def _proposals(target: Target, proposal: Prior, key: Key, prompts: Prompts, plan: Plan) -> tuple[Texts, int]:
    """All chains' proposals, prompt-major, then step by step, then by chain; and the tokens that they cost."""
    completions, log_q = proposal.sample(key, prompts, plan.steps * plan.chains)
    tokens = int(completions.mask.sum()) * (1 if proposal is target.prior else 2)
    return widened(weighed(target, proposal, prompts, completions, log_q), target.prior.horizon), tokens


def log_w_of(texts: Texts) -> Float[Tensor, " R"]:
    """log W = log π0 + log_lik − log q of whole texts, in nats."""
    start = torch.zeros(len(texts.log_lik), dtype=torch.long, device=texts.log_lik.device)
    return log_weight(texts, start, start + texts.completions.ids.shape[1])


def walk(
    start: Float[Tensor, "B C"], proposed: Float[Tensor, "B S C"], uniform: Float[Tensor, " R"]
) -> tuple[Int[Tensor, "B S C"], Bool[Tensor, "B S C"]]:
    """Which proposal each chain stands at after each step (−1: still its start), and whether it moved there just then.

    Args:
        start: log W of the starts.
        proposed: log W of the proposals.
        uniform: one number in (0, 1) a proposal, R = B·S·C.
    """
    log_u = torch.log(uniform).view(proposed.shape).to(proposed.device)
    here, at = start, torch.full(start.shape, -1, dtype=torch.long, device=start.device)
    course: list[Tensor] = []
    moves: list[Tensor] = []
    for step in range(proposed.shape[1]):
        new = proposed[:, step]
        accepted = log_u[:, step] < log_alpha(here, new)
        here, at = torch.where(accepted, new, here), torch.where(accepted, step, at)
        course.append(at)
        moves.append(accepted)
    return torch.stack(course, 1), torch.stack(moves, 1)


def _pool_rows(course: Int[Tensor, "B S C"], count: int, chains: int) -> Int[Tensor, "B S C"]:
    """Rows of the pool (all starts, then all proposals) where the chains stood."""
    steps = course.shape[1]
    prompt = torch.arange(count, device=course.device)[:, None, None]
    chain = torch.arange(chains, device=course.device)[None, None]
    proposed = count * chains + (prompt * steps + course) * chains + chain
    return torch.where(course < 0, prompt * chains + chain, proposed)


def _as_draws(
    key: Key,
    prompts: Prompts,
    plan: Plan,
    pool: Texts,
    visited: Int[Tensor, "B S C"],
    moves: Bool[Tensor, "B S C"],
    cost: Cost,
) -> Draws:
    """Every thin-th text after burn-in, of all chains in turn."""
    after = visited[:, plan.burn_in :]
    rows = after[:, plan.thin - 1 :: plan.thin].flatten(1)[:, : plan.n].flatten()
    course = statistics(pool)[after].permute(0, 3, 2, 1)
    info = {"acceptance": moves[:, plan.burn_in :].double().mean((1, 2))}
    return as_draws(key, prompts, pool.rows(rows), course, info, cost)
