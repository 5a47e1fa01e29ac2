"""What of the posterior a proposal cannot make, exactly, where every reply can be listed."""

import torch

from credence.core.protocols import Prior
from credence.core.types import Prompts
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior


def unreached(posterior: Posterior, proposal: Prior, prompts: Prompts) -> float:
    """p*(q = 0): the posterior's share of one prompt's completions to which the proposal gives no probability.

    Importance sampling from q then estimates Z·(1 − this) however many draws it has, and never shows the rest.
    0 is a proof where the prior can be enumerated; elsewhere sample.importance.reach tests it on draws of the prior.

    Args:
        posterior: on a prior that can be enumerated.
        proposal: a law on the same completions.
        prompts: exactly one.

    Raises:
        ConfigError: the prior cannot be stepped or is too large.
        DegeneracyError: no completion is possible under the evidence.

    Test: E[Ẑ] = Z·(1 − unreached) in tests/oracle/test_proposals.py.
    """
    exact = enumerate_posterior(posterior, prompts)
    log_q = proposal.score(prompts, exact.completions).sum(-1)
    return float(torch.exp(exact.log_p)[torch.isneginf(log_q)].sum())
