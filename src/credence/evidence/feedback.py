"""What people said of replies as evidence: one Bayesian reward model for thumbs and for better texts.

    P(thumb up | c, x) = σ(θ·φ(c,x) + a)                 Bernoulli
    P(w preferred to l | c) = σ(θ·(φ(c,w) − φ(c,l)))     Bradley–Terry, in which a cancels
    θ ~ N(0, τ²/d),  a ~ N(0, 1)                         φ standardised, centred per prompt

The posterior of (θ, a) is Laplace's: the mode, and the inverse Hessian there. It is fitted from all opinions at once
and from nothing else, so their order does not matter, none counts twice, and one that is taken back leaves no trace.

A belief over reward parameters is not evidence about texts; what joins them is a stated rule, one of evidence.rules.
The reward's unit is a logit of approval; β is logits per nat.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from credence.core.errors import ConfigError, DegeneracyError, ShapeError
from credence.core.types import Completions, Prompts
from credence.evidence.product import Composable
from credence.evidence.rules import Rule, by_rule, check_rule

_NEWTON = 100
_SETTLED = 1e-10


@runtime_checkable
class Features(Protocol):
    """What a reward can depend on: (R, d) float64 numbers a reply, centred per prompt."""

    def __call__(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R d"]:
        """φ(c, x) of each row."""
        ...


@dataclass(frozen=True, eq=False)
class Opinions:
    """All that was said.

    Attributes:
        thumbs: (G, d) features of replies with a thumb.
        liked: (G,) True for a thumb up.
        pairs: (P, d) features of the better text minus those of the other.
        weight: (N,) how much each opinion counts, in the order of `rows`; None: once each.
    """

    thumbs: Float[Tensor, "G d"]
    liked: Bool[Tensor, " G"]
    pairs: Float[Tensor, "P d"]
    weight: Float[Tensor, " N"] | None = None

    def __post_init__(self) -> None:
        if len(self.thumbs) != len(self.liked) or self.thumbs.shape[1] != self.pairs.shape[1]:
            raise ShapeError(
                f"thumbs {tuple(self.thumbs.shape)}, liked {tuple(self.liked.shape)}, pairs {tuple(self.pairs.shape)}: "
                "one label a thumb, and features of one width, are needed."
            )
        if self.weight is not None and len(self.weight) != len(self):
            raise ShapeError(f"{len(self.weight)} weights for {len(self)} opinions: one each is needed.")

    def __len__(self) -> int:
        return len(self.thumbs) + len(self.pairs)

    def rows(self) -> Float[Tensor, "N k"]:
        """(N, d + 1) what each opinion multiplies (θ, a) by: the likelihood is σ of the product."""
        sign = torch.where(self.liked, 1.0, -1.0).double()[:, None]
        up = torch.cat([self.thumbs.double(), torch.ones(len(self.thumbs), 1, dtype=torch.float64)], 1) * sign
        pair = torch.cat([self.pairs.double(), torch.zeros(len(self.pairs), 1, dtype=torch.float64)], 1)
        return torch.cat([up, pair])

    @property
    def weights(self) -> Float[Tensor, " N"]:
        """How much each counts, in the order of `rows`."""
        return torch.ones(len(self), dtype=torch.float64) if self.weight is None else self.weight.double()

    def weighted(self, times: Float[Tensor, " N"]) -> "Opinions":
        """The same with each counting `times` as much."""
        return Opinions(self.thumbs, self.liked, self.pairs, self.weights * times)

    def without(self, index: int) -> "Opinions":
        """All but one, in the order of `rows`."""
        keep = torch.arange(len(self)) != index
        up = len(self.thumbs)
        weight = None if self.weight is None else self.weight[keep]
        return Opinions(self.thumbs[keep[:up]], self.liked[keep[:up]], self.pairs[keep[up:]], weight)


@dataclass(frozen=True, eq=False)
class Head:
    """The belief over (θ, a): Gaussian, (d + 1,) mean and (d + 1, d + 1) covariance; `scale` (d,) divides features."""

    mean: Float[Tensor, " k"]
    cov: Float[Tensor, "k k"]
    scale: Float[Tensor, " d"]

    def reward(self, features: Float[Tensor, "R d"]) -> tuple[Float[Tensor, " R"], Float[Tensor, " R"]]:
        """Mean and standard deviation of θ·φ in logits: the reward, without the common level a."""
        return self.told(torch.cat([features.double() / self.scale, torch.zeros(len(features), 1).double()], 1))

    def logit(self, features: Float[Tensor, "R d"]) -> tuple[Float[Tensor, " R"], Float[Tensor, " R"]]:
        """Mean and standard deviation of θ·φ + a: the level too. From pairs alone a is as unknown as before them."""
        return self.told(torch.cat([features.double() / self.scale, torch.ones(len(features), 1).double()], 1))

    def told(self, rows: Float[Tensor, "N k"]) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
        """Mean and standard deviation of rows·(θ, a), the features in them already divided by `scale`."""
        return rows @ self.mean, ((rows @ self.cov) * rows).sum(-1).clamp(min=0).sqrt()

    def approval(self, features: Float[Tensor, "R d"]) -> Float[Tensor, " R"]:
        """P(thumb up), averaged over the belief by MacKay's approximation σ(m/√(1 + πv/8)); within 0.02 of it."""
        m, sd = self.logit(features)
        return torch.sigmoid(m / torch.sqrt(1 + math.pi * sd.square() / 8))


def fit_head(opinions: Opinions, scale: Float[Tensor, " d"], tau: float = 3.0) -> Head:
    """The Laplace posterior of (θ, a) given all opinions, from scratch.

    Args:
        opinions: features as the `Features` give them, not yet scaled.
        scale: (d,) what one unit of each feature is: its spread over the prior's replies.
        tau: prior standard deviation, in logits, of the reward of a reply whose features are all one unit.

    Raises:
        ConfigError: no opinion, tau not positive, or a scale with a zero.
        DegeneracyError: the features are not finite.

    Cost: some Cholesky factors of (d + 1)², milliseconds for d = 576. Source: SCIENCE 6.4. Compared with quadrature in
    tests/oracle/test_feedback_head.py; an opinion counted twice is rejected there.
    """
    if not len(opinions):
        raise ConfigError("no opinion to learn from: rate some replies first (/good, /bad, /better TEXT).")
    if not tau > 0 or not bool((scale > 0).all()):
        raise ConfigError(f"tau={tau} and every scale (least {float(scale.min()):.3g}) must be above 0.")
    d = len(scale)
    unit = torch.cat([scale.double(), torch.ones(1, dtype=torch.float64)])
    rows = opinions.rows() / unit
    if not bool(torch.isfinite(rows).all()):
        raise DegeneracyError("the features of an opinion are not finite: it cannot be learnt from.")
    precision = torch.full((d + 1,), d / tau**2, dtype=torch.float64)
    precision[d] = 1.0
    mode = torch.zeros(d + 1, dtype=torch.float64)
    said = rows, opinions.weights, precision
    for _ in range(_NEWTON):
        gradient, hessian = _derivatives(mode, *said)
        step = torch.cholesky_solve(gradient[:, None], torch.linalg.cholesky(hessian))[:, 0]
        size, loss = 1.0, _loss(mode, *said)
        while _loss(mode - size * step, *said) > loss and size > _SETTLED:
            size /= 2  # convex: a short enough step always descends
        mode = mode - size * step
        if float((size * step).abs().max()) < _SETTLED:
            break
    _, hessian = _derivatives(mode, *said)
    # LAPACK answers column by column; a file holds rows. Kept as the file has it, a head read back rounds alike.
    return Head(mode, torch.cholesky_inverse(torch.linalg.cholesky(hessian)).contiguous(), scale.double())


def _loss(mode: Tensor, rows: Tensor, weight: Tensor, precision: Tensor) -> float:
    return float((weight * torch.nn.functional.softplus(-(rows @ mode))).sum() + 0.5 * (precision * mode**2).sum())


def _derivatives(mode: Tensor, rows: Tensor, weight: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    p = torch.sigmoid(-(rows @ mode))  # how surprising each opinion is
    gradient = precision * mode - rows.T @ (weight * p)
    return gradient, rows.T @ (rows * (weight * p * (1 - p))[:, None]) + torch.diag(precision)


def left_out(opinions: Opinions, scale: Tensor, tau: float = 3.0) -> Float[Tensor, " N"]:
    """Log-probability in nats of each opinion under the head fitted to all others: −log 2 is a coin.

    Cost: a fit an opinion.
    """
    rows, up = opinions.rows(), len(opinions.thumbs)
    out = torch.zeros(len(rows), dtype=torch.float64)
    for i in range(len(rows)):
        rest = opinions.without(i)
        if not len(rest):
            out[i] = -math.log(2)
            continue
        head = fit_head(rest, scale, tau)
        row = torch.cat([rows[i, :-1] / scale.double(), rows[i, -1:] if i < up else torch.zeros(1).double()])
        m, v = row @ head.mean, row @ head.cov @ row
        out[i] = torch.nn.functional.logsigmoid(m / torch.sqrt(1 + math.pi * v / 8))
    return out


@dataclass(frozen=True, eq=False)
class Feedback(Composable):
    """The reward that people's opinions taught, as nats by a stated rule of `evidence.rules`.

    Args:
        features: as those that the head was fitted on.
        head: the belief over the reward.
        beta: reward units per nat (logits of approval; points of a score); under "predictive" nats of log P per nat.
        rule: "plug_in", "pessimistic", "posterior_averaged" or "predictive".
        k: of pessimism.
        name: of the readings.

    Readings: `name`, the mean reward in its own unit, and `name`_sd, its standard deviation. Tested in
    tests/unit/test_feedback_evidence.py.

    Raises:
        ConfigError: beta or 1/beta not finite and positive, an unknown rule, or k below 0.
    """

    features: Features
    head: Head
    beta: float = 1.0
    rule: Rule = "plug_in"
    k: float = 1.0
    name: str = "approval"

    def __post_init__(self) -> None:
        if not (self.beta > 0 and math.isfinite(self.beta) and math.isfinite(1 / self.beta)):
            raise ConfigError(f"beta={self.beta}: reward units per nat must be finite and above 0, and so must 1/beta.")
        check_rule(self.rule, self.k)

    @property
    def max_log_lik(self) -> float:
        """0 nats where the evidence is a probability; else no bound is known."""
        return 0.0 if self.rule == "predictive" else math.inf

    def log_lik(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """The rule's nats, float64."""
        return self.measure(prompts, completions)[0]

    def readings(self, prompts: Prompts, completions: Completions) -> Mapping[str, Float[Tensor, " R"]]:
        """Mean and standard deviation of the reward in its own unit."""
        return self.measure(prompts, completions)[1]

    def measure(
        self, prompts: Prompts, completions: Completions
    ) -> tuple[Float[Tensor, " R"], Mapping[str, Float[Tensor, " R"]]]:
        """Both, from one look at the features."""
        phi = self.features(prompts, completions)
        mean, sd = self.head.reward(phi)
        belief = self.head.logit(phi) if self.rule == "predictive" else (mean, sd)
        return by_rule(self.rule, *belief, self.beta, self.k), {self.name: mean, f"{self.name}_sd": sd}


def save_head(head: Head, path: Path) -> None:
    """Write the belief as safetensors."""
    from safetensors.torch import save_file

    save_file({"mean": head.mean, "cov": head.cov, "scale": head.scale}, path)


def load_head(path: Path) -> Head:
    """Read what `save_head` wrote.

    Raises:
        ConfigError: no such file, or another kind of file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(path)
        return Head(found["mean"], found["cov"], found["scale"])
    except (OSError, SafetensorError, KeyError) as error:
        raise ConfigError(
            f"{path} holds no reward belief ({error}). Train it again: credence dialogue update"
        ) from error
