"""What learners of recorded replies are held to on enumerable toys, shared by tests/oracle and tests/mutants."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.protocols import Batch, Loss
from credence.core.types import Prompts
from credence.evidence.comparisons import Comparisons, gather
from credence.evidence.ensemble import Ensemble
from credence.evidence.reward import Reward
from credence.learn.dpo import DPO
from credence.learn.ipo import IPO
from credence.learn.kto import KTO
from credence.learn.losses.preference import link
from credence.learn.recorded import stored_comparisons, stored_demonstrations, stored_labels
from credence.learn.sft import SFT
from credence.posterior.exact import as_completions, enumerate_posterior
from credence.prior.table import TablePrior, Tokens
from credence.prior.tabular import TabularPolicy, tabular_policy
from credence.prior.train import scored
from tests.learning import PROMPTS, gradient, log_law, somewhere
from tests.toys import BETA, toy_a, toy_prior, toy_reward

EXACT = enumerate_posterior(toy_a(), PROMPTS)
REWARD = torch.tensor(toy_reward([()] * 31, EXACT.sequences), dtype=torch.float64)


def every_pair(shares: Callable[[Tensor], Tensor]) -> Comparisons:
    """All 465 pairs of TOY-A's replies; the first one's share of the votes from r(x) − r(x')."""
    pairs = list(itertools.combinations(range(31), 2))
    first, second = (torch.tensor(list(side)) for side in zip(*pairs, strict=True))
    share = shares(REWARD[first] - REWARD[second])
    rows = EXACT.completions.rows(torch.stack([first, second], -1).flatten())
    rows = replace(rows, prompt=torch.arange(len(pairs)).repeat_interleave(2))
    return Comparisons(PROMPTS.take([0] * len(pairs)), rows, torch.stack([share, 1 - share], -1))


def believed(gap: Tensor) -> Tensor:
    """The Bradley–Terry chance of the first reply."""
    return torch.sigmoid(gap)


def settled(policy: TabularPolicy, batch: Batch, loss: Loss) -> TabularPolicy:
    """The policy at the loss's minimum, by L-BFGS; each distinct reply to the one prompt is scored once."""
    tokens = batch.completions.tokens()
    distinct = {tuple(row): i for i, row in reversed(list(enumerate(tokens)))}
    place = {said: k for k, said in enumerate(distinct)}
    rows = batch.completions.rows(torch.tensor(list(distinct.values())))
    where = torch.tensor([place[tuple(row)] for row in tokens])
    found = torch.optim.LBFGS(
        [policy.logits], max_iter=300, history_size=40, tolerance_grad=1e-11, tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        policy.logits.grad = None
        value, _ = loss(scored(batch, policy.log_probs(batch.prompts, rows)[where]))
        value.backward()
        return value.detach()

    found.step(closure)  # pyright: ignore[reportArgumentType]
    policy.trainer.forget()
    return policy


def law(policy: TabularPolicy, prompts: Prompts = PROMPTS) -> Tensor:
    """log π of TOY-A's 31 replies."""
    return log_law(policy, prompts, EXACT).detach()


def loss_of(policy: TabularPolicy, batch: Batch, loss: Loss) -> Tensor:
    """The loss as a function of the policy's logits, with graph."""
    return loss(scored(batch, policy.log_probs(batch.prompts, batch.completions)))[0]


def by_differences(policy: TabularPolicy, batch: Batch, loss: Loss, step: float = 1e-6) -> Tensor:
    """∇loss by central differences in every logit."""
    flat = policy.logits.detach().clone().flatten()
    out = torch.zeros_like(flat)
    for i in range(len(flat)):
        ends = []
        for sign in (1, -1):
            moved = flat.clone()
            moved[i] += sign * step
            policy.restore({"logits": moved.view_as(policy.logits)})
            ends.append(float(loss_of(policy, batch, loss).detach()))
        out[i] = (ends[0] - ends[1]) / (2 * step)
    policy.restore({"logits": flat.view_as(policy.logits)})
    return out


def by_backward(policy: TabularPolicy, batch: Batch, loss: Loss) -> Tensor:
    """∇loss as a training step would see it."""
    policy.trainer.forget()
    policy.forward_backward(batch, loss)
    assert policy.logits.grad is not None
    found = policy.logits.grad.flatten().clone()
    policy.trainer.forget()
    return found


def some_pairs(seed: int, count: int = 40) -> Comparisons:
    """Random comparisons of TOY-A with votes of all kinds: whole, shared, more than one."""
    rng = Key(seed).fold("pairs").generator()
    every = every_pair(believed)
    picked = every.take([int(i) for i in rng.permutation(len(every))[:count]])
    votes = torch.from_numpy(rng.uniform(0, 1.5, (count, 2)) * rng.integers(0, 2, (count, 2)) + [[1e-3, 0.0]])
    return Comparisons(picked.prompts, picked.replies, votes)


def some_labels(prior: TablePrior, seed: int) -> Batch:
    """Labelled replies of two prompts, read by one table."""
    rng = Key(seed).fold("labels").generator()
    prompts = prior.codec.prompts([(), (1,)] * 10)
    sequences = [EXACT.sequences[int(i)] for i in rng.integers(0, 31, 20)]
    rows = replace(as_completions(sequences, prior.ends), prompt=torch.arange(20))
    return stored_labels(prior, prompts, rows, [bool(x) for x in rng.integers(0, 2, 20)], 0.7)


def somewhere_on(prompts: Prompts, seed: int, size: float = 0.5) -> TabularPolicy:
    """A tabular policy over the trees of these prompts, moved at random from the prior."""
    policy = tabular_policy(toy_prior(), prompts)
    noise = torch.from_numpy(Key(seed).generator().normal(0, size, tuple(policy.logits.shape)))
    policy.restore({"logits": policy.state()["logits"] + noise})
    return policy


def check_dpo_gradient(seed: int) -> None:
    """∇loss = −Σ v β σ(−βΔh)(∇log π_w − ∇log π_l)/N, each judgement by itself, h at the prior's own nats."""
    policy, pairs = somewhere(seed), some_pairs(seed)
    batch = stored_comparisons(toy_prior(), pairs, 0.4)
    log_pi = policy.log_probs(batch.prompts, batch.completions).sum(-1).view(-1, 2)
    h = (log_pi - toy_prior().score(batch.prompts, batch.completions).sum(-1).view(-1, 2)).detach()
    wanted = torch.zeros(policy.logits.numel(), dtype=torch.float64)
    for side in (0, 1):
        c = -0.4 * pairs.votes[:, side] * torch.sigmoid(-0.4 * (h[:, side] - h[:, 1 - side])) / len(pairs)
        gap = log_pi[:, side] - log_pi[:, 1 - side]
        wanted += torch.autograd.grad((c * gap).sum(), policy.logits, retain_graph=True)[0].flatten()
    assert torch.allclose(by_backward(policy, batch, DPO().loss), wanted, atol=1e-10, rtol=0)


def check_ipo_gradient(seed: int) -> None:
    """∇loss = Σ v 2 (Δh − 1/2β)(∇log π_w − ∇log π_l)/N."""
    policy, pairs = somewhere(seed), some_pairs(seed)
    batch = stored_comparisons(toy_prior(), pairs, 0.4)
    log_pi = policy.log_probs(batch.prompts, batch.completions).sum(-1).view(-1, 2)
    h = (log_pi - toy_prior().score(batch.prompts, batch.completions).sum(-1).view(-1, 2)).detach()
    wanted = torch.zeros(policy.logits.numel(), dtype=torch.float64)
    for side in (0, 1):
        c = 2 * pairs.votes[:, side] * (h[:, side] - h[:, 1 - side] - 1.25) / len(pairs)
        gap = log_pi[:, side] - log_pi[:, 1 - side]
        wanted += torch.autograd.grad((c * gap).sum(), policy.logits, retain_graph=True)[0].flatten()
    assert torch.allclose(by_backward(policy, batch, IPO().loss), wanted, atol=1e-10, rtol=0)


def check_sft_gradient(seed: int) -> None:
    """∇loss = −mean of ∇log π over the replies of each prompt, then over prompts; unlike numbers of replies."""
    policy = somewhere(seed)
    prompts = PROMPTS.take([0, 0])
    picked = torch.tensor([3, 17, 30, 8])
    rows = replace(EXACT.completions.rows(picked), prompt=torch.tensor([0, 0, 0, 1]))
    batch = stored_demonstrations(toy_prior(), prompts, rows)
    log_pi = log_law(policy, PROMPTS, EXACT)[picked]
    wanted = gradient(policy, -(log_pi[:3].mean() + log_pi[3]) / 2)
    assert torch.allclose(by_backward(policy, batch, SFT(group=3).loss), wanted, atol=1e-10, rtol=0)


def check_kto_gradient(seed: int) -> None:
    """∇loss = −mean of λ_y s β σ'(βs(h − z0)) ∇log π over labelled rows, s = ±1; z0 has no gradient."""
    prior = toy_prior()
    batch = some_labels(prior, seed)
    policy = somewhere_on(batch.prompts, seed)
    log_pi = policy.log_probs(batch.prompts, batch.completions).sum(-1)
    h = (log_pi - prior.score(batch.prompts, batch.completions).sum(-1)).detach()
    own = torch.arange(len(h)) % 2 == 0
    z0 = max(0.0, float(h[~own].mean()))
    sign = batch.readings["liked"][own]
    rate = torch.sigmoid(0.7 * sign * (h[own] - z0))
    weight = torch.where(sign > 0, 1.0, 2.5)
    wanted = gradient(policy, -(weight * sign * 0.7 * rate * (1 - rate) * log_pi[own]).mean())
    assert torch.allclose(by_backward(policy, batch, KTO(disliked=2.5).loss), wanted, atol=1e-10, rtol=0)


def check_posterior(seed: int) -> None:
    """DPO's optimum on all pairs of TOY-A with Bradley–Terry votes is p*; the seed moves where it starts."""
    policy = settled(somewhere(seed), stored_comparisons(toy_prior(), every_pair(believed), BETA), DPO().loss)
    assert float(kl(law(policy), EXACT.log_p)) < 1e-6


def arms(n: int) -> tuple[TablePrior, Prompts, list[Tokens]]:
    """A bandit: replies of one token, the n-th of which is the end token."""
    prior = TablePrior(lambda said: [0.3 * k for k in range(n)], n, n - 1, 1)
    return prior, prior.codec.prompts([()]), [(k,) for k in range(n)]


def bandit(n: int, share: Sequence[float]) -> tuple[TablePrior, Comparisons]:
    """All pairs of n arms; share[k] of the votes for the first of pair k."""
    prior, prompts, sequences = arms(n)
    pairs = list(itertools.combinations(range(n), 2))
    rows = as_completions([sequences[i] for pair in pairs for i in pair], prior.ends)
    rows = replace(rows, prompt=torch.arange(len(pairs)).repeat_interleave(2))
    votes = torch.tensor([[p, 1 - p] for p in share], dtype=torch.float64)
    return prior, Comparisons(prompts.take([0] * len(pairs)), rows, votes)


def gaps(policy: TabularPolicy, prior: TablePrior) -> Tensor:
    """(n, n) h(i) − h(j) of a bandit's arms."""
    h = torch.log_softmax(policy.logits.detach()[0], 0) - torch.log_softmax(prior.logits(()), 0)
    return h[:, None] - h[None, :]


def check_ipo_gap(seed: int) -> None:
    """Two arms, one always preferred: the gap is 1/(2β): 5, 1 and 0.5 nats; at p = .8 it is .3/β."""
    del seed
    for beta, gap in ((0.1, 5.0), (0.5, 1.0), (1.0, 0.5)):
        for share, wanted in ((1.0, gap), (0.8, 0.6 * gap)):
            prior, pairs = bandit(2, [share])
            policy = tabular_policy(prior, prior.codec.prompts([()]))
            settled(policy, stored_comparisons(prior, pairs, beta), IPO().loss)
            assert math.isclose(float(gaps(policy, prior)[0, 1]), wanted, abs_tol=1e-3)


def divergence_optimum(divergence: str, alpha: float = 0.5) -> Tensor:
    """log of the law that maximises E[r] − β D_f(π‖π0) on TOY-A: f'(π/π0) = (r − ν)/β with ν from Σπ = 1."""
    level = REWARD / BETA

    def h_of(nu: float) -> Tensor:
        y = level - nu
        match divergence:
            case "reverse_kl":
                return y
            case "forward_kl":
                return -torch.log(-y)
            case "js":  # y = log 2t/(1 + t)
                return y - math.log(2) - torch.log1p(-torch.exp(y) / 2)
            case _:
                return -torch.log1p(-alpha * y) / alpha

    top = {"forward_kl": 0.0, "js": math.log(2), "alpha": 1 / alpha}.get(divergence, 50.0)
    low, high = float(level.max()) - top, float(level.max()) + 50.0
    for _ in range(200):
        nu = (low + high) / 2
        mass = float(torch.exp(EXACT.log_prior + h_of(nu)).sum())
        low, high = (nu, high) if not mass <= 1 else (low, nu)
    return EXACT.log_prior + h_of(high)


def check_divergence(divergence: str, seed: int, alpha: float = 0.5) -> None:
    """DPO under another divergence, on all pairs, reaches that divergence's own optimum."""
    learner = DPO(divergence=divergence, alpha=alpha)  # pyright: ignore[reportArgumentType]
    policy = tabular_policy(toy_prior(), PROMPTS)
    del seed
    settled(policy, stored_comparisons(toy_prior(), every_pair(believed), BETA), learner.loss)
    assert float(kl(law(policy), divergence_optimum(divergence, alpha))) < 1e-6


def check_links(seed: int) -> None:
    """The link is f' up to a constant: central differences of f(t) in t."""
    rng = np.random.default_rng(seed)
    t = torch.from_numpy(rng.uniform(0.2, 3.0, 12))
    f: dict[str, Callable[[Tensor], Tensor]] = {
        "reverse_kl": lambda t: t * torch.log(t),
        "forward_kl": lambda t: -torch.log(t),
        "js": lambda t: t * torch.log(t) - (1 + t) * torch.log((1 + t) / 2),
        "alpha": lambda t: (t**0.7 - 0.7 * t - 0.3) / (0.3 * -0.7),
    }
    for name, of in f.items():
        slope = (of(t + 1e-5) - of(t - 1e-5)) / 2e-5
        apart = link(torch.log(t), name, 0.3) - slope  # pyright: ignore[reportArgumentType]
        assert float(apart.std()) < 1e-8, name


def check_gathering(seed: int) -> None:
    """Lines of one judgement, copied, turned round and contradicted 3 to 1: one comparison with those shares."""
    rng = np.random.default_rng(seed)
    lines = [(0, 1)] * 3 + [(1, 0)] + [(2, 3)] * int(rng.integers(1, 9))
    order = rng.permutation(len(lines))
    said = [EXACT.sequences[lines[int(i)][side]] for i in order for side in (0, 1)]
    rows = replace(as_completions(said, toy_prior().ends), prompt=torch.arange(len(lines)).repeat_interleave(2))
    votes = torch.tensor([[1.0, 0.0]] * len(lines))
    kept, found = gather(PROMPTS.take([0] * len(lines)), rows, votes)
    assert found.kept == len(kept) == 2
    share: dict[Tokens, float] = {}
    for i in range(2):
        for side in (0, 1):
            share[tuple(kept.replies.tokens()[2 * i + side])] = float(kept.votes[i, side])
    assert [share[EXACT.sequences[k]] for k in range(4)] == [0.75, 0.25, 1.0, 0.0]


def check_ensemble(seed: int) -> None:
    """Members that agree count once, and where they do not the rule pays less than their mean."""
    rng = np.random.default_rng(seed)
    noise = torch.from_numpy(rng.normal(0, 0.3, 31))

    def shaken(prompts: list[Tokens], completions: list[Tokens]) -> list[float]:
        place = EXACT.index()
        return [float(REWARD[place[c]] + noise[place[c]]) for c in completions]

    one, other = Reward(toy_reward, 0.5), Reward(shaken, 0.5)
    alone = one.log_lik(PROMPTS, EXACT.completions)
    assert torch.allclose(Ensemble((one, one)).log_lik(PROMPTS, EXACT.completions), alone)
    both = Ensemble((one, other), k=0.7)
    mean = (alone + other.log_lik(PROMPTS, EXACT.completions)) / 2
    sd = (alone - other.log_lik(PROMPTS, EXACT.completions)).abs() / math.sqrt(2)
    assert torch.allclose(both.log_lik(PROMPTS, EXACT.completions), mean - 0.7 * sd)
