"""Other models as evidence: a policy realigned to another β, proxy tuning, products of experts."""

import math

from credence.core.errors import ConfigError
from credence.core.protocols import StepPrior, Target
from credence.evidence.experts import Expert, Experts
from credence.evidence.product import Product
from credence.posterior.posterior import Posterior
from credence.prior.agreement import same_completions
from credence.prior.loglinear import LogLinear


def realigned(prior: StepPrior, policy: StepPrior, beta: float, to: float) -> Posterior:
    """The posterior at another β, from a policy tuned at `beta`: π0 · (π/π0)^{β/β'} / Z, of whole sequences.

    If the policy is the posterior at β, π ∝ π0 e^{r/β}, this is the posterior at β' = `to`, and no reward is called. If
    it is not quite that, this is still what it says. Tested in tests/oracle/test_products.py.

    Args:
        prior: π0, from which the policy was tuned.
        policy: π.
        beta: reward units a nat at which it was tuned.
        to: β'; smaller than beta is stronger evidence, beyond what the policy has learnt.

    Raises:
        ConfigError: β or β' not finite and positive; a policy of other tokens, ends or horizon.
    """
    if not all(b > 0 and math.isfinite(b) for b in (beta, to)):
        raise ConfigError(f"beta={beta}, to={to}: reward units a nat, finite and above 0.")
    return product_of_experts(prior, Expert(policy, prior, beta / to))


def product_of_experts(base: StepPrior, *experts: Expert) -> Posterior:
    """π0 · Π_i (π_i⁺/π_i⁻)^{w_i} / Z, of whole sequences; one pair is proxy tuning.

    If a small model's π⁺ is the posterior of π⁻ under some reward, the product is the base's posterior under the same
    reward at β/w.

    Raises:
        ConfigError: no expert; an expert or anti-expert of other tokens, ends or horizon.
    """
    for e in experts:
        same_completions(base, e.expert, ("base", "expert"))
        same_completions(base, e.anti, ("base", "anti-expert"))
    return Posterior(base, Experts(base, experts))


def token_law(target: Target) -> LogLinear:
    """The product of a target's prior and its experts, normalised a token at a time: what can be drawn from directly.

    Raises:
        ConfigError: the target's evidence holds no Experts, or its prior cannot be stepped.
    """
    prior = target.prior
    if not isinstance(prior, StepPrior):
        raise ConfigError(f"{type(prior).__name__} cannot be stepped, so it has no law a token: use Importance there.")
    evidence = target.evidence
    factors = evidence.factors if isinstance(evidence, Product) else (evidence,)
    experts = [factor for factor in factors if isinstance(factor, Experts)]
    if not experts:
        raise ConfigError(
            f"the evidence ({type(evidence).__name__}) holds no experts to combine with the prior. State the target "
            "with realigned or product_of_experts; other evidence may multiply it, and a power belongs into weight."
        )
    return LogLinear(prior, tuple(power for e in experts for power in e.powers))


def besides(target: Target) -> Product:
    """The target's evidence without its experts; an empty product is worth 0 nats."""
    evidence = target.evidence
    factors = evidence.factors if isinstance(evidence, Product) else (evidence,)
    return Product(tuple(factor for factor in factors if not isinstance(factor, Experts)))
