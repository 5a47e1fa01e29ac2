"""The agent: it speaks by a policy or by an engine on it, and is really updated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.keys import Key
from credence.core.protocols import Batch, Evidence, Policy, Prior, Sampler
from credence.core.types import Completions, Info, Prompts
from credence.dialogue.fit import fitted
from credence.dialogue.reply import Reply, Said
from credence.dialogue.room import room
from credence.learn.losses.turns import dialogue_gradient
from credence.posterior.posterior import Posterior

POLICY = "policy"
_SCORED = 64
"""Rows scored at once by the prior: each has a prompt of its own."""

State = Any
"""An observation: messages, or whatever the policy's codec takes as a prompt (a table's tuple of tokens)."""


@dataclass(eq=False)
class DialogueAgent:
    """A policy that talks and learns from the turns it talked.

    select_action draws a reply by the policy (what training needs), or by an engine that infers policy × evidence of
    one turn (best-of-n, SMC, rejection, importance): the evidence is then what the agent itself can see, not the
    user's reward. update_model is one KL-regularised policy-gradient step on whole dialogues:

        J/β = E[Σ_t (r_t − log π/π0)],   losses/turns.py has returns and baselines; r_t are nats.

    Tested in tests/unit/test_dialogue_agent.py, its gradient by enumeration in tests/oracle/test_dialogue_gradient.py.

    Args:
        policy: what speaks and is changed.
        prior: what the KL is to; the policy as it came, usually.
        key: of every action without a key of its own; the n-th has key.fold("action", n).
        engine: a Sampler, or None for the policy itself.
        evidence: what the engine infers with; refused without an engine, needed with one.
        lr: Adam's step size of update_model.
        prompt_tokens: most tokens of a state; older utterances are dropped beyond it. The model's context bounds it.

    Raises:
        ConfigError: an engine without evidence, or evidence without an engine.
    """

    policy: Policy
    prior: Prior
    key: Key = Key(0)  # noqa: RUF009 - a Key is a frozen number
    engine: Sampler | None = None
    evidence: Evidence | None = None
    lr: float = 1e-5
    prompt_tokens: int | None = None
    version: int = field(default=0, init=False)
    _acted: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if (self.engine is None) != (self.evidence is None):
            raise ConfigError("an engine infers with evidence: give both `engine` and `evidence`, or neither.")

    def select_action(self, state: State) -> Reply:
        """A reply to the state: its text, and its tokens for update_model."""
        return self.select_actions([state])[0]

    def select_actions(self, states: Sequence[State], key: Key | None = None) -> list[Reply]:
        """One reply to each state, drawn together; equal states are read once.

        Args:
            states: observations.
            key: of these draws; row i has its own uniforms. By default the agent's next.

        Raises:
            ContractError: the engine found no reply that its evidence allows.
        """
        if key is None:
            key, self._acted = self.key.fold("action", self._acted), self._acted + 1
        if not states:
            return []
        prompts = self.prompts(states)
        if self.engine is None or self.evidence is None:
            said, log_q = self.policy.sample(key, prompts, 1)
            return _replies(prompts, said, log_q, POLICY, self.version)
        drawn = self.engine.draw(key, Posterior(self.policy, self.evidence), prompts, 1)
        if len(drawn.completions) != len(states):
            raise ContractError(
                f"{type(self.engine).__name__} found {len(drawn.completions)} replies to {len(states)} states that the "
                "evidence allows. Soften it (a finite `otherwise`), or let the engine try longer."
            )
        return _replies(prompts, drawn.completions, drawn.log_q, type(self.engine).__name__, self.version)

    def prompts(self, states: Sequence[State]) -> Prompts:
        """The states rendered, cut to what fits."""
        limits = [n for n in (self.prompt_tokens, room(self.policy)) if n is not None]
        most = min(limits) if limits else None
        return self.policy.codec.prompts([fitted(self.policy.codec, s, most) for s in states])

    def update_model(
        self, states: Sequence[Any], actions: Sequence[Any], rewards: Sequence[Any], *,
        readings: Mapping[str, Sequence[Sequence[float]]] | None = None, lr: float | None = None,
    ) -> Info:  # fmt: skip
        """One step along the gradient of J on dialogues that the policy, as it is now, has talked.

        A dialogue with a reward that is not a number (it failed) is left out and counted; if none is left, nothing
        moves. Each dialogue's baseline comes from the others that began in the same state.

        Args:
            states: by dialogue, by turn, as `select_action` saw them; a single dialogue may be given flat.
            actions: what it answered: Reply objects, with their tokens.
            rewards: nats of each turn.
            readings: further values by name, by dialogue and turn, whose means are reported.
            lr: step size in place of the agent's own.

        Returns:
            Info, in nats where no unit is said. Of losses.turns.dialogue_gradient: j (J/β and not J, E[Σ(r − k)] a
            dialogue), reward (E[Σ r]), kl, kl_turn, turns (count), advantage_sd. And grad_norm; dialogues, skipped,
            tokens (counts), which alone are there where nothing was left to learn from.

        Raises:
            ShapeError: dialogues or turns that do not match, or that are empty.
            ContractError: an action without tokens, one that another engine drew, or one of an older policy.

        Cost: one scoring pass by the prior, one forward and backward pass of the policy.
        """
        if actions and isinstance(actions[0], str):
            states, actions, rewards = [states], [actions], [rewards]
        _check_shapes(states, actions, rewards)
        kept = [d for d, r in enumerate(rewards) if all(x == x for x in r)]
        out: dict[str, float] = {"dialogues": float(len(kept)), "skipped": float(len(rewards) - len(kept))}
        said = [[self._own(a) for a in actions[d]] for d in kept]
        out["tokens"] = float(sum(len(s.ids) for talk in said for s in talk))
        if not kept:
            return out
        flat = [s for talk in said for s in talk]
        given = [s for d in kept for s in states[d]]
        nats = torch.tensor([float(x) for d in kept for x in rewards[d]], dtype=torch.float64)
        values = {n: torch.tensor([v[d][t] for d in kept for t in range(len(actions[d]))], dtype=torch.float64)
                  for n, v in (readings or {}).items()}  # fmt: skip
        batch = self._batch(given, flat, nats, values)
        first = {ids: i for i, ids in enumerate(dict.fromkeys(talk[0].prompt for talk in said))}
        of = [d for d, talk in enumerate(said) for _ in talk]
        at = [t for talk in said for t in range(len(talk))]
        who = [first[talk[0].prompt] for talk in said for _ in talk]
        info = self.policy.forward_backward(batch, dialogue_gradient(of, at, who))
        info = {**info, **self.policy.step(self.lr if lr is None else lr)}
        self.version += 1
        return {**info, **out}

    def _own(self, action: object) -> Said:
        """The action's tokens, if the policy as it is now has drawn them."""
        if not isinstance(action, Reply):
            raise ContractError(
                f"an action of type {type(action).__name__}: update_model learns on the tokens that were drawn. Hand "
                "it what select_action returned."
            )
        if action.said.by != POLICY:
            raise ContractError(
                f"a reply drawn by {action.said.by}: the policy gradient holds for the policy's own draws only. Train "
                "with an agent that has no engine; speak with one that has."
            )
        if action.said.version != self.version:
            raise ContractError(
                f"a reply drawn {self.version - action.said.version} updates ago: the gradient holds for draws of the "
                "policy as it is. Talk again after each update."
            )
        return action.said

    def _batch(self, given: Sequence[State], said: Sequence[Said], nats: Tensor, values: dict[str, Tensor]) -> Batch:
        """The turns as rows; equal prompts stand once, so that they are read once."""
        place = {ids: i for i, ids in enumerate(dict.fromkeys(s.prompt for s in said))}
        shown = {s.prompt: g for g, s in zip(given, said, strict=True)}
        prompts = Prompts(tuple(place), tuple(shown[ids] for ids in place), self.policy.codec)
        completions, log_q = packed(said, [place[s.prompt] for s in said])
        log_prior = torch.cat(
            [self.prior.score(prompts, completions.rows(rows)) for rows in torch.arange(len(said)).split(_SCORED)]
        )
        return Batch(prompts, completions, log_q, log_prior, nats, on_policy=True, readings=values)

    def log_ratio(self, said: Sequence[Said]) -> list[float]:
        """log q/π0 of each reply, nats: at q = π an unbiased estimate of its turn's KL."""
        if not said:
            return []
        batch = self._batch([()] * len(said), said, torch.zeros(len(said), dtype=torch.float64), {})
        return (batch.log_q - batch.log_prior).sum(-1).tolist()


def packed(said: Sequence[Said], prompt: Sequence[int]) -> tuple[Completions, Tensor]:
    """Replies as rows of completions, and their log q (R, T)."""
    width = max(len(s.ids) for s in said)
    ids = torch.zeros(len(said), width, dtype=torch.long)
    mask = torch.zeros(len(said), width, dtype=torch.bool)
    log_q = torch.zeros(len(said), width, dtype=torch.float64)
    for r, s in enumerate(said):
        ids[r, : len(s.ids)] = torch.tensor(s.ids)
        mask[r, : len(s.ids)] = True
        log_q[r, : len(s.ids)] = torch.tensor(s.log_q, dtype=torch.float64)
    ended = torch.tensor([s.ended for s in said])
    return Completions(ids, mask, ended, torch.tensor(list(prompt))), log_q


def _replies(prompts: Prompts, said: Completions, log_q: Tensor, by: str, version: int) -> list[Reply]:
    order = torch.argsort(said.prompt, stable=True).tolist()
    texts, tokens = said.texts(prompts.codec), said.tokens()
    own = [q[m].tolist() for q, m in zip(log_q.cpu(), said.mask.cpu(), strict=True)]
    return [
        Reply(str(texts[r]), Said(prompts.ids[int(said.prompt[r])], tuple(tokens[r]), tuple(own[r]),
                                  bool(said.ended[r]), by, version))
        for r in order
    ]  # fmt: skip


def _check_shapes(states: Sequence[Any], actions: Sequence[Any], rewards: Sequence[Any]) -> None:
    if not len(states) == len(actions) == len(rewards):
        raise ShapeError(f"{len(states)} dialogues of states, {len(actions)} of actions, {len(rewards)} of rewards.")
    for d, (s, a, r) in enumerate(zip(states, actions, rewards, strict=True)):
        if not len(s) == len(a) == len(r) or not len(a):
            raise ShapeError(
                f"dialogue {d} has {len(s)} states, {len(a)} actions and {len(r)} rewards: one of each a turn, and at "
                "least one turn."
            )
