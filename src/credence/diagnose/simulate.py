"""Exact posterior draws without a bound: invent the reply first, then what was observed of it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.protocols import Prior
from credence.core.status import Status
from credence.core.types import Completions, Cost, Draws, Prompts

Observe = Callable[[Key, Prompts, Completions], Sequence[Any]]
"""(key, prompts, completions) -> one observation a row, drawn from p(observation | completion)."""


def simulated(key: Key, prior: Prior, prompts: Prompts, observe: Observe, column: str) -> tuple[Prompts, Draws]:
    """One exact posterior draw a prompt, given an observation simulated for it.

    x ~ π0, then o ~ p(o|x): so x is a draw from p(x|o), exactly, whatever o came out. The evidence that reads o from
    the column must be log p(o|x), with its normaliser over o; a reward scaled at will is no such likelihood. There is
    one draw for each observation: repeat a prompt for more pairs, and average over them.

    Args:
        key: all randomness.
        prior: who speaks.
        prompts: B.
        observe: draws the observations.
        column: the name under which the evidence finds them.

    Returns:
        the prompts with the new column; the draws (B rows), log_w = 0, log_z NaN.

    Raises:
        ConfigError: the column is there already.
        ShapeError: not one observation a prompt.

    Cost: one reply a prompt. Source: Grosse, Ghahramani & Adams 2015; SCIENCE 5.2. Test: chi-square against the
    enumerated posterior of each observation in tests/statistical/test_conditional.py.
    """
    if column in prompts.columns:
        raise ConfigError(f"column {column!r} is there already: give the simulated observations another name.")
    replies, log_q = prior.sample(key.fold("reply"), prompts, 1)
    seen = list(observe(key.fold("observe"), prompts, replies))
    if len(seen) != len(prompts):
        raise ShapeError(f"observe returned {len(seen)} observations for {len(prompts)} replies: one each is needed.")
    count = len(prompts)
    unknown = torch.full((count,), torch.nan, dtype=torch.float64)
    given = replace(prompts, columns={**prompts.columns, column: seen})
    draws = Draws(
        given,
        replies,
        log_q,
        torch.zeros(count, dtype=torch.float64),
        unknown,
        unknown.clone(),
        (Status.OK,) * count,
        Cost(int(replies.mask.sum())),
        key,
    )
    return given, draws
