"""What GRPO converges to on an enumerable prior, computed without training: the oracle of learn.grpo.

    π(v|s) = L(s,v) π0(v|s) / (c(s) + L(s,v) − R(s,v))      L = E_π[w | sv],  R = E_π[w A | sv]

w is 1/|x| or 1, A a reply's expected advantage among others of π, c(s) such that π sums to one. The gradient of
GRPO's loss at this law is zero by enumeration (tests/oracle/test_group_relative.py).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.types import Prompts
from credence.learn.losses.group_relative import LEAST
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.table import TablePrior
from credence.prior.tabular import TabularPolicy, tabular_policy

Worth = Callable[[Float[Tensor, " N"]], Float[Tensor, " N"]]
"""Chances of all replies under π -> what each is worth in expectation among others of π, nats."""


def every_tuple(size: int, count: int) -> Int[Tensor, "tuples size"]:
    """All count^size tuples of reply numbers."""
    return torch.cartesian_prod(*[torch.arange(count)] * size).view(-1, size)


def rescaled(exact: Exact, group: int, spread: float | None) -> Worth:
    """GRPO's advantage of each reply, its expectation over the other G − 1. Cost: N^G numbers."""
    tuples = every_tuple(group, len(exact.sequences))
    y = exact.log_lik[tuples]
    centred = y - y.mean(1, keepdim=True)
    if spread is not None:
        centred = spread * centred / (torch.sqrt(centred.square().sum(1, keepdim=True) / (group - 1)) + LEAST)

    def worth(chance: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        others = chance[tuples[:, 1:]].prod(1)
        return torch.zeros_like(chance).index_add(0, tuples[:, 0], others * centred[:, 0])

    return worth


def group_relative_law(
    posterior: Posterior, prompts: Prompts, worth: Worth, length: bool, rounds: int = 40
) -> TabularPolicy:
    """The fixed point of GRPO with k3 of each token, from the leaves up, repeated until nothing moves.

    Args:
        posterior: on a TablePrior.
        prompts: one.
        worth: as `rescaled` gives it.
        length: whether a reply's tokens weigh 1/length.
        rounds: of the repetition, each half a step; 40 leave nothing to see in float64 on TOY-A.

    Raises:
        ConfigError: another prior than a table.
    """
    if not isinstance(posterior.prior, TablePrior):
        raise ConfigError(f"{type(posterior.prior).__name__} cannot be enumerated: a TablePrior is needed.")
    policy, exact = tabular_policy(posterior.prior, prompts), enumerate_posterior(posterior, prompts)
    weight = 1 / exact.completions.lengths.double() if length else torch.ones_like(exact.log_lik)
    replies = [tuple(row) for row in exact.completions.tokens()]
    places = sorted(policy.places.items(), key=lambda place: -len(place[0][1]))
    prior = torch.softmax(policy.state()["logits"], -1)
    for _ in range(rounds):
        chance = torch.exp(policy.score(prompts, exact.completions).sum(-1))
        known = {x: (w, w * u) for x, w, u in zip(replies, weight, worth(chance), strict=True)}
        logits = torch.log_softmax(policy.state()["logits"], -1)
        for (_, reply), at in places:
            ahead = [known[*reply, v] for v in range(posterior.prior.vocab)]
            big, back = (torch.stack(x) for x in zip(*ahead, strict=True))
            pi = _tilted(prior[at], big, back)
            known[reply] = ((pi * big).sum(), (pi * back).sum())
            logits[at] = (logits[at] + torch.log(pi)) / 2
        policy.restore({"logits": logits})
    return policy


def _tilted(prior: Float[Tensor, " V"], big: Float[Tensor, " V"], back: Float[Tensor, " V"]) -> Float[Tensor, " V"]:
    """π = L π0/(c + L − R), with the c at which it sums to one, by bisection."""
    low = float((back - big).max()) + 1e-15
    high = low + 2 * float(big.max()) + float((back - back.min()).max())
    for _ in range(80):
        c = (low + high) / 2
        low, high = (c, high) if float((big * prior / (c + big - back)).sum()) > 1 else (low, c)
    pi = big * prior / ((low + high) / 2 + big - back)
    return pi / pi.sum()
