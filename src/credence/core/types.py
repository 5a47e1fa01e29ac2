"""The values that flow between rooms.

Axes: B prompts, n draws a prompt, R = B·n rows (prompt-major), T tokens, V vocabulary.

State is carried on (Draws), information is looked at (Info, Finding): they are different types.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.errors import ShapeError
from credence.core.keys import Key
from credence.core.logspace import ess, normalise
from credence.core.status import Status


@runtime_checkable
class Codec(Protocol):
    """Between a user's prompts and texts and the tokens of one prior."""

    def decode(self, ids: Sequence[int]) -> Any:  # noqa: ANN401 - str for a text model, tuple of tokens for a table
        """The completion as rewards see it: text without special tokens; for a table the tuple of tokens."""
        ...

    def prompts(self, given: Sequence[Any], columns: Mapping[str, Sequence[Any]] | None = None) -> "Prompts":
        """Render what the user gave (strings, message lists, tuples of tokens) into Prompts."""
        ...


@dataclass(frozen=True, eq=False)
class Prompts:
    """What is conditioned on, already rendered into tokens.

    Attributes:
        ids: B tuples of tokens.
        given: B prompts as the user wrote them; rewards receive these.
        columns: extra columns of length B, handed to rewards by name.
        codec: how to read the completions back.
    """

    ids: tuple[tuple[int, ...], ...]
    given: tuple[Any, ...]
    codec: Codec
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.given) != len(self.ids):
            raise ShapeError(f"{len(self.ids)} rendered prompts but {len(self.given)} given ones: one each is needed.")
        for name, values in self.columns.items():
            if len(values) != len(self.ids):
                raise ShapeError(
                    f"column {name!r} has {len(values)} values for {len(self.ids)} prompts: one each is needed."
                )

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: Sequence[int]) -> "Prompts":
        """The prompts at these positions, in this order, repeats allowed."""
        return Prompts(
            tuple(self.ids[i] for i in index),
            tuple(self.given[i] for i in index),
            self.codec,
            {name: [values[i] for i in index] for name, values in self.columns.items()},
        )

    def split(self, size: int) -> Iterator["Prompts"]:
        """Consecutive pieces of at most `size` prompts."""
        for start in range(0, len(self), size):
            yield self.take(range(start, min(start + size, len(self))))


@dataclass(frozen=True, eq=False)
class Completions:
    """What was said. Row r answers prompt `prompt[r]`.

    Attributes:
        ids: (R, T) tokens; anything may stand where the mask is False.
        mask: (R, T), True on the model's own tokens, the end token included.
        ended: (R,), True where the end token was reached; False where the horizon cut.
        prompt: (R,) index of the prompt.
        turn: (R, T) the dialogue turn of each token, or None.
        close_calls: tokens whose uniform lay within the logits' error of another token.
    """

    ids: Int[Tensor, "R T"]
    mask: Bool[Tensor, "R T"]
    ended: Bool[Tensor, " R"]
    prompt: Int[Tensor, " R"]
    turn: Int[Tensor, "R T"] | None = None
    close_calls: int = 0

    def __len__(self) -> int:
        return self.ids.shape[0]

    @property
    def lengths(self) -> Int[Tensor, " R"]:
        """Tokens a row, the end token included."""
        return self.mask.sum(-1)

    def rows(self, index: Tensor) -> "Completions":
        """The rows at these positions (or where a boolean index is True)."""
        turn = None if self.turn is None else self.turn[index]
        return replace(
            self,
            ids=self.ids[index],
            mask=self.mask[index],
            ended=self.ended[index],
            prompt=self.prompt[index],
            turn=turn,
        )

    def tokens(self) -> list[list[int]]:
        """Each row as a list of its own tokens, the end token included."""
        return [row[keep].tolist() for row, keep in zip(self.ids.cpu(), self.mask.cpu(), strict=True)]

    def texts(self, codec: Codec) -> list[Any]:
        """Each row decoded."""
        return [codec.decode(row) for row in self.tokens()]


def concat(parts: Sequence[Completions], offsets: Sequence[int]) -> Completions:
    """Stack completions of consecutive pieces of prompts; `offsets` shifts each piece's prompt index."""
    width = max(p.ids.shape[1] for p in parts)

    def wide(x: Tensor) -> Tensor:
        return torch.nn.functional.pad(x, (0, width - x.shape[1]))

    return Completions(
        torch.cat([wide(p.ids) for p in parts]),
        torch.cat([wide(p.mask) for p in parts]),
        torch.cat([p.ended for p in parts]),
        torch.cat([p.prompt + o for p, o in zip(parts, offsets, strict=True)]),
        close_calls=sum(p.close_calls for p in parts),
    )


def pad_to(values: Float[Tensor, "R S"], width: int) -> Float[Tensor, "R T"]:
    """Widen (R, S) with zeros to (R, width)."""
    return torch.nn.functional.pad(values, (0, width - values.shape[1]))


@dataclass(frozen=True)
class Cost:
    """What was spent: model tokens (sampled or scored) and CPU seconds."""

    tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.tokens + other.tokens, self.seconds + other.seconds)


@dataclass(frozen=True, eq=False)
class Draws:
    """What an engine returns: weighted completions, and what they say about log Z.

    Attributes:
        prompts: the B prompts.
        completions: R = B·n rows, except rejection, which may return fewer.
        log_q: (R, T) nats of each token under what it was sampled from; the proposal's where the output law has none.
        log_w: (R,) unnormalised log weights towards the posterior; zeros where draws count equally.
        log_z: (B,) estimate of log Z in nats, NaN where the engine gives none.
        log_z_se: (B,) its standard error, NaN where unknown.
        status: B entries.
        cost: spent.
        key: the key the draws came from.
        info: further (B,) tensors by name: ess, ancestors, unique, acceptance.
        readings: raw evidence values (R,) by name, in the evidence's own unit.
    """

    prompts: Prompts
    completions: Completions
    log_q: Float[Tensor, "R T"]
    log_w: Float[Tensor, " R"]
    log_z: Float[Tensor, " B"]
    log_z_se: Float[Tensor, " B"]
    status: tuple[Status, ...]
    cost: Cost
    key: Key
    info: Mapping[str, Tensor] = field(default_factory=dict)
    readings: Mapping[str, Tensor] = field(default_factory=dict)

    def texts(self) -> list[Any]:
        """Each row decoded by its prior's codec."""
        return self.completions.texts(self.prompts.codec)

    def of(self, prompt: int) -> Int[Tensor, " n"]:
        """Row numbers of one prompt."""
        return torch.nonzero(self.completions.prompt == prompt).flatten()

    def weights(self) -> Float[Tensor, " R"]:
        """Weights that sum to one within each prompt (0 where a prompt has no possible draw)."""
        out = torch.zeros_like(self.log_w)
        for b in range(len(self.prompts)):
            rows = self.of(b)
            if rows.numel():
                out[rows] = torch.exp(normalise(self.log_w[rows]))
        return out

    def ess(self) -> Float[Tensor, " B"]:
        """Effective sample size a prompt."""
        return torch.stack([ess(self.log_w[self.of(b)]) for b in range(len(self.prompts))])

    def expect(self, f: Callable[[list[Any]], Sequence[float]] | Tensor) -> Float[Tensor, " B"]:
        """Posterior mean a prompt of f(texts), or of given values (R,); NaN where a prompt has no draw."""
        values = torch.as_tensor(f(self.texts()), dtype=torch.float64) if callable(f) else f.double()
        w = self.weights()
        out = torch.full((len(self.prompts),), float("nan"), dtype=torch.float64)
        for b in range(len(self.prompts)):
            rows = self.of(b)
            if rows.numel() and w[rows].sum() > 0:
                possible = w[rows] > 0
                out[b] = (w[rows][possible] * values[rows][possible]).sum()
        return out

    def resample(self, key: Key, n: int) -> "Draws":
        """n equally weighted draws a prompt, drawn by weight with replacement."""
        rng, picked = key.generator(), []
        w = self.weights().cpu().numpy()
        for b in range(len(self.prompts)):
            rows = self.of(b).cpu().numpy()
            if rows.size and w[rows].sum() > 0:
                picked.append(torch.from_numpy(rng.choice(rows, n, p=w[rows] / w[rows].sum())))
        index = torch.cat(picked) if picked else torch.zeros(0, dtype=torch.long)
        return replace(
            self,
            completions=self.completions.rows(index),
            log_q=self.log_q[index],
            log_w=torch.zeros(len(index), dtype=torch.float64),
            key=key,
            readings={name: values[index] for name, values in self.readings.items()},
        )

    def _repr_html_(self) -> str:
        from html import escape

        weights, texts = self.weights().tolist(), self.texts()
        body = "".join(
            f"<tr><td>{escape(str(self.prompts.given[b]))}</td><td>{escape(str(t))}</td><td>{w:.3f}</td></tr>"
            for b, t, w in list(zip(self.completions.prompt.tolist(), texts, weights, strict=True))[:20]
        )
        return f"<table><tr><th>prompt</th><th>completion</th><th>weight</th></tr>{body}</table>"


@dataclass(frozen=True)
class Finding:
    """One diagnostic's verdict: a value with its error, the threshold it was held to, and what it means."""

    name: str
    value: float
    se: float | None
    threshold: float | None
    ok: bool
    meaning: str


Info = Mapping[str, float]
"""What a learner reports of one step, by name; each name is defined on the learner's docs page."""
