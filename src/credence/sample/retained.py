"""The completion that one particle of each island follows in conditional SMC: put in its place, and held possible."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.protocols import Prior
from credence.core.types import Completions, Prompts
from credence.sample.potential import impossible, told
from credence.sample.swarm import Swarm


def log_prob(logits: Float[Tensor, "rows V"], token: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    """Nats of one token a row under the law of these logits."""
    return logits.gather(1, token[:, None]).squeeze(1).double() - torch.logsumexp(logits, -1).double()


def forced(
    swarm: Swarm,
    path: Completions,
    t: int,
    present: Int[Tensor, " k"],
    logits: Float[Tensor, "k V"],
    drawn: tuple[Int[Tensor, " k"], Float[Tensor, " k"], Float[Tensor, " k"]],
) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"], Float[Tensor, " k"]]:
    """The tokens drawn, with those of the retained particles put in their places; these are never close calls."""
    if t >= path.ids.shape[1]:
        return drawn
    wanted = torch.full((len(swarm.ended),), -1, dtype=torch.long, device=logits.device)
    wanted[swarm.retained()] = torch.where(path.mask[:, t], path.ids[:, t], -1)
    wanted = wanted[present]
    here = wanted >= 0
    token, log_q, margin = drawn
    token = torch.where(here, wanted, token)
    return token, torch.where(here, log_prob(logits, token), log_q), torch.where(here, 1.0, margin)


def checked_path(prompts: Prompts, path: Completions, prior: Prior) -> None:
    """Refuse retained completions that this prior could not have made.

    Raises:
        ShapeError: not one a prompt, in order; tokens that do not start at the first place or have gaps; an end that
            `ended` does not say; neither ended nor cut at the horizon.
    """
    if path.prompt.tolist() != list(range(len(prompts))) or path.ids.shape[1] == 0:
        raise ShapeError(
            f"retained completions {path.tokens()} answer prompts {path.prompt.tolist()}: one of at least one token "
            f"for each of the {len(prompts)}, in order, is needed."
        )
    length = path.lengths
    gaps = (path.mask != (torch.arange(path.ids.shape[1], device=length.device) < length[:, None])).any(-1)
    ends = torch.tensor(sorted(prior.ends), device=path.ids.device)
    says_end = torch.isin(path.ids.gather(1, (length - 1).clamp(min=0)[:, None]).squeeze(1), ends)
    early = (torch.isin(path.ids, ends) & path.mask).sum(-1) > says_end.long()
    whole = torch.where(path.ended, says_end, ~says_end & (length == prior.horizon))
    wrong = torch.nonzero(gaps | early | ~whole | (length < 1) | (length > prior.horizon)).flatten()
    if len(wrong):
        row = int(wrong[0])
        raise ShapeError(
            f"retained completion {row}, {path.tokens()[row]}, ended={bool(path.ended[row])}, is no completion of this "
            f"prior: its tokens stand without gaps and end by one of {sorted(prior.ends)}, or are cut after "
            f"{prior.horizon}."
        )


def still_possible(
    swarm: Swarm, prompts: Prompts, where: Int[Tensor, " k"], log_p: Float[Tensor, " k"], t: int, last: bool
) -> None:
    """Refuse a retained particle that lost its weight at token t; log_p is the prior's, of the rows `where` that grew.

    Raises:
        ConfigError: the proposal cannot say it.
        ContractError: it is impossible, by what.
    """
    lost = torch.nonzero(torch.isin(where, swarm.retained()) & ~torch.isfinite(swarm.log_w[where])).flatten()
    if len(lost) == 0:
        return
    row, nats = int(where[lost[0]]), float(log_p[lost[0]])
    what = told(prompts, swarm.completions(t + 1), row)
    if torch.isneginf(swarm.log_q[row, t]) and nats > -torch.inf:
        raise ConfigError(f"the proposal cannot say {what}, which the posterior can: it misses a part of Z.")
    raise impossible(nats, bool(swarm.ended[row]) or last, what)
