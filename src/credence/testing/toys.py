"""TOY-A, 31 sequences without a random number in them, and a second toy where everything depends on the prompt.

Every quantity of TOY-A is known to ten digits: log Z = 0.8520967561, KL(p*‖π0) = 0.5392896809 and
E_p*[r] = 0.6956932185 at β = 0.5 (tests/oracle/test_toy_a.py). Nothing in either toy is symmetric, so that a
sign error shows.
"""

import math
from collections.abc import Sequence

from credence.core.types import Prompts
from credence.evidence.ended import Ended
from credence.evidence.reward import Reward
from credence.posterior.posterior import Posterior
from credence.prior.table import TablePrior, Tokens

A, B, EOS = 0, 1, 2
HORIZON = 4
BETA = 0.5


def code(tokens: Tokens) -> int:
    """A number that tells all sequences apart."""
    return sum((token + 1) * 3**i for i, token in enumerate(tokens))


def prior_logits(tokens: Tokens) -> list[float]:
    """ℓ0(s, k) = sin(1 + 2 code(s) + 3k)."""
    return [math.sin(1 + 2 * code(tokens) + 3 * k) for k in range(3)]


def policy_logits(tokens: Tokens) -> list[float]:
    """ℓ1 = ℓ0 + 0.8 cos(2 + code(s) + 1.7k): a policy 0.1958249745 nats from the prior."""
    return [x + 0.8 * math.cos(2 + code(tokens) + 1.7 * k) for k, x in enumerate(prior_logits(tokens))]


def toy_reward(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[float]:
    """r(x) = sin(1 + 0.7 code(x)), at most 1."""
    return [math.sin(1 + 0.7 * code(tokens)) for tokens in completions]


def toy_prior() -> TablePrior:
    """TOY-A's prior: tokens a = 0 and b = 1, end token 2, at most four tokens."""
    return TablePrior(prior_logits, 3, EOS, HORIZON)


def toy_policy() -> TablePrior:
    """TOY-A's test policy."""
    return TablePrior(policy_logits, 3, EOS, HORIZON)


def toy_prompts() -> Prompts:
    """One empty prompt."""
    return toy_prior().codec.prompts([()])


def toy_a(beta: float = BETA) -> Posterior:
    """TOY-A's posterior."""
    return Posterior(toy_prior(), Reward(toy_reward, beta, bound=1.0))


TWO_END, TWO_HORIZON = 3, 3


def two_logits(tokens: Tokens) -> list[float]:
    """Logits of the second toy: four tokens, of which 3 ends."""
    place = sum((token + 1) * 4**i for i, token in enumerate(tokens))
    return [1.3 * math.cos(0.3 + 1.3 * place + 2.1 * k) for k in range(4)]


def two_reward(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> list[float]:
    """A reward that reads prompt and reply, below 0.8."""
    return [
        math.sin(0.5 + 0.9 * code((*prompt, *reply))) - 0.2 * len(reply)
        for prompt, reply in zip(prompts, completions, strict=True)
    ]


def toy_two(on_prefix: bool = False) -> Posterior:
    """The second toy: a reward of prompt and reply beside `Ended`, two pieces of evidence."""
    prior = TablePrior(two_logits, 4, TWO_END, TWO_HORIZON)
    return Posterior(prior, Reward(two_reward, 0.4, on_prefix=on_prefix, bound=0.8) * Ended(-0.7))


def two_prompts() -> Prompts:
    """Two prompts of unlike length, one of which holds the end token."""
    return toy_two().prior.codec.prompts([(0,), (2, 3, 1)])
