"""One text taken apart: what prior, policy and posterior make of each token, and which evidence it owes that to."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.types import Completions
from credence.diagnose.attribution import Attribution, attribute
from credence.posterior.posterior import Posterior
from credence.prior.policy import unwrap
from credence.study.probe import END, end_of
from credence.study.served import Served


@dataclass(frozen=True, eq=False)
class Explained:
    """A text of T tokens.

    Attributes:
        prompt: what it answers.
        source: who speaks: the run's folder, or the prior's model.
        pieces: T texts; "" for a part of a character, which stands at the part that completes it.
        log_prior: log π0 of each token in nats.
        log_policy: log π of each, None where the prior speaks alone.
        why: what the posterior makes of each, and which evidence it owes that to.
        draws: continuations a prefix.
    """

    prompt: str
    source: str
    pieces: tuple[str, ...]
    log_prior: tuple[float, ...]
    log_policy: tuple[float, ...] | None
    why: Attribution
    draws: int

    @property
    def moved_by_policy(self) -> tuple[float, ...] | None:
        """log π/π0 of each token in nats."""
        if self.log_policy is None:
            return None
        return tuple(a - b for a, b in zip(self.log_policy, self.log_prior, strict=True))


def explain_text(
    given: Served, prompt: str, text: str, end: bool, draws: int, seed: int, tick: Callable[[], None]
) -> Explained:
    """Take a text apart under what is served.

    Args:
        given: prior, evidence and perhaps a policy.
        prompt: what the text answers.
        text: the reply.
        end: whether its end belongs to it; else it is a beginning.
        draws: continuations a prefix.
        seed: of the continuations.
        tick: called after each of as many prefixes as the text has tokens, and one more for a beginning.

    Raises:
        ConfigError: no evidence, a law that chooses among whole answers, an empty prompt or text, or more tokens than
            the horizon.

    Cost: as diagnose.attribution.attribute, and a scoring pass of prior and policy.
    """
    if given.chooser is not None:
        raise ConfigError(
            f"{given.source} chooses whole answers: it moves no token. `credence chat` with /why says why."
        )
    if given.evidence is None:
        why = next((str(said) for name, said in given.notes if name == "no evidence"), "its rewards need a dialogue")
        raise ConfigError(f"{given.source} brings no evidence to explain by ({why}). Name settings: --config FILE")
    for name, value in (("prompt", prompt), ("text", text)):
        if not value.strip():
            raise ConfigError(f"the {name} is empty: what was said, and to what, is needed.")
    prior = given.prior
    codec = prior.codec
    ids = list(codec.encode(text))  # pyright: ignore[reportAttributeAccessIssue] - every prior that is served is text
    pieces = list(codec.pieces(ids))  # pyright: ignore[reportAttributeAccessIssue]
    if end:
        ids, pieces = [*ids, end_of(unwrap(prior)[0])], [*pieces, END]
    if len(ids) > prior.horizon:
        raise ConfigError(
            f"the text has {len(ids)} tokens, its end counted, and the horizon is {prior.horizon}: the posterior never "
            f"says it. Raise the horizon (--horizon {len(ids)}), or give a beginning (--no-end)."
        )
    prompts = codec.prompts([prompt])
    row = Completions(
        torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool), torch.tensor([end]), torch.zeros(1).long()
    )
    why = attribute(Posterior(prior, given.evidence), prompts, row, Key(seed).fold("explain"), draws, tick)
    log_prior = tuple(prior.score(prompts, row)[0].tolist())
    log_policy = None if given.policy is None else tuple(given.policy.score(prompts, row)[0].tolist())
    return Explained(prompt, given.source, tuple(pieces), log_prior, log_policy, why, draws)
