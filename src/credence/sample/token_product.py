"""The product of prior and experts, drawn a token at a time: quick, and not the law of whole sequences."""

import time
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from credence.core.keys import Key
from credence.core.protocols import Guarantee, Target
from credence.core.types import Cost, Draws, Prompts
from credence.posterior.experts import token_law
from credence.sample.importance import Importance


@dataclass(frozen=True)
class TokenProduct:
    """Draws of π0 · Π (π⁺/π⁻)^w normalised after each token: decoding-time realignment, proxy tuning.

    Law: q(x) = p*(x) · Z / Π_t C(s_t), C(s) the mass that normalising takes away at s; evidence besides the experts
    is not looked at while drawing. Guarantee: BIASED, with KL(q‖p*) = log Z − E_q[log w], log w = Σ_t log C(s_t) +
    other evidence. Draws count equally. log_z is the log of the mean weight of the same draws, so unbiased on the scale
    of Z. `Importance(token_law(posterior))` keeps the weights, SequenceProduct resamples by them.

    info, a prompt: kl (log Ẑ minus the mean of log w: KL(q‖p*) in nats, low on few draws as log Ẑ is; inf where a draw
    is impossible under p*), ess (of the weights, draws).

    Raises:
        ConfigError: the posterior's evidence holds no Experts; see posterior.experts.
        DegeneracyError: an anti-expert cannot say what base and experts can.

    Cost: n draws, each token one pass of every model, and one scoring pass of every model for the weights.
    Source: Liu, A. et al. 2024 (2401.08565), Liu, T. et al. 2024 (2402.02992); SCIENCE 5.4, 7. Tested in
    tests/statistical/test_decoding.py.
    """

    guarantee: ClassVar[Guarantee] = Guarantee.BIASED

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        """n draws a prompt, prompt-major."""
        began = time.process_time()
        law = token_law(posterior)
        drawn = Importance(law).draw(key, posterior, prompts, n)
        mean = drawn.log_w.view(len(prompts), n).mean(-1)
        info = {"kl": torch.where(torch.isneginf(mean), torch.inf, drawn.log_z - mean), "ess": drawn.info["ess"]}
        cost = Cost(int(drawn.completions.mask.sum()) * 2 * len(law.parts), time.process_time() - began)
        return replace(drawn, log_w=torch.zeros_like(drawn.log_w), info=info, cost=cost)
