"""The noisy channel: hypotheses that each speak in their own way, told apart token by token by what is said.

p(y | x_≤t) ∝ p(y) Π_{s≤t} p(x_s | x_<s, y). The belief is a martingale: E[p(y | x_≤t) | x_<t] = p(y | x_<t), under the
mixture that the belief itself predicts. Also a twist: ψ(x_≤t) = p(y | x_≤t) steers generation towards y.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.belief.belief import Belief
from credence.core.errors import ConfigError, ShapeError
from credence.core.logspace import normalise
from credence.core.protocols import Prior, StepPrior
from credence.core.types import Completions, Prompts


@dataclass(frozen=True, eq=False)
class Channel:
    """One speaker a hypothesis: a prior and the prompt it speaks under; the same prior with several prompts is usual.

    Attributes:
        hypotheses: K names, in the belief's order.
        priors: K laws over the same tokens.
        prompts: K prompts, one each.

    Raises:
        ConfigError: not one prior and one prompt a hypothesis.

    Cost: K scoring passes. Tests: tests/oracle/test_channel.py (equals enumeration, martingale to 1e-12, TOY-A's Bayes
    accuracy 0.745646 and log-loss 0.558004).
    """

    hypotheses: tuple[str, ...]
    priors: tuple[Prior, ...]
    prompts: tuple[Prompts, ...]

    def __post_init__(self) -> None:
        sizes = {len(self.hypotheses), len(self.priors), len(self.prompts)}
        if len(sizes) > 1 or any(len(prompt) != 1 for prompt in self.prompts):
            raise ConfigError(
                f"{len(self.hypotheses)} hypotheses, {len(self.priors)} priors, {len(self.prompts)} prompts: one each "
                "is needed, each of one prompt."
            )

    def log_lik(self, completions: Completions) -> Float[Tensor, "R T K"]:
        """log p(x_t | x_<t, y) in nats, 0 outside the mask. Not tempered: pass tau to `trace`."""
        alone = Completions(
            completions.ids, completions.mask, completions.ended, torch.zeros_like(completions.prompt), completions.turn
        )
        scores = [p.score(c, alone).double() for p, c in zip(self.priors, self.prompts, strict=True)]
        return torch.stack(scores, -1)

    def trace(self, belief: Belief, completions: Completions, tau: float = 1.0) -> Float[Tensor, "R T_plus_1 K"]:
        """The belief of each row before its first token and after each, in nats; it rests after a row's end."""
        if belief.hypotheses != self.hypotheses:
            raise ShapeError(f"the belief is about {belief.hypotheses}, the channel about {self.hypotheses}.")
        heard = torch.cumsum(tau * self.log_lik(completions), 1)
        joint = belief.log_p + torch.cat([torch.zeros_like(heard[:, :1]), heard], 1)
        return normalise(joint)


def predicted_next(channel: Channel, belief: Belief, prefix: Sequence[int]) -> tuple[Float[Tensor, " V"], Tensor]:
    """The next token's law under what is believed after a prefix, and the belief after each token it could be.

    Args:
        channel: of StepPriors.
        belief: before the prefix.
        prefix: tokens said so far.

    Returns:
        log p(x_t | x_<t) (V,) and log p(y | x_≤t) (V, K), in nats: the martingale says that the first averages the
        second to the belief after the prefix. A token that no hypothesis allows has a row of -inf.

    Raises:
        ConfigError: a prior that cannot be stepped.
    """
    steps: list[Tensor] = []
    for prior, prompt in zip(channel.priors, channel.prompts, strict=True):
        if not isinstance(prior, StepPrior):
            raise ConfigError(f"{type(prior).__name__} cannot be walked token by token: a StepPrior is needed.")
        state = prior.start(prompt, 1)
        so_far = torch.zeros((), dtype=torch.float64)
        for token in prefix:
            law = torch.log_softmax(prior.next_logits(state).double(), -1)[0]
            so_far = so_far + law[token]
            state = prior.extend(state, _one(token))
        steps.append(so_far + torch.log_softmax(prior.next_logits(state).double(), -1)[0])
    joint = belief.log_p + torch.stack(steps, -1)
    mass = torch.logsumexp(joint, -1)
    return normalise(mass), normalise(joint)


def _one(token: int) -> Int[Tensor, " one"]:
    return torch.tensor([token])
