"""The helpdesk on a small knowledge and a deterministic embedder: it answers, asks back, or says that nothing fits."""

import math

import pytest
import torch

from credence.core.errors import ConfigError
from credence.dialogue.helpdesk import NOTHING, Act, Helpdesk
from credence.dialogue.knowledge import Entry, Knowledge
from tests.embedders import HashedGrams

SHOP = Knowledge(
    (
        Entry("pay", "How can I pay for my order?", "You can pay your order by card or by bank transfer."),
        Entry("return", "How can I return my order?", "Send your order back within 30 days for a refund."),
        Entry("hours", "When is the shop open?", "The shop is open from nine to six, closed on Sunday."),
    ),
    "en",
    "shop",
)
LADEN = Knowledge(
    (
        Entry("pay", "怎么付款？", "可以刷卡，也可以用手机付款。"),
        Entry("return", "怎么退货？", "三十天之内可以退货，运费由本店承担。"),
        Entry("hours", "几点开门？", "每天九点开门，六点关门，星期日休息。"),
    ),
    "zh",
    "小店",
)


def desk(knowledge: Knowledge = SHOP) -> Helpdesk:
    """tau fits this embedder, whose cosines spread wider than e5's."""
    return Helpdesk(knowledge, HashedGrams(), tau=0.1, margin=0.6, sure=0.7)


def test_it_answers_when_one_question_is_meant() -> None:
    belief, act = desk().reply(desk().start(), "when does the shop open")
    assert act.kind == "answer"
    assert act.entries[0].name == "hours"
    assert act.text == SHOP.entries[2].answer
    assert act.entropy == belief.entropy() < 0.5


def test_it_asks_back_when_two_may_be_meant_and_understands_the_pick() -> None:
    shop = desk()
    belief, act = shop.reply(shop.start(), "my order, how can I")
    assert act.kind == "clarify"
    assert {e.name for e in act.entries} == {"pay", "return"}
    assert act.entropy > 0.5
    for number, entry in enumerate(act.entries, 1):
        assert f"{number}. {entry.question}" in act.text
        _, picked = shop.reply(belief, ("the first one", "2")[number - 1], act)
        assert (picked.kind, picked.entries) == ("answer", (entry,))
    refused, told = shop.reply(belief, "neither", act)
    assert refused.probability(act.entries[0].name) < 0.01
    assert told.kind != "answer" or told.entries[0] not in act.entries


def test_a_second_utterance_adds_its_evidence() -> None:
    shop = desk()
    belief, act = shop.reply(shop.start(), "my order, how can I")
    later, settled = shop.reply(belief, "pay for it", act)
    assert settled.entries[0].name == "pay"
    assert settled.kind == "answer"
    nats = shop.tau * (shop.log_lik(["my order, how can I"]) + shop.log_lik(["pay for it"]))[0]
    assert torch.allclose(later.log_p, shop.start().update(nats).log_p, atol=1e-9)


def test_it_says_so_when_nothing_fits() -> None:
    belief, act = desk().reply(desk().start(), "Zzyzx quux vortex kiwi")
    assert act.kind == "unknown"
    assert belief.probability(NOTHING) > 0.5
    assert "shop" in act.text
    assert act.entries == ()


def test_the_next_question_starts_afresh_after_an_answer() -> None:
    shop = desk()
    belief, act = shop.reply(shop.start(), "when does the shop open")
    fresh, _ = shop.reply(belief, "how can I pay for my order?", act)
    alone, _ = shop.reply(shop.start(), "how can I pay for my order?")
    thanked, talk = shop.reply(belief, "thanks", act)
    later, _ = shop.reply(thanked, "how can I pay for my order?", talk)
    assert torch.allclose(later.log_p, alone.log_p)
    assert torch.allclose(fresh.log_p, alone.log_p)


def test_the_four_line_dialogue_in_chinese() -> None:
    shop = desk(LADEN)
    belief, act = shop.start(), None
    kinds: list[str] = []
    for said in ("你好", "请问怎么退货？", "谢谢"):
        belief, act = shop.reply(belief, said, act)
        kinds.append(act.kind)
        if said == "请问怎么退货？":
            assert act.text == LADEN.entries[1].answer
    assert kinds == ["talk", "answer", "talk"]
    assert "不客气" in act.text


def test_small_talk_and_silence_move_no_belief() -> None:
    shop = desk()
    start = shop.start()
    for said in ("hello", "thanks!", "", "   "):
        assert torch.equal(shop.listen(start, said).log_p, start.log_p)
    assert shop.act(start).kind == "clarify"
    assert shop.act(start).entries == ()
    assert shop.act(start).entropy == pytest.approx(-0.9 * math.log(0.3) - 0.1 * math.log(0.1), abs=1e-12)


@pytest.mark.parametrize(
    "nasty", ["x" * 1_000_000, "\x00\x01\x02", "\u202eevil\u202c", "<|im_start|>system", "\ud800", "？" * 300, "\n"]
)
def test_nasty_messages_are_survived(nasty: str) -> None:
    belief, act = desk().reply(desk().start(), nasty)
    assert math.isfinite(belief.entropy())
    assert act.kind in ("answer", "clarify", "unknown", "talk")


def test_one_entry_is_enough() -> None:
    shop = Helpdesk(Knowledge(SHOP.entries[:1], "en", "one"), HashedGrams(), tau=0.2, margin=0.45)
    _, act = shop.reply(shop.start(), "how can I pay")
    assert act.entries[0].name == "pay"


@pytest.mark.parametrize(
    "wrong", [{"tau": 0.0}, {"tau": math.inf}, {"margin": math.nan}, {"sure": 1.0}, {"nothing": 0.0}]
)
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Helpdesk(SHOP, HashedGrams(), **wrong)


def test_a_reserved_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="Rename it"):
        Helpdesk(Knowledge((Entry(NOTHING, "a", "b"),), "en", "x"), HashedGrams())


def test_a_pick_of_what_was_not_offered_is_a_question() -> None:
    shop = desk()
    asked = Act("clarify", "?", SHOP.entries[:2], 1.0)
    assert torch.equal(shop.listen(shop.start(), "3", asked).log_p, shop.listen(shop.start(), "3").log_p)
