"""The belief over a user's approval of one reply, from all ratings so far."""

from dataclasses import dataclass, field

from credence.dialogue.chat import Turn
from credence.dialogue.feedback import FeedbackStore, Rating
from credence.dialogue.room import prompts_of
from credence.dialogue.stream import as_row
from credence.evidence.feedback import Head
from credence.prior.features import Centred
from credence.prior.reshape import Reshaped
from credence.study.opinions import FeedbackSettings, centred, hear, learn, ratings_print


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

    Cost: 16 prior draws a context when it is first seen, and a pass a rated reply at each fit.
    """

    store: FeedbackStore
    prior: Reshaped
    model: str
    settings: FeedbackSettings = field(default_factory=FeedbackSettings)
    _fitted: tuple[str, Head, Centred] | None = None

    def of(self, turn: Turn) -> Approved | None:
        """What is believed of this reply; None without any rating."""
        standing = self.store.standing()
        if not standing or not turn.ids:
            return None
        head, features = self._head(standing)
        phi = features(prompts_of(self.prior, turn.messages), as_row(turn.ids, turn.ended))
        mean, sd = head.reward(phi)
        return Approved(float(mean[0]), float(sd[0]), float(head.approval(phi)[0]), len(standing))

    def _head(self, standing: tuple[Rating, ...]) -> tuple[Head, Centred]:
        digits = ratings_print(standing, self.settings, "")
        if self._fitted is None or self._fitted[0] != digits:
            evidence, _, _ = learn(hear(standing, self.prior, self.model), self.settings, self.prior)
            self._fitted = (digits, evidence.head, centred(self.settings, self.prior))
        return self._fitted[1], self._fitted[2]
