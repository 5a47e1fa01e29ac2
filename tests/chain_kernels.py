"""Transition kernels of chains, enumerated: every text, every way to move, with the engine's own acceptance.

A kernel is an (N, N) matrix over the leaves of an enumerable language. What leaves p* invariant says so to 1e-10, with
no sampling; `check_*` are what the oracle tests and the mutants (tests/mutants/test_chain_mutants.py) both run.
"""

from collections.abc import Callable

import torch

from credence.core.protocols import Prior
from credence.core.types import Completions, Prompts
from credence.evidence.constraint import Constraint
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.reshape import reshape
from credence.sample import block_mh, independent_mh, suffix_mh, tempering, texts
from credence.sample.texts import Texts
from tests.toys import toy_a, toy_policy, toy_prompts, toy_two, two_prompts

GRID = 60
"""Uniforms on a grid of midpoints, which every length up to 6 divides: choices by ⌊u·k⌋ get their exact shares."""


def leaves(posterior: Posterior, proposal: Prior, prompts: Prompts, exact: Exact) -> Texts:
    """Every text of the language with its nats under prior and proposal."""
    given = exact.completions
    wide = posterior.prior.horizon - given.ids.shape[1]
    completions = Completions(
        torch.nn.functional.pad(given.ids, (0, wide)),
        torch.nn.functional.pad(given.mask, (0, wide)),
        given.ended,
        given.prompt,
    )
    return texts.weighed(posterior, proposal, prompts, completions, proposal.score(prompts, completions))


def shares(choice: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], lengths: torch.Tensor) -> torch.Tensor:
    """(N, T) probability that `choice(uniform, lengths)` gives each position, for each text."""
    grid = (torch.arange(GRID, dtype=torch.float64) + 0.5) / GRID
    out = torch.zeros(len(lengths), int(lengths.max()) + 1, dtype=torch.float64)
    for u in grid:
        out[torch.arange(len(lengths)), choice(u.expand(len(lengths)), lengths)] += 1 / GRID
    return out


def closed(moves: torch.Tensor) -> torch.Tensor:
    """The kernel from the chances to move: what does not move stays."""
    return moves + torch.diag(1 - moves.sum(1))


def suffix_kernel(
    posterior: Posterior, prompts: Prompts, exact: Exact, proposal: Prior | None = None, lam: float = 1.0
) -> torch.Tensor:
    """K(x, x') = Σ_i P(cut i | x) q(x'_i: | x_:i) α, over the cuts at which both texts agree so far."""
    proposal = proposal or posterior.prior
    all_ = leaves(posterior, proposal, prompts, exact)
    cut = shares(suffix_mh.cuts, all_.completions.lengths)
    moves = torch.zeros(len(exact.sequences), len(exact.sequences), dtype=torch.float64)
    for i in range(posterior.prior.horizon):
        pairs = [
            (a, b)
            for a, x in enumerate(exact.sequences)
            for b, y in enumerate(exact.sequences)
            if cut[a, i] > 0 and len(y) > i and x[:i] == y[:i]
        ]
        if not pairs:
            break
        old, new = (torch.tensor(side) for side in zip(*pairs, strict=True))
        alpha = torch.exp(suffix_mh.suffix_log_alpha(all_.rows(old), all_.rows(new), torch.full_like(old, i), lam))
        drawn = torch.exp(all_.log_q[new, i:].sum(-1))
        moves.index_put_((old, new), cut[old, i] * drawn * alpha, accumulate=True)
    return closed(moves)


def independent_kernel(
    posterior: Posterior, prompts: Prompts, exact: Exact, proposal: Prior | None = None
) -> torch.Tensor:
    """K(x, x') = q(x') α, with the engine's weights."""
    proposal = proposal or posterior.prior
    all_ = leaves(posterior, proposal, prompts, exact)
    log_w = independent_mh.log_w_of(all_)
    alpha = torch.exp(texts.log_alpha(log_w[:, None].expand(-1, len(log_w)), log_w[None].expand(len(log_w), -1)))
    return closed(torch.exp(all_.log_q.sum(-1))[None] * alpha)


def block_kernel(
    posterior: Posterior, prompts: Prompts, exact: Exact, proposal: Prior | None = None, size: int = 1
) -> torch.Tensor:
    """K(x, x') = Σ_blocks P(block | x) q(block' | x_:i) α over texts of one length that agree outside the block."""
    proposal = proposal or posterior.prior
    all_ = leaves(posterior, proposal, prompts, exact)
    lengths = all_.completions.lengths
    place = shares(lambda u, n: block_mh.block_at(u, n, size)[0], lengths)
    moves = torch.zeros(len(exact.sequences), len(exact.sequences), dtype=torch.float64)
    for i in range(posterior.prior.horizon):
        width = {n: min(size, n - 1) for n in range(1, posterior.prior.horizon + 1)}
        pairs = [
            (a, b)
            for a, x in enumerate(exact.sequences)
            for b, y in enumerate(exact.sequences)
            if place[a, i] > 0
            and len(x) == len(y)
            and x[:i] == y[:i]
            and x[i + width[len(x)] :] == y[i + width[len(x)] :]
        ]
        if not pairs:
            continue
        old, new = (torch.tensor(side) for side in zip(*pairs, strict=True))
        first = torch.full_like(old, i)
        last = first + torch.tensor([width[int(n)] for n in lengths[old]])
        alpha = torch.exp(block_mh.block_log_alpha(all_.rows(old), all_.rows(new), first, last))
        at = torch.arange(all_.log_q.shape[1])[None]
        inside = (at >= i) & (at < last[:, None])
        drawn = torch.exp(torch.where(inside, all_.log_q[new], 0.0).sum(-1))
        moves.index_put_((old, new), place[old, i] * drawn * alpha, accumulate=True)
    return closed(moves)


def half_block_kernel(
    posterior: Posterior, prompts: Prompts, exact: Exact, proposal: Prior | None = None
) -> torch.Tensor:
    """A block of one token or a suffix, by the toss of a coin: BlockMH(size=1, suffix=0.5)."""
    parts = (suffix_kernel, block_kernel)
    return sum((0.5 * kernel(posterior, prompts, exact, proposal) for kernel in parts), torch.zeros(()))


def hold_invariant(kernel: torch.Tensor, log_p: torch.Tensor, what: str) -> None:
    """Rows sum to one, p_i K_ij = p_j K_ji, and p K = p, all to 1e-10."""
    p = torch.exp(log_p)
    assert bool((kernel > -1e-12).all()), f"{what}: a negative probability"
    assert torch.allclose(kernel.sum(1), torch.ones_like(p), atol=1e-10, rtol=0), f"{what}: not a law"
    flow = p[:, None] * kernel
    gap = float((flow - flow.T).abs().max())
    assert gap < 1e-10, f"{what}: detailed balance fails by {gap:.3g}"
    assert float((p @ kernel - p).abs().max()) < 1e-10, f"{what}: the posterior is not invariant"


def stationary(kernel: torch.Tensor) -> torch.Tensor:
    """The law that the kernel leaves invariant, by the null space of Kᵀ − 1 with the sum fixed."""
    n = len(kernel)
    system = torch.cat([kernel.T - torch.eye(n, dtype=torch.float64), torch.ones(1, n, dtype=torch.float64)])
    wanted = torch.zeros(n + 1, dtype=torch.float64)
    wanted[-1] = 1
    return torch.linalg.lstsq(system, wanted[:, None], driver="gelsd").solution[:, 0]


def second_eigenvalue(kernel: torch.Tensor) -> float:
    """The largest eigenvalue's modulus below 1: the rate at which a chain forgets its start."""
    return float(torch.linalg.eigvals(kernel).abs().sort(descending=True).values[1])


HARD = Constraint(lambda tokens: len(tokens) != 2, "not of two tokens")


def targets() -> list[tuple[Posterior, Prompts, Prior]]:
    """TOY-A, TOY-A under a hard constraint, the second toy's two prompts: posterior, prompt, other proposals."""
    plain, two = toy_a(), toy_two()
    hard = Posterior(plain.prior, plain.evidence * HARD)
    cold = Posterior(reshape(two.prior, 0.8), two.evidence)
    return [
        (plain, toy_prompts(), toy_policy()),
        (hard, toy_prompts(), toy_policy()),
        (cold, two_prompts().take([0]), two.prior),
        (cold, two_prompts().take([1]), two.prior),
    ]


def check_suffix_kernel(_: int = 0) -> None:
    """Suffixes of the prior and of another model leave the posterior, and a tempered one, invariant."""
    for posterior, prompts, other in targets():
        exact = enumerate_posterior(posterior, prompts)
        half = enumerate_posterior(posterior.tempered(0.4), prompts)
        hold_invariant(suffix_kernel(posterior, prompts, exact), exact.log_p, "suffix MH")
        hold_invariant(suffix_kernel(posterior, prompts, exact, other), exact.log_p, "suffix MH, proposal")
        hold_invariant(suffix_kernel(posterior, prompts, exact, None, 0.4), half.log_p, "suffix MH, tempered")


def check_block_kernel(_: int = 0) -> None:
    """Blocks of one and two tokens, of the prior and of another model, leave the posterior invariant."""
    for posterior, prompts, other in targets():
        exact = enumerate_posterior(posterior, prompts)
        for size in (1, 2):
            hold_invariant(block_kernel(posterior, prompts, exact, None, size), exact.log_p, "block MH")
            hold_invariant(block_kernel(posterior, prompts, exact, other, size), exact.log_p, "block MH, proposal")


def check_swaps(_: int = 0) -> None:
    """p_λ(x) p_μ(y) α(x, y) = p_λ(y) p_μ(x) α(y, x) for every pair of texts: a swap keeps the product law."""
    for posterior, prompts, _other in targets()[:2]:
        exact = enumerate_posterior(posterior, prompts)
        for lower, upper in ((0.0, 0.3), (0.3, 1.0)):
            low, high = (tempered(exact, lam) for lam in (lower, upper))
            size = (len(low), len(low))
            x, y = exact.log_lik[:, None].expand(size), exact.log_lik[None].expand(size)
            at = [torch.full(size, lam, dtype=torch.float64) for lam in (lower, upper)]
            alpha = torch.exp(tempering.swap_log_alpha(x, y, *at))
            flow = low[:, None] * high[None] * alpha
            gap = float((flow - flow.T).abs().max())
            assert gap < 1e-10, f"swaps between {lower} and {upper}: detailed balance fails by {gap:.3g}"


def tempered(exact: Exact, lam: float) -> torch.Tensor:
    """p_λ over the language; the impossible stays so at every λ."""
    scaled = torch.where(torch.isneginf(exact.log_lik), exact.log_lik, lam * exact.log_lik)
    return torch.softmax(exact.log_prior + scaled, 0)


def check_independent_kernel(_: int = 0) -> None:
    """Draws of the prior and of another model leave the posterior invariant."""
    for posterior, prompts, other in targets():
        exact = enumerate_posterior(posterior, prompts)
        hold_invariant(independent_kernel(posterior, prompts, exact), exact.log_p, "independent MH")
        hold_invariant(independent_kernel(posterior, prompts, exact, other), exact.log_p, "independent MH, proposal")


def without_length_ratio(old: Texts, new: Texts, first: torch.Tensor, lam: float | torch.Tensor = 1.0) -> torch.Tensor:
    """The wrong acceptance that forgets |x|/|x'|: as if every text offered as many places to cut."""
    end = torch.full_like(first, old.completions.ids.shape[1])
    return texts.log_alpha(texts.log_weight(old, first, end, lam), texts.log_weight(new, first, end, lam))
