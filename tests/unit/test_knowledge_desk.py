"""What moved a desk's belief: the nats of the utterances, as Bayes' rule used them."""

import pytest

from credence.core.errors import ConfigError
from credence.dialogue.helpdesk import NOTHING
from credence.dialogue.knowledge_desk import KnowledgeDesk
from tests.unit.test_helpdesk import desk


def test_an_answer_is_explained_by_tempered_log_likelihoods() -> None:
    helpdesk = desk()
    asked = KnowledgeDesk(helpdesk)
    with pytest.raises(ConfigError, match="nothing was said"):
        asked.moved()
    asked.answer("hello")
    assert asked.moved().steps == ()
    said = "when does the shop open"
    assert asked.answer(said).kind == "answer"
    moved = asked.moved()
    (step,) = moved.steps
    nats = helpdesk.tau * helpdesk.log_lik([said])[0]
    names = [*(entry.question for entry in helpdesk.knowledge.entries), NOTHING]
    chosen, rival = (names.index(name) for name in (moved.chosen, str(moved.next)))
    assert moved.chosen == "When is the shop open?"
    assert step.against_next == pytest.approx(float(nats[chosen] - nats[rival]))
    assert step.against_nothing == pytest.approx(float(nats[chosen] - nats[-1]))
    assert step.log_p == pytest.approx(dict(asked.belief())[moved.chosen])


def test_utterances_add_up_until_the_question_is_done_with() -> None:
    asked = KnowledgeDesk(desk())
    asked.answer("when does the shop open")
    assert asked.answer("my order").kind == "clarify"
    assert asked.answer("the second").kind == "answer"
    moved, belief = asked.moved(), dict(asked.belief())
    assert [step.said for step in moved.steps] == ["my order", "the second"]
    assert moved.steps[1].against_next == pytest.approx(12.0)  # a pick, untempered
    rows = (moved.before, *moved.steps)
    assert sum(row.against_next or 0 for row in rows) == pytest.approx(belief[moved.chosen] - belief[str(moved.next)])
    assert sum(row.against_nothing or 0 for row in rows) == pytest.approx(belief[moved.chosen] - belief[NOTHING])
    asked.answer("thanks")
    assert asked.moved().steps == ()
    asked.back()
    assert asked.moved() == moved


def test_nothing_fits_is_explained_too() -> None:
    asked = KnowledgeDesk(desk())
    assert asked.answer("zzqx vvkk jjww").kind == "unknown"
    moved = asked.moved()
    assert moved.chosen == NOTHING
    assert moved.steps[0].against_nothing is None
    assert (moved.steps[0].against_next or 0) > 0
