"""What a particle's text is worth: log_lik once it is final, the twist while it grows. Both are held to their laws."""

import math
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from credence.core.errors import ContractError
from credence.core.protocols import Evidence
from credence.core.types import Completions, Prompts
from credence.evidence.product import measure
from credence.evidence.product import twist as own_twist


@runtime_checkable
class Twist(Protocol):
    """What an unfinished text already tells, whoever says so: a PrefixEvidence, a learnt value, a user's function.

    Laws: one number a row, in nats; never NaN or +inf; -inf only where no completion of the prefix is possible. It is
    asked on unfinished texts only. A constant that depends on the prompt alone changes nothing.
    """

    def log_twist(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """log ψ of these prefixes in nats."""
        ...


def log_potential(
    evidence: Evidence, twist: Twist | None, prompts: Prompts, rows: Completions, final: Bool[Tensor, " k"]
) -> tuple[Float[Tensor, " k"], Mapping[str, Float[Tensor, " f"]]]:
    """log ψ of each row: log_lik where `final`, else what the twist says, the evidence's own where none is given.

    Returns:
        nats (k,), float64; and the readings of the final rows, in their order. The evidence sees a final text once.

    Raises:
        ContractError: NaN, +inf, or not one number a row; with the text it was said of.
    """
    out = torch.zeros(len(rows), dtype=torch.float64, device=rows.ids.device)
    readings: Mapping[str, Tensor] = {}
    if bool(final.any()):
        whole = rows.rows(final)
        nats, readings = measure(evidence, prompts, whole)
        out[final] = lawful(nats, f"log_lik of {type(evidence).__name__}", prompts, whole)
    if not bool(final.all()):
        part = rows.rows(~final)
        nats = own_twist(evidence, prompts, part) if twist is None else twist.log_twist(prompts, part)
        source = evidence if twist is None else twist
        out[~final] = lawful(nats, f"log_twist of {type(source).__name__}", prompts, part)
    return out, readings


def lawful(nats: object, what: str, prompts: Prompts, rows: Completions) -> Float[Tensor, " R"]:
    """The nats as float64 beside the rows, without gradient.

    Raises:
        ContractError: not a tensor with one number a row, or NaN or +inf among them.
    """
    if not isinstance(nats, Tensor) or nats.shape != (len(rows),):
        given = tuple(nats.shape) if isinstance(nats, Tensor) else type(nats).__name__
        raise ContractError(
            f"{what} returned {given} for {len(rows)} rows: a tensor of shape ({len(rows)},) is needed."
        )
    nats = nats.detach().double().to(rows.ids.device)
    wrong = torch.nonzero(torch.isnan(nats) | torch.isposinf(nats)).flatten()
    if len(wrong):
        row = int(wrong[0])
        raise ContractError(
            f"{what} is {float(nats[row])} for {told(prompts, rows, row)}: a finite number of nats is needed (-inf "
            "where no completion of the text is possible)."
        )
    return nats


def told(prompts: Prompts, rows: Completions, row: int) -> str:
    """A row in words, for messages."""
    text = repr(prompts.codec.decode(rows.rows(torch.tensor([row], device=rows.ids.device)).tokens()[0]))
    given = repr(prompts.given[int(rows.prompt[row])])
    short = [x if len(x) <= 80 else x[:77] + "..." for x in (text, given)]
    return f"the text {short[0]} (prompt {short[1]})"


def impossible(log_p: float, final: bool, where: str) -> ContractError:
    """What to say of a retained completion without weight: it is no draw of this posterior, or the twist is wrong."""
    if math.isinf(log_p):
        return ContractError(f"the prior cannot say the retained completion, at {where}: it is not a draw from it.")
    if final:
        return ContractError(f"the evidence calls {where} impossible: retained completions are posterior draws.")
    return ContractError(
        f"the twist is -inf at {where}, and a possible completion goes on from there: that breaks the twist's law, and "
        "SMC would miss that part of Z. Make it finite wherever a completion is possible."
    )
