"""A classifier of texts: logistic regression on embeddings with a Gaussian prior, and what it says as evidence.

    p(y | x) = softmax(W φ(x) + b),   W_kj ~ N(0, s²/d),   b_k ~ N(0, 3²)

φ is the embedding, centred and scaled by the training texts. The mode is found by Newton's method; s, how large a
typical text's logits may be, maximises Laplace's estimate of the evidence p(labels | s), so no text need be kept apart.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ConfigError, DegeneracyError, ShapeError, nearest
from credence.core.types import Completions, Prompts
from credence.evidence.embedding import Embedder
from credence.evidence.product import Composable
from credence.evidence.reward import Reward

SPREADS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Of s, in nats; the one of the largest evidence is taken."""
_BIAS = 3.0
_NEWTON = 50
_SETTLED = 1e-9


@dataclass(frozen=True, eq=False)
class LabelHead:
    """A fitted head.

    Attributes:
        labels: K names.
        embedder: whose vectors it reads.
        weight: (K, d) and bias (K,), nats.
        centre: (d,) taken off a vector, which is then divided by `scale` (d,).
        spread: s, nats.
        log_evidence: Laplace's log p(training labels | s), nats.
    """

    labels: tuple[str, ...]
    embedder: str
    weight: Float[Tensor, "K d"]
    bias: Float[Tensor, " K"]
    centre: Float[Tensor, " d"]
    scale: Float[Tensor, " d"]
    spread: float
    log_evidence: float

    def log_p(self, vectors: Float[Tensor, "N d"]) -> Float[Tensor, "N K"]:
        """log p(y | x) in nats, float64."""
        phi = (vectors.double() - self.centre) / self.scale
        return torch.log_softmax(phi @ self.weight.T + self.bias, -1)


def fit_label_head(
    vectors: Float[Tensor, "N d"],
    truth: Int[Tensor, " N"],
    labels: Sequence[str],
    embedder: str = "",
    spreads: Sequence[float] = SPREADS,
) -> LabelHead:
    """Fit the head on labelled vectors.

    Raises:
        ShapeError: not one label a vector.
        ConfigError: fewer than two labels, or one that no vector has.
        DegeneracyError: a vector that is not finite.

    Cost: about ten Newton steps a spread, each of one K·(d+1) Cholesky factor. Test: against a grid of a
    one-dimensional problem in tests/unit/test_classifier.py.
    """
    k = len(labels)
    if vectors.ndim != 2 or truth.shape != vectors.shape[:1]:
        raise ShapeError(f"vectors {tuple(vectors.shape)}, truth {tuple(truth.shape)}: (N, d) and (N,) are needed.")
    seen = set(truth.tolist())
    if k < 2 or seen != set(range(k)):
        raise ConfigError(f"labels {', '.join(labels)}: at least two, each with a text to learn from, are needed.")
    x = vectors.double()
    if not bool(torch.isfinite(x).all()):
        raise DegeneracyError("an embedding is not finite: it cannot be learnt from.")
    centre, scale = x.mean(0), x.std(0, correction=0).clamp(min=1e-8)
    phi = torch.cat([(x - centre) / scale, torch.ones(len(x), 1, dtype=torch.float64)], 1)
    fits = [(_mode(phi, truth, k, s), s) for s in spreads]
    (mode, log_evidence), spread = max(fits, key=lambda fit: fit[0][1])
    weight, bias = mode[:, :-1].contiguous(), mode[:, -1].contiguous()
    return LabelHead(tuple(labels), embedder, weight, bias, centre, scale, spread, log_evidence)


def _mode(phi: Tensor, truth: Tensor, k: int, spread: float) -> tuple[Float[Tensor, "K e"], float]:
    """The mode and Laplace's log evidence at one s."""
    n, e = phi.shape
    precision = torch.full((e,), (e - 1) / spread**2, dtype=torch.float64)
    precision[-1] = _BIAS**-2
    target = torch.nn.functional.one_hot(truth, k).double()

    def loss(w: Tensor) -> float:
        fitted = -torch.log_softmax(phi @ w.T, -1)[torch.arange(n), truth].sum()
        return float(fitted + 0.5 * (precision * w.square()).sum())

    w = torch.zeros(k, e, dtype=torch.float64)
    value = loss(w)
    for _ in range(_NEWTON):
        p = torch.softmax(phi @ w.T, -1)
        slope = (p - target).T @ phi + precision * w
        step = torch.cholesky_solve(slope.reshape(-1, 1), torch.linalg.cholesky(_hessian(phi, p, precision)))
        size = 1.0
        while (here := loss(w - size * step.view(k, e))) > value and size > _SETTLED:
            size /= 2  # convex: a short enough step always descends
        if here > value:
            break
        w, gained, value = w - size * step.view(k, e), value - here, here
        if gained < _SETTLED * max(1.0, abs(value)):
            break
    factor = torch.linalg.cholesky(_hessian(phi, torch.softmax(phi @ w.T, -1), precision))
    # ∫ e^{−loss} over the Gaussian prior, by Laplace: −loss + ½ log |P| − ½ log |H|; the 2π of both cancel
    return w, -value + 0.5 * k * float(precision.log().sum()) - float(factor.diagonal().log().sum())


def _hessian(phi: Tensor, p: Tensor, precision: Tensor) -> Float[Tensor, "M M"]:
    k, e = p.shape[1], phi.shape[1]
    out = torch.zeros(k, e, k, e, dtype=torch.float64)
    for i in range(k):
        for j in range(i, k):
            curve = p[:, i] * ((1.0 if i == j else 0.0) - p[:, j])
            out[i, :, j] = phi.T @ (phi * curve[:, None])
            out[j, :, i] = out[i, :, j]
        out[i, :, i].diagonal().add_(precision)
    return out.view(k * e, k * e)


def save_label_head(head: LabelHead, path: Path) -> None:
    """Write the head as safetensors, whole: no other file is needed to use it."""
    from safetensors.torch import save_file

    told = {"labels": json.dumps(head.labels, ensure_ascii=False), "embedder": head.embedder,
            "spread": repr(head.spread), "log_evidence": repr(head.log_evidence)}  # fmt: skip
    tensors = {"weight": head.weight, "bias": head.bias, "centre": head.centre, "scale": head.scale}
    save_file({name: x.contiguous() for name, x in tensors.items()}, path, told)


def load_label_head(path: Path) -> LabelHead:
    """Read what `save_label_head` wrote.

    Raises:
        ConfigError: no such file, or another kind of file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:  # pyright: ignore[reportUnknownVariableType] - safetensors has no types
            told: Mapping[str, str] = file.metadata() or {}
            found = {name: file.get_tensor(name) for name in ("weight", "bias", "centre", "scale")}
        labels: list[str] = json.loads(told["labels"])
        return LabelHead(tuple(labels), told["embedder"], spread=float(told["spread"]),
                         log_evidence=float(told["log_evidence"]), **found)  # fmt: skip
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ConfigError(
            f"{path} holds no head of a classifier ({error}). `credence believe classify CONFIG` makes one."
        ) from error


@dataclass(frozen=True, eq=False)
class Classifier(Composable):
    """log_lik = log p(label | reply)/β nats: at β = 1 Bayes' rule itself, p*(x) ∝ π0(x) p(label | x).

    Never above 0, so rejection works without a bound of the user's. The reward in the reading is log p(label | reply),
    nats; β says how many of them count as one: small is strong evidence.

    Args:
        head: fitted by `fit_label_head`.
        embedder: of that name.
        label: one of the head's.
        beta: nats of log p(label | reply) per nat of evidence.
        on_prefix: whether half a reply already tells its label: SMC then steers by it. It never changes the target.
        name: of the reading; "log p(label)" by default.

    Raises:
        ConfigError: an unknown label, another embedder, or a beta that cannot be.

    Cost: one embedding a reply. Tests: tests/unit/test_classifier.py and, as any evidence,
    tests/contract/test_evidence_laws.py.
    """

    head: LabelHead
    embedder: Embedder
    label: str
    beta: float = 1.0
    on_prefix: bool = False
    name: str = ""
    _reward: Reward = field(init=False, repr=False)

    def __post_init__(self) -> None:
        labels = self.head.labels
        if self.label not in labels:
            raise ConfigError(
                f"label {self.label!r}: the classifier knows {', '.join(labels)}.{nearest(self.label, labels)}"
            )
        if self.embedder.name != self.head.embedder:
            raise ConfigError(
                f"the head was fitted on vectors of {self.head.embedder!r}, and {self.embedder.name!r} makes others."
            )
        if not self.name:
            object.__setattr__(self, "name", f"log p({self.label})")
        reward = Reward(self._look, self.beta, self.name, self.on_prefix, bound=0.0)
        object.__setattr__(self, "_reward", reward)

    def _look(self, prompts: Sequence[object], completions: Sequence[object]) -> list[float]:
        vectors = self.embedder.embed([str(text) for text in completions])
        return self.head.log_p(vectors)[:, self.head.labels.index(self.label)].tolist()

    @property
    def max_log_lik(self) -> float:
        """0 nats: a probability is at most 1."""
        return self._reward.max_log_lik

    def log_lik(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """log p(label | reply)/β in nats."""
        return self._reward.log_lik(prompts, completions)

    def measure(
        self, prompts: Prompts, completions: Completions
    ) -> tuple[Float[Tensor, " R"], Mapping[str, Float[Tensor, " R"]]]:
        """log_lik and readings from one look."""
        return self._reward.measure(prompts, completions)

    def log_twist(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """The nats of the text so far where `on_prefix`, else 0 until the row has ended."""
        return self._reward.log_twist(prompts, completions)

    def readings(self, prompts: Prompts, completions: Completions) -> Mapping[str, Float[Tensor, " R"]]:
        """log p(label | reply) in nats, under its name."""
        return self._reward.readings(prompts, completions)
