"""Stochastic beam search: completions of the prior without replacement, and the weights that make them unbiased."""

import time
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.protocols import Guarantee, StepPrior, Target
from credence.core.status import Status
from credence.core.types import Completions, Cost, Draws, Prompts, concat, pad_to
from credence.evidence.product import measure
from credence.sample.importance import log_sum_exp_by

_ROWS = 64
"""Prefixes walked at once, or one beam: (rows, V) numbers are held six times over."""


def conditioned(gumbel: Float[Tensor, "rows V"], largest: Float[Tensor, " rows"]) -> Float[Tensor, "rows V"]:
    """Gumbels of children, given that the largest of them is their parent's.

    G_v = −log(e^{−G_parent} − e^{−max G̃} + e^{−G̃_v}), computed without overflow. The largest child is exactly its
    parent: so perturbing prefixes top down is perturbing all leaves at once. Impossible children (−inf) stay so.

    Args:
        gumbel: G̃, log p + Gumbel noise of each child, unconditioned.
        largest: the parent's.

    Source: Kool et al. 2019 (1903.06059), appendix B.3. Tested in tests/oracle/test_stochastic_beam.py.
    """
    top = gumbel.max(-1, keepdim=True).values
    behind = gumbel - top  # at most 0, NaN where no child is possible
    gap = torch.where(torch.isneginf(gumbel), -torch.inf, largest[:, None] - gumbel + torch.log(-torch.expm1(behind)))
    shifted = largest[:, None] - gap.clamp(min=0.0) - torch.log1p(torch.exp(-gap.abs()))
    return torch.where(torch.isneginf(gumbel), -torch.inf, shifted)


def log_inclusion(log_prior: Float[Tensor, " R"], kappa: Float[Tensor, " R"]) -> Float[Tensor, " R"]:
    """log P(G > κ), nats: the chance that a completion is among the n largest, given the threshold κ that it must beat.

    1 − exp(−exp(log π0 − κ)); κ is the (n+1)-th largest of all, −inf where fewer than n + 1 completions exist.
    """
    rate = torch.exp(log_prior - kappa)
    return torch.where(rate < 1e-12, log_prior - kappa, torch.log(-torch.expm1(-rate)))


def total(draws: Draws, values: Float[Tensor, " R"]) -> Float[Tensor, " B"]:
    """Σ_i e^{log w_i} f_i of each prompt: unbiased for E_π0[e^{log_lik} f], so for E_π0[f] where there is no evidence.

    Unlike `draws.expect`, which divides by Σ e^{log w} and is biased for that, by O(1/n), but often nearer.

    Args:
        draws: of StochasticBeam.
        values: f of each row; whatever stands where the weight is 0.
    """
    out = torch.zeros(len(draws.prompts), dtype=torch.float64, device=draws.log_w.device)
    w = torch.exp(draws.log_w)
    return out.index_add(0, draws.completions.prompt, torch.where(w > 0, w * values.double(), 0.0))


@dataclass(frozen=True)
class StochasticBeam:
    """The n completions of largest log π0(x) + Gumbel noise: n distinct draws of the prior, without replacement.

    The first is a draw of π0, the next a draw of π0 without the first, and so on, in that order; found without
    enumeration by a beam of n + 1 prefixes, whose noise is passed down from parent to child. With κ the (n+1)-th
    largest, q_i = 1 − exp(−exp(log π0(x_i) − κ)) is a completion's chance to be drawn given κ, and
    w_i = e^{log_lik} π0(x_i)/q_i.

    Guarantee: UNBIASED_Z, with Ẑ = Σ w_i (a sum, not a mean); E[Σ w_i f_i] = Z E_p*[f] (`total`). Normalised weights
    (`draws.weights`, `draws.expect`) are consistent and biased by O(1/n). log_z_se is √(Σ w_i²(1 − q_i))/Ẑ, since
    different completions' estimates are uncorrelated given n ≥ 2; NaN for n = 1.

    A prompt with fewer than n possible completions gives all of them, with weights that are exact.

    info, a prompt: kappa (nats), mass (Σ π0 of the draws: the share of the prior that they are). Weights of
    draws without replacement are uneven by design, also where they are exact: their ESS says nothing here.

    Raises:
        ConfigError: a prior that cannot be stepped.
        ShapeError: n below 1 or no prompt.

    Cost: a step of n + 1 rows a token, and a uniform for each of them and each word. Source: Kool, van Hoof & Welling
    2019 (1903.06059); Duffield, Lund & Thorup 2007 (the variance). Tested in tests/oracle/test_stochastic_beam.py and
    tests/statistical/test_decoding.py.
    """

    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED_Z

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        """At most n distinct weighted draws a prompt, prompt-major, in the order in which they were drawn."""
        began = time.process_time()
        prior = posterior.prior
        if n < 1 or len(prompts) == 0:
            raise ShapeError(f"n={n} draws of {len(prompts)} prompts were asked for: at least 1 of each is needed.")
        if not isinstance(prior, StepPrior):
            raise ConfigError(
                f"a stochastic beam walks its prior, and {type(prior).__name__} cannot be stepped: use Importance."
            )
        per = max(1, _ROWS // (n + 1))
        beams = [
            _Beam(key, prior, prompts.take(range(a, min(a + per, len(prompts)))), n + 1, a)
            for a in range(0, len(prompts), per)
        ]
        found = [beam.grow(n) for beam in beams]
        completions = concat([rows for rows, _, _ in found], list(range(0, len(prompts), per)))
        log_q = torch.cat([pad_to(nats, completions.ids.shape[1]) for _, nats, _ in found])
        kappa = torch.cat([threshold for _, _, threshold in found])
        nats, readings = measure(posterior.evidence, prompts, completions)
        log_prior, owner = log_q.sum(-1), completions.prompt
        included = log_inclusion(log_prior, kappa[owner])
        log_w = log_prior + nats - included
        log_z = log_sum_exp_by(log_w, owner, len(prompts))
        spread = log_sum_exp_by(2 * log_w + torch.log(-torch.expm1(included)), owner, len(prompts))
        dead = torch.isneginf(log_z)
        se = torch.exp(0.5 * spread - log_z)
        info = {"kappa": kappa, "mass": torch.exp(log_sum_exp_by(log_prior, owner, len(prompts)))}
        return Draws(
            prompts=prompts,
            completions=completions,
            log_q=log_q,
            log_w=log_w,
            log_z=log_z,
            log_z_se=torch.where(dead | ((kappa > -torch.inf) & (n < 2)), torch.nan, se),
            status=tuple(Status.DEGENERATE if d else Status.OK for d in dead.tolist()),
            cost=Cost(sum(beam.tokens for beam in beams), time.process_time() - began),
            key=key,
            info=info,
            readings=readings,
        )


class _Beam:
    """At most `width` prefixes of each of some prompts, by prompt and falling G; those that are done stay in it."""

    def __init__(self, key: Key, prior: StepPrior, prompts: Prompts, width: int, first: int) -> None:
        self.key, self.prior, self.width, self.count, self.tokens = key, prior, width, len(prompts), 0
        self.state = prior.start(prompts, 1)
        self.logits = prior.next_logits(self.state)
        device = self.logits.device
        self.first = first << 32
        self.prompt = torch.arange(len(prompts), device=device)
        self.place = torch.zeros_like(self.prompt)  # in the prompt's beam
        self.ids = torch.zeros(len(prompts), prior.horizon, dtype=torch.long, device=device)
        self.log_q = torch.zeros(len(prompts), prior.horizon, dtype=torch.float64, device=device)
        self.length = torch.zeros_like(self.prompt)
        self.done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
        lot = torch.from_numpy(key.fold("root").uniform((self.prompt.cpu() + first).numpy(), 0)).to(device)
        self.gumbel = -torch.log(-torch.log(lot))
        self.ends = torch.tensor(sorted(prior.ends), device=device)

    def grow(self, n: int) -> tuple[Completions, Float[Tensor, "R T"], Float[Tensor, " B"]]:
        """The n best of each prompt, their log q in nats, and the G of the next one."""
        for t in range(self.prior.horizon):
            self._step(t)
            if bool(self.done.all()):
                break
        kappa = torch.full((self.count,), -torch.inf, dtype=torch.float64, device=self.gumbel.device)
        after = self.place == n
        kappa[self.prompt[after]] = self.gumbel[after]
        rows, used = self.place < n, int(self.length.max())
        mask = torch.arange(used, device=rows.device) < self.length[rows][:, None]
        ids = self.ids[rows][:, :used]
        ended = torch.isin(ids.gather(1, self.length[rows][:, None] - 1).squeeze(1), self.ends)
        return Completions(ids, mask, ended, self.prompt[rows]), self.log_q[rows][:, :used], kappa

    def _step(self, t: int) -> None:
        """Perturb the children of all growing prefixes, and keep the best of each prompt."""
        growing, over = torch.nonzero(~self.done).flatten(), torch.nonzero(self.done).flatten()
        log_p = torch.log_softmax(self.logits.double(), -1)
        gumbel, token = self._children(growing, log_p, t)
        row = torch.arange(len(growing), device=token.device)[:, None].expand_as(token)
        parent = torch.cat([over, growing[row.flatten()]])
        source = torch.cat([torch.full_like(over, -1), row.flatten()])
        said = torch.cat([torch.zeros_like(over), token.flatten()])
        best = torch.cat([self.gumbel[over], gumbel.flatten()])
        chosen, self.place = self._best(best, self.prompt[parent])
        parent, source, said, self.gumbel = parent[chosen], source[chosen], said[chosen], best[chosen]
        new = source >= 0
        for name in ("prompt", "ids", "log_q", "length", "done"):
            setattr(self, name, getattr(self, name)[parent])
        self.ids[new, t], self.log_q[new, t] = said[new], log_p[source[new], said[new]]
        self.length[new] = t + 1
        self.done[new] = torch.isin(said[new], self.ends) | (t + 1 == self.prior.horizon)
        self.tokens += int(new.sum())
        on = ~self.done
        if bool(on.any()):
            self.state = self.prior.extend(self.prior.take(self.state, source[on]), said[on])
            self.logits = self.prior.next_logits(self.state)

    def _children(self, growing: Int[Tensor, " rows"], log_p: Float[Tensor, "rows V"], t: int) -> tuple[Tensor, Tensor]:
        """The best children of each growing prefix: G and token, (rows, at most width)."""
        vocab = log_p.shape[1]
        place = self.first + (self.prompt[growing] << 32) + self.place[growing] * vocab
        rows = (place[:, None] + torch.arange(vocab, device=place.device)).flatten()
        lot = torch.from_numpy(self.key.fold("child").uniform(rows.cpu().numpy(), t)).to(log_p.device).view(log_p.shape)
        free = self.log_q[growing].sum(-1)[:, None] + log_p - torch.log(-torch.log(lot))
        top = conditioned(free, self.gumbel[growing]).topk(min(self.width, vocab), -1)
        return top.values, top.indices

    def _best(self, gumbel: Float[Tensor, " C"], prompt: Int[Tensor, " C"]) -> tuple[Tensor, Tensor]:
        """Candidates that stay, by prompt and falling G, and their places in their prompt's beam."""
        order = torch.argsort(gumbel, descending=True, stable=True)
        order = order[torch.argsort(prompt[order], stable=True)]
        sizes = torch.bincount(prompt, minlength=self.count)
        place = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[prompt[order]]
        kept = (place < self.width) & (gumbel[order] > -torch.inf)
        return order[kept], place[kept]
