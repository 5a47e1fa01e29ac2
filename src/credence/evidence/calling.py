"""How a reward function is called: by which names, within which time, and what it failed on."""

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from credence.core.errors import ContractError

RewardFunction = Callable[..., Sequence[float | None]]

TOKENS = "completion_ids"
"""The tokens of each completion, its end included, under TRL's name for them."""

TEXTS = ("prompts", "completions")
"""What every reward is given; a data column of one of these names is never passed in its place."""

LIVE = ("trainer_state", "log_extra", "log_metric")
"""What TRL hands over of its trainer. There is none here: the target of a run does not change with its steps."""

_TRIED = 64
"""Completions tried one by one to find the one that a reward fails on."""


def bind(
    fn: RewardFunction, prompts: list[Any], completions: list[Any], columns: Mapping[str, list[Any]]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments for fn, by name where it names `completions` or takes anything by name, else prompts, completions.

    TRL calls by name, so (completions, **kwargs) and any order are legal there; (p, c) is a plain function of two.
    A column is passed to a function that names it or takes **kwargs; the tokens, to one that names `completion_ids`.
    Test: every form in tests/unit/test_evidence.py.

    Raises:
        ContractError: fn needs by name what is neither prompts, completions nor a column.
    """
    offered = {name: values for name, values in columns.items() if name not in (*TEXTS, TOKENS)}
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):  # some builtins have no signature
        return (prompts, completions), offered
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    names = {p.name for p in named}
    every = any(p.kind is p.VAR_KEYWORD for p in parameters)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    known = {"prompts": prompts, "completions": completions} | offered
    known |= {TOKENS: columns[TOKENS]} if TOKENS in names & columns.keys() else {}
    plain = len(positional) > 1 and positional[1] not in names & known.keys()  # (p, c), (p, c, **columns)
    if {"completions", TOKENS} & names or (every and not plain):
        missing = [name for name in needed if name not in known]
        if live := [name for name in missing if name in LIVE]:
            raise ContractError(
                f"the reward {_name(fn)!r} needs {', '.join(live)} of TRL's trainer, which is not here. A reward that "
                "changes with the step changes the target: say so by a schedule of β (train.beta), and give the "
                "argument a default. What it would log stands in its value, or in further rewards as their readings."
            )
        if missing:
            raise ContractError(
                f"the reward {_name(fn)!r} needs {', '.join(missing)}, which is neither prompts, completions nor a "
                f"column of the prompts ({', '.join(sorted(offered)) or 'there are none'}). Rename it, or give it a "
                "default."
            )
        return (), {name: values for name, values in known.items() if every or name in names}
    if "prompts" in positional[1:]:
        raise ContractError(
            f"the reward {_name(fn)!r} names 'prompts' and not 'completions': call them `prompts` and `completions`, "
            "or put the prompts first."
        )
    taken = positional[:2]
    return (prompts, completions), {
        name: values for name, values in offered.items() if name not in taken and (every or name in names)
    }


def as_messages(prompt: Any) -> Any:  # noqa: ANN401 - a prompt as the user wrote it
    """A prompt as a list of messages: a text is what the user said."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def awaited(value: Any) -> Any:  # noqa: ANN401 - what a user's function returns
    """The value itself, or what a coroutine comes to."""
    return asyncio.run(_finish(value)) if inspect.isawaitable(value) else value


async def _finish(value: Awaitable[Any]) -> Any:  # noqa: ANN401 - what a user's function returns
    return await value


class TimeoutReached(Exception):
    """A call that has not returned in time."""


def within(seconds: float, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - what a user's function returns
    """The call's value, from a thread that is left behind when it hangs.

    Raises:
        TimeoutReached: no answer in time. Whatever the call itself raised, SystemExit and KeyboardInterrupt included.
    """
    result: list[Any] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            result.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again below, where somebody can catch it
            failure.append(error)

    # A thread can be abandoned when it hangs; a daemon does not keep the process alive.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(max(0.0, seconds))
    if failure:
        raise failure[0]
    if not result:
        raise TimeoutReached
    return result[0]


def culprit(
    fn: RewardFunction, prompts: list[Any], completions: list[Any], columns: Mapping[str, list[Any]], seconds: float
) -> int | None:
    """The first completion on which fn raises by itself; None where none of the first 64 does, or time is out."""
    until = time.monotonic() + seconds
    for i in range(min(len(completions), _TRIED)):
        one = slice(i, i + 1)
        args, kwargs = bind(fn, prompts[one], completions[one], {k: v[one] for k, v in columns.items()})
        try:
            within(until - time.monotonic(), lambda args=args, kwargs=kwargs: awaited(fn(*args, **kwargs)))
        except TimeoutReached:
            return None
        except (Exception, SystemExit):  # noqa: BLE001 - the same failure again, now with one input
            return i
    return None


def _name(fn: RewardFunction) -> str:
    return getattr(fn, "__name__", type(fn).__name__)
