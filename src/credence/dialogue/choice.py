"""A law over candidates that talks: the same law at another β, what was on offer, and what moved the choice.

    π_s(x) ∝ m(x) · exp(s · w·f(x))          s = 1: as learnt; 0: m alone; at β: the β it was learnt at / β

If m·exp(w·f) is the posterior of one reply's evidence at its β, π_s is exactly the posterior at β/s; over a dialogue w
also holds what users do later, which no factor changes rightly. Tests: tests/unit/test_choice.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from credence.core.errors import ConfigError
from credence.dialogue.candidates import FEATURES, CandidatePolicy, CandidatePrior, Ids, candidate_policy
from credence.dialogue.room import prompts_of
from credence.dialogue.talk import LONGEST
from credence.dialogue.turn import Turn
from credence.evidence.strength import times

CHOICE = "choice"
"""The kind of a turn whose reply such a law said."""
RUN, RATINGS = "run", "ratings"
"""Where the weights of a law come from: its run's simulated users, and ratings that an update has added."""


@dataclass(frozen=True)
class Option:
    """One answer that was on offer.

    Attributes:
        token: the candidate's number in the run.
        text: what it says.
        question: of the entry that it answers.
        log_m: nats under the base measure.
        log_p: nats under the law that chose.
        readings: features as they are read (cosine, hundreds of characters, 0 or 1, nats a character), by name.
        nats: what each feature adds over the mean answer under m, s·w·(f − E_m f), by name; none for m alone.
        by: the same sum, by where the weights come from.
    """

    token: int
    text: str
    question: str
    log_m: float
    log_p: float
    readings: Mapping[str, float] = field(default_factory=dict)
    nats: Mapping[str, float] = field(default_factory=dict)
    by: Mapping[str, float] = field(default_factory=dict)

    @property
    def log_lik(self) -> float:
        """Their sum: the evidence as it was learnt, in nats over the mean answer."""
        return sum(self.nats.values(), 0.0)


@dataclass(frozen=True)
class Choice:
    """What a reply was chosen among. log π/m of an option = its log_lik − log_z.

    Attributes:
        options: all of them, the likeliest first.
        said: which of them was drawn.
        log_z: log Σ m·exp(log_lik) in nats, which is KL(m‖π): never negative, and 0 for m alone.
        strength: s.
    """

    options: tuple[Option, ...]
    said: int
    log_z: float
    strength: float

    @property
    def chosen(self) -> Option:
        """The one that was drawn."""
        return self.options[self.said]

    @property
    def rival(self) -> Option | None:
        """The likeliest other one."""
        return next((o for i, o in enumerate(self.options) if i != self.said), None)

    def better(self, text: str) -> str:
        """The option that this names, by its number from 1 or its own words; else the text as it is."""
        given = " ".join(text.split())
        if given.isascii() and given.isdigit() and 1 <= int(given) <= len(self.options):
            return self.options[int(given) - 1].text
        return next((o.text for o in self.options if " ".join(o.text.split()) == given), text)

    def offers(self, text: str) -> bool:
        """Whether this very text was on offer."""
        return any(o.text == text for o in self.options)


@dataclass(eq=False)
class Chooser:
    """A learnt law over candidates, as a conversation serves it.

    Args:
        policy: the law as learnt.
        beta: of the first reward that it learnt from; None where there was none.
        run: the weights that its run learnt, where ratings have changed them since.
    """

    policy: CandidatePolicy
    beta: float | None = None
    run: Float[Tensor, " F"] | None = None
    _at: dict[float, CandidatePolicy] = field(default_factory=dict[float, CandidatePolicy], repr=False)

    @property
    def prior(self) -> CandidatePrior:
        """The base measure."""
        return self.policy.prior

    def at(self, strength: float) -> CandidatePolicy:
        """The law whose learnt nats count `strength` times."""
        if strength not in self._at:
            law = candidate_policy(self.prior)
            law.restore({"weights": strength * self.policy.weights.detach()})
            self._at[strength] = law
        return self._at[strength]

    def strength(self, turn: Turn) -> float:
        """How often the learnt nats counted in this turn."""
        if turn.law == "prior":
            return 0.0
        return 1.0 if turn.beta is None or self.beta is None else times(self.beta, turn.beta)

    def law(self, turn: Turn) -> CandidatePrior | CandidatePolicy:
        """What draws the reply of this turn."""
        strength = self.strength(turn)
        return self.prior if not strength else self.policy if strength == 1 else self.at(strength)

    def of(self, turn: Turn) -> Choice | None:
        """What its reply was chosen among; None where there is none yet, or another law gave it."""
        if not turn.ids:
            return None
        return self.choice(prompts_of(self.prior, turn.messages).ids[0], turn.ids[0], self.strength(turn))

    def told(self, turn: Turn) -> Turn:
        """The turn with the question that its answer is of, and the nats of it."""
        found = self.of(turn)
        if found is None:
            return turn
        one = found.chosen
        return replace(turn, kind=CHOICE, entries=(one.question,), info={"log_p": one.log_p, "log_m": one.log_m})

    def check(self, said: str) -> None:
        """Refuse what training would have cut.

        Raises:
            ConfigError: it is longer.
        """
        if len(said) > LONGEST:
            raise ConfigError(
                f"this message has {len(said):,} characters; the law that chooses answers reads at most {LONGEST:,}, "
                "as in its training. Send the part that matters.",
                "too long",
                characters=len(said),
                most=LONGEST,
            )

    def unread(self, ids: Ids) -> bool:
        """Whether a model must first read what this state offers."""
        return self.prior.fluency is not None and "raw" not in vars(self.prior.table(ids))

    def choice(self, ids: Ids, token: int, strength: float) -> Choice:
        """What `token` was chosen among in this state. Strength 0 reads no feature, and so needs no model."""
        table = self.prior.table(ids)
        nats = torch.zeros(len(table.index), 0, dtype=torch.float64)
        parts: dict[str, list[float]] = {}
        if strength:
            weights = strength * self.policy.weights.detach()
            apart = table.features - torch.exp(table.log_m) @ table.features
            nats = apart * weights
            run = weights if self.run is None else strength * self.run
            parts[RUN] = (apart @ run).tolist()
            parts |= {} if self.run is None else {RATINGS: (apart @ (weights - run)).tolist()}
        log_z = torch.logsumexp(table.log_m + nats.sum(-1), -1) if strength else torch.zeros((), dtype=torch.float64)
        log_p = table.log_m + nats.sum(-1) - log_z
        order = torch.argsort(log_p, descending=True, stable=True).tolist()
        number = table.index.tolist()
        options: list[Option] = []
        for i in order:
            one = self.prior.candidates[number[i]]
            question = self.prior.retriever.entries[one.entry].question
            read = table.raw[i].tolist() if strength else []
            options.append(
                Option(
                    number[i], one.text, question, float(table.log_m[i]), float(log_p[i]),
                    dict(zip(FEATURES, read, strict=False)), dict(zip(FEATURES, nats[i].tolist(), strict=False)),
                    {name: values[i] for name, values in parts.items()},
                )
            )  # fmt: skip
        said = order.index(number.index(token))
        return Choice(tuple(options), said, float(log_z), strength)
