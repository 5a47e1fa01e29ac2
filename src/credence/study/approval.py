"""The belief over a user's approval of one reply, from all ratings so far."""

from collections.abc import Callable
from dataclasses import dataclass, field

from credence.core.progress import no_tick
from credence.core.protocols import StepPrior
from credence.core.types import Prompts
from credence.dialogue.feedback import FeedbackStore, Rating
from credence.dialogue.room import prompts_of
from credence.dialogue.stream import as_row
from credence.dialogue.turn import Turn
from credence.evidence.feedback import Head
from credence.prior.features import Centred
from credence.study.opinions import FeedbackSettings, Taught, centred, hear, learn, ratings_print, readings


@dataclass(frozen=True)
class Approved:
    """Mean and standard deviation of the reward in logits, P(thumb up), and how many ratings it rests on."""

    mean: float
    sd: float
    probability: float
    ratings: int


@dataclass(eq=False)
class Approval:
    """Fits the reward belief to the ratings that stand, and again whenever they have changed.

    Args:
        store: the ratings.
        prior: whose states are the features.
        model: its name, as ratings carry it.
        settings: how ratings become a reward.
        taught: what an update has already fitted, taken while the ratings are still the same.

    Cost: 16 prior draws a prompt when it is first seen, and a pass a rated reply at each fit.
    """

    store: FeedbackStore
    prior: StepPrior
    model: str
    settings: FeedbackSettings = field(default_factory=FeedbackSettings)
    taught: Taught | None = None
    _fitted: tuple[str, Head] | None = None
    _features: Centred = field(init=False)

    def __post_init__(self) -> None:
        self._features = centred(self.settings, self.prior)
        if self.taught is not None and self.taught.settings == self.settings:
            self._fitted = (self.taught.heard, self.taught.head)

    def work(self, turn: Turn) -> int:
        """Steps that `of` takes before it can answer: prompts, and rated replies, that must be read."""
        standing = self.store.standing()
        if not standing or not turn.ids:
            return 0
        prompts, replies = [prompts_of(self.prior, turn.messages).ids[0]], 0
        if self._stale(standing):
            heard = hear(standing, self.prior, self.model)
            prompts, replies = [*prompts, *heard.contexts.ids], readings(heard)
        return len({ids for ids in prompts if not self._features.knows(ids)}) + replies

    def of(self, turn: Turn, tick: Callable[[], None] = no_tick) -> Approved | None:
        """What is believed of this reply; None without any rating. `tick` is called `work` times."""
        standing = self.store.standing()
        if not standing or not turn.ids:
            return None
        if self._fitted is None or self._stale(standing):
            heard = hear(standing, self.prior, self.model)
            self._read(heard.contexts, tick)
            evidence, _, _ = learn(heard, self.settings, self.prior, self._features, tick)
            self._fitted = (self._said(standing), evidence.head)
        prompts = prompts_of(self.prior, turn.messages)
        self._read(prompts, tick)
        head = self._fitted[1]
        phi = self._features(prompts, as_row(turn.ids, turn.ended))
        mean, sd = head.reward(phi)
        return Approved(float(mean[0]), float(sd[0]), float(head.approval(phi)[0]), len(standing))

    def _stale(self, standing: tuple[Rating, ...]) -> bool:
        return self._fitted is None or self._fitted[0] != self._said(standing)

    def _said(self, standing: tuple[Rating, ...]) -> str:
        """What the ratings say: rows of another file, or of a file that was begun anew, bear the same numbers."""
        return ratings_print(standing, self.model)

    def _read(self, prompts: Prompts, tick: Callable[[], None]) -> None:
        for b, ids in enumerate(prompts.ids):
            if not self._features.knows(ids):
                self._features.usual(prompts, b)
                tick()
