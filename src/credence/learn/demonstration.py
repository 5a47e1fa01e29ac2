"""A target sentence as stored draws: alone it makes DPG supervised fine-tuning, mixed with the prior a finite target.

Target (1 − ε)δ + επ0, δ all mass on the sentence x*. DPG on these rows descends KL(target‖π):

    loss = −(1 − ε) log π(x*) − ε mean_j log π(x_j)       x_j ~ π0      (ε = 0: −log π(x*))

At ε = 0 use DPG(baseline=False): beside the lone row the baseline only shrinks the gradient by 1 − π(x*). Above 0 keep
the baseline: without it DPG spares weights below 1/n, and those of the prior's draws are about ε. Tested by
enumeration in tests/oracle/test_sentence.py.
"""

import math

import torch
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Batch, Prior
from credence.core.types import Completions, Prompts, concat, pad_to
from credence.evidence.sentence import mixture


def demonstration(
    prior: Prior, prompts: Prompts, sentence: Completions, epsilon: float = 0.0, draws: int = 0, key: Key | None = None
) -> Batch:
    """The sentence once and `draws` draws of the prior, as if drawn from q = (δ + draws·π0)/(1 + draws).

    Args:
        prior: π0.
        prompts: exactly one.
        sentence: x*, one row that ended.
        epsilon: the prior's share in the target; above 0 it is learnt from draws of the prior, at 0 there are none.
        draws: of the prior.
        key: of the draws.

    Returns:
        1 + draws rows with the target's own log Z = 0, so that one row is enough.

    Raises:
        ConfigError: more than one prompt or sentence; a sentence that does not end, or is impossible under the prior; ε
            without draws, or draws without ε or key.

    Cost: the draws, and one scoring pass over the sentence.
    """
    if len(prompts) != 1 or len(sentence) != 1:
        raise ConfigError(f"{len(prompts)} prompts and {len(sentence)} sentences: one sentence follows one prompt.")
    if not bool(sentence.ended):
        raise ConfigError(
            "the sentence does not end: then it is the beginning of many replies, no point mass. Give its tokens with "
            "the end token last."
        )
    if (epsilon > 0) != (draws > 0) or (draws > 0) != (key is not None):
        raise ConfigError(
            f"epsilon={epsilon}, draws={draws}: the prior's share is learnt from draws of it, so above 0 it needs at "
            "least one draw and a key; at 0 there is nothing to draw."
        )
    at = prior.score(prompts, sentence)
    evidence = mixture(tuple(sentence.tokens()[0]), float(at.sum()), epsilon)
    rows, log_prior = sentence, at
    if key is not None:
        drawn, log_q = prior.sample(key, prompts, draws)
        width = max(drawn.ids.shape[1], at.shape[1])
        rows, log_prior = concat([sentence, drawn], [0, 0]), torch.cat([pad_to(at, width), pad_to(log_q, width)])
    hit = evidence.readings(prompts, rows)["hit"] > 0
    log_q = _first_token(log_prior, hit, draws)
    zero = torch.zeros(1, dtype=torch.float64, device=log_prior.device)
    return Batch(prompts, rows, log_q, log_prior, evidence.log_lik(prompts, rows), log_z=zero)


def _first_token(log_prior: Tensor, hit: Tensor, draws: int) -> Tensor:
    """log q by token: log π0, with what the sequence's q differs by at its first token; the sums are what counts."""
    whole = log_prior.sum(-1)
    share = torch.full_like(whole, math.log(draws) if draws else -math.inf) + whole
    log_q = torch.where(hit, torch.logaddexp(share, torch.zeros_like(share)), share) - math.log(1 + draws)
    out = log_prior.clone()
    out[:, 0] += log_q - whole
    return out
