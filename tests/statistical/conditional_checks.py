"""What conditional SMC, twists given by hand, schemes and segments are held to: as checks.py, functions of a seed.

Each rejects a right engine with probability 1e-6 at most. A check that could not have seen a fault raises RuntimeError.
"""

import math

import torch

from credence.core.keys import Key
from credence.core.types import Completions, Prompts
from credence.diagnose.simulate import simulated
from credence.diagnose.two_sided import two_sided
from credence.evidence.product import Composable
from credence.evidence.reward import Reward
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.table import TablePrior
from credence.sample.conditional_smc import sweep
from credence.sample.particle_gibbs import ParticleGibbs
from credence.sample.rejection import Rejection
from credence.sample.resample import SCHEMES, Scheme
from credence.sample.rules import Rules
from credence.sample.segments import Segments
from credence.sample.smc import SMC
from credence.testing.statistics import copies, p_texts, p_unbiased
from tests.statistical import resample_checks
from tests.statistical.checks import hold
from tests.toys import EOS, HORIZON, prior_logits, toy_a, toy_policy, toy_prior, toy_prompts, toy_reward


class Odd:
    """A twist that has nothing to do with the reward: between -most and most nats, by the prefix alone."""

    def __init__(self, most: float = 1.2) -> None:
        self.most = most

    def log_twist(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        nats = [
            self.most * math.sin(3 + sum((k + 2) * (x + 1) for k, x in enumerate(row))) for row in completions.tokens()
        ]
        return torch.tensor(nats, dtype=torch.float64)


def strong() -> Posterior:
    """TOY-A at β = 0.25 with the reward of a prefix as twist."""
    return Posterior(toy_prior(), Reward(toy_reward, 0.25, on_prefix=True, bound=1.0))


def exact_rows(key: Key, exact: Exact, n: int) -> Completions:
    """n exact draws by the enumerated distribution function, row b of prompt b."""
    uniform = torch.from_numpy(key.uniform(torch.arange(n).numpy(), 0))
    index = torch.searchsorted(exact.log_p.exp().cumsum(0), uniform).clamp(max=len(exact.sequences) - 1)
    rows = exact.completions.rows(index)
    return Completions(rows.ids, rows.mask, rows.ended, torch.arange(n))


def p_mean(values: torch.Tensor, wanted: float) -> float:
    """p-value of E[values] = wanted."""
    z = float((values.mean() - wanted) / values.std()) * math.sqrt(len(values))
    return math.erfc(abs(z) / math.sqrt(2))


def invariance(seed: int, rules: Rules, chains: int) -> None:
    """A sweep from exact draws gives exact draws, and E[Z/Ẑ] = 1.

    The twist misleads by up to 2.4 nats, so that what is resampled must be weighed back: what a wrong version does to
    the law then shows. On a twist that helps, three wrong versions of four passed this check.
    """
    posterior = toy_a()
    exact = enumerate_posterior(posterior, toy_prompts())
    key = Key(seed).fold("invariance", rules.scheme)
    found = sweep(key, posterior, copies(toy_prompts(), chains), exact_rows(key.fold("exact"), exact, chains), rules)
    moved = float(found.moved.double().mean())
    if moved < 0.2:
        raise RuntimeError(f"{moved:.2f} of the chains moved: this check would see nothing")
    texts = [tuple(row) for row in found.completions.tokens()]
    hold(p_texts(texts, exact, exact.log_p), f"law after a sweep, {rules.scheme}")
    hold(p_mean(torch.exp(exact.log_z - found.log_z), 1.0), f"E[Z/Ẑ], {rules.scheme}")


def check_invariance(seed: int) -> None:
    """Systematic resampling, the default, of three particles at nearly every step."""
    invariance(seed, Rules(3, 1.0, twist=Odd(2.4)), 2000)


def check_invariance_schemes(seed: int) -> None:
    """The other schemes; with a proposal and a twist of their own."""
    for scheme in SCHEMES:
        if scheme != "systematic":
            invariance(seed, Rules(3, 1.0, toy_policy(), scheme, Odd(2.4)), 1500)


def check_invariance_segments(seed: int) -> None:
    """Segments of unlike length."""
    invariance(seed, Rules(3, 1.0, twist=Odd(2.4), segments=Segments(frozenset({0}), 2)), 1500)


def check_gibbs(seed: int) -> None:
    """From plain SMC's draws, four sweeps later: independent chains, one draw each."""
    exact = enumerate_posterior(strong(), toy_prompts())
    draws = ParticleGibbs(particles=4, chains=1, burn=4).draw(Key(seed), strong(), copies(toy_prompts(), 1000), 1)
    hold(p_texts(draws.texts(), exact, exact.log_p), "particle Gibbs")


def unbiased(seed: int, posterior: Posterior, engine: SMC, least: float) -> None:
    """E[Ẑ Σ w̄ f] = Z E_p*[f] on 1000 runs."""
    exact = enumerate_posterior(posterior, toy_prompts())
    draws = engine.draw(Key(seed), posterior, copies(toy_prompts(), 1000), 4)
    fired = float(draws.info["resamplings"].mean())
    if fired < least:
        raise RuntimeError(f"resampling fired {fired:.2f} times a run: this check would see nothing")
    hold(p_unbiased(draws, [exact], 2), f"SMC, {engine.scheme}, {engine.segments}")


def smc_scheme(seed: int, scheme: Scheme) -> None:
    """SMC by this scheme."""
    unbiased(seed, strong(), SMC(6, 1, 0.9, scheme=scheme), 1.2)


CHECK_SMC = {scheme: resample_checks.named(smc_scheme, scheme) for scheme in SCHEMES if scheme != "systematic"}


def check_given_twist(seed: int) -> None:
    """A twist of its own beside evidence that says nothing of prefixes: the end weight stays log_lik."""
    unbiased(seed, toy_a(), SMC(6, 1, 0.9, twist=Odd()), 1)


def check_segments(seed: int) -> None:
    """Segments, a proposal far from the prior, and a twist that is held within them."""
    wordy = TablePrior(lambda said: [x + 2.2 * (k == 1) for k, x in enumerate(prior_logits(said))], 3, EOS, HORIZON)
    unbiased(seed, toy_a(), SMC(6, 1, 0.95, wordy, twist=Odd(), segments=Segments(frozenset({0}), 3)), 0.5)


def check_segments_rule(seed: int) -> None:
    """Where a segment is half of TOY-A's four tokens, an island has one look, and resamples once at most."""
    draws = SMC(8, 1, 1.0, twist=Odd(), segments=Segments(most=2)).draw(
        Key(seed), toy_a(), copies(toy_prompts(), 50), 1
    )
    every = SMC(8, 1, 1.0, twist=Odd()).draw(Key(seed), toy_a(), copies(toy_prompts(), 50), 1)
    if float(every.info["resamplings"].max()) < 2:
        raise RuntimeError("resampling after every token fired once at most: this check would see nothing")
    assert float(draws.info["resamplings"].max()) == 1


def check_two_sided(seed: int) -> None:
    """The bounds of two particles hold log Z between them on average; they lie far enough apart for both to be seen."""
    posterior = toy_a()
    exact = enumerate_posterior(posterior, toy_prompts())
    draws = Rejection(most=100_000).draw(Key(seed), posterior, toy_prompts(), 400)
    (found,) = two_sided(Key(seed).fold("two"), posterior, toy_prompts(), draws, SMC(2, 400, 0.9))
    assert found.high is not None
    assert found.high_se is not None
    assert found.low - 5 * found.low_se < exact.log_z < found.high + 5 * found.high_se  # 3e-7 each
    assert 0 < found.low_se < 0.1
    assert 0 < found.high_se < 0.1


class Heard(Composable):
    """log p(seen | reply): the number of its tokens was heard right with probability 0.7, else one more."""

    def log_lik(self, prompts: Prompts, completions: Completions) -> torch.Tensor:
        seen = torch.tensor([float(prompts.columns["seen"][b]) for b in completions.prompt.tolist()])
        gap = seen.double() - completions.lengths.double()
        return torch.where(gap == 0, math.log(0.7), torch.where(gap == 1, math.log(0.3), -math.inf)).double()

    def readings(self, prompts: Prompts, completions: Completions) -> dict[str, torch.Tensor]:
        return {}


def check_simulated(seed: int) -> None:
    """Replies that the simulation made, grouped by what was heard of them, follow each observation's posterior."""

    def hear(key: Key, prompts: Prompts, completions: Completions) -> list[int]:
        late = torch.from_numpy(key.uniform(torch.arange(len(completions)).numpy(), 0)) > 0.7
        return (completions.lengths + late.long()).tolist()

    given, draws = simulated(Key(seed), toy_prior(), copies(toy_prompts(), 6000), hear, "seen")
    texts, looked = draws.texts(), 0
    for seen in (2, 3, 4):
        mine = [text for text, heard in zip(texts, given.columns["seen"], strict=True) if heard == seen]
        if len(mine) < 500:
            continue
        looked += 1
        one = toy_prior().codec.prompts([()], {"seen": [seen]})
        exact = enumerate_posterior(Posterior(toy_prior(), Heard()), one)
        hold(p_texts(mine, exact, exact.log_p), f"simulated draws, {seen} heard")
    if looked < 2:
        raise RuntimeError("too few observations were common enough: this check would see nothing")


CHECKS = (
    *resample_checks.KEEPING.values(), *CHECK_SMC.values(), check_invariance, check_invariance_schemes,
    check_invariance_segments, check_gibbs, check_given_twist, check_segments, check_two_sided, check_simulated,
)  # fmt: skip
