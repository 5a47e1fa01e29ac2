"""Labels put into words, so that a language model can be asked about them in either direction.

Noisy channel: the label's word stands before the text, and the text is scored, log p(x | y). Direct: the text stands
first, and the word is scored after it, log p(y | x). Both sum over all tokens of what is scored: labels whose words
have different lengths, or texts, are never compared by their first token alone. Min et al. 2022, acl-long.365.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.belief.channel import Channel
from credence.core.errors import ConfigError
from credence.core.types import Completions, Prompts
from credence.prior.hf import LMPrior

LABEL, TEXT = "{label}", "{text}"
BATCH = 32
"""Texts read at once, of about the same length."""


@dataclass(frozen=True)
class Verbaliser:
    """One way to say the labels.

    Space at the end of a template belongs to what follows it, as tokenizers have it: "Mood: " and "good" are read as
    "Mood:" and " good". A chat template parts the two by itself.

    Attributes:
        name: in reports.
        words: the word or words of each label.
        channel: text with {label}, after which the text is scored.
        direct: text with {text}, after which the label's word is scored.

    Raises:
        ConfigError: no label in it, a template without its place, an empty word, or one word for two labels.
    """

    name: str
    words: Mapping[str, str]
    channel: str
    direct: str

    def __post_init__(self) -> None:
        for what, template, place in (("channel", self.channel, LABEL), ("direct", self.direct, TEXT)):
            if template.count(place) != 1:
                raise ConfigError(f"verbaliser {self.name!r}: {what} = {template!r} needs {place} in it, once.")
        if not self.words:
            raise ConfigError(f"verbaliser {self.name!r} has no words: one a label is needed.")
        said = dict[str, str]()
        for label, word in self.words.items():
            if not word.strip():
                raise ConfigError(f"verbaliser {self.name!r}: the word of label {label!r} is empty.")
            if word.strip() in said:
                raise ConfigError(
                    f"verbaliser {self.name!r} says {word!r} for both {said[word.strip()]!r} and {label!r}: no text "
                    "could tell them apart."
                )
            said[word.strip()] = label

    @property
    def gap(self) -> str:
        """Space between the channel template and the text."""
        return self.channel[len(self.channel.rstrip()) :]

    def before(self, label: str) -> str:
        """What stands before a text under a label."""
        return self.channel.rstrip().replace(LABEL, self.words[label].strip())

    def asking(self, text: str) -> str:
        """What stands before a label's word."""
        return self.direct.rstrip().replace(TEXT, text)

    def answers(self, prior: LMPrior, labels: Sequence[str]) -> list[list[int]]:
        """Tokens of each label's word after the direct template.

        Raises:
            ConfigError: a word of no token, or one that begins another: then every reply that is the longer is also the
                shorter.
        """
        gap = self.direct[len(self.direct.rstrip()) :] if prior.codec.reads != "chat" else ""
        tokens = [prior.codec.encode(gap + self.words[label].strip()) for label in labels]
        for label, ids in zip(labels, tokens, strict=True):
            if not ids:
                raise ConfigError(
                    f"verbaliser {self.name!r}: {self.words[label]!r}, the word of label {label!r}, is no token at all "
                    f"to {prior.name}: it cannot be scored. Choose a word of the model's own languages."
                )
        for i, short in enumerate(tokens):
            for k, long in enumerate(tokens):
                if i != k and long[: len(short)] == short:
                    raise ConfigError(
                        f"verbaliser {self.name!r}: to {prior.name}, {self.words[labels[i]]!r} is how "
                        f"{self.words[labels[k]]!r} begins, so the first would always be the likelier. Choose words "
                        "of which none begins another."
                    )
        return tokens


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts in a model's tokens.

    Attributes:
        ids: tokens of each.
        texts: what of each is read.
        cut: how many were longer than could be read.
    """

    ids: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]
    cut: int

    def __len__(self) -> int:
        return len(self.ids)


def read_texts(prior: LMPrior, texts: Sequence[str], gap: str = "", longest: int | None = None) -> Texts:
    """Texts as tokens, each cut after `longest`; space before each where the template leaves it and no chat parts them.

    Raises:
        ConfigError: a text of no token.
    """
    ids: list[tuple[int, ...]] = []
    shown: list[str] = []
    cut = 0
    for text in texts:
        found = prior.codec.encode(("" if prior.codec.reads == "chat" else gap) + text.strip())
        if not found:
            raise ConfigError(f"the text {text[:40]!r} is no token at all to {prior.name}: it cannot be scored.")
        if longest is not None and len(found) > longest:
            found, cut = found[:longest], cut + 1
            shown.append("".join(prior.codec.pieces(found)).strip())
        else:
            shown.append(text.strip())
        ids.append(tuple(found))
    return Texts(tuple(ids), tuple(shown), cut)


def room(prior: LMPrior, verbalisers: Sequence[Verbaliser], labels: Sequence[str]) -> int:
    """Most tokens of a text that fit into the model's context under every template.

    Raises:
        ConfigError: none would.
    """
    context = min(prior.context, prior.window or prior.context)
    # A text and what surrounds it may be cut into one or two tokens more together than apart.
    needed = 4 + max(
        max(len(prior.codec.render(v.before(label))) for v in verbalisers for label in labels),
        max(len(prior.codec.render(v.asking(""))) + max(map(len, v.answers(prior, labels))) for v in verbalisers),
    )
    if context - needed < 1:
        raise ConfigError(
            f"the templates take {needed} of the {context} tokens of {prior.name}'s context: no text fits. Shorten "
            "them."
        )
    return context - needed


def channel_of(prior: LMPrior, verbaliser: Verbaliser, labels: Sequence[str]) -> Channel:
    """The labels as speakers: the same model after each label's words."""
    prompts = tuple(prior.codec.prompts([verbaliser.before(label)]) for label in labels)
    return Channel(tuple(labels), (prior,) * len(labels), prompts)


Tick = Callable[[int], None]
"""Told how many texts more are done."""


def channel_log_lik(channel: Channel, texts: Texts, tick: Tick = lambda n: None) -> list[Float[Tensor, "T K"]]:
    """log p(x_t | x_<t, y) in nats of each text's tokens under each label. Cost: K passes over the texts."""
    out: list[Tensor] = [torch.zeros(0)] * len(texts)
    for rows in _alike(texts.ids):
        found = channel.log_lik(_completions([texts.ids[i] for i in rows], torch.zeros(len(rows), dtype=torch.long)))
        for place, i in enumerate(rows):
            out[i] = found[place, : len(texts.ids[i])].cpu()
        tick(len(rows))
    return out


def direct_log_p(
    prior: LMPrior, verbaliser: Verbaliser, labels: Sequence[str], texts: Texts, tick: Tick = lambda n: None
) -> Float[Tensor, "N K"]:
    """log p(word of y | text) in nats, all tokens of the word summed; not yet normalised over labels.

    Cost: one pass over the texts, and one over the words behind each.
    """
    answers = verbaliser.answers(prior, labels)
    out = torch.zeros(len(texts), len(labels), dtype=torch.float64)
    for rows in _alike(texts.ids):
        prompts: Prompts = prior.codec.prompts([verbaliser.asking(texts.texts[i]) for i in rows])
        owners = torch.arange(len(rows)).repeat_interleave(len(labels))
        found = prior.score(prompts, _completions(answers * len(rows), owners)).sum(1)
        out[rows] = found.view(len(rows), len(labels)).cpu()
        tick(len(rows))
    return out


def _alike(ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """Row numbers in batches of about the same length, so that little is padded."""
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    return [order[i : i + BATCH] for i in range(0, len(order), BATCH)]


def _completions(ids: Sequence[Sequence[int]], owners: Tensor) -> Completions:
    width = max(map(len, ids))
    tokens = torch.tensor([[*row, *([0] * (width - len(row)))] for row in ids])
    mask = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in ids])
    return Completions(tokens, mask, torch.zeros(len(ids), dtype=torch.bool), owners)
