"""Ratings as evidence: from the rows of the feedback file to the belief over the reward, and back from a folder."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.progress import no_tick
from credence.core.protocols import StepPrior
from credence.core.types import Completions, Prompts, concat
from credence.dialogue.feedback import Rating
from credence.dialogue.room import encoded, prompts_of
from credence.dialogue.stream import as_row
from credence.evidence.feedback import Feedback, Head, Opinions, fit_head, load_head
from credence.evidence.rules import check_rule
from credence.prior.features import Centred, PooledHidden, Raw, language_model
from credence.study.stored import read_json

FILE = "feedback.json"
HEAD = "feedback.safetensors"
AT_ONCE = 4
"""Rated replies that are read at once."""


@dataclass(frozen=True)
class FeedbackSettings:
    """How ratings become nats.

    Attributes:
        beta: logits of approval per nat: small is strong evidence; under "predictive" nats of log P(thumb up) per nat.
        rule: one of evidence.rules: "plug_in", "pessimistic", "posterior_averaged", "predictive".
        k: standard deviations that pessimism takes off.
        tau: prior standard deviation of a reply's reward, in logits.
        features: "hidden" (the prior's own states), or an embedder's name.
        seed: of the draws that centre the features.
    """

    beta: float = 0.5
    rule: str = "plug_in"
    k: float = 1.0
    tau: float = 3.0
    features: str = "hidden"
    seed: int = 0

    def __post_init__(self) -> None:
        check_rule(self.rule, self.k)
        if not (self.beta > 0 and self.tau > 0):
            raise ConfigError(f"beta={self.beta}, tau={self.tau}: both must be above 0.")


@dataclass(frozen=True, eq=False)
class Heard:
    """Ratings in the prior's tokens.

    Attributes:
        ratings: those that count, in the order they came.
        prompts: N, one a rating.
        served: (N) what was rated, row i answers prompt i.
        better: (P) the better texts, row j answers the prompt of rating `pair[j]`.
        pair: (P,) which ratings have one.
        contexts: the distinct prompts.
        context: (N,) the context of each rating.
    """

    ratings: tuple[Rating, ...]
    prompts: Prompts
    served: Completions
    better: Completions | None
    pair: tuple[int, ...]
    contexts: Prompts
    context: tuple[int, ...]


def hear(ratings: Sequence[Rating], prior: StepPrior, model: str) -> Heard:
    """Ratings as rows. Tokens of this model are taken as they were sampled; other models' replies are read as text.

    Raises:
        ConfigError: there is none.
    """
    if not ratings:
        raise ConfigError("no feedback that counts. Talk first (credence chat), and rate: /good, /bad, /better TEXT.")
    ends = prior.ends
    given = [prompts_of(prior, r.messages) for r in ratings]
    prompts = prior.codec.prompts([p.given[0] for p in given])
    rows: list[Completions] = []
    for r in ratings:
        own = bool(r.tokens) and r.model == model
        ids = list(r.tokens) if own else encoded(prior, r.reply)
        rows.append(as_row(ids, ids[-1] in ends))
    pair = tuple(i for i, r in enumerate(ratings) if r.kind == "better")
    texts = [as_row(encoded(prior, ratings[i].text), True) for i in pair]
    first: dict[tuple[int, ...], int] = {}
    for i, ids in enumerate(prompts.ids):
        first.setdefault(ids, i)
    order = {ids: c for c, ids in enumerate(first)}
    return Heard(
        tuple(ratings),
        prompts,
        concat(rows, list(range(len(rows)))),
        concat(texts, list(pair)) if texts else None,
        pair,
        prompts.take(list(first.values())),
        tuple(order[ids] for ids in prompts.ids),
    )


def raw_features(name: str, prior: StepPrior) -> Raw:
    """The features of this name.

    Raises:
        ConfigError: an unknown embedder.
        MissingExtraError: it is not installed.
    """
    if name == "hidden":
        return PooledHidden(language_model(prior))
    from credence.evidence.embedding import load_embedder
    from credence.prior.features import ReplyVectors

    return ReplyVectors(load_embedder(name).embed)


def centred(settings: FeedbackSettings, prior: StepPrior) -> Centred:
    """The features that a head was, or will be, fitted on."""
    return Centred(raw_features(settings.features, prior), prior, Key(settings.seed).fold("feedback"))


def opinions(heard: Heard, features: Centred, tick: Callable[[], None] = no_tick) -> tuple[Opinions, torch.Tensor]:
    """The ratings' features and the scale of each. Cost: 16 prior draws a context, and a pass a reply.

    Replies are read a few at a time, `tick` is called once for each of `readings`: a long one takes seconds.
    """

    def read(rows: Completions) -> torch.Tensor:
        found: list[torch.Tensor] = []
        for begin in range(0, len(rows), AT_ONCE):
            part = rows.rows(torch.arange(begin, min(begin + AT_ONCE, len(rows))))
            owners = part.prompt.tolist()
            part = replace(part, prompt=torch.arange(len(part)))
            found.append(features(heard.prompts.take(owners), part))
            tick()
        return torch.cat(found)

    phi = read(heard.served)
    thumbs = [i for i, r in enumerate(heard.ratings) if r.kind in ("good", "bad")]
    liked = torch.tensor([heard.ratings[i].kind == "good" for i in thumbs], dtype=torch.bool)
    pairs = phi[:0] if heard.better is None else read(heard.better) - phi[list(heard.pair)]
    return Opinions(phi[thumbs], liked, pairs), features.spread(heard.contexts)


def readings(heard: Heard) -> int:
    """How often `learn` ticks."""
    better = 0 if heard.better is None else len(heard.better)
    return -(-len(heard.served) // AT_ONCE) + -(-better // AT_ONCE)


def learn(
    heard: Heard,
    settings: FeedbackSettings,
    prior: StepPrior,
    features: Centred | None = None,
    tick: Callable[[], None] = no_tick,
) -> tuple[Feedback, Opinions, torch.Tensor]:
    """The evidence that the ratings are, fitted from scratch; with the opinions and their scale.

    `features` may bring centres that are known already; they depend on nothing but the prompt.
    """
    features = centred(settings, prior) if features is None else features
    found, scale = opinions(heard, features, tick)
    return as_evidence(fit_head(found, scale, settings.tau), settings, features), found, scale


def as_evidence(head: Head, settings: FeedbackSettings, features: Centred) -> Feedback:
    """A head by its rule."""
    rule: Any = settings.rule
    return Feedback(features, head, settings.beta, rule, settings.k)


def ratings_print(ratings: Sequence[Rating], *more: object) -> str:
    """Sixteen digits of what was rated, and of whatever else an update rests on: the same, nothing new to learn.

    Numbers of rows are no part of it: another file has the same ones for other ratings.
    """
    given = [[r.kind, r.text, r.reply, list(r.tokens), r.model, [dict(m) for m in r.messages]] for r in ratings]
    text = json.dumps([given, *more], sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@dataclass(frozen=True, eq=False)
class Taught:
    """What an update's folder says of the feedback that it was trained on.

    Attributes:
        settings: how ratings became nats.
        ratings: numbers of the rows in the file that they came from.
        heard: ratings_print of these rows and the prior's name.
        fingerprint: of everything that the update rested on.
        head: the belief over the reward.
    """

    settings: FeedbackSettings
    ratings: tuple[int, ...]
    heard: str
    fingerprint: str
    head: Head

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """From feedback.json and feedback.safetensors; None where the run had no feedback.

        Raises:
            ConfigError: broken files.
        """
        if not (folder / FILE).exists():
            return None
        data = read_json(folder / FILE)
        try:
            settings = FeedbackSettings(**data["settings"])
            heard, digits = str(data["heard"]), str(data["fingerprint"])
            return cls(settings, tuple(data["ratings"]), heard, digits, load_head(folder / HEAD))
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"{folder / FILE} was written by another version of credence ({error}). Train it again: credence "
                "dialogue update"
            ) from None


def taught_evidence(taught: Taught, prior: StepPrior) -> Feedback:
    """The evidence of an update, as it was trained on."""
    return as_evidence(taught.head, taught.settings, centred(taught.settings, prior))
