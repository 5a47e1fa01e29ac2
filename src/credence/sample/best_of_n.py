"""Best-of-n: the best of n prior draws. It has a law of its own, near the posterior of some β but not equal to it.

The law of its output under the prior's distribution function F of log_lik is F(r)^n − F⁻(r)^n at each value r, shared
among completions of equal value in proportion to the prior.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.order import best_of_n_weights as best_of_n_weights
from credence.core.protocols import Guarantee, Target
from credence.core.types import Cost, Draws, Prompts
from credence.posterior.exact import Exact
from credence.prior.steps import row_numbers
from credence.sample.importance import Importance


def kl_bound(of: int) -> float:
    """log n − (n − 1)/n nats: KL(best-of-n‖π0) is at most this, and equals it where no two values are equal.

    Source: Beirami et al. 2024 (2401.01879). Tested on TOY-A in tests/oracle/test_best_of_n.py.
    """
    return math.log(of) - (of - 1) / of


@dataclass(frozen=True)
class BestOfN:
    """n draws a prompt, each the one of highest log_lik among `of` draws of the prior; ties fall by lot.

    Law: π_n(x) = F(r)^n − F⁻(r)^n, shared ∝ π0 among equal r; see best_of_n_law. Guarantee: BIASED, with
    KL(best-of-n‖π0) ≤ log n − (n − 1)/n (info: kl_bound) and
    KL(best-of-n‖p*) = log Z − E[log_lik] + KL(best-of-n‖π0). log_q is the prior's, not the law's. log_z is the mean
    weight of all draws made, so unbiased for Z.

    Args:
        of: n of best-of-n.

    Cost: n·of draws a prompt. Source: SCIENCE 5.1; tested in tests/statistical/test_draws.py.
    """

    of: int = 16
    guarantee: ClassVar[Guarantee] = Guarantee.BIASED

    def __post_init__(self) -> None:
        if self.of < 1:
            raise ConfigError(f"of={self.of}: the best of at least one draw is needed.")

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        """n draws a prompt, prompt-major."""
        began = time.process_time()
        drawn = Importance().draw(key.fold("candidates"), posterior, prompts, n * self.of)
        return replace(pick(drawn, self.of, key), cost=Cost(drawn.cost.tokens, time.process_time() - began))

    def kl_prior(self, log_lik: Float[Tensor, " m"]) -> float:
        """KL(best-of-n‖π0) in nats, from log_lik of prior draws of one prompt: best_of_n_kl."""
        return best_of_n_kl(log_lik, self.of)


def pick(prior_draws: Draws, of: int, key: Key) -> Draws:
    """The best of each group of `of` stored prior draws, whose log_w is log_lik (`Importance()` makes them).

    m draws a prompt give m // of groups, disjoint, so that the results are independent; what is left over is not used
    for them, only for log_z.

    Raises:
        ShapeError: the prompts have different numbers of draws, or fewer than `of`.
    """
    nats = in_groups(prior_draws, of)
    among = lots(key.fold("ties"), nats)
    rows = winners(torch.where(nats == nats.max(-1, keepdim=True).values, among, -1.0).argmax(-1), prior_draws, of)
    info = {"kl_bound": torch.full((len(nats),), kl_bound(of), dtype=torch.float64)}
    return chosen(prior_draws, rows, key, info)


def in_groups(prior_draws: Draws, of: int) -> Float[Tensor, "B groups of"]:
    """Nats of stored prior draws in disjoint groups of `of`, what is left over left out.

    Raises:
        ShapeError: the prompts have different numbers of draws, or fewer than `of`.
    """
    prompts, given = len(prior_draws.prompts), prior_draws.completions
    m = len(given) // max(1, prompts)
    if len(given) == 0 or not torch.equal(given.prompt, torch.arange(prompts).to(given.prompt).repeat_interleave(m)):
        raise ShapeError(
            "best-of-n needs prior draws prompt by prompt, equally many of each: as Importance gives them."
        )
    if m < of:
        raise ShapeError(f"best of {of} from {m} draws a prompt: at least {of} are needed.")
    return prior_draws.log_w.view(prompts, m)[:, : m // of * of].reshape(prompts, m // of, of)


def lots(key: Key, nats: Float[Tensor, "B groups of"]) -> Float[Tensor, "B groups of"]:
    """One uniform a candidate."""
    prompts, groups, of = nats.shape
    lot = key.uniform(row_numbers(prompts, groups * of).numpy(), 0)
    return torch.from_numpy(lot).to(nats.device).view(prompts, groups, of)


def winners(which: Int[Tensor, "B groups"], prior_draws: Draws, of: int) -> Int[Tensor, " R"]:
    """Row numbers of one candidate a group, by its place in the group."""
    prompts, groups = which.shape
    m = len(prior_draws.completions) // prompts
    first = torch.arange(prompts)[:, None] * m + torch.arange(groups)[None, :] * of
    return (first.to(which) + which).flatten()


def chosen(prior_draws: Draws, rows: Int[Tensor, " R"], key: Key, info: Mapping[str, Tensor]) -> Draws:
    """These rows alone, counting equally; log_z and its error stay those of all draws made."""
    return replace(
        prior_draws,
        completions=prior_draws.completions.rows(rows),
        log_q=prior_draws.log_q[rows],
        log_w=torch.zeros(len(rows), dtype=torch.float64, device=prior_draws.log_w.device),
        key=key,
        info=info,
        readings={name: values[rows] for name, values in prior_draws.readings.items()},
    )


def best_of_n_law(exact: Exact, of: int) -> Float[Tensor, " N"]:
    """log π_n of every completion of an enumerated prompt, in nats, in the order of exact.sequences.

    Tested against SCIENCE 5.1's KL and E r in tests/oracle/test_best_of_n.py.
    """
    values, level = exact.log_lik.unique(return_inverse=True)
    mass = torch.zeros(len(values), dtype=torch.float64).index_add(0, level, torch.exp(exact.log_prior))
    upper = mass.cumsum(0) / mass.sum()
    lower = torch.cat([upper.new_zeros(1), upper[:-1]])
    gained = of * torch.log(upper) + torch.log1p(-((lower / upper) ** of))
    return (exact.log_prior - torch.log(mass)[level] + gained[level]).where(mass[level] > 0, -torch.inf)


def best_of_n_kl(log_lik: Float[Tensor, " m"], of: int) -> float:
    """KL(best-of-n‖π0) in nats, from the ranks of m prior draws of one prompt.

    Σ (F^n − F⁻^n) log[(F^n − F⁻^n)/(F − F⁻)] over the distinct values, F the draws' own distribution function: at most
    kl_bound(of), and just below it where all values differ; ties make it smaller, as they make the truth.
    """
    _, size = log_lik.unique(return_counts=True)
    upper = size.cumsum(0).double() / len(log_lik)
    lower = torch.cat([upper.new_zeros(1), upper[:-1]])
    return float(kl(torch.log(upper**of - lower**of), torch.log(size.double() / len(log_lik))))
