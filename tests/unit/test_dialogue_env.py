"""The environment: Gymnasium's checks, its window and its end, and what happens when a reward fails."""

import math
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.types import Completions, Prompts
from credence.dialogue.env import DialogueEnv
from credence.dialogue.goals import Goal, distinct
from credence.dialogue.space import Conversation, Utterance
from credence.dialogue.users import User, crowd
from credence.evidence.constraint import contains
from credence.evidence.ended import Ended
from credence.evidence.reward import Reward
from tests.dialogues import goals, letters, short, small_env, users


def never(prompts: list, completions: list[str]) -> list[float]:
    return [0.0] * len(completions)


def test_gymnasium_accepts_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(small_env(), skip_render_check=True)
    spec = gymnasium.envs.registration.EnvSpec("dialogue-v0", entry_point=lambda **given: small_env(**given))
    made = gymnasium.make(spec, render_mode="ansi")
    made.reset(seed=1)
    made.step("hello")
    assert str(made.render()).startswith("user: ")


def test_a_seed_fixes_user_and_chance() -> None:
    one, two = small_env(), small_env()
    for seed in (0, 1, 2):
        assert one.reset(seed=seed) == two.reset(seed=seed)
        assert one.step("Number")[:4] == two.step("Number")[:4]
    assert one.reset(seed=3, options={"user": "u2"})[0] == two.reset(seed=9, options={"user": 2})[0]
    with pytest.raises(ConfigError, match="'u9'"):
        one.reset(options={"user": "u9"})
    assert small_env(key=Key(4)).reset() == small_env(key=Key(4)).reset()  # no seed: the environment's key


def test_several_run_as_a_vector() -> None:
    vector = SyncVectorEnv([small_env, small_env])
    seen, _ = vector.reset(seed=[1, 2])
    assert [talk[-1]["role"] for talk in seen] == ["user", "user"]
    _, rewards, terminated, truncated, _ = vector.step(("hi", "number"))
    assert np.allclose(rewards, [-0.4, -1.2])
    assert terminated.shape == truncated.shape == (2,)


def test_several_run_in_processes_of_their_own() -> None:
    """Texts have no fixed size, so observations travel through pipes."""
    vector = AsyncVectorEnv([small_env, small_env], shared_memory=False)
    try:
        seen, _ = vector.reset(seed=[1, 2])
        assert [talk[-1]["role"] for talk in seen] == ["user", "user"]
        assert np.allclose(vector.step(("hi", "number"))[1], [-0.4, -1.2])
    finally:
        vector.close()


def test_the_reward_is_nats_of_any_evidence() -> None:
    env = small_env(evidence=Reward(short, 0.5) * contains("please", otherwise=-2.0) * Ended(-3.0))
    env.reset(seed=0)
    _, reward, _, _, info = env.step("please!")
    assert reward == pytest.approx(-0.7 / 0.5)
    assert info["readings"] == {"short": -0.7, "contains please": 1.0, "ended": 1.0}
    assert 0 <= info["satisfaction"] <= 1


def test_evidence_may_read_what_the_user_did() -> None:
    def bonus(prompts: list, completions: list[str], satisfied: list[float], left: list[float]) -> list[float]:
        return [5 * s - 2 * go for s, go in zip(satisfied, left, strict=True)]

    def pleased(prompts: list, completions: list[str]) -> list[float]:
        return [float("yes" in text) for text in completions]

    env = small_env(evidence=Reward(bonus, 1.0), satisfaction=Reward(pleased, 1.0), users=users(patience=1))
    env.reset(seed=0)
    assert env.step("yes")[1:4] == (5.0, True, False)
    env.reset(seed=0)
    assert env.step("no")[1:4] == (-2.0, True, False)
    with pytest.raises(ConfigError, match="reset"):
        env.step("more")


def test_the_oldest_drops_out_and_a_user_who_never_stops_is_truncated() -> None:
    env = small_env(
        users=users(patience=math.inf), satisfaction=Reward(never, 1.0), context_window=4, max_turns=30,
        grounding=lambda said: f"{len(said)} said",
    )  # fmt: skip
    state, _ = env.reset(seed=5)
    lengths, over, cut, turns = [], False, False, 0
    while not (over or cut):
        state, _, over, cut, _ = env.step(f"reply {turns}")
        lengths.append(len(state))
        turns += 1
    assert (turns, over, cut) == (30, False, True)
    assert max(lengths) == 5  # a system message and four utterances
    assert [m["content"] for m in state[1:] if m["role"] == "assistant"] == ["reply 28", "reply 29"]
    assert state[0] == {"role": "system", "content": "61 said"}
    assert len(env.transcript) == 61
    assert env.observation_space.contains(state)


def test_a_failing_reward_costs_its_own_turn_only() -> None:
    def fragile(prompts: list, completions: list[str]) -> list[float]:
        if any("bad" in text for text in completions):
            raise RuntimeError("no network")
        return [1.0] * len(completions)

    people, good, fine = users(patience=9), Reward(fragile, 1.0), Reward(never, 1.0)
    envs = [small_env(users=people, evidence=good, satisfaction=fine) for _ in range(3)]
    for env in envs:
        env.reset(seed=0)
    steps = DialogueEnv.together(envs, ["good", "bad", "good"])
    assert [s[1] for s in steps][::2] == [1.0, 1.0]
    assert math.isnan(steps[1][1])
    assert "no network" in steps[1][4]["error"]
    assert envs[1].step("good")[1] == 1.0  # the dialogue goes on


class Broken:
    """Evidence of somebody's own that fails as Python does, not as credence does."""

    def log_lik(self, prompts: Prompts, completions: Completions) -> Tensor:
        raise ZeroDivisionError("no words to divide by")

    def readings(self) -> dict[str, Tensor]:
        return {}


@pytest.mark.parametrize("broken", ["evidence", "satisfaction"])
def test_evidence_of_any_kind_may_fail_in_mid_dialogue(broken: str) -> None:
    fine = {"evidence": Reward(never, 1.0), "satisfaction": Reward(never, 1.0)}
    env = small_env(users=users(patience=9), **{**fine, broken: Broken()})
    env.reset(seed=0)
    for _ in range(2):  # the dialogue goes on
        _, reward, _, _, info = env.step("hello")
        assert math.isnan(reward)
        assert info["error"] == "ZeroDivisionError: no words to divide by"
    assert len(env.transcript) == 5


def test_together_is_each_by_itself() -> None:
    seeds, texts = range(4), ["Number", "x", "is the answer", ""]
    one, many = [small_env() for _ in seeds], [small_env() for _ in seeds]
    for a, b, seed in zip(one, many, seeds, strict=True):
        a.reset(seed=seed)
        b.reset(seed=seed)
    shared = Reward(short, 0.5)
    for env in many:
        env.evidence = shared
    assert DialogueEnv.together(many, texts) == [env.step(text) for env, text in zip(one, texts, strict=True)]


def test_spaces_hold_all_of_unicode_and_are_seeded() -> None:
    space = Utterance(10)
    assert "今天好吗🙂" in space
    assert "" in space
    assert "x" * 11 not in space
    assert 3 not in space
    assert Utterance(seed=3).sample() == Utterance(seed=3).sample()
    talk = Conversation(3, 10, seed=1)
    assert all(talk.sample() in talk for _ in range(20))
    assert [] not in talk
    assert [{"role": "robot", "content": "x"}] not in talk
    assert [{"role": "user", "content": "x"}] * 4 not in talk
    assert talk == Conversation(3, 10)
    assert space.from_jsonable(space.to_jsonable(["a"])) == ["a"]


def test_users_are_split_without_a_goal_in_common_and_keep_their_places() -> None:
    many = goals(30)
    first, second = crowd(many, Key(1), 0, 4, 6), crowd(many, Key(1), 5, 4, 6)
    assert [u.name for u in first.heldout] == [u.name for u in second.heldout]
    assert len(second.train) == 5
    kinds = [{u.goal.question for u in kind} for kind in (first.train, first.validation, first.heldout)]
    assert not (kinds[0] & kinds[1] | kinds[0] & kinds[2] | kinds[1] & kinds[2])
    assert {u.patience for u in first.train} <= {1, 2, 3}
    with pytest.raises(ConfigError, match="30 goals"):
        crowd(many, Key(0), 25, 4, 6)


def test_a_user_who_is_sure_leaves_at_the_end() -> None:
    user = users()[0]
    assert not user.responds(Key(0), 1, 0.0).satisfied
    assert user.responds(Key(0), 2, 0.0).left
    assert "What is number 0?" in user.opens()


def test_goals_need_text_on_both_sides() -> None:
    given = [Goal("a?", "b"), Goal("A?", "c"), Goal("d?", "  "), Goal("", "x")]
    assert [(g.question, g.answer) for g in distinct(given, "file")] == [("a?", "b")]
    with pytest.raises(ConfigError, match="no question"):
        distinct([], "file")
    with pytest.raises(ConfigError, match="language"):
        User("u", Goal("a", "b"), "fr")
    with pytest.raises(ConfigError, match="without users"):
        DialogueEnv([], Reward(short, 1.0), Reward(letters, 1.0))
