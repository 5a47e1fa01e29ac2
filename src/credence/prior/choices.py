"""A language model asked to choose: q(a | question) from its log-probabilities of the answers' words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.types import Completions, Prompts
from credence.prior.hf import LMPrior
from credence.prior.reshape import reshape


@dataclass(frozen=True, eq=False)
class Choices:
    """What a model answers to B questions with A answers each.

    Attributes:
        log_q: (B, A) nats, normalised over the answers.
        log_mass: (B,) log of the probability that the model says any of the answers at all, nats.
    """

    log_q: Float[Tensor, "B A"]
    log_mass: Float[Tensor, " B"]


def forms(word: str) -> tuple[str, ...]:
    """The ways in which a model may write a one-word answer: `left`, `Left`, `left.`, `Left.`; 。 after Chinese."""
    stop = "。" if any("一" <= c <= "鿿" for c in word) else "."
    return tuple(dict.fromkeys(w + end for w in (word, word[:1].upper() + word[1:]) for end in ("", stop)))


def choices(
    model: LMPrior,
    questions: Sequence[str],
    answers: Sequence[str],
    temperature: float = 1.0,
    tick: Callable[[float], None] = lambda share: None,
) -> Choices:
    """q(a | question) ∝ Σ over the answer's forms of p(form and the end of the reply | question).

    Every form is scored to its end, so `up` is not paid for the beginning of `upper`, and forms of unlike length can be
    added up: they are different replies. Tested in tests/unit/test_choices.py.

    Args:
        model: at temperature 1.
        questions: B prompts, rendered by the model's codec.
        answers: A words.
        temperature: reshapes the model, not the choice.
        tick: told how far it is, 0 to 1.

    Raises:
        ConfigError: fewer than two answers, one of them empty, or two that share a form.

    Cost: one pass over each question and A × 4 short replies.
    """
    written = [forms(a) for a in answers]
    flat = [form for group in written for form in group]
    if len(answers) < 2 or not all(a.strip() for a in answers) or len(set(flat)) < len(flat):
        raise ConfigError(f"answers {list(answers)}: at least two different words are needed to choose between.")
    codec = model.codec
    own = codec.tokenizer.eos_token_id
    end = int(own) if own in model.ends else min(model.ends)
    ids = [[*codec.encode(form), end] for form in flat]
    width, device = max(map(len, ids)), model.device
    rows = torch.tensor([row + [end] * (width - len(row)) for row in ids], device=device)
    mask = torch.tensor([[t < len(row) for t in range(width)] for row in ids], device=device)
    law = reshape(LMPrior(model.model, codec, model.ends, width, model.name), temperature)
    prompts = codec.prompts(list(questions))
    ended, first = torch.ones(len(flat), dtype=torch.bool, device=device), torch.zeros(len(flat), dtype=torch.long)
    scores = list[Tensor]()
    for i in range(len(prompts)):
        one = Prompts((prompts.ids[i],), (prompts.given[i],), codec)
        scores.append(law.score(one, Completions(rows, mask, ended, first.to(device))).sum(-1).double().cpu())
        tick((i + 1) / len(prompts))
    parts = torch.stack(scores).split([len(group) for group in written], 1)
    log_p = torch.stack([torch.logsumexp(part, 1) for part in parts], 1)
    mass = torch.logsumexp(log_p, 1)
    return Choices(log_p - mass[:, None], mass)
