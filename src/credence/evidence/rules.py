"""From a belief over a reward to evidence about texts: the rules by name, as pure functions of nats and logits.

    plug_in             E[r] / β
    pessimistic         (E[r] − k·sd) / β                 pays less where less is known
    posterior_averaged  log E[e^{r/β}]                    for a Gaussian E[r]/β + var/(2β²): pays more there
    predictive          log P(thumb up | c, x, D) / β     log E[σ(r + a)]: a probability, never above 1

Posterior-averaged is what marginalising π0(x) p(θ | D) e^{r_θ(x)/β} over θ gives. It is optimistic: Jensen's
inequality puts it above the plug-in, the more the less is known, so it runs to where nothing was judged (SCIENCE 6.3:
risk-seeking; scripts/figures/f16_reward_beliefs.py shows it). It is no mixture of posteriors either: each θ counts in
proportion to its own Z_θ. The average that keeps its head is predictive: the same integral of what was observed, an
approval, at β = 1 Bayes' rule itself. A reward that is large and unsure is worth less under it than one as large and
sure, for a probability cannot make up above 1 for what it loses below.
"""

import math
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, nearest

Rule = Literal["plug_in", "pessimistic", "posterior_averaged", "predictive"]
RULES: tuple[str, ...] = get_args(Rule)
_STEP, _REACH = 0.04, 9.0


def check_rule(rule: str, k: float) -> None:
    """Refuse a rule that is not known, and a k that cannot be.

    Raises:
        ConfigError: names the rules.
    """
    if rule not in RULES:
        raise ConfigError(f"rule={rule!r}: one of {', '.join(RULES)} is needed.{nearest(str(rule), RULES)}")
    if not 0 <= k < math.inf:
        raise ConfigError(f"k={k}: a finite number of standard deviations, at least 0, is needed.")


def by_rule(
    rule: Rule, mean: Float[Tensor, " R"], sd: Float[Tensor, " R"], beta: float, k: float
) -> Float[Tensor, " R"]:
    """Nats of a Gaussian belief over a reward.

    Args:
        rule: one of RULES.
        mean: of r, reward units; under "predictive" of the whole logit r + a.
        sd: its standard deviation.
        beta: reward units per nat; under "predictive" nats of log P per nat.
        k: of "pessimistic".

    Test: each against a grid over the belief in tests/oracle/test_reward_rules.py.
    """
    match rule:
        case "plug_in":
            return mean / beta
        case "pessimistic":
            return (mean - k * sd) / beta
        case "posterior_averaged":
            return mean / beta + sd.square() / (2 * beta**2)
        case "predictive":
            return log_mean_sigmoid(mean, sd) / beta


def log_mean_sigmoid(mean: Float[Tensor, " R"], sd: Float[Tensor, " R"]) -> Float[Tensor, " R"]:
    """log E[σ(r)] of r ~ N(mean, sd²), in nats, float64.

    The integrand is log-concave and bends at least as much as the normal law, so nine standard deviations to both sides
    of its peak hold all of it, and the trapezoid rule there is exact to 1e-9 up to sd = 20 logits (1e-4 at 100).
    MacKay's σ(m/√(1 + πv/8)) is off by nats where the mean is far below zero.

    Cost: 451 nodes a row. Test: against scipy's quadrature in tests/oracle/test_reward_rules.py.
    """
    mean, sd = mean.double(), sd.double()
    low, high = torch.zeros_like(sd), sd
    for _ in range(60):  # the peak in units of sd lies in [0, sd]
        middle = (low + high) / 2
        rising = sd * torch.sigmoid(-(mean + sd * middle)) > middle
        low, high = torch.where(rising, middle, low), torch.where(rising, high, middle)
    z = low[:, None] + torch.arange(-_REACH, _REACH + _STEP / 2, _STEP, dtype=torch.float64, device=mean.device)
    log_f = torch.nn.functional.logsigmoid(mean[:, None] + sd[:, None] * z) - z.square() / 2
    return (torch.logsumexp(log_f, 1) + math.log(_STEP / math.sqrt(2 * math.pi))).clamp(max=0.0)
