"""Reward functions in the forms that TRL documents, typed anew by their signatures, run as they are."""

import re
from typing import Any

import pytest
import torch

from credence.core.errors import ContractError
from credence.core.types import Completions, Prompts
from credence.evidence.reward import Reward
from credence.prior.render import TextCodec
from tests.tiny import codec

SAID = ("<think>1 + 1</think><answer>2</answer>", "3", r"it is \boxed{2}", "")
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 1 + 1?"}]


class Read(TextCodec):
    """The four replies by number; prompts are not read."""

    def decode(self, ids: Any) -> str:
        return SAID[ids[0]]


def asked(given: list[Any], **columns: list[Any]) -> Prompts:
    return Prompts(((1,),) * len(given), tuple(given), Read(codec().tokenizer), columns)


def replies(*which: tuple[int, int]) -> Completions:
    """Reply number, and the prompt that it answers."""
    ids = torch.tensor([[number, 6] for number, _ in which])
    rows = torch.tensor([prompt for _, prompt in which])
    return Completions(ids, torch.ones_like(ids, dtype=torch.bool), torch.ones(len(which), dtype=torch.bool), rows)


def longer(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
    return [float(len(ids)) for ids in completion_ids]


def characters(prompts: list[str], completions: list[str], **kwargs: Any) -> list[float]:
    return [float(len(text)) for text in completions]


def thought_first(completions: list[Any], **kwargs: Any) -> list[float]:
    pattern = re.compile(r"^<think>.*?</think><answer>.*?</answer>$")
    return [1.0 if pattern.match(said[0]["content"]) else 0.0 for said in completions]


def boxed(completions: list[str], ground_truth: list[str], **kwargs: Any) -> list[float]:
    found = [re.search(r"\\boxed\{(.*?)\}", text) for text in completions]
    return [float(bool(m) and m.group(1) == truth) for m, truth in zip(found, ground_truth, strict=True)]  # pyright: ignore


def accuracy(completions: list[list[dict[str, str]]], solution: list[str], **kwargs: Any) -> list[float | None]:
    """None where the solution cannot be read: the example does not count."""
    return [
        None if not truth.isdigit() else float(said[-1]["content"].endswith(truth))
        for said, truth in zip(completions, solution, strict=True)
    ]


def only_math(prompts: list[str], completions: list[str], task: list[str], **kwargs: Any) -> list[float | None]:
    return [float("2" in said) if of == "math" else None for said, of in zip(completions, task, strict=True)]


async def later(prompts: list[str], completions: list[str], **kwargs: Any) -> list[float]:
    return [float(len(text)) for text in completions]


def of_the_step(prompts: list[str], completions: list[str], trainer_state: Any, **kwargs: Any) -> list[float]:
    return [trainer_state.global_step] * len(completions)


FOUR = replies((0, 0), (1, 0), (2, 1), (3, 1))


def test_lengths_by_tokens_and_by_characters() -> None:
    prompts = asked(["a", "b"])
    assert Reward(longer, 1.0).log_lik(prompts, FOUR).tolist() == [2.0] * 4
    assert Reward(characters, 1.0).log_lik(prompts, FOUR).tolist() == [float(len(t)) for t in SAID]
    assert Reward(later, 1.0).log_lik(prompts, FOUR).tolist() == [float(len(t)) for t in SAID]


def test_a_format_of_messages_and_an_answer_column() -> None:
    """Messages by name: a text prompt becomes what the user said, a reply one assistant message."""
    prompts = asked(["a", CHAT], ground_truth=["2", "2"])
    assert Reward(thought_first, 1.0, messages=True).log_lik(prompts, FOUR).tolist() == [1, 0, 0, 0]
    assert Reward(boxed, 1.0).log_lik(prompts, FOUR).tolist() == [0, 0, 1, 0]
    seen: list[Any] = []

    def both(prompts: list[Any], completions: list[Any]) -> list[float]:
        seen.extend([prompts, completions])
        return [0.0] * len(prompts)

    Reward(both, 1.0, messages=True).log_lik(prompts, FOUR)
    assert seen[0] == [[{"role": "user", "content": "a"}]] * 2 + [CHAT] * 2
    assert seen[1][1] == [{"role": "assistant", "content": "3"}]


def test_none_is_skipped_in_the_sum_by_name() -> None:
    """As TRL sums: a reward that does not apply gives nothing, another one beside it still counts."""
    prompts = asked(["a", "b"], task=["math", "code"], solution=["2", "none"])
    applied = Reward(only_math, 0.5, none="skip")
    total = applied * Reward(characters, 10.0)
    nats = total.log_lik(prompts, FOUR)
    assert torch.allclose(nats, torch.tensor([2.0, 0.0, 0.0, 0.0]).double() + torch.tensor([len(t) / 10 for t in SAID]))
    told = applied.readings(prompts, FOUR)
    assert told["only_math"].tolist() == [1, 0, 0, 0]
    assert told["only_math_skipped"].tolist() == [0, 0, 1, 1]
    assert set(Reward(characters, 1.0).readings(prompts, FOUR)) == {"characters"}
    graded = Reward(accuracy, 1.0, messages=True, none="skip")
    assert graded.readings(prompts, FOUR)["accuracy_skipped"].tolist() == [0, 0, 1, 1]


def test_none_and_nan_are_mistakes_unless_none_was_foreseen() -> None:
    prompts = asked(["a", "b"], task=["math", "code"])
    with pytest.raises(ContractError, match=r"returned None .*none=\"skip\""):
        Reward(only_math, 1.0).log_lik(prompts, FOUR)
    with pytest.raises(ContractError, match="returned nan for prompt"):
        Reward(lambda prompts, completions: [float("nan")] * 4, 1.0, none="skip").log_lik(prompts, FOUR)


def test_what_belongs_to_a_trainer_is_refused_with_the_reason() -> None:
    with pytest.raises(ContractError, match=r"needs trainer_state of TRL's trainer.*schedule of β"):
        Reward(of_the_step, 1.0).log_lik(asked(["a", "b"]), FOUR)
