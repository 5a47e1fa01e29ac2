"""A law over candidates in a talk: that of training to the last bit, at another β, taken apart in nats that add up."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.dialogue.agent import DialogueAgent
from credence.dialogue.candidates import FEATURES
from credence.dialogue.chat import Conversation
from credence.dialogue.choice import CHOICE, RATINGS, RUN, Chooser
from credence.dialogue.feedback import FeedbackStore
from tests.choosing import policy, prior

QUESTION = "请问如何安装软件包"


def talking(chooser: Chooser, **given: object) -> Conversation:
    return Conversation(chooser.prior, policy=chooser.policy, chooser=chooser, **given)


def text(pieces: Sequence[str]) -> str:
    return "".join(pieces)


def test_a_talk_draws_what_the_agent_draws_by_the_same_law() -> None:
    law = policy()
    talk, agent = talking(Chooser(law, 0.2), key=Key(3)), DialogueAgent(law, law.prior)
    for number, said in enumerate([QUESTION, "还是不明白，如何安装软件包？", "什么是 stable？"], 1):
        reply = text(talk.say(said))
        turn = talk.turns[-1]
        (action,) = agent.select_actions([[dict(m) for m in turn.messages]], Key(3).fold("turn", number))
        assert (reply, turn.ids, turn.log_q) == (str(action), action.said.ids, action.said.log_q)
        choice = talk.choice()
        assert choice is not None
        trained = law.law(action.said.prompt).detach()
        for one in choice.options:
            assert one.log_p == pytest.approx(float(trained[one.token]), abs=1e-12)
            assert one.log_m == pytest.approx(float(law.prior.logits(action.said.prompt)[one.token]), abs=1e-12)
        assert turn.log_q[0] == pytest.approx(choice.chosen.log_p, abs=1e-12)
        assert (turn.kind, turn.info["log_p"]) == (CHOICE, choice.chosen.log_p)


def test_the_nats_of_a_choice_add_up() -> None:
    chooser = Chooser(policy(prior(fluency=lambda q, answers: [0.1 * len(a) for a in answers])), 0.2)
    talk = talking(chooser)
    text(talk.say(QUESTION))
    choice = talk.choice()
    assert choice is not None
    assert [o.log_p for o in choice.options] == sorted((o.log_p for o in choice.options), reverse=True)
    assert sum(math.exp(o.log_p) for o in choice.options) == pytest.approx(1)
    for one in choice.options:
        assert one.log_p - one.log_m == pytest.approx(one.log_lik - choice.log_z, abs=1e-12)
        assert one.log_lik == pytest.approx(sum(one.by.values()), abs=1e-12)
        assert set(one.nats) == set(one.readings) == set(FEATURES)
    assert sum(math.exp(o.log_m) * o.log_lik for o in choice.options) == pytest.approx(0, abs=1e-12)
    kl = sum(math.exp(o.log_m) * (o.log_m - o.log_p) for o in choice.options)
    assert choice.log_z == pytest.approx(kl, abs=1e-12)
    assert choice.rival is not None
    assert choice.rival is not choice.chosen


def test_another_beta_is_the_same_evidence_at_another_strength() -> None:
    chooser = Chooser(policy(), 0.2)
    talk = talking(chooser)
    assert (talk.own_beta, talk.serving) == (0.2, "policy")
    talk.set_beta(0.05)
    assert (talk.serving, talk.streams) == ("realigned", True)
    text(talk.say(QUESTION))
    choice, ids = talk.choice(), chooser.prior.codec.prompts([list(talk.turns[-1].messages)]).ids[0]
    assert choice is not None
    table = chooser.prior.table(ids)
    wanted = torch.log_softmax(table.log_m + 4 * table.features @ chooser.policy.weights.detach(), -1)
    found = {o.token: o.log_p for o in choice.options}
    assert [found[i] for i in table.index.tolist()] == pytest.approx(wanted.tolist(), abs=1e-12)
    assert talk.turns[-1].log_q[0] == pytest.approx(choice.chosen.log_p, abs=1e-12)
    assert choice.strength == 4
    for beta in (0.0, -1.0, math.inf, 1e-320):
        with pytest.raises(ConfigError, match="beta"):
            talk.set_beta(beta)
    talk.set_beta(0.2)
    assert talk.serving == "policy"
    with pytest.raises(ConfigError, match="no evidence"):
        talking(Chooser(policy())).set_beta(0.2)


def test_the_prior_chooses_by_m_alone_and_asks_no_model() -> None:
    asked: list[str] = []

    def fluency(question: str, answers: Sequence[str]) -> list[float]:
        asked.append(question)
        return [1.0] * len(answers)

    chooser = Chooser(policy(prior(fluency=fluency)), 0.2)
    talk = talking(chooser, as_prior=True)
    text(talk.say(QUESTION))
    choice = talk.choice()
    assert choice is not None
    assert not asked
    assert (choice.log_z, choice.strength, choice.chosen.nats) == (0, 0, {})
    assert all(o.log_p == o.log_m for o in choice.options)
    talk.as_prior = False
    assert not talk.reads_long(0) or not talk.heard  # nothing is heard: nothing to read
    talk.hear("什么是 stable？")
    assert talk.reads_long(10_000)
    text(talk.reply())
    assert asked == ["什么是 stable？"]  # the longer of the two questions, which the law reads
    assert talk.turns[-1].law == "policy"


def test_ratings_keep_their_part_apart() -> None:
    law = policy()
    chooser = Chooser(law, 0.2, run=torch.zeros(4, dtype=torch.float64))
    talk = talking(chooser)
    text(talk.say(QUESTION))
    choice = talk.choice()
    assert choice is not None
    assert set(choice.chosen.by) == {RUN, RATINGS}
    assert choice.chosen.by[RUN] == 0
    assert choice.chosen.by[RATINGS] == pytest.approx(choice.chosen.log_lik)


def test_a_better_answer_is_named_by_its_number_or_its_words(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path / "f.db")
    talk = talking(Chooser(policy(), 0.2), store=store, model="desk")
    text(talk.say(QUESTION))
    choice = talk.choice()
    assert choice is not None
    other = next(i for i in range(len(choice.options)) if i != choice.said)
    wanted = choice.options[other].text
    assert talk.rate("better", str(other + 1)).text == wanted
    kept = talk.rate("better", f"  {wanted} ")
    assert (kept.text, kept.tokens, kept.model) == (wanted, (), "desk")
    assert talk.rate("better", "9").text == "9"
    assert not choice.offers("9")
    with pytest.raises(ConfigError, match="itself"):
        talk.rate("better", str(choice.said + 1))
    assert [r.kind for r in store.standing()] == ["better"]


def test_what_training_would_have_cut_is_refused_and_the_window_is_the_runs() -> None:
    talk = talking(Chooser(policy(), 0.2), utterances=2)
    with pytest.raises(ConfigError, match="4,001 characters"):
        talk.say("长" * 4001)
    for said in ("如何安装软件包？", "什么是 stable？"):
        text(talk.say(said))
    assert [m["content"] for m in talk.turns[-1].messages] == [talk.turns[0].reply, "什么是 stable？"]
    why = talk.why()
    assert why.pieces == (talk.turns[-1].reply,)
    assert sum(why.log_policy or ()) == pytest.approx(talk.turns[-1].log_q[0])
