"""Which question to ask: the one whose answer is expected to take most nats of doubt from a belief.

    gain(q) = H(h) − E_a[H(h | a)] = I(h; a | q)        p(a | q) = Σ_h p(h) p(a | h, q)

It is never negative, at most H(h), and at most the log of the number of answers; a question that everybody answers
alike gains nothing. Asking so is greedy: it looks one answer ahead.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from credence.belief.belief import Belief
from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.keys import Key
from credence.core.logspace import entropy, normalise

_ROUNDING = 1e-6
Strategy = Literal["gain", "random"]
Tick = Callable[[], None]


@dataclass(frozen=True, eq=False)
class Question:
    """Something that can be asked, and how each hypothesis answers it.

    Attributes:
        text: as it is asked.
        answers: A of them, each once.
        log_lik: (A, K) log p(answer | hypothesis) in nats; each column sums to one.

    Raises:
        ConfigError: fewer than two answers, or one twice.
        ShapeError: not one row an answer.
        ContractError: a column that is no law.
    """

    text: str
    answers: tuple[str, ...]
    log_lik: Float[Tensor, "A K"]

    def __post_init__(self) -> None:
        if len(self.answers) < 2 or len(set(self.answers)) < len(self.answers):
            raise ConfigError(f"{self.text!r} has the answers {self.answers}: at least two different ones are needed.")
        if self.log_lik.ndim != 2 or len(self.log_lik) != len(self.answers):
            raise ShapeError(f"{self.text!r}: log_lik {tuple(self.log_lik.shape)} for {len(self.answers)} answers.")
        total = torch.logsumexp(self.log_lik.double(), 0)
        if not bool((total.abs() < _ROUNDING).all()):
            raise ContractError(f"{self.text!r}: the answers' probabilities do not sum to one for every hypothesis.")


def told(text: str, given: Sequence[str | None], wrong: float) -> Question:
    """A question that each hypothesis answers in its own way, with a chance of a wrong answer.

    Args:
        text: as it is asked.
        given: the right answer of each of K hypotheses; None where it is not known: all answers are then alike likely.
        wrong: chance in [0, 1) of another than the right answer.

    Raises:
        ConfigError: a chance outside [0, 1), or fewer than two different answers.
    """
    if not 0 <= wrong < 1:
        raise ConfigError(f"wrong={wrong}: the chance of a wrong answer lies in [0, 1).")
    answers = tuple(dict.fromkeys(a for a in given if a is not None))
    if len(answers) < 2:
        raise ConfigError(f"{text!r} is answered alike by all: it cannot tell hypotheses apart.")
    p = torch.full((len(answers), len(given)), 1 / len(answers), dtype=torch.float64)
    for k, answer in enumerate(given):
        if answer is not None:
            p[:, k] = wrong / (len(answers) - 1)
            p[answers.index(answer), k] = 1 - wrong
    return Question(text, answers, p.log())


def gain(belief: Belief, question: Question) -> float:
    """The nats by which the answer is expected to cut the belief's entropy: I(h; a).

    Raises:
        ShapeError: the question is about other hypotheses.
    """
    if question.log_lik.shape[1] != len(belief):
        raise ShapeError(f"{question.text!r} speaks of {question.log_lik.shape[1]} hypotheses, not of {len(belief)}.")
    joint = belief.log_p + question.log_lik.double()  # (A, K)
    heard = torch.logsumexp(joint, 1)
    possible = ~torch.isneginf(heard)
    after = entropy(normalise(joint[possible]))
    return max(0.0, belief.entropy() - float((heard[possible].exp() * after).sum()))


def best(belief: Belief, questions: Sequence[Question], asked: Collection[int] = ()) -> tuple[int, float] | None:
    """The question of largest gain among those not asked yet, the first of several; None where none is left.

    Asking the same twice would count one opinion twice. Cost: A × K numbers a question.
    """
    open_ = [(i, gain(belief, q)) for i, q in enumerate(questions) if i not in asked]
    return max(open_, key=lambda pair: pair[1]) if open_ else None


@dataclass(frozen=True)
class Asking:
    """One simulated conversation.

    Attributes:
        truth: the hypothesis that was meant.
        asked: the questions, in order.
        entropy: (turns + 1,) nats before the first answer and after each.
        p_truth: (turns + 1,) what was believed of the truth.
        p_best: (turns + 1,) of the likeliest hypothesis.
        found: whether the likeliest was the truth at the end.
    """

    truth: int
    asked: tuple[int, ...]
    entropy: tuple[float, ...]
    p_truth: tuple[float, ...]
    p_best: tuple[float, ...]
    found: bool


def converse(
    belief: Belief, questions: Sequence[Question], truth: int, key: Key, strategy: Strategy, sure: float, most: int
) -> Asking:
    """Ask somebody who means one hypothesis and answers by its law, until the belief is sure.

    Args:
        belief: before anything is asked.
        questions: what may be asked, each once.
        truth: which hypothesis is meant.
        key: of the answers, and of the choice where it is random: both strategies hear the same answer to a question.
        strategy: "gain", or "random".
        sure: probability of the likeliest hypothesis at which asking ends.
        most: questions at most.
    """
    asked: list[int] = []
    order = key.fold("order").generator().permutation(len(questions)).tolist()
    entropies, of_truth, of_best = [belief.entropy()], [_p(belief, truth)], [_top(belief)]
    while len(asked) < min(most, len(questions)) and of_best[-1] < sure:
        if strategy == "random":
            number = order[len(asked)]
        else:
            found = best(belief, questions, asked)
            number = found[0] if found is not None else order[len(asked)]
        question = questions[number]
        uniform = float(key.fold("answer").uniform(np.array([number]), 0)[0])
        law = question.log_lik[:, truth].exp().cumsum(0)
        answer = min(int(torch.searchsorted(law, uniform)), len(question.answers) - 1)
        belief = belief.update(question.log_lik[answer])
        asked.append(number)
        entropies.append(belief.entropy())
        of_truth.append(_p(belief, truth))
        of_best.append(_top(belief))
    right = belief.log_p.argmax().item() == truth
    return Asking(truth, tuple(asked), tuple(entropies), tuple(of_truth), tuple(of_best), right)


def _p(belief: Belief, k: int) -> float:
    return math.exp(float(belief.log_p[k]))


def _top(belief: Belief) -> float:
    return math.exp(float(belief.log_p.max()))
