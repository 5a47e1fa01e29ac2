"""Importance sampling: draws of a proposal, weighted towards the posterior; and the estimate of Z that weights give.

Draws from the prior with weights exp(log_lik) are the common currency of this room: rejection and best-of-n are pure
functions of them (`rejection.accept`, `best_of_n.pick`), so that draws paid for once serve all three.
"""

import time
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.protocols import Guarantee, Prior, Target
from credence.core.status import Status
from credence.core.types import Cost, Draws, Prompts
from credence.evidence.product import measure
from credence.prior.agreement import same_completions
from credence.prior.reshape import Reshaped

PROBE = 32
"""Replies of the prior a prompt on which the reach of a proposal is tested."""

PROPOSED = ("prior", "proposal")
"""What messages call the two where a weight between them is asked for."""


def log_sum_exp_by(values: Float[Tensor, " R"], group: Int[Tensor, " R"], groups: int) -> Float[Tensor, " groups"]:
    """log Σ exp(values) within each group of rows; -inf for a group without rows or without a possible one."""
    top = torch.full((groups,), -torch.inf, dtype=torch.float64, device=values.device)
    top = top.scatter_reduce(0, group, values.double(), "amax")
    top = torch.where(torch.isneginf(top), 0.0, top)
    total = torch.zeros_like(top).index_add(0, group, torch.exp(values.double() - top[group]))
    return torch.log(total) + top


def log_z_from(
    log_w: Float[Tensor, " R"], group: Int[Tensor, " R"], groups: int
) -> tuple[Float[Tensor, " groups"], Float[Tensor, " groups"], Float[Tensor, " groups"]]:
    """log Ẑ = log mean w of each group, its standard error, and the effective sample size.

    se(log Ẑ) = sd(w) / (mean(w) √n) = √((n/ess − 1)/(n − 1)), the delta method: optimistic where few draws carry the
    weight. Checked against sd and mean in tests/unit/test_resample.py.

    Returns:
        log_z (-inf where every weight is zero, NaN without rows), se (NaN for fewer than two draws or no weight), ess
        in draws (0 without weight).
    """
    n = torch.zeros(groups, dtype=torch.float64, device=log_w.device).index_add(
        0, group, torch.ones(len(log_w), dtype=torch.float64, device=log_w.device)
    )
    once, twice = log_sum_exp_by(log_w, group, groups), log_sum_exp_by(2 * log_w, group, groups)
    dead = torch.isneginf(once)
    ess = torch.where(dead, 0.0, torch.exp(2 * once - twice))
    se = torch.sqrt(((n / ess - 1) / (n - 1)).clamp(min=0))
    unknown = dead | (n < 2)
    log_z = torch.where(n > 0, once - torch.log(n), torch.nan)
    return log_z, torch.where(unknown, torch.nan, se), ess


@dataclass(frozen=True)
class Importance:
    """Self-normalised importance sampling: n weighted draws a prompt from a proposal q.

    log w = log π0 + log_lik − log q; with the prior as proposal, log w = log_lik and nothing is scored.
    Guarantee: UNBIASED_Z; weighted means are consistent, their bias falls as 1/n. A prompt whose weights are all zero
    keeps its draws, with log_z = -inf and Status.DEGENERATE.

    A proposal that is zero where the posterior is not estimates Z·p*(q > 0), however many draws: no weight shows it.
    So replies of the prior are scored by the proposal, `probe` a prompt, and a prompt where one is possible under the
    posterior and impossible under q has Status.UNREACHED; so have all prompts of a proposal that is cut to top-k or
    top-p, which leaves out tokens by design. That no probe was missed proves p*(q = 0) small at best, never zero;
    diagnose.support.unreached is exact where the prior can be enumerated.

    info: ess, in draws; with a proposal that is probed, missed (estimate of p*(q = 0) from the probes; NaN where none
    of them is possible).

    Args:
        proposal: where to draw from; the prior by default. It must speak the same tokens, end by the same ones and be
            cut at the same horizon.
        probe: replies of the prior a prompt on which the proposal's reach is tested; 0 tests nothing.

    Raises:
        ConfigError: the proposal speaks other tokens, ends by others or is cut elsewhere; probe below 0.
        ShapeError: n below 1, or no prompt.

    Cost: n draws a prompt; with a proposal of its own, n scorings by the prior, and `probe` draws of the prior scored
    by the proposal. Source: SCIENCE 5; tested in tests/statistical/test_draws.py, the probe in
    tests/oracle/test_proposals.py.
    """

    proposal: Prior | None = None
    probe: int = PROBE
    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED_Z

    def __post_init__(self) -> None:
        check_probe(self.probe)

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        """n weighted draws a prompt, prompt-major."""
        began = time.process_time()
        if n < 1 or len(prompts) == 0:
            raise ShapeError(f"n={n} draws of {len(prompts)} prompts were asked for: at least 1 of each is needed.")
        prior = posterior.prior
        proposal = prior if self.proposal is None else self.proposal
        if proposal is not prior:
            same_completions(prior, proposal, PROPOSED)
        completions, log_q = proposal.sample(key, prompts, n)
        log_w, readings = measure(posterior.evidence, prompts, completions)
        tokens = int(completions.mask.sum())
        if proposal is not prior:
            log_w = log_w + prior.score(prompts, completions).sum(-1) - log_q.sum(-1)
            tokens *= 2
        log_z, se, ess = log_z_from(log_w, completions.prompt, len(prompts))
        status = tuple(Status.DEGENERATE if dead else Status.OK for dead in torch.isneginf(log_z).tolist())
        cost, info = Cost(tokens, time.process_time() - began), {"ess": ess}
        draws = Draws(prompts, completions, log_q, log_w, log_z, se, status, cost, key, info, readings)
        return probed(draws, self.proposal, posterior, self.probe)


def check_probe(probe: int) -> None:
    """Refuse a number of probes below 0.

    Raises:
        ConfigError: names it.
    """
    if probe < 0:
        raise ConfigError(f"probe={probe}: a number of replies, 0 for no test of the proposal, is needed.")


def probed(draws: Draws, proposal: Prior | None, posterior: Target, probe: int) -> Draws:
    """The draws with what is seen of their proposal's reach: Status.UNREACHED, info["missed"], and what it cost.

    As they are where there is no proposal of its own, or probe is 0. A prompt that stands there several times (as many
    runs of it do) is probed once.
    """
    if proposal is None or proposal is posterior.prior or probe == 0:
        return draws
    began, prompts = time.process_time(), draws.prompts
    names = [ids if not prompts.columns else b for b, ids in enumerate(prompts.ids)]
    place = {name: i for i, name in enumerate(dict.fromkeys(names))}
    once = prompts.take([names.index(name) for name in place])
    lost, missed, tokens = reach(proposal, draws.key.fold("probe"), posterior, once, probe)
    each = torch.tensor([place[name] for name in names], device=lost.device)
    return replace(
        draws,
        status=unreached(draws.status, lost[each]),
        cost=draws.cost + Cost(tokens, time.process_time() - began),
        info={**draws.info, "missed": missed[each]},
    )


def reach(
    proposal: Prior, key: Key, posterior: Target, prompts: Prompts, n: int
) -> tuple[Bool[Tensor, " B"], Float[Tensor, " B"], int]:
    """Whether a proposal is seen to be zero where the posterior is not, how much of it, and the tokens it cost.

    n replies of the prior a prompt, weighted by exp(log_lik): the share of their weight that q calls impossible. NaN
    for a prompt where none is possible under the evidence. 0 proves little: by the rule of three, at 95 %, less than
    about 3/ESS of the posterior is missed.
    """
    replies, _ = posterior.prior.sample(key, prompts, n)
    log_w = posterior.evidence.log_lik(prompts, replies)
    lost = torch.isneginf(proposal.score(prompts, replies).sum(-1))
    every = log_sum_exp_by(log_w, replies.prompt, len(prompts))
    gone = log_sum_exp_by(torch.where(lost, log_w, -torch.inf), replies.prompt, len(prompts))
    share = torch.where(torch.isneginf(every), torch.nan, torch.exp(gone - every))
    return (share > 0) | truncated(proposal), share, 2 * int(replies.mask.sum())


def unreached(status: tuple[Status, ...], lost: Bool[Tensor, " B"]) -> tuple[Status, ...]:
    """The statuses, where nothing worse is known, with what `reach` has seen."""
    return tuple(Status.UNREACHED if s.ok and gone else s for s, gone in zip(status, lost.tolist(), strict=True))


def truncated(law: Prior) -> bool:
    """Whether a law is cut to top-k or top-p somewhere, so that some tokens are impossible by design."""
    while isinstance(law, Reshaped):
        if law.truncates:
            return True
        law = law.inner
    return False
