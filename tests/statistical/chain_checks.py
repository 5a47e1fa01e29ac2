"""What engines of chains are held to, as functions of a seed; the rules are those of checks.py (false alarm 1e-6).

Chains are CONSISTENT: after s steps from draws of the prior their law is π0 K^s, and the kernel K, which leaves p*
invariant to 1e-10 (tests/oracle/test_chain_kernels.py), is enumerated. So a few steps of many chains tell a wrong
engine by chi-square, and how far the law is from p* is known, not hoped. Reference laws are kept from the first call
on: the mutants' runner calls each check on the right version first.
"""

import math
from functools import cache

import torch

from credence.core.keys import Key
from credence.core.protocols import Sampler
from credence.core.types import Prompts
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.reshape import reshape
from credence.sample.annealed import Annealed
from credence.sample.block_mh import BlockMH
from credence.sample.independent_mh import IndependentMH
from credence.sample.suffix_mh import SuffixMH
from credence.sample.tempering import ParallelTempering
from credence.sample.thermodynamic import area, ladder
from credence.testing.statistics import copies, p_law, p_unbiased
from tests import chain_kernels as kernels
from tests.statistical.checks import _only, hold
from tests.toys import toy_a, toy_policy, toy_prompts, toy_two, two_prompts

HARD = Posterior(toy_a().prior, toy_a().evidence * kernels.HARD)
COLD = Posterior(reshape(toy_two().prior, 0.8), toy_two().evidence)
"""The second toy with a prior that is reshaped itself."""
HOT = reshape(toy_two().prior, 1.3)
STEPS, CHAINS = 6, 1500


@cache
def law_after(kind: str, name: str, prompt: int, steps: int) -> tuple[Exact, torch.Tensor]:
    """The language, and the logarithm of π0 K^steps over it."""
    posterior, prompts, proposal = {
        "toy a": (toy_a(), toy_prompts(), None),
        "hard": (HARD, toy_prompts(), None),
        "hot": (COLD, two_prompts().take([prompt]), HOT),
    }[name]
    exact = enumerate_posterior(posterior, prompts)
    kernel = {
        "suffix": kernels.suffix_kernel,
        "block": kernels.half_block_kernel,
        "independent": kernels.independent_kernel,
    }[kind](posterior, prompts, exact, proposal)
    return exact, torch.log(torch.exp(exact.log_prior) @ torch.linalg.matrix_power(kernel, steps))


def one_draw_of_each(engine: Sampler, posterior: Posterior, prompts: Prompts, seed: int, kind: str, name: str) -> None:
    """CHAINS chains on each prompt, one draw of each after STEPS steps."""
    draws = engine.draw(Key(seed), posterior, prompts, CHAINS)
    for b in range(len(prompts)):
        exact, law = law_after(kind, name, b, STEPS)
        hold(p_law(_only(draws, draws.of(b)), exact, law), f"{type(engine).__name__} on {name}, prompt {b}")


def check_suffix_mh(seed: int) -> None:
    """TOY-A, suffixes of the prior."""
    one_draw_of_each(SuffixMH(CHAINS, STEPS - 1, 1), toy_a(), toy_prompts(), seed, "suffix", "toy a")


def check_suffix_mh_proposal(seed: int) -> None:
    """Two prompts, a prior that is reshaped itself, suffixes of a hotter one."""
    one_draw_of_each(SuffixMH(CHAINS, STEPS - 1, 1, HOT), COLD, two_prompts(), seed, "suffix", "hot")


def check_suffix_mh_hard(seed: int) -> None:
    """A hard constraint: .228 of the chains start at the impossible; they find the possible, and stay."""
    one_draw_of_each(SuffixMH(CHAINS, STEPS - 1, 1), HARD, toy_prompts(), seed, "suffix", "hard")


def check_block_mh(seed: int) -> None:
    """Two prompts, blocks of one token in half of the steps, drawn from a hotter model."""
    one_draw_of_each(BlockMH(CHAINS, STEPS - 1, 1, 1, 0.5, HOT), COLD, two_prompts(), seed, "block", "hot")


def check_independent_mh(seed: int) -> None:
    """30 steps on TOY-A: 1e-5 from p* itself (.676^30); the share of moves taken is .4620114 (SCIENCE 5)."""
    exact = enumerate_posterior(toy_a(), toy_prompts())
    draws = IndependentMH(chains=CHAINS, burn_in=29, thin=1).draw(Key(seed), toy_a(), toy_prompts(), CHAINS)
    hold(p_law(draws, exact, exact.log_p), "independent MH")
    rate = 0.4620114
    z = (float(draws.info["acceptance"]) - rate) / math.sqrt(rate * (1 - rate) / CHAINS)
    hold(math.erfc(abs(z) / math.sqrt(2)), "the share of moves taken")


def check_independent_mh_proposal(seed: int) -> None:
    """Two prompts, a hotter model as proposal; Ẑ from all proposals is unbiased."""
    one_draw_of_each(IndependentMH(CHAINS, STEPS - 1, 1, HOT), COLD, two_prompts(), seed, "independent", "hot")
    exact = enumerate_posterior(toy_a(), toy_prompts())
    draws = IndependentMH(1, 3, 1, toy_policy()).draw(Key(seed), toy_a(), copies(toy_prompts(), 2000), 1)
    z_unbiased(draws.log_z, exact.log_z, "independent MH's Ẑ")


def check_tempering(seed: int) -> None:
    """500 ladders of 4 rungs, 20 steps: the top rung follows p*, and log Ẑ is that of the area under exact moments."""
    exact = enumerate_posterior(toy_a(), toy_prompts())
    draws = ParallelTempering(500, 18, 2, 4, 1.5).draw(Key(seed), toy_a(), toy_prompts(), 500)
    if not float(draws.info["swaps"]) > 0.3:
        raise RuntimeError(f"swaps {float(draws.info['swaps']):.2f}: this check would see nothing")
    hold(p_law(draws, exact, exact.log_p), "parallel tempering")
    laws = torch.stack([kernels.tempered(exact, lam) for lam in ladder(4, 1.5)])
    mean = laws @ exact.log_lik
    truth = area(ladder(4, 1.5), mean, laws @ exact.log_lik**2 - mean**2)
    z = float(draws.log_z - truth.value) / float(draws.log_z_se)
    hold(math.erfc(abs(z) / math.sqrt(2)), f"the area under 4 rungs, {float(draws.log_z):.3f}")


def check_annealed(seed: int) -> None:
    """Three positions on TOY-A under a hard constraint: Ẑ and weighted means are unbiased however badly moves mix."""
    exact = enumerate_posterior(HARD, toy_prompts())
    draws = Annealed(steps=3, power=1.5).draw(Key(seed), HARD, copies(toy_prompts(), 1500), 2)
    hold(p_unbiased(draws, [exact], 2), "annealed importance sampling")


def check_annealed_path(seed: int) -> None:
    """Three positions on TOY-A. Moves towards p* from the start make E[Ẑ] 1.24 Z (enumerated), |z| near 10 here."""
    exact = enumerate_posterior(toy_a(), toy_prompts())
    draws = Annealed(steps=3, power=1.5).draw(Key(seed), toy_a(), copies(toy_prompts(), 1000), 2)
    hold(p_unbiased(draws, [exact], 2), "annealed importance sampling along the path")


def z_unbiased(log_z: torch.Tensor, truth: float, what: str) -> None:
    """z-test of E[Ẑ] = Z over independent runs."""
    ratio = torch.exp(log_z - truth)
    z = float((ratio.mean() - 1) / ratio.std()) * math.sqrt(len(ratio))
    hold(math.erfc(abs(z) / math.sqrt(2)), f"{what}/Z, mean {float(ratio.mean()):.4f}")


CHECKS = (
    check_suffix_mh, check_suffix_mh_proposal, check_suffix_mh_hard, check_block_mh, check_independent_mh,
    check_independent_mh_proposal, check_tempering, check_annealed,
    check_annealed_path,
)  # fmt: skip
