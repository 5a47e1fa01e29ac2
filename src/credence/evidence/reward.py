"""A reward as evidence: log-likelihood r/β nats."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import BackendError, ConfigError, ContractError
from credence.core.types import Completions, Prompts
from credence.evidence.calling import (
    TOKENS,
    RewardFunction,
    TimeoutReached,
    as_messages,
    awaited,
    bind,
    culprit,
    within,
)
from credence.evidence.product import Composable

Nothing = Literal["refuse", "skip"]
"""What a reward that returns None has done: made a mistake, or said that it does not apply."""


@dataclass(frozen=True, eq=False)
class Reward(Composable):
    """exp(r(x, c)/β): the evidence that turns KL-regularised RL into inference.

    Args:
        fn: fn(prompts, completions, **columns) -> one float a completion; every form that TRL calls by keyword, such as
            (completions, **kwargs), and (p, c) by position. It receives only the columns it names, unless it takes
            **kwargs; `completion_ids` are the tokens. It may be a coroutine function. -inf forbids a completion.
        beta: reward units per nat. Small is strong evidence.
        name: of the reading; the function's own name by default.
        on_prefix: whether the reward of an unfinished text is a useful hint of where it is going; then SMC uses it as
            a twist. It steers the particles and never changes the target.
        timeout: seconds after which one call is given up.
        bound: the largest value the reward can take, where known: rejection needs it.
        messages: hand over prompts and completions as lists of {"role", "content"}, the form in which TRL gives chats.
        none: what a None says, the reward does not apply. "refuse": nothing, it is a mistake. "skip": 0 nats, as TRL
            sums rewards; `name`_skipped then reads 1. A reply that is skipped counts as one of reward 0, so where only
            some replies to a prompt are, choose a reward whose 0 means "neither good nor bad".
        parts: what fn is made of, functions like it by name: read beside it as "<name>_<part>", and worth no nats.

    Raises:
        ConfigError: beta or 1/beta not finite and positive.
        ContractError: fn raised, or returned NaN, +inf, the wrong number of values, or (unless "skip") None.
        BackendError: fn did not return in time.
    """

    fn: RewardFunction
    beta: float
    name: str = ""
    on_prefix: bool = False
    timeout: float = 60.0
    bound: float = math.inf
    messages: bool = False
    none: Nothing = "refuse"
    parts: Mapping[str, RewardFunction] = field(default_factory=dict[str, RewardFunction])

    def __post_init__(self) -> None:
        if not (self.beta > 0 and math.isfinite(self.beta) and math.isfinite(1 / self.beta)):
            raise ConfigError(
                f"beta={self.beta}: reward units per nat must be finite and above 0, and so must 1/beta. "
                "For the pure maximum (beta -> 0) there is no posterior; try 0.05 times the reward's range."
            )
        if not self.name:
            object.__setattr__(self, "name", getattr(self.fn, "__name__", "reward"))

    @property
    def max_log_lik(self) -> float:
        """Largest possible nats."""
        return self.bound / self.beta

    def log_lik(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """r/β in nats, float64."""
        return self._read(prompts, completions)[0] / self.beta

    def measure(
        self, prompts: Prompts, completions: Completions
    ) -> tuple[Float[Tensor, " R"], Mapping[str, Float[Tensor, " R"]]]:
        """log_lik and readings from one call of the function."""
        values, told = self._read(prompts, completions)
        return values / self.beta, {**told, **self._parts(prompts, completions)}

    def log_twist(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """r(prefix)/β where `on_prefix`, else 0 until the row has ended."""
        if self.on_prefix:
            nats = self.log_lik(prompts, completions)
            return torch.where(completions.ended | torch.isfinite(nats), nats, 0.0)
        out = torch.zeros(len(completions), dtype=torch.float64, device=completions.ids.device)
        if bool(completions.ended.any()):
            out[completions.ended] = self.log_lik(prompts, completions.rows(completions.ended))
        return out

    def readings(self, prompts: Prompts, completions: Completions) -> Mapping[str, Float[Tensor, " R"]]:
        """The raw reward under its name, and its parts."""
        return {**self._read(prompts, completions)[1], **self._parts(prompts, completions)}

    def _parts(self, prompts: Prompts, completions: Completions) -> Mapping[str, Float[Tensor, " R"]]:
        named = {f"{self.name}_{name}": fn for name, fn in self.parts.items()}
        return {
            name: replace(self, fn=fn, name=name, parts={})._read(prompts, completions)[0] for name, fn in named.items()
        }

    def _read(
        self, prompts: Prompts, completions: Completions
    ) -> tuple[Float[Tensor, " R"], Mapping[str, Float[Tensor, " R"]]]:
        """The values, 0 where skipped, and what is read of them."""
        texts = completions.texts(prompts.codec)
        index = completions.prompt.tolist()
        given = [prompts.given[b] for b in index]
        columns = {name: [values[b] for b in index] for name, values in prompts.columns.items()}
        columns[TOKENS] = completions.tokens()
        if self.messages:
            given, texts = [as_messages(p) for p in given], [[{"role": "assistant", "content": t}] for t in texts]
        raw = self._call(given, texts, columns) if texts else []
        values = self._checked(raw, given, texts).to(completions.ids.device)
        if self.none == "refuse":
            return values, {self.name: values}
        skipped = torch.isnan(values)  # only a None can have become one
        values = torch.where(skipped, 0.0, values)
        return values, {self.name: values, f"{self.name}_skipped": skipped.double()}

    def _call(self, given: list[Any], texts: list[Any], columns: Mapping[str, list[Any]]) -> Any:  # noqa: ANN401
        args, kwargs = bind(self.fn, given, texts, columns)
        first = f"prompt {_short(given[0])}, completion {_short(texts[0])}"
        try:
            return within(self.timeout, lambda: awaited(self.fn(*args, **kwargs)))
        except TimeoutReached:
            raise BackendError(
                f"the reward {self.name!r} did not return within {self.timeout:g} s for {len(texts)} completions "
                f"(the first: {first}). Make it faster, or raise its timeout."
            ) from None
        except (Exception, SystemExit) as error:
            at = culprit(self.fn, given, texts, columns, self.timeout)
            where = (
                f"{len(texts)} completions at once, on no single one that was tried; the first: {first}"
                if at is None
                else f"prompt {_short(given[at])}, completion {_short(texts[at])}"
            )
            raise ContractError(
                f"the reward {self.name!r} raised {type(error).__name__}: {error} ({where})."
            ) from error

    def _checked(self, raw: Any, given: list[Any], texts: list[Any]) -> Float[Tensor, " R"]:  # noqa: ANN401
        try:
            values = list(raw)
        except TypeError:
            raise ContractError(
                f"the reward {self.name!r} returned {type(raw).__name__}: a list of {len(texts)} floats is needed, "
                "one a completion."
            ) from None
        if len(values) != len(texts):
            raise ContractError(
                f"the reward {self.name!r} returned {len(values)} values for {len(texts)} completions "
                f"(the first: {_short(texts[0]) if texts else 'none'}): one each is needed."
            )
        remedy = ' For "does not apply" give the reward none="skip".'
        numbers: list[float] = []
        for i, value in enumerate(values):
            try:
                number = float(value)
            except (TypeError, ValueError):
                number = math.nan
            if (math.isnan(number) or number == math.inf) and not (value is None and self.none == "skip"):
                raise ContractError(
                    f"the reward {self.name!r} returned {value!r} for prompt {_short(given[i])}, completion "
                    f"{_short(texts[i])}: a number is needed (-inf forbids a completion).{remedy * (value is None)}"
                )
            numbers.append(number)
        return torch.tensor(numbers, dtype=torch.float64)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
