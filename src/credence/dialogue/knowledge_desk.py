"""A helpdesk as a conversation's desk: its belief is carried from utterance to utterance, and can go back."""

from dataclasses import dataclass, field

from credence.belief.belief import Belief
from credence.dialogue.desk import FromKnowledge
from credence.dialogue.helpdesk import NOTHING, Act, Helpdesk


@dataclass(eq=False)
class KnowledgeDesk:
    """Answers from knowledge, one utterance after another. Tested in tests/e2e/test_chat_knowledge.py."""

    helpdesk: Helpdesk
    _past: list[tuple[Belief, Act | None]] = field(default_factory=lambda: list[tuple[Belief, Act | None]]())

    def _now(self) -> tuple[Belief, Act | None]:
        return self._past[-1] if self._past else (self.helpdesk.start(), None)

    def answer(self, said: str) -> FromKnowledge:
        """Move the belief by what was said, and act on it: answer, ask back, or say that nothing fits."""
        belief, asked = self._now()
        belief, act = self.helpdesk.reply(belief, said, asked)
        self._past.append((belief, act if act.kind != "talk" else asked))
        best = max(belief.top(1)[0][1], -1e9)
        return FromKnowledge(
            act.text, act.kind, tuple(e.question for e in act.entries), {"entropy": act.entropy, "log_p": best}
        )

    def back(self) -> None:
        """Forget the last utterance."""
        if self._past:
            self._past.pop()

    def belief(self) -> tuple[tuple[str, float], ...]:
        """The ten likeliest questions (or that nothing fits), with log-probabilities in nats."""
        belief, _ = self._now()
        return tuple(
            (name if name == NOTHING else self.helpdesk.knowledge.entry(name).question, log_p)
            for name, log_p in belief.top(10)
        )
