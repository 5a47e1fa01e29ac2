"""A learnt value as evidence that already tells of unfinished texts: what SMC steers by."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.protocols import Evidence
from credence.core.types import Completions, Prompts
from credence.evidence.product import Composable, Readings, max_log_lik, measure, settled


@runtime_checkable
class Valuing(Protocol):
    """What has learnt a value of prefixes: a guide (core.protocols.Guide)."""

    @property
    def horizon(self) -> int:
        """Most tokens of a reply."""
        ...

    def log_value(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """Q of each row's last token, nats."""
        ...

    def log_state(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """v after each row's last token, nats."""
        ...


@dataclass(frozen=True, eq=False)
class ValueTwist:
    """A learnt value as a twist by itself, in place of the evidence's own: `SMC(twist=ValueTwist(guide))`.

    Args:
        value: a guide.
        shape: which of its values: "token", Q of the last token; "state", the one number v.

    Cost: as Twisted's log_twist. Tested in tests/oracle/test_twist.py.
    """

    value: Valuing
    shape: Literal["token", "state"] = "token"

    def log_twist(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """The value of these unfinished texts, nats."""
        look = self.value.log_value if self.shape == "token" else self.value.log_state
        return look(prompts, completions)


@dataclass(frozen=True, eq=False)
class Twisted(Composable):
    """Evidence with a learnt twist: log_lik is the evidence's own, log_twist of an unfinished text is the value's.

    A twist steers SMC's particles and never moves its target, however wrong the value is; that of soft values makes
    every weight equal. At an ended or cut row, and where the evidence is settled (evidence.product.settled), log_twist
    is log_lik. Tested in tests/oracle/test_twist.py and test_settled.py.

    Args:
        evidence: what is aimed at.
        value: a guide, trained or not.
        shape: which of its values: "token", Q of the last token; "state", the one number v.

    Cost of log_twist: a forward pass of the value's model over prompts and prefixes, each time it is asked.
    """

    evidence: Evidence
    value: Valuing
    shape: Literal["token", "state"] = "token"

    def __post_init__(self) -> None:
        if not isinstance(self.value, Valuing):  # pyright: ignore[reportUnnecessaryIsInstance] - users give any object
            raise ConfigError(
                f"{type(self.value).__name__} holds no value of prefixes (log_value, log_state): give a guide, such as "
                "guided_policy or guided_table make."
            )

    @property
    def max_log_lik(self) -> float:
        """The evidence's."""
        return max_log_lik(self.evidence)

    def log_lik(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """The evidence's nats."""
        return self.evidence.log_lik(prompts, completions)

    def readings(self, prompts: Prompts, completions: Completions) -> Readings:
        """The evidence's."""
        return self.evidence.readings(prompts, completions)

    def measure(self, prompts: Prompts, completions: Completions) -> tuple[Float[Tensor, " R"], Readings]:
        """Both, from one look."""
        return measure(self.evidence, prompts, completions)

    def log_twist(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """The value of unfinished rows, log_lik of the others and of those that the evidence calls settled; nats."""
        final = (completions.lengths >= self.value.horizon) | settled(self.evidence, prompts, completions)
        out = torch.zeros(len(completions), dtype=torch.float64, device=completions.ids.device)
        if bool(final.any()):
            out[final] = self.log_lik(prompts, completions.rows(final))
        if not bool(final.all()):
            out[~final] = ValueTwist(self.value, self.shape).log_twist(prompts, completions.rows(~final))
        return out
