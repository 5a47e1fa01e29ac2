"""What a listener makes of a reply, against enumeration: the posterior of a joint law, its evidence p(u)."""

import math

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.types import Prompts
from credence.evidence.listener import Listener
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.table import TablePrior
from credence.sample.rejection import Rejection
from credence.testing import check_evidence
from tests.toys import EOS, toy_prior, toy_prompts


def after_all(tokens: tuple[int, ...]) -> list[float]:
    """A listener whose words depend on all that was said and on their order."""
    place = sum((i + 1) * (t + 1) for i, t in enumerate(tokens))
    return [math.sin(place + v) for v in range(3)]


EAR = TablePrior(after_all, 3, EOS, 3)
HEARD = (1, 0, EOS)


def listener(tau: float = 1.0) -> Listener:
    return Listener(EAR, lambda given, reply: (*given, *reply), lambda given: HEARD, tau)


def log_p_heard(reply: tuple[int, ...]) -> float:
    """log p(u | reply) by hand."""
    total, seen = 0.0, reply
    for token in HEARD:
        total += float(torch.log_softmax(torch.tensor(after_all(seen), dtype=torch.float64), 0)[token])
        seen = (*seen, token)
    return total


@pytest.mark.parametrize("tau", [1.0, 0.3])
def test_the_posterior_is_bayes_in_reverse(tau: float) -> None:
    """p*(x) = π0(x) p(u|x)^τ / Z, and at τ = 1 Z is the probability of hearing u at all."""
    exact = enumerate_posterior(Posterior(toy_prior(), listener(tau)), toy_prompts())
    lik = torch.tensor([tau * log_p_heard(s) for s in exact.sequences], dtype=torch.float64)
    joint = exact.log_prior + lik
    assert torch.allclose(exact.log_lik, lik, atol=1e-12, rtol=0)
    assert torch.allclose(exact.log_p, joint - torch.logsumexp(joint, 0), atol=1e-12, rtol=0)
    assert exact.log_z < 0


def test_it_keeps_the_laws_of_evidence_and_its_bound() -> None:
    check_evidence(listener(0.5), toy_prior(), toy_prior().codec.prompts([(), (0,), (1, 0)])).require()
    assert listener().max_log_lik == 0.0


def test_rejection_needs_no_bound_from_the_user() -> None:
    posterior = Posterior(toy_prior(), listener())
    draws = Rejection(most=4000).draw(Key(0), posterior, toy_prompts(), 20)
    assert len(draws.completions) == 20


def test_equal_replies_are_heard_once() -> None:
    asked: list[object] = []

    def note(given: tuple[int, ...], reply: tuple[int, ...]) -> tuple[int, ...]:
        asked.append(reply)
        return (*given, *reply)

    prompts: Prompts = toy_prior().codec.prompts([(), (0,)])
    completions, _ = toy_prior().sample(Key(0), prompts, 50)
    Listener(EAR, note, lambda given: HEARD).log_lik(prompts, completions)
    texts = list(zip(completions.prompt.tolist(), completions.texts(prompts.codec), strict=True))
    assert len(asked) == len(set(texts)) < 100


def test_what_cannot_be_heard_is_said() -> None:
    with pytest.raises(ConfigError, match="power above 0"):
        listener(0.0)
    silent = Listener(EAR, lambda given, reply: reply, lambda given: ())
    completions, _ = toy_prior().sample(Key(0), toy_prompts(), 2)
    with pytest.raises(ConfigError, match="no token"):
        silent.log_lik(toy_prompts(), completions)
