"""A conversation without a screen: the terminal, a server or a test drives it.

talk = Conversation(prior, evidence, policy=policy, key=Key(0))
talk.hear("How are you?")
for piece in talk.reply():
    print(piece, end="")
talk.why()                      # which tokens the policy moved, and by which evidence, in nats
talk.rate("better", "I am fine, thank you.")
"""

import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.progress import no_tick
from credence.core.protocols import Evidence, StepPrior
from credence.core.types import Prompts
from credence.dialogue.choice import Choice, Chooser
from credence.dialogue.desk import Desk, Moved
from credence.dialogue.engines import Drawing, known, known_of
from credence.dialogue.feedback import FeedbackStore, Rating
from credence.dialogue.room import encoded, fitted, prompts_of, room
from credence.dialogue.stream import Draw, stream
from credence.dialogue.talk import WINDOW, Message, accept, blank, scrub
from credence.dialogue.turn import Turn
from credence.dialogue.why import Why, explain, steps
from credence.evidence.strength import at_beta, beta_of, times


@dataclass(eq=False)
class Conversation:
    """Who speaks, what is good, and what was said so far.

    `given` holds the ratings of this talk that stand, the last one given at its end.

    Args:
        prior: over text.
        evidence: what is good; None reads nothing, and then no β can be asked for.
        policy: trained towards the posterior of prior and evidence; None lets the prior answer.
        key: of every draw; turn t uses key.fold("turn", t).
        engine: "policy" (streams), "best_of_n", "smc" or "rejection".
        of: candidates of engines that need several.
        desk: knowledge that answers in the model's place where it is given.
        chooser: a law over candidates, of which `prior` is the base measure and `policy` the law itself.
        utterances: that are shown to the model.
        store: where ratings go; without one they cannot be given.
        model: the prior's name, kept with a rating.
        law: the policy's fingerprint, kept with a rating.

    Tested in tests/unit/test_chat.py.
    """

    prior: StepPrior
    evidence: Evidence | None = None
    policy: StepPrior | None = None
    key: Key = field(default_factory=Key)
    engine: str = "policy"
    of: int = 16
    desk: Desk | None = None
    chooser: Chooser | None = None
    utterances: int = WINDOW
    store: FeedbackStore | None = None
    model: str = ""
    law: str = ""
    beta: float | None = None
    as_prior: bool = False
    turns: list[Turn] = field(default_factory=lambda: list[Turn]())
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    heard: str = ""
    taken_out: int = 0
    given: list[Rating] = field(default_factory=lambda: list[Rating]())
    _count: int = 0

    def __post_init__(self) -> None:
        known(self.engine)
        known_of(self.of)
        if self.engine != "policy" and self.evidence is None:
            raise ConfigError(
                f"engine {self.engine!r} draws from a posterior, and no evidence was given.",
                "engine needs evidence",
                engine=self.engine,
            )

    @property
    def own_beta(self) -> float | None:
        """β of the evidence as given, to which the policy was trained."""
        if self.chooser is not None:
            return self.chooser.beta
        return None if self.evidence is None else beta_of(self.evidence)

    @property
    def serving(self) -> str:
        """What will answer next: "prior", "policy", "reweighted", "realigned", an engine's name, or "knowledge"."""
        if self.as_prior:
            return "prior"
        if self.desk is not None:
            return "knowledge"
        if self.engine != "policy":
            return self.engine
        if self.beta is not None and (self.policy is None or self.beta != self.own_beta):
            return "reweighted" if self.chooser is None else "realigned"
        return "prior" if self.policy is None else "policy"

    @property
    def streams(self) -> bool:
        """Whether the next reply comes token by token."""
        return self.serving in ("prior", "policy", "realigned")

    @property
    def target(self) -> Evidence | None:
        """The evidence at the β asked for."""
        return self.evidence if self.beta is None or self.evidence is None else at_beta(self.evidence, self.beta)

    def set_beta(self, beta: float | None) -> None:
        """Ask for the posterior at another β; None goes back to the evidence's own.

        Raises:
            ConfigError: not finite and positive, or no reward that a β could weigh.
        """
        if beta is not None:
            if self.chooser is not None and self.chooser.beta is not None:
                times(self.chooser.beta, beta)
            elif self.evidence is None:
                raise ConfigError(
                    f"beta={beta}: no evidence was given, so there is no reward that a β could weigh.",
                    "beta nothing",
                    beta=beta,
                )
            else:
                at_beta(self.evidence, beta)
        self.beta = beta

    def hear(self, text: str) -> None:
        """Take what the user says. What was heard before and not answered is replaced.

        Raises:
            ConfigError: empty, or longer than can be read.
        """
        said, taken_out = accept(text)
        if self.chooser is not None:
            self.chooser.check(said)
        self._fitted(said)
        self.heard, self.taken_out = said, taken_out

    def reply(self, tick: Callable[[], None] = no_tick) -> Generator[str]:
        """Answer what was heard, piece by piece; the exchange is kept however the iteration ends.

        A reply that is stopped (Ctrl-C, or the iterator is closed) keeps what was said so far, and counts as stopped.
        An engine that cannot stream yields the whole reply at once; `tick` is then called about `horizon` times.

        Raises:
            ConfigError: nothing was heard.
            DegeneracyError: the engine found no reply; what was heard stays heard.
        """
        if not self.heard:
            raise ConfigError("nothing was said: there is nothing to answer.", "nothing said")
        said, serving = self.heard, self.serving
        messages = self._fitted(said)
        prompts = self._prompts(messages)
        self._count += 1
        key = self.key.fold("turn", self._count)
        beta = None if serving == "prior" else self.beta or self.own_beta
        turn = Turn(self._count, said, messages, "", (), (), False, False, serving, beta)
        if serving == "knowledge":
            turn = self._from_knowledge(turn)
            self._keep(turn)
            yield turn.reply
        elif self.streams:
            yield from self._streamed(turn, prompts, key)
        else:
            turn = self._drawn(turn, prompts, key, tick)
            self._keep(turn)
            yield turn.reply

    def reads_long(self, tokens: int) -> bool:
        """Whether reading what was heard is felt: more than so many tokens; or answers to choose among, by a model."""
        ids = self._prompts(self._fitted(self.heard)).ids[0]
        if self.chooser is not None:
            return not self.as_prior and self.chooser.unread(ids)
        return len(ids) > tokens

    def say(self, text: str, tick: Callable[[], None] = no_tick) -> Generator[str]:
        """`hear`, then `reply`."""
        self.hear(text)
        return self.reply(tick)

    def _streamed(self, turn: Turn, prompts: Prompts, key: Key) -> Iterator[str]:
        law = self.prior if turn.law == "prior" or self.policy is None else self.policy
        law = law if self.chooser is None else self.chooser.law(turn)
        draw, whole = Draw(), False
        try:
            yield from stream(law, key, prompts, draw)
            whole = True
        finally:
            text = str(self.prior.codec.decode(draw.ids)) if draw.ids else ""
            said = replace(
                turn, reply=text, ids=tuple(draw.ids), log_q=tuple(draw.log_q), ended=draw.ended, stopped=not whole
            )
            self._keep(said if self.chooser is None else self.chooser.told(said))

    def _drawn(self, turn: Turn, prompts: Prompts, key: Key, tick: Callable[[], None]) -> Turn:
        target = self.target
        if target is None:
            raise ConfigError(
                f"{turn.law} draws from a posterior, and no evidence was given.",
                "engine needs evidence",
                engine=turn.law,
            )
        found = Drawing(turn.law, self.prior, target, self.policy, self.of).draw(key, prompts, tick)
        text = str(self.prior.codec.decode(found.ids))
        return replace(turn, reply=text, ids=found.ids, log_q=found.log_q, ended=found.ended, info=found.info)

    def _from_knowledge(self, turn: Turn) -> Turn:
        if self.desk is None:
            raise ConfigError("no knowledge was given: name it with --knowledge.")
        answer = self.desk.answer(turn.said)
        ids = tuple(encoded(self.prior, answer.text))
        return replace(
            turn, reply=answer.text, ids=ids, ended=True, info=answer.info, kind=answer.kind, entries=answer.entries
        )

    def _keep(self, turn: Turn) -> None:
        if turn.ids or turn.reply:  # a reply that was stopped before its first token is none
            self.turns.append(turn)
            self.heard = ""

    @property
    def messages(self) -> tuple[Message, ...]:
        """Everything that was said, oldest first."""
        pairs = [
            ({"role": "user", "content": t.said}, {"role": "assistant", "content": t.reply}) for t in self.turns
        ]  # fmt: skip
        return tuple(message for pair in pairs for message in pair)

    def _fitted(self, said: str) -> tuple[Message, ...]:
        return fitted(self.prior, [*self.messages, {"role": "user", "content": said}], self.utterances)

    def _prompts(self, messages: tuple[Message, ...]) -> Prompts:
        return prompts_of(self.prior, messages)

    def undo(self) -> Turn:
        """Take the last exchange back, and return it.

        A rating of its reply stands: what was thought of that reply is as true as before. `rate("retract")` takes it
        back, also now.
        """
        last = self._last()
        if last.law == "knowledge" and self.desk is not None:
            self.desk.back()
        return self.turns.pop()

    def again(self, tick: Callable[[], None] = no_tick) -> Generator[str]:
        """Answer the last message anew, with other draws; what was heard and found no reply is simply tried again.

        An answer that is replaced comes back where no other one is found, or Ctrl-C comes before its first token.

        Raises:
            ConfigError: nothing was said yet.
        """
        if not self.heard:
            self._last()
        return self._anew(tick)

    def _anew(self, tick: Callable[[], None]) -> Generator[str]:
        if self.heard:
            yield from self.reply(tick)
            return
        before, last = tuple(self.turns), self._last()
        self.heard = self.undo().said
        try:
            yield from self.reply(tick)
        finally:
            if len(self.turns) < len(before):
                self.turns[:], self.heard = before, ""
                if last.law == "knowledge" and self.desk is not None:
                    self.desk.answer(last.said)  # what it believes is a function of what it heard

    def _last(self) -> Turn:
        if not self.turns:
            raise ConfigError("nothing was said yet.", "nothing said")
        return self.turns[-1]

    def why(self, tick: Callable[[], None] = no_tick) -> Why:
        """The last reply taken apart: tokens under prior and policy, evidence in its unit and in nats.

        A reply from knowledge was chosen by a belief, which `moved` explains; the prior's nats had no part in it.
        `tick` is called `why_work` times.

        Raises:
            ConfigError: nothing was said yet.
        """
        turn = self._last()
        return explain(*self._asked(turn), self._prompts(turn.messages), turn.ids, turn.ended, tick)

    def moved(self) -> Moved | None:
        """What moved the belief that chose the last reply; None where that did not come from knowledge.

        Raises:
            ConfigError: nothing was said yet.
        """
        return self.desk.moved() if self.desk is not None and self._last().law == "knowledge" else None

    def choice(self) -> Choice | None:
        """What the last reply was chosen among; None where no law over candidates said it.

        Raises:
            ConfigError: nothing was said yet.
        """
        return None if self.chooser is None else self.chooser.of(self._last())

    def why_work(self) -> int:
        """Steps that `why` takes.

        Raises:
            ConfigError: nothing was said yet.
        """
        turn = self._last()
        return steps(*self._asked(turn), self._prompts(turn.messages), turn.ids)

    def _asked(self, turn: Turn) -> tuple[StepPrior, StepPrior | None, Evidence | None]:
        """Prior, policy and evidence that bear on this reply."""
        policy = None if turn.law in ("prior", "knowledge") else self.policy
        evidence = self.evidence if turn.beta is None or self.evidence is None else at_beta(self.evidence, turn.beta)
        return self.prior, policy, evidence

    def rate(self, kind: str, text: str = "") -> Rating:
        """Say what was thought of the last reply; on return it is kept for good.

        Args:
            kind: "good", "bad" or "better" of the last reply, in place of what was said of it before; or "retract":
                the rating given last in this talk counts no more, whichever reply it was of.
            text: the better reply, for "better".

        Raises:
            ConfigError: nothing was said yet, no store, a better text that is empty, the reply itself or too long to
                be read, or nothing to retract.
            BackendError: the file is locked or cannot be written.
        """
        if self.store is None:
            raise ConfigError("no feedback file was opened, so a rating could not be kept.", "no feedback file")
        if kind == "retract":
            return self._retract(self.store)
        turn = self._last()
        if kind == "better":
            text = self._better(turn, text)
        law = turn.law + (f":{self.law}" if self.law and turn.law not in ("prior", "knowledge") else "")
        ids = () if self.chooser is not None else turn.ids  # numbers of candidates are no model's tokens
        kept = self.store.add(
            Rating(self.id, turn.number, turn.messages, turn.reply, ids, kind, text, self.model, law, turn.beta)
        )
        self.turns[-1] = replace(turn, rating=kind)
        self.given = [*(r for r in self.given if r.turn != turn.number), kept]
        return kept

    def _retract(self, store: FeedbackStore) -> Rating:
        if not self.given:
            raise ConfigError("no rating of this talk stands: there is nothing to take back.", "not rated")
        last = self.given[-1]
        kept = store.add(replace(last, kind="retract", text="", at=0.0, id=0))
        self.given.pop()
        self.turns = [replace(t, rating="") if t.number == last.turn else t for t in self.turns]
        return kept

    def _better(self, turn: Turn, text: str) -> str:
        """A better reply as it is kept: it and its prompt must fit the model, else no update could read it."""
        if blank(text):
            raise ConfigError("/better needs the text that would have been better: /better TEXT", "better text")
        text, _ = accept(text)
        choice = None if self.chooser is None else self.chooser.of(turn)
        text = choice.better(text) if choice is not None else text
        if text == scrub(turn.reply)[0].strip():
            raise ConfigError("the better text is the reply itself: use /good.", "better same")
        if choice is not None:
            return text
        tokens = len(encoded(self.prior, text))
        left = room(self.prior)
        most = tokens if left is None else left + self.prior.horizon - len(self._prompts(turn.messages).ids[0])
        if tokens > most:
            raise ConfigError(
                f"the better text has {tokens:,} tokens; after this message the model reads at most {most:,}. Give a "
                "shorter one.",
                "better long",
                tokens=tokens,
                most=most,
            )
        return text
