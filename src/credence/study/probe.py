"""One-off questions to a model: how likely is this text, how far is that model."""

import math
from dataclasses import dataclass, replace

import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import StepPrior
from credence.core.types import Completions, Finding, Prompts
from credence.diagnose.divergence import PointMass, kl_prior, support_check
from credence.prior.hf import LMPrior
from credence.prior.reshape import reshape

END = "⟨end⟩"
"""How the end token is shown."""


@dataclass(frozen=True)
class TextScore:
    """log p of a text, token by token.

    Attributes:
        style: how the prompt was rendered: chat, plain or raw.
        tokens: T ids, the end token last where `end`.
        pieces: T texts; "" for a token that is a part of a character, which stands at the part that completes it.
        log_p: T nats.
        end: whether the end token is scored too.
        start: the tokens put before the prompt, or before the text where there is none, as the tokenizer writes them;
            "" where there is none, or where the chat template writes all that stands there.
        unscored: a first token that only served as a start, because the model has no start token and no prompt was
            given; "" otherwise.
        size: bytes of the scored text in UTF-8.
    """

    style: str
    tokens: tuple[int, ...]
    pieces: tuple[str, ...]
    log_p: tuple[float, ...]
    end: bool
    start: str
    unscored: str
    size: int

    @property
    def nats(self) -> float:
        """log p of everything scored, of the tokens as segmented here: at most log p of the string."""
        return math.fsum(self.log_p)

    @property
    def bits_per_byte(self) -> float:
        """−log2 p of the text's tokens, without the end token, a byte of UTF-8; NaN for no byte."""
        text = self.log_p[:-1] if self.end else self.log_p
        return -math.fsum(text) / math.log(2) / self.size if self.size else math.nan


def score_text(model: LMPrior, prompt: str | None, text: str, end: bool, temperature: float = 1.0) -> TextScore:
    """Score a text after a prompt. Cost: one pass over prompt and text.

    Args:
        model: at temperature 1.
        prompt: None for none (style raw only).
        text: what is scored.
        end: whether its end is scored too: then the event is this very text, else all that begin with it.
        temperature: reshapes the law.

    Raises:
        ConfigError: nothing to score, text that is not UTF-8, or too long for the model's context.
    """
    for name, value in (("text", text), ("prompt", prompt or "")):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"the {name} is not valid UTF-8. Put it into a UTF-8 file and use --file.") from None
    codec = model.codec
    if prompt is None and codec.style != "raw":
        raise ConfigError("the chat template needs a prompt to reply to: give --prompt, or --raw for the text alone.")
    start, ids, unscored = codec.render(prompt or ""), codec.encode(text), ""
    if not start and ids:
        unscored, start, ids = codec.pieces(ids)[0], ids[:1], ids[1:]
    pieces = codec.pieces(ids)
    if end:
        ids, pieces = [*ids, end_of(model)], [*pieces, END]
    if not ids:
        raise ConfigError("there is no token to score: give a longer text (the first token only starts it).")
    if len(start) + len(ids) > model.context:
        raise ConfigError(
            f"{len(start)} tokens of prompt and {len(ids)} of text exceed the context of {model.name}, {model.context} "
            "tokens: score the text in parts."
        )
    law = reshape(replace(model, horizon=len(ids)), temperature)
    prompts = Prompts((tuple(start),), (prompt or "",), codec)
    row = torch.tensor([ids], device=model.device)
    whole = torch.ones_like(row, dtype=torch.bool)
    here = torch.zeros(1, dtype=torch.long, device=model.device)
    log_p = law.score(prompts, Completions(row, whole, torch.tensor([end], device=model.device), here))[0]
    size = len(text.encode()) - len(unscored.encode())
    nats = tuple(log_p.tolist())
    return TextScore(codec.reads, tuple(ids), tuple(pieces), nats, end, codec.start(prompt or ""), unscored, size)


def check_target(target: str) -> None:
    """Refuse a target sentence of nothing but space.

    Raises:
        ConfigError: it is empty.
    """
    if not target.strip():
        raise ConfigError("--target is empty: which sentence should follow the prompt?")


def to_sentence(model: LMPrior, prompt: str, target: str, temperature: float = 1.0) -> tuple[TextScore, PointMass]:
    """The target sentence with its end, scored, and the divergences between δ on it and the model.

    What looks like a special token in the target is text, as everywhere: the one end token is the last.

    Raises:
        ConfigError: an empty target, text that is not UTF-8, or too long for the model's context.
    """
    check_target(target)
    found = score_text(model, prompt, target, True, temperature)
    return found, PointMass(min(found.nats, 0.0))


def end_of(model: LMPrior) -> int:
    """The end token that the tokenizer itself would write, where several end a reply."""
    own = model.codec.tokenizer.eos_token_id
    return int(own) if own in model.ends else min(model.ends)


@dataclass(frozen=True)
class Divergence:
    """KL(A‖B) from draws of A.

    Attributes:
        value: nats, mean over prompts and draws; +inf as soon as B calls a draw impossible.
        se: standard error over draws, prompts taken as fixed; inf beside an infinite value.
        by_prompt: one mean a prompt.
        draws: of A, a prompt.
        support: whether B could follow all of them, and what that proves.
    """

    value: float
    se: float
    by_prompt: tuple[float, ...]
    draws: int
    support: Finding


def comparable(a: LMPrior, b: LMPrior) -> None:
    """Refuse two models whose tokens mean different things: their laws live on different sets.

    Raises:
        ConfigError: other vocabularies or other end tokens.
    """
    if a.codec.tokenizer.get_vocab() != b.codec.tokenizer.get_vocab():
        raise ConfigError(
            f"{a.name} and {b.name} read different tokens, so draws of one cannot be scored by the other token by "
            "token. Compare models of one family, or a model with a policy trained from it."
        )
    if a.ends != b.ends:
        raise ConfigError(f"{a.name} ends replies with tokens {sorted(a.ends)}, {b.name} with {sorted(b.ends)}: no "
                          "common set of replies.")  # fmt: skip


def kl_between(a: StepPrior, a_prompts: Prompts, b: StepPrior, b_prompts: Prompts, n: int, key: Key) -> Divergence:
    """Monte-Carlo KL(A‖B) = E_A[log A − log B]; each model reads the prompts in its own rendering.

    Cost: n draws of A a prompt, scored once by each model. Unbiased where finite; tested against a closed form on
    table priors in tests/unit/test_probe.py.
    """
    completions, log_q = a.sample(key, a_prompts, n)
    log_a, log_b = log_q.sum(-1), b.score(b_prompts, completions).sum(-1)
    gap = kl_prior(log_a, log_b).view(len(a_prompts), n)
    means = gap.mean(1)
    support = support_check(log_b)
    if bool(torch.isposinf(gap).any()):
        return Divergence(math.inf, math.inf, tuple(means.tolist()), n, support)
    se = float((gap.var(1) / n).sum().sqrt()) / len(a_prompts) if n > 1 else math.inf
    return Divergence(float(means.mean()), se, tuple(means.tolist()), n, support)
