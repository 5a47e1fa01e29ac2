"""A reward that opinions taught, whole in one file: comparisons, labels or scores in, a belief over θ·φ out.

The file holds what the head reads (an embedder's vectors or a model's states), what is taken off them, the belief by
Laplace (exact for scores) and the members of a bootstrapped ensemble. `credence believe reward` writes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.types import Completions, Prompts
from credence.evidence.ensemble import Ensemble, EnsembleRule
from credence.evidence.feedback import Features, Feedback, Head, Opinions
from credence.evidence.fitted import Fitted, fit_by_evidence
from credence.evidence.preference import OneLook, bootstrap
from credence.evidence.scores import bootstrap_scores, fit_scores

Kind = Literal["comparisons", "labels", "scores"]
KINDS: tuple[str, ...] = get_args(Kind)
READING = {"comparisons": "approval", "labels": "approval", "scores": "score"}
"""What the mean reward is called: logits of approval, or points."""


@dataclass(frozen=True, eq=False)
class Heard:
    """Opinions as numbers.

    Attributes:
        kind: which.
        phi: (N, d) features: of a text; of comparisons those of the first text minus those of the second.
        value: (N,) a label as 1 or 0; a score; the share of judges who prefer the first text.

    Raises:
        ShapeError: not one value a row.
    """

    kind: Kind
    phi: Float[Tensor, "N d"]
    value: Float[Tensor, " N"]

    def __post_init__(self) -> None:
        if self.phi.ndim != 2 or self.value.shape != self.phi.shape[:1]:
            raise ShapeError(f"phi {tuple(self.phi.shape)}, value {tuple(self.value.shape)}: (N, d), (N,) are needed.")

    def __len__(self) -> int:
        return len(self.value)

    def take(self, index: Tensor) -> "Heard":
        """These of them."""
        return Heard(self.kind, self.phi[index], self.value[index])

    def rows(self, scale: Float[Tensor, " d"]) -> Float[Tensor, "N k"]:
        """(N, d + 1) what each multiplies (θ, a) by; a cancels in a comparison."""
        level = torch.full((len(self), 1), float(self.kind != "comparisons"), dtype=torch.float64)
        return torch.cat([self.phi.double() / scale.double(), level], 1)

    def opinions(self) -> Opinions:
        """As what a head of thumbs and pairs is fitted on.

        Raises:
            ConfigError: these are scores.
        """
        none = self.phi[:0].double()
        if self.kind == "labels":
            return Opinions(self.phi.double(), self.value > 0.5, none)
        if self.kind == "comparisons":
            pairs, votes = torch.cat([self.phi, -self.phi]).double(), torch.cat([self.value, 1 - self.value]).double()
            return Opinions(none, torch.zeros(0, dtype=torch.bool), pairs[votes > 0], votes[votes > 0])
        raise ConfigError("scores are no thumbs or pairs: evidence.scores.fit_scores fits them.")


def fit(heard: Heard, scale: Float[Tensor, " d"]) -> Fitted:
    """The head of this kind of opinion, τ (and of scores σ) chosen by the evidence.

    Raises:
        ConfigError, DegeneracyError: as fit_head and fit_scores.
    """
    if heard.kind == "scores":
        return fit_scores(heard.phi, heard.value, scale)
    return fit_by_evidence(heard.opinions(), scale)


def resampled(heard: Heard, fitted: Fitted, key: Key, members: int) -> Float[Tensor, "M k"]:
    """(M, d + 1) means of heads on opinions drawn anew with replacement, at the same τ and σ.

    Raises:
        ConfigError: fewer than 2 members.
    """
    if heard.kind == "scores":
        heads = bootstrap_scores(heard.phi, heard.value, fitted, key, members)
    else:
        heads = bootstrap(heard.opinions(), fitted.head.scale, key, members, fitted.tau)
    return torch.stack([head.mean for head in heads])


@dataclass(frozen=True, eq=False)
class RewardHead:
    """A fitted reward.

    Attributes:
        kind: of the opinions.
        features: "hidden" or an embedder's name.
        model: whose states; "" for an embedder.
        system: the system message before the prompts whose states were read, and their `style`.
        centre: (d,) mean features of the texts, taken off; of comparisons the usual reply to a prompt is, instead.
        fitted: the belief, τ, σ and evidence.
        members: (M, d + 1) means of the ensemble.
    """

    kind: Kind
    features: str
    model: str
    system: str
    style: str
    centre: Float[Tensor, " d"]
    fitted: Fitted
    members: Float[Tensor, "M k"]

    @property
    def heads(self) -> tuple[Head, ...]:
        """The members as heads that know no doubt of their own."""
        head = self.fitted.head
        nothing = torch.zeros_like(head.cov)
        return tuple(Head(mean, nothing, head.scale) for mean in self.members)


@dataclass(frozen=True, eq=False)
class Shifted:
    """Features less a fixed centre."""

    raw: Features
    centre: Float[Tensor, " d"]

    def __call__(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R d"]:
        """φ(c, x) of each row."""
        return self.raw(prompts, completions).double() - self.centre


def as_evidence(
    head: RewardHead, features: Features, beta: float, belief: str, k: float = 1.0, ensemble: bool = False
) -> Feedback | Ensemble:
    """The head by a rule, on features that are centred already.

    Args:
        head: fitted.
        features: Shifted(raw, head.centre), or of comparisons Centred on the prior's replies.
        beta: reward units per nat (logits; points of a score).
        belief: a rule of evidence.rules; of the ensemble one of evidence.ensemble.
        k: of "pessimistic".
        ensemble: whether the members are the belief, in place of the head's own standard deviation.

    Raises:
        ConfigError: an unknown rule, or "predictive" of scores, which are no approvals.
    """
    name = READING[head.kind]
    if not ensemble:
        if belief == "predictive" and head.kind == "scores":
            raise ConfigError(
                'belief "predictive" is log P(approved), and this head was taught scores, which approve of nothing. '
                "Take plug_in, pessimistic or posterior_averaged."
            )
        return Feedback(features, head.fitted.head, beta, belief, k, name)  # pyright: ignore[reportArgumentType]
    shared = OneLook(features)
    members = tuple(Feedback(shared, one, beta, name=name) for one in head.heads)
    return Ensemble(members, cast(EnsembleRule, belief), k, name)


def save_reward_head(head: RewardHead, path: Path) -> None:
    """Write the head as safetensors, whole: no other file is needed to use it."""
    from safetensors.torch import save_file

    fitted = head.fitted
    told = {
        "kind": head.kind,
        "features": head.features,
        "model": head.model,
        "system": head.system,
        "style": head.style,
        "tau": repr(fitted.tau),
        "noise": repr(fitted.noise),
        "log_evidence": repr(fitted.log_evidence),
    }
    tensors = {"mean": fitted.head.mean, "cov": fitted.head.cov, "scale": fitted.head.scale, "centre": head.centre,
               "members": head.members}  # fmt: skip
    save_file({name: x.double().contiguous() for name, x in tensors.items()}, path, told)


def load_reward_head(path: Path) -> RewardHead:
    """Read what `save_reward_head` wrote.

    Raises:
        ConfigError: no such file, or another kind of file.
    """
    from safetensors import SafetensorError, safe_open

    names = ("mean", "cov", "scale", "centre", "members")
    try:
        with safe_open(path, "pt") as file:  # pyright: ignore[reportUnknownVariableType] - safetensors has no types
            told: Mapping[str, str] = file.metadata() or {}
            mean, cov, scale, centre, members = (file.get_tensor(name) for name in names)
        kind = told["kind"]
        if kind not in KINDS:
            raise KeyError(kind)
        fitted = Fitted(Head(mean, cov, scale), float(told["tau"]), float(told["noise"]), float(told["log_evidence"]))
        features, model, system, style = (told[name] for name in ("features", "model", "system", "style"))
        return RewardHead(cast(Kind, kind), features, model, system, style, centre, fitted, members)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ConfigError(
            f"{path} holds no reward head ({error}). `credence believe reward DATA` makes one."
        ) from error
