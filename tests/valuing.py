"""What learners of values are held to on enumerable toys, shared by tests/oracle, tests/property, tests/mutants."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.protocols import Batch, ValueLearner
from credence.core.types import Completions, Prompts
from credence.learn.loop import fit
from credence.learn.values.ctl import CTL
from credence.learn.values.fudge import Fudge
from credence.learn.values.gumbel import Gumbel
from credence.learn.values.ilql import ILQL
from credence.learn.values.linear import Linear
from credence.learn.values.path import PathConsistency
from credence.learn.values.sixo import SIXO
from credence.learn.values.soft_q import TokenSoftQ
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.posterior.twist import Twisted
from credence.prior.guided_table import GuidedTable, guided_table
from credence.prior.table import TablePrior
from credence.sample.smc import SMC
from tests.learning import every_sequence, exacts, stored_draws
from tests.toys import toy_a, toy_prompts

PROMPTS = toy_prompts()
Tokens = tuple[int, ...]

TO_POSTERIOR: dict[str, ValueLearner] = {
    "soft Q": TokenSoftQ(),
    "whole paths": PathConsistency(),
    "whole paths, tilted": PathConsistency(tilt=0.5),
    "paths of 1": PathConsistency(span=1),
    "paths of 2": PathConsistency(span=2),
    "Gumbel": Gumbel(),
    "FUDGE": Fudge(),
    "CTL": CTL(),
    "SIXO": SIXO(),
}
"""Those whose target is the posterior; the value of every token."""
BY_STATE: dict[str, ValueLearner] = {
    "Gumbel": Gumbel(shape="state"),
    "FUDGE": Fudge(shape="state"),
    "CTL": CTL(shape="state"),
    "SIXO": SIXO(shape="state"),
}
OTHERS: dict[str, ValueLearner] = {"linear": Linear(), "ILQL": ILQL()}


def guide_of(posterior: Posterior, prompts: Prompts, follow: float = 1.0) -> GuidedTable:
    assert isinstance(posterior.prior, TablePrior)
    return guided_table(posterior.prior, prompts, follow)


def mean_of(exact: Exact, prefix: Tokens) -> float:
    """E_π0[log_lik | prefix], by the tree."""
    if prefix not in exact.log_step:
        return exact.log_value[prefix]
    return sum(math.exp(float(p)) * mean_of(exact, (*prefix, v)) for v, p in enumerate(exact.log_step[prefix]))


def reach(exact: Exact) -> dict[Tokens, float]:
    """Prior probability of each prefix, inner nodes and leaves."""
    found = {(): 1.0}
    for prefix in exact.prefixes:
        for v, p in enumerate(exact.log_step[prefix]):
            found[(*prefix, v)] = found[prefix] * math.exp(float(p))
    return found


def put(guide: GuidedTable, laws: dict[Tokens, Exact], value: Callable[[Exact, Tokens], float]) -> None:
    """Set Q and v to a function of the prefix; where the prior or the evidence says never, -30."""
    q, v = guide.state()["q"], guide.state()["v"]
    for (given, reply), row in guide.places.items():
        v[row] = max(-30.0, value(laws[given], reply))
        for token in range(q.shape[1]):
            q[row, token] = max(-30.0, value(laws[given], (*reply, token)))
    guide.restore({"q": q, "v": v})


def soft(exact: Exact, prefix: Tokens) -> float:
    return exact.log_value[prefix]


def by_prompt(posterior: Posterior, prompts: Prompts) -> dict[Tokens, Exact]:
    return dict(zip(prompts.ids, exacts(posterior, prompts), strict=True))


def at_soft_values(posterior: Posterior, prompts: Prompts) -> GuidedTable:
    guide = guide_of(posterior, prompts)
    put(guide, by_prompt(posterior, prompts), soft)
    return guide


def law_of(guide: GuidedTable, prompts: Prompts, exact: Exact) -> Tensor:
    return guide.score(prompts, exact.completions).sum(-1)


def mean_kl(guide: GuidedTable, posterior: Posterior, prompts: Prompts) -> float:
    """KL(p*‖π) in nats by enumeration, mean over prompts."""
    laws = exacts(posterior, prompts)
    return sum(float(kl(e.log_p, law_of(guide, prompts.take([b]), e))) for b, e in enumerate(laws)) / len(laws)


def roots(guide: GuidedTable, prompts: Prompts) -> Tensor:
    """(B,) V(root) of each prompt."""
    return torch.stack([torch.logsumexp(guide._logits(guide.q.detach())[guide.places[p, ()]], 0) for p in prompts.ids])


def gradients(guide: GuidedTable, learner: ValueLearner, batch: Batch) -> tuple[Tensor, Tensor]:
    """∇loss in Q and v on this batch; zeros where nothing arrives."""
    for p in (guide.q, guide.v):
        p.grad = None
    guide.value_backward(batch, learner.value_loss)
    q, v = (torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in (guide.q, guide.v))
    guide.trainer.forget()
    return q, v


def somewhere(seed: int) -> GuidedTable:
    """A guide of TOY-A with values at random."""
    guide, rng = guide_of(toy_a(), PROMPTS), Key(seed).generator()
    guide.restore({name: torch.from_numpy(rng.normal(0.3, 0.6, tuple(x.shape))) for name, x in guide.state().items()})
    return guide


@dataclass(frozen=True)
class Tree:
    """TOY-A with a guide's values beside it, for gradients written out a prefix at a time."""

    exact: Exact
    guide: GuidedTable

    def by_hand(self, slope: Callable[[Tokens, int, float], float]) -> Tensor:
        """(N, V) of slope(prefix, token, prior probability of prefix and token)."""
        chance, out = reach(self.exact), torch.zeros_like(self.guide.q)
        for prefix in self.exact.prefixes:
            for token in range(3):
                out[self.guide.places[(), prefix], token] = slope(prefix, token, chance[(*prefix, token)])
        return out

    def q(self, prefix: Tokens, token: int) -> float:
        return float(self.guide.q.detach()[self.guide.places[(), prefix], token])

    def v_of(self, prefix: Tokens) -> float:
        """V of the guide at a prefix; log_lik at a leaf."""
        if prefix not in self.exact.log_step:
            return self.exact.log_value[prefix]
        step = self.exact.log_step[prefix]
        return math.log(sum(math.exp(float(p) + self.q(prefix, v)) for v, p in enumerate(step)))


def tree(seed: int) -> Tree:
    return Tree(enumerate_posterior(toy_a(), PROMPTS), somewhere(seed))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def close(found: Tensor, wanted: Tensor) -> None:
    assert torch.allclose(found, wanted, atol=1e-10, rtol=0), float((found - wanted).abs().max())


def check_soft_q_gradient(seed: int) -> None:
    t = tree(seed)
    wanted = t.by_hand(lambda s, v, p: p * (t.q(s, v) - t.v_of((*s, v))))
    close(gradients(t.guide, TokenSoftQ(), every_sequence(toy_a(), PROMPTS))[0], wanted)


def check_fudge_gradient(seed: int) -> None:
    t = tree(seed)
    z, psi = t.exact.log_z, t.exact.log_value
    wanted = t.by_hand(lambda s, v, p: p * (math.exp(t.q(s, v) - z) - math.exp(psi[(*s, v)] - z)))
    close(gradients(t.guide, Fudge(), every_sequence(toy_a(), PROMPTS))[0], wanted)


def check_gumbel_gradient(seed: int) -> None:
    t = tree(seed)
    wanted = t.by_hand(lambda s, v, p: p * (1 - math.exp(t.exact.log_value[(*s, v)] - t.q(s, v))))
    close(gradients(t.guide, Gumbel(), every_sequence(toy_a(), PROMPTS))[0], wanted)


def check_linear_gradient(seed: int) -> None:
    t = tree(seed)
    wanted = t.by_hand(lambda s, v, p: p * (t.q(s, v) - mean_of(t.exact, (*s, v))))
    close(gradients(t.guide, Linear(), every_sequence(toy_a(), PROMPTS))[0], wanted)


def check_sixo_gradient(seed: int) -> None:
    t = tree(seed)
    z = t.exact.log_z

    def slope(s: Tokens, v: int, p: float) -> float:
        odds = t.q(s, v) - z
        return -p * (math.exp(t.exact.log_value[(*s, v)] - z) * sigmoid(-odds) - sigmoid(odds))

    close(gradients(t.guide, SIXO(), every_sequence(toy_a(), PROMPTS))[0], t.by_hand(slope))


def check_ctl_gradient(seed: int) -> None:
    """E_σ_t − E_p* at each length, what has ended before counting with its e^log_lik."""
    t = tree(seed)
    chance, leaves = reach(t.exact), t.exact.sequences
    sums = {
        depth: sum(chance[(*s, v)] * math.exp(t.q(s, v)) for s in t.exact.prefixes if len(s) == depth for v in range(3))
        + sum(chance[x] * math.exp(t.exact.log_value[x]) for x in leaves if len(x) <= depth)
        for depth in range(4)
    }

    def slope(s: Tokens, v: int, p: float) -> float:
        return p * math.exp(t.q(s, v)) / sums[len(s)] - p * math.exp(t.exact.log_value[(*s, v)] - t.exact.log_z)

    close(gradients(t.guide, CTL(), every_sequence(toy_a(), PROMPTS))[0], t.by_hand(slope))


def check_path_gradient(seed: int) -> None:
    """On the policy's own law the variance of D has the gradient 2∇KL(π‖p*) (SCIENCE 3.5)."""
    guide, exact = somewhere(seed), enumerate_posterior(toy_a(), PROMPTS)
    log_pi = guide.log_probs(PROMPTS, exact.completions)
    wanted = torch.autograd.grad(2 * kl(log_pi.sum(-1), exact.log_p), guide.q)[0]
    batch = every_sequence(toy_a(), PROMPTS)
    own = Batch(PROMPTS, batch.completions, batch.log_q, log_pi.detach(), batch.log_lik)  # weights of the rows: π/q
    close(gradients(guide, PathConsistency(), own)[0], wanted)


def check_span_gradient(seed: int) -> None:
    """Paths of two tokens, each prefix's residual written out and differentiated, V included."""
    t = tree(seed)
    q = t.guide.q
    base = torch.stack([t.exact.log_step[s] for _, s in t.guide.places])
    values = torch.logsumexp(base + q, -1)
    chance, loss = reach(t.exact), torch.zeros(()).double()

    def lost(s: Tokens, v: int) -> Tensor:
        row, after = t.guide.places[(), s], (*s, v)
        ends = after not in t.exact.log_step
        return q[row, v] - (t.exact.log_value[after] if ends else values[t.guide.places[(), after]])

    for s in t.exact.prefixes:
        for v in range(3):
            after = (*s, v)
            if after not in t.exact.log_step:
                loss = loss + chance[after] * 0.5 * lost(s, v) ** 2
                continue
            for w in range(3):
                loss = loss + chance[(*after, w)] * 0.5 * (lost(s, v) + lost(after, w)) ** 2
    wanted = torch.autograd.grad(loss, q)[0]
    close(gradients(t.guide, PathConsistency(span=2), every_sequence(toy_a(), PROMPTS))[0], wanted)


def trained(learner: ValueLearner, steps: int, posterior: Posterior, prompts: Prompts, follow: float) -> GuidedTable:
    guide = guide_of(posterior, prompts, follow)
    fit(posterior, guide, prompts, learner, Key(1), steps, stored=every_sequence(posterior, prompts))  # pyright: ignore
    return guide


def check_learns_from_draws(seed: int) -> None:
    """Soft values by FUDGE from 2,000 draws of the prior: a log-mean-exp of the rewards, and no mean of them."""
    posterior = toy_a()
    guide = guide_of(posterior, PROMPTS)
    draws = stored_draws(posterior, PROMPTS, Key(seed), 2000)
    fit(posterior, guide, PROMPTS, Fudge(1, 2000, 0.2), Key(1), 60, stored=draws)
    assert mean_kl(guide, posterior, PROMPTS) < 0.03


def check_twist_moves_no_target(seed: int, shape: str = "token") -> None:
    """Values at random, as critic and as proposal: E[Ẑ f] = Z E_p*[f] over 800 islands; |z| < 5.3, 1e-6 in all.

    f: one; which token comes first, but for one of them; how many tokens there are, but for one number of them.
    """
    guide, exact = somewhere(seed), enumerate_posterior(toy_a(), PROMPTS)
    posterior = Posterior(toy_a().prior, Twisted(toy_a().evidence, guide, shape))  # pyright: ignore
    wide = PROMPTS.take([0] * 800)
    draws = SMC(4, 1, proposal=guide).draw(Key(seed), posterior, wide, 1)
    ratio = torch.exp(draws.log_z - exact.log_z)

    def events(rows: Completions) -> Tensor:
        first = [rows.ids[:, 0] == token for token in range(2)]
        return torch.stack([torch.ones(len(rows)).bool(), *first, *(rows.lengths == n for n in range(1, 4))]).double()

    found = ratio * events(draws.completions)
    wanted = events(exact.completions) @ exact.log_p.exp()
    z = (found.mean(1) - wanted) / (found.std(1) / found.shape[1] ** 0.5)
    assert float(z.abs().max()) < 5.3, z


def check_twist_keeps_log_lik(seed: int) -> None:
    """What ended or was cut is worth the evidence's own nats, by whichever door they are asked for."""
    evidence, exact = Twisted(toy_a().evidence, somewhere(seed)), enumerate_posterior(toy_a(), PROMPTS)
    rows = exact.completions
    for nats in (
        evidence.log_lik(PROMPTS, rows), evidence.measure(PROMPTS, rows)[0], evidence.log_twist(PROMPTS, rows),
    ):  # fmt: skip
        close(nats, exact.log_lik)
