"""Many dialogues at once: the agent's replies are drawn together, turn by turn."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from credence.core.errors import ContractError
from credence.core.keys import Key
from credence.core.types import Info
from credence.dialogue.agent import DialogueAgent
from credence.dialogue.env import DialogueEnv
from credence.dialogue.reply import Reply
from credence.dialogue.talk import Message

MakeEnv = Callable[[], DialogueEnv]


@dataclass
class Talk:
    """One dialogue as it went.

    Attributes:
        user: number of the user.
        states: what the agent saw, by turn.
        actions: what it said.
        rewards: nats; NaN where the evidence failed.
        infos: of each step.
        transcript: everything said.
    """

    user: int
    states: list[list[Message]] = field(default_factory=list[list[Message]])
    actions: list[Reply] = field(default_factory=list[Reply])
    rewards: list[float] = field(default_factory=list[float])
    infos: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    transcript: list[Message] = field(default_factory=list[Message])

    @property
    def failed(self) -> bool:
        """Whether a reward of it is no number."""
        return any(r != r for r in self.rewards)

    @property
    def satisfied(self) -> bool:
        """Whether the user was satisfied at the end."""
        return bool(self.infos) and bool(self.infos[-1]["satisfied"])


def converse(
    agent: DialogueAgent, make: MakeEnv, users: Sequence[int], rollouts: int, key: Key,
    heard: Callable[[float], None] = lambda share: None,
) -> list[Talk]:  # fmt: skip
    """`rollouts` dialogues with each of these users of the environment, to their ends.

    A function of the agent's policy and the key alone: dialogue i is reset with a seed of its own, and turn t draws
    with key.fold("turn", t).

    Args:
        agent: speaks.
        make: an environment; one is made a dialogue.
        users: numbers of the environment's users.
        rollouts: dialogues with each.
        key: of the whole.
        heard: told the share of dialogues that are over, after each turn.

    Returns:
        The dialogues, those of one user together.

    Cost: a reply a turn of each dialogue; equal states (all first turns of a user) are read once.
    """
    talks = [Talk(user) for user in users for _ in range(rollouts)]
    envs = [make() for _ in talks]
    now: list[list[Message]] = []
    for i, (talk, env) in enumerate(zip(talks, envs, strict=True)):
        seed = key.fold("dialogue", i).seed % 2**31
        state, _ = env.reset(seed=seed, options={"user": talk.user})
        now.append(state)
    going, turn = list(range(len(talks))), 0
    while going:
        replies = agent.select_actions([now[i] for i in going], key.fold("turn", turn))
        steps = DialogueEnv.together([envs[i] for i in going], replies)
        for i, reply, (state, reward, _, _, info) in zip(going, replies, steps, strict=True):
            talk = talks[i]
            talk.states.append(now[i])
            talk.actions.append(reply)
            talk.rewards.append(reward)
            talk.infos.append(info)
            now[i] = state
        going = [i for i, (_, _, over, cut, _) in zip(going, steps, strict=True) if not (over or cut)]
        turn += 1
        heard(1 - len(going) / len(talks))
    for talk, env in zip(talks, envs, strict=True):
        talk.transcript = env.transcript
    return talks


def refuse_impossible(talks: Sequence[Talk]) -> None:
    """J has no value where a reply is impossible under the evidence: no policy that can say it has another than −inf.

    Raises:
        ContractError: a reward is −inf, with the reply and the remedies.
    """
    for talk in talks:
        for action, nats in zip(talk.actions, talk.rewards, strict=True):
            if nats == -math.inf:
                raise ContractError(
                    f"the evidence gave -inf nats to the reply {str(action)[:80]!r}, so J is -inf for every policy "
                    "that can say it. Give finite nats: a reward that returns a finite number in place of -inf, "
                    "Ended(cut=-3.0), a constraint with otherwise=-8.0."
                )


def learn_from(agent: DialogueAgent, talks: Sequence[Talk], lr: float | None = None) -> Info:
    """agent.update_model on these dialogues, with the means of their readings over turns."""
    sound = next((t for t in talks if not t.failed), None)
    names = [] if sound is None else list(sound.infos[0]["readings"])
    readings = {n: [[float(i["readings"].get(n, 0.0)) for i in t.infos] for t in talks] for n in names}
    return agent.update_model(
        [t.states for t in talks], [t.actions for t in talks], [t.rewards for t in talks], readings=readings, lr=lr
    )
