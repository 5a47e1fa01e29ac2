"""A policy trained at one β serves another: its draws, weighted, follow the posterior at the other one."""

import pytest
import torch
from scipy.stats import chi2

from credence.core.keys import Key
from credence.dialogue.engines import Drawing
from credence.evidence.reward import Reward
from credence.evidence.strength import at_beta
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from tests.toys import toy_policy, toy_prior, toy_prompts, toy_reward

TOTAL, OF = 1000, 128


@pytest.mark.slow  # a minute of Python
def test_another_beta_is_served_by_weighing_the_policys_draws() -> None:
    # TOY-A, trained at β = 0.5 and asked for 0.25: [1000] replies of 128 candidates each, chi-square over the exact
    # posterior's cells (those below 5 pooled), false-alarm rate 1e-6, keys fixed. (Self-normalised weights are biased
    # as 1/128, a few per cent of a cell: far below what 1000 replies resolve.)
    # Power: rejects the policy unweighted, the policy taken for the prior, and the evidence's own β, below.
    prior, policy, prompts = toy_prior(), toy_policy(), toy_prompts()
    evidence = at_beta(Reward(toy_reward, 0.5), 0.25)
    drawing = Drawing("reweighted", prior, evidence, policy, of=OF)
    seen: dict[tuple[int, ...], int] = {}
    for i in range(TOTAL):
        answer = drawing.draw(Key(i), prompts, lambda: None)
        assert 0 < answer.info["weight"] <= 1
        assert 1 <= answer.info["ess"] <= OF
        seen[answer.ids] = seen.get(answer.ids, 0) + 1
    exact = enumerate_posterior(Posterior(prior, evidence), prompts)
    under_policy = enumerate_posterior(Posterior(policy, evidence), prompts)
    counts = torch.tensor([float(seen.get(tuple(s), 0)) for s in exact.sequences], dtype=torch.float64)
    assert counts.sum() == TOTAL

    def beyond(log_law: torch.Tensor) -> float:
        """The statistic over its limit: above 1 is rejected."""
        expected = TOTAL * torch.softmax(log_law, -1)
        large = expected >= 5
        pooled = [torch.cat([x[large], x[~large].sum()[None]]) for x in (counts, expected)]
        statistic = ((pooled[0] - pooled[1]) ** 2 / pooled[1]).sum()
        return float(statistic) / float(chi2.isf(1e-6, int(large.sum())))

    assert beyond(exact.log_p) < 1
    wrong = {
        "unweighted": under_policy.log_prior,
        "the policy taken for the prior": under_policy.log_p,
        "the evidence's own β": exact.log_prior + exact.log_lik / 2,
    }
    assert all(beyond(law) > 1 for law in wrong.values()), {name: beyond(law) for name, law in wrong.items()}
