"""A helpdesk as a conversation's desk: its belief is carried from utterance to utterance, and can go back."""

from dataclasses import dataclass, field

from credence.belief.belief import Belief
from credence.core.errors import ConfigError
from credence.dialogue.desk import FromKnowledge, Moved, Step
from credence.dialogue.helpdesk import NOTHING, Act, Helpdesk


@dataclass(frozen=True, eq=False)
class Heard:
    """One utterance: the belief to which it was added and the one after it, what was said, what stands as asked."""

    said: str
    before: Belief
    after: Belief
    act: Act
    asked: Act | None


@dataclass(eq=False)
class KnowledgeDesk:
    """Answers from knowledge, one utterance after another.

    Tested in tests/unit/test_knowledge_desk.py and tests/e2e/test_chat_knowledge.py.
    """

    helpdesk: Helpdesk
    _past: list[Heard] = field(default_factory=lambda: list[Heard]())

    def _now(self) -> tuple[Belief, Act | None]:
        return (self._past[-1].after, self._past[-1].asked) if self._past else (self.helpdesk.start(), None)

    def answer(self, said: str) -> FromKnowledge:
        """Move the belief by what was said, and act on it: answer, ask back, or say that nothing fits."""
        belief, asked = self._now()
        before = self.helpdesk.before(belief, asked)
        belief, act = self.helpdesk.reply(belief, said, asked)
        self._past.append(Heard(said, before, belief, act, act if act.kind != "talk" else asked))
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
        return tuple((self._question(name), log_p) for name, log_p in belief.top(10))

    def moved(self) -> Moved:
        """What moved the belief to the last answer.

        Raises:
            ConfigError: nothing was said yet.
        """
        if not self._past:
            raise ConfigError("nothing was said yet.", "nothing said")
        heard, act = self._since(), self._past[-1].act
        after = heard[-1].after
        likely = [name for name, _ in after.top(3) if name != NOTHING]
        chosen = act.entries[0].name if act.entries else NOTHING if act.kind == "unknown" else after.top(1)[0][0]
        rival = next((name for name in likely if name != chosen), None)
        steps = [h for h in heard if h.after.updates > h.before.updates] if act.kind != "talk" else []
        return Moved(
            self._question(chosen),
            None if rival is None else self._question(rival),
            _step("", None, heard[0].before, chosen, rival),
            tuple(_step(h.said, h.before, h.after, chosen, rival) for h in steps),
        )

    def _since(self) -> list[Heard]:
        """The utterances about the last question, the one that began from the prior first."""
        first = next(i for i in reversed(range(len(self._past))) if self._past[i].before.updates == 0)
        return self._past[first:]

    def _question(self, name: str) -> str:
        return name if name == NOTHING else self.helpdesk.knowledge.entry(name).question


def _step(said: str, before: Belief | None, after: Belief, chosen: str, rival: str | None) -> Step:
    def gained(other: str | None) -> float | None:
        if other is None or other == chosen:
            return None
        return _odds(after, chosen, other) - (0.0 if before is None else _odds(before, chosen, other))

    return Step(said, gained(rival), gained(NOTHING), _log_p(after, chosen))


def _odds(belief: Belief, one: str, other: str) -> float:
    """Log-odds; their change is the difference of the tempered log-likelihoods, since log Z falls out."""
    return _log_p(belief, one) - _log_p(belief, other)


def _log_p(belief: Belief, name: str) -> float:
    return float(belief.log_p[belief.hypotheses.index(name)])
