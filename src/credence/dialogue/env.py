"""A dialogue as a Gymnasium environment: the agent's action is a reply, the observation is the conversation so far."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gymnasium import Env

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Evidence
from credence.dialogue.judge import Verdict, judge
from credence.dialogue.space import Conversation, Utterance
from credence.dialogue.talk import LONGEST, WINDOW, Message, clean, window
from credence.dialogue.users import Response, User

Grounding = Callable[[Sequence[Message]], str]
"""From what was said (no system message) to the system message that the agent sees: knowledge found for it, perhaps."""

Step = tuple[list[Message], float, bool, bool, dict[str, Any]]


@dataclass
class _Talk:
    """The dialogue under way."""

    user: User
    key: Key
    said: list[Message] = field(default_factory=list[Message])
    turn: int = 0
    over: bool = False


class DialogueEnv(Env[list[Message], str]):
    """Talk with simulated users, one a dialogue. Passes gymnasium's check_env; tests/unit/test_dialogue_env.py.

    reset(seed, options={"user": i or name}) draws a user (unless named) and everything that will happen by chance, from
    the seed alone. The observation is a list of messages that ends with the user's: the last `context_window`
    utterances (a sliding window: the oldest drop out, the dialogue goes on), before them the system message
    of `grounding`.

    step(reply): the reward is the evidence's log-likelihood in nats, NaN where the evidence failed (info["error"] says
    why; the dialogue goes on, and an update leaves it out). terminated: the user is satisfied, or left. truncated:
    `max_turns` replies were given. Columns that evidence may name: question, answer, satisfaction, satisfied,
    left, turn.

    info: readings (raw values by name), satisfaction in [0, 1], satisfied, left, user, turn, error; of
    reset: user, turn.

    Args:
        users: who may come.
        evidence: what is good in a reply.
        satisfaction: how well a reply answers, as evidence whose first reading lies in [0, 1]; it is given the columns
            question and answer. The user decides by it.
        grounding: what the agent is told beforehand; nothing by default.
        context_window: utterances that are seen.
        max_turns: replies after which a dialogue is truncated, so that a user who never stops does.
        longest: characters of an utterance that are kept.
        key: of users drawn where no seed was ever given.
        render_mode: "ansi", or None.

    Raises:
        ConfigError: no users, or a window or number of turns below 1.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012 - gymnasium's own attribute, read and never written

    def __init__(
        self,
        users: Sequence[User],
        evidence: Evidence,
        satisfaction: Evidence,
        *,
        grounding: Grounding | None = None,
        context_window: int = WINDOW,
        max_turns: int = 8,
        longest: int = LONGEST,
        key: Key = Key(0),  # noqa: B008 - a Key is a frozen number
        render_mode: str | None = None,
    ) -> None:
        if not users:
            raise ConfigError("an environment without users: at least one is needed.")
        if context_window < 1 or max_turns < 1:
            raise ConfigError(f"context_window={context_window}, max_turns={max_turns}: at least 1 each.")
        self.users = tuple(users)
        self.evidence, self.satisfaction, self.grounding = evidence, satisfaction, grounding
        self.context_window, self.max_turns, self.longest = context_window, max_turns, longest
        self.key, self.render_mode = key, render_mode
        self.observation_space = Conversation(context_window, longest)
        self.action_space = Utterance(longest)
        self._talk: _Talk | None = None
        self._seeded = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[list[Message], dict[str, Any]]:
        """A new dialogue; the same seed gives the same user and the same chance.

        Raises:
            ConfigError: options name a user who is not there.
        """
        super().reset(seed=seed if seed is not None or self._seeded else self.key.seed)
        self._seeded = True
        drawn = int(self.np_random.integers(len(self.users)))
        chance = Key(int(self.np_random.integers(2**62)))
        user = self.users[drawn] if not options or "user" not in options else self._named(options["user"])
        self._talk = _Talk(user, chance, [{"role": "user", "content": clean(user.opens(), self.longest)}])
        return self._seen(self._talk), {"user": user.name, "turn": 0}

    def _named(self, wanted: object) -> User:
        if isinstance(wanted, int) and 0 <= wanted < len(self.users):
            return self.users[wanted]
        found = [user for user in self.users if user.name == wanted]
        if not found:
            raise ConfigError(f"options['user'] = {wanted!r}: a name of these users, or 0 to {len(self.users) - 1}.")
        return found[0]

    def _seen(self, talk: _Talk) -> list[Message]:
        system = self.grounding(talk.said) if self.grounding else ""
        return window(talk.said, self.context_window, system)

    def step(self, action: str) -> Step:
        """The user hears the reply, judges it and answers.

        Raises:
            ConfigError: there is no dialogue under way: reset first.
        """
        return self.together([self], [action])[0]

    @staticmethod
    def together(envs: Sequence["DialogueEnv"], actions: Sequence[str]) -> list[Step]:
        """One step of each environment, the evidence called once for all that share it: rewards that embed are costly.

        The result is that of each one's own `step`. Test: tests/unit/test_dialogue_env.py.
        """
        replies = [clean(str(action), env.longest) for env, action in zip(envs, actions, strict=True)]
        ended = [bool(getattr(action, "ended", True)) for action in actions]
        seen = [env._seen(env._state()) for env in envs]
        first = [env._columns(0.0, None) for env in envs]
        pleased = _judged([env.satisfaction for env in envs], seen, replies, ended, first)
        value = [_share(verdict) for verdict in pleased]
        answers = [env._answer(v) for env, v in zip(envs, value, strict=True)]
        then = [env._columns(v, a) for env, v, a in zip(envs, value, answers, strict=True)]
        verdicts = _judged([env.evidence for env in envs], seen, replies, ended, then)
        out: list[Step] = []
        for i, env in enumerate(envs):
            verdict = verdicts[i] if not pleased[i].error else Verdict(math.nan, {}, pleased[i].error)
            out.append(env._close(replies[i], answers[i], value[i], verdict))
        return out

    def _state(self) -> _Talk:
        if self._talk is None or self._talk.over:
            raise ConfigError("step without a dialogue under way: call reset() first.")
        return self._talk

    def _columns(self, satisfaction: float, response: Response | None) -> dict[str, Any]:
        talk = self._state()
        columns: dict[str, Any] = {"question": talk.user.goal.question, "answer": talk.user.goal.answer}
        if response is not None:
            columns |= {"satisfaction": satisfaction, "turn": talk.turn + 1}
            columns |= {"satisfied": float(response.satisfied), "left": float(response.left)}
        return columns

    def _answer(self, satisfaction: float) -> Response:
        talk = self._state()
        return talk.user.responds(talk.key, talk.turn + 1, satisfaction)

    def _close(self, reply: str, response: Response, satisfaction: float, verdict: Verdict) -> Step:
        talk = self._state()
        talk.turn += 1
        talk.said += [
            {"role": "assistant", "content": reply},
            {"role": "user", "content": clean(response.text, self.longest)},
        ]
        ended = response.satisfied or response.left
        truncated = not ended and talk.turn >= self.max_turns
        talk.over = ended or truncated
        info = {
            "readings": dict(verdict.readings),
            "satisfaction": satisfaction,
            "satisfied": response.satisfied,
            "left": response.left,
            "user": talk.user.name,
            "turn": talk.turn,
            "error": verdict.error,
        }
        return self._seen(talk), verdict.nats, ended, truncated, info

    @property
    def transcript(self) -> list[Message]:
        """Everything said so far, what dropped out of the window too."""
        return [] if self._talk is None else [dict(m) for m in self._talk.said]

    def render(self) -> str | None:  # pyright: ignore[reportIncompatibleMethodOverride] - gymnasium allows frames too
        """The transcript, a line an utterance, in render mode "ansi"."""
        return "\n".join(f"{m['role']}: {m['content']}" for m in self.transcript) if self.render_mode else None


def _share(verdict: Verdict) -> float:
    """The satisfaction in [0, 1]; 0 where it could not be told."""
    value = 0.0 if verdict.error else next(iter(verdict.readings.values()), 0.0)
    return min(1.0, max(0.0, value)) if math.isfinite(value) else 0.0


def _judged(
    evidence: Sequence[Evidence], seen: Sequence[list[Message]], replies: Sequence[str], ended: Sequence[bool],
    columns: Sequence[dict[str, Any]],
) -> list[Verdict]:  # fmt: skip
    """A verdict a reply; rows whose evidence is one object are judged in one call."""
    out: list[Verdict] = [Verdict(math.nan, {})] * len(replies)
    for one in {id(e): e for e in evidence}.values():
        rows = [i for i, e in enumerate(evidence) if e is one]
        names = {name: [columns[i][name] for i in rows] for name in columns[rows[0]]}
        found = judge(one, [seen[i] for i in rows], [replies[i] for i in rows], [ended[i] for i in rows], names)
        for i, verdict in zip(rows, found, strict=True):
            out[i] = verdict
    return out
