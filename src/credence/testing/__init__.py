"""The laws of priors, evidence and engines, one call each, and enumerable targets to hold them to.

print(check_step_prior(mine, prompts))          # a table of laws kept and broken
check_sampler(engine).require()                 # raises ContractError where one is broken
"""

from credence.testing.evidence_laws import check_evidence, check_prefix_evidence
from credence.testing.languages import random_language, random_posterior, random_reward
from credence.testing.laws import Law, Laws, Verdict
from credence.testing.prior_laws import check_prior, check_step_prior
from credence.testing.sampler_laws import check_sampler
from credence.testing.toys import toy_a, toy_policy, toy_prior, toy_prompts, toy_reward, toy_two, two_prompts

__all__ = [
    "Law",
    "Laws",
    "Verdict",
    "check_evidence",
    "check_prefix_evidence",
    "check_prior",
    "check_sampler",
    "check_step_prior",
    "random_language",
    "random_posterior",
    "random_reward",
    "toy_a",
    "toy_policy",
    "toy_prior",
    "toy_prompts",
    "toy_reward",
    "toy_two",
    "two_prompts",
]
