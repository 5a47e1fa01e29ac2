"""Checks of the engines that decode several laws or tokens at once, in the manner of checks.py: a seed in."""

import math
from collections import Counter

import torch
from scipy.stats import chi2

from credence.core.keys import Key
from credence.core.protocols import StepPrior
from credence.evidence.experts import Expert
from credence.evidence.reward import Reward
from credence.posterior.exact import Exact, enumerate_posterior
from credence.posterior.experts import product_of_experts, realigned, token_law
from credence.posterior.posterior import Posterior
from credence.prior.reshape import reshape
from credence.prior.table import TablePrior
from credence.sample.sequence_product import SequenceProduct
from credence.sample.speculative import Speculative, speculate
from credence.sample.stochastic_beam import StochasticBeam
from credence.sample.token_product import TokenProduct
from credence.testing.statistics import copies, p_law, p_unbiased
from tests.statistical.checks import hold
from tests.toys import toy_a, toy_policy, toy_prior, toy_prompts, toy_reward, toy_two, two_prompts


def exact_law(prior: StepPrior) -> Exact:
    """A prior's own law, enumerated: evidence worth nothing."""
    nothing = Reward(lambda prompts, replies: [0.0] * len(replies), 1.0)
    return enumerate_posterior(Posterior(prior, nothing), toy_prompts())


def iid() -> tuple[TablePrior, TablePrior]:
    """SCIENCE 7's pair, every token alike: p = (.5, .3, .2), q = (.2, .5, .3), and an end that never comes."""
    laws = ([0.5, 0.3, 0.2, 0.0], [0.2, 0.5, 0.3, 0.0])
    first, second = ([math.log(x) if x else -math.inf for x in law] for law in laws)
    return TablePrior(lambda _: first, 4, 3, 12), TablePrior(lambda _: second, 4, 3, 12)


def check_speculative(seed: int) -> None:
    """Draws of TOY-A's prior, drafted by the test policy (KL 0.33 nats): three tokens ahead, horizon 4."""
    exact = enumerate_posterior(toy_a(), toy_prompts())
    draws = Speculative(toy_policy(), 3).draw(Key(seed), toy_a(), toy_prompts(), 3000)
    if not 0.6 < float(draws.info["acceptance"]) < 0.9:
        raise RuntimeError("hardly a draft was refused, or none accepted: this check would see nothing")
    hold(p_law(draws, exact, exact.log_prior), "speculative draws of TOY-A's prior")


def check_speculative_cut(seed: int) -> None:
    """A target that cannot say all that its draft proposes: cold, cut to two tokens."""
    target = reshape(toy_prior(), 0.7, top_k=2)
    exact = exact_law(target)
    posterior = Posterior(target, toy_a().evidence)
    draws = Speculative(toy_policy(), 2).draw(Key(seed), posterior, toy_prompts(), 3000)
    hold(p_law(draws, exact, exact.log_prior), "speculative draws of a cut target")


def check_speculative_product(seed: int) -> None:
    """The target is a product law a token, drafted by the prior, and weighted to the posterior at β' = β/2."""
    posterior = realigned(toy_prior(), toy_policy(), 0.5, 0.25)
    exact = enumerate_posterior(posterior, toy_prompts())
    engine = Speculative(toy_prior(), 2, token_law(posterior))
    draws = engine.draw(Key(seed), posterior, copies(toy_prompts(), 1200), 3)
    hold(p_unbiased(draws, [exact], 2), "speculative draws of a product, weighted")


def check_acceptance(seed: int) -> None:
    """A share 1 − TV = .7 of drafts is kept, one by one (SCIENCE 7)."""
    target, draft = iid()
    found = speculate(target, draft, Key(seed), toy_prompts(), 200, 3)
    kept, judged = int(found.accepted.sum()), int((found.accepted + found.rejected).sum())
    z = (kept / judged - 0.7) / math.sqrt(0.7 * 0.3 / judged)
    hold(math.erfc(abs(z) / math.sqrt(2)), f"acceptance {kept / judged:.4f} of {judged}")


def check_token_product(seed: int) -> None:
    """Draws follow the law a token, which is not the sequence's."""
    posterior = product_of_experts(toy_prior(), Expert(toy_policy(), toy_prior(), 2.0))
    exact = enumerate_posterior(posterior, toy_prompts())
    law = token_law(posterior).score(toy_prompts(), exact.completions).sum(-1)
    draws = TokenProduct().draw(Key(seed), posterior, toy_prompts(), 3000)
    hold(p_law(draws, exact, law), "the product a token")


def proxy() -> Posterior:
    """Three unlike models and a reward besides: the masses C differ enough from prefix to prefix to resample."""

    def other_logits(tokens: tuple[int, ...]) -> list[float]:
        return [2 * math.cos(1.3 * len(tokens) + 2.2 * k * (1 + sum(tokens))) for k in range(3)]

    plain = product_of_experts(toy_prior(), Expert(TablePrior(other_logits, 3, 2, 4), toy_policy()))
    return Posterior(plain.prior, plain.evidence * Reward(toy_reward, 0.8))


def check_sequence_product(seed: int) -> None:
    """SMC on a product of experts and a reward, resampling about once a run."""
    posterior = proxy()
    exact = enumerate_posterior(posterior, toy_prompts())
    draws = SequenceProduct(6, 1, 0.95).draw(Key(seed), posterior, copies(toy_prompts(), 1000), 4)
    fired = float(draws.info["resamplings"].mean())
    if fired < 0.9:
        raise RuntimeError(f"resampling fired {fired:.2f} times a run: this check would see nothing")
    hold(p_unbiased(draws, [exact], 2), "SMC on a product of experts")
    rows = draws.completions.rows(torch.arange(300))
    scored = token_law(posterior).score(draws.prompts, rows)
    assert torch.allclose(scored, draws.log_q[:300], atol=1e-9), "log q is not that of the text that it stands beside"


def check_sequence_product_weights(seed: int) -> None:
    """Never resampled, two prompts, two islands: importance sampling from the law a token."""
    prior = toy_two().prior
    posterior = product_of_experts(prior, Expert(reshape(prior, 0.6), prior, 1.5))
    exacts = [enumerate_posterior(posterior, two_prompts().take([b])) for b in range(2)]
    draws = SequenceProduct(3, 2, 0.0).draw(Key(seed), posterior, copies(two_prompts(), 700), 3)
    hold(p_unbiased(draws, exacts, 3), "a product of experts by weights")


def check_beam_order(seed: int) -> None:
    """Ordered pairs without replacement: p_i p_j/(1 − p_i). Chi-square, cells expected under 20 times as one."""
    exact = enumerate_posterior(toy_a(), toy_prompts())
    runs, p, place = 4000, torch.exp(exact.log_prior), exact.index()
    texts = StochasticBeam().draw(Key(seed), toy_a(), copies(toy_prompts(), runs), 2).texts()
    seen = Counter((place[texts[2 * i]], place[texts[2 * i + 1]]) for i in range(runs))
    wanted = runs * p[:, None] * p[None, :] / (1 - p[:, None])
    observed = torch.tensor([[seen[i, j] for j in range(len(p))] for i in range(len(p))]).double()
    assert int(observed.diagonal().sum()) == 0, "a completion was drawn twice"
    wanted.fill_diagonal_(0.0)
    large = wanted >= 20
    cells = torch.cat([observed[large], observed[~large].sum()[None]])
    expected = torch.cat([wanted[large], wanted[~large].sum()[None]])
    statistic = float(((cells - expected) ** 2 / expected).sum())
    hold(float(chi2.sf(statistic, len(cells) - 1)), f"order without replacement, {len(cells)} cells")


def check_beam_estimate(seed: int) -> None:
    """E[Σ w f] = Z E_p*[f], of five draws without replacement."""
    exact = enumerate_posterior(toy_a(), toy_prompts())
    draws = StochasticBeam().draw(Key(seed), toy_a(), copies(toy_prompts(), 1500), 5)
    hold(p_unbiased(draws, [exact], 2), "stochastic beam's weights")


def check_beam_error(seed: int) -> None:
    """The mean of Ẑ²·se² is the variance of Ẑ: a z-test on their difference, (Ẑ − Z)² − Ẑ² se²."""
    exact = enumerate_posterior(toy_a(), toy_prompts())
    draws = StochasticBeam().draw(Key(seed), toy_a(), copies(toy_prompts(), 1500), 5)
    ratio = torch.exp(draws.log_z - exact.log_z)
    gap = (ratio - 1) ** 2 - (ratio * draws.log_z_se) ** 2
    z = float(gap.mean() / gap.std()) * math.sqrt(len(gap))
    hold(math.erfc(abs(z) / math.sqrt(2)), "stochastic beam's standard error")


CHECKS = (
    check_speculative, check_speculative_cut, check_speculative_product, check_acceptance, check_token_product,
    check_sequence_product, check_sequence_product_weights, check_beam_order, check_beam_estimate, check_beam_error,
)  # fmt: skip
