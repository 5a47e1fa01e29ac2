"""Every piece of evidence against the laws of `credence.testing`."""

import math
from typing import get_args

import pytest
import torch

from credence.core.keys import Key
from credence.core.protocols import Evidence, PrefixEvidence
from credence.core.types import Completions, Prompts
from credence.evidence.classifier import Classifier, fit_label_head
from credence.evidence.constraint import Constraint
from credence.evidence.ended import Ended
from credence.evidence.ensemble import Ensemble
from credence.evidence.feedback import Feedback, Opinions, fit_head
from credence.evidence.product import twist
from credence.evidence.reward import Reward
from credence.evidence.rules import Rule
from credence.evidence.sentence import Exactly, Near
from credence.evidence.sentiment import Sentiment
from credence.testing import Verdict, check_evidence, check_prefix_evidence
from tests.embedders import HashedGrams
from tests.toys import toy_prior, toy_reward
from tests.worded import Words


def forbidding(prompts: list, completions: list) -> list[float]:
    return [-math.inf if c[0] == 0 else 1.0 for c in completions]


def classifier(on_prefix: bool) -> Classifier:
    """Fitted on TOY-A's words."""
    texts = ["wonderful", "wonderful wonderful", "awful", "awful awful", ""]
    embedder = HashedGrams()
    head = fit_label_head(embedder.embed(texts), torch.tensor([1, 1, 0, 0, 0]), ("bad", "good"), embedder.name)
    return Classifier(head, embedder, "good", 0.5, on_prefix)


def letters(prompts: Prompts, completions: Completions) -> torch.Tensor:
    """How often each letter is said."""
    return torch.stack([((completions.ids == k) & completions.mask).sum(-1).double() for k in (0, 1)], 1)


def learnt(rule: Rule) -> Feedback:
    """Taught by four thumbs and a pair."""
    thumbs = torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, 1.0], [0.0, 2.0]])
    said = Opinions(thumbs, torch.tensor([True, True, False, False]), torch.tensor([[1.0, -1.0]]))
    return Feedback(letters, fit_head(said, torch.ones(2)), 0.5, rule)


REWARD, ON_PREFIX = Reward(toy_reward, 0.5), Reward(toy_reward, 0.5, on_prefix=True)
EVIDENCE = {
    "reward": REWARD,
    "reward on prefixes": ON_PREFIX,
    "forbidding on prefixes": Reward(forbidding, 0.5, on_prefix=True),
    "ended": Ended(-3.0),
    "hard ended": Ended(-math.inf),
    "constraint": Constraint(lambda tokens: 1 in tokens, "has b"),
    "soft constraint": Constraint(lambda tokens: 1 in tokens, "has b", -2.0),
    "product": ON_PREFIX * Ended(-1.0) * Constraint(lambda tokens: 1 in tokens, "has b", -2.0),
    "exactly": Exactly((1, 0, 2), 3.0, -1.0),
    "point mass": Exactly((1, 0, 2), 0.0, -math.inf),
    "near": Near((1, 0, 2), 0.5),
    "sentiment": Words(Sentiment(0.2)),
    "bad mood, at the end alone": Words(Sentiment(0.5, -1, on_prefix=False)),
    "classifier": Words(classifier(False)),
    "classifier on prefixes": Words(classifier(True)),
    **{f"learnt, {rule}": learnt(rule) for rule in get_args(Rule)},
    "ensemble, averaged": Ensemble((REWARD, learnt("plug_in")), "posterior_averaged"),
    "tempered": ON_PREFIX**0.3,
    "tempered product": (REWARD * Ended(-1.0)) ** 2.0,
}


@pytest.mark.parametrize("evidence", EVIDENCE.values(), ids=EVIDENCE)
def test_it_keeps_the_laws(evidence: Evidence) -> None:
    prompts = toy_prior().codec.prompts([(), (0,), (1, 0)])
    check = check_prefix_evidence if isinstance(evidence, PrefixEvidence) else check_evidence
    found = check(evidence, toy_prior(), prompts).require()
    if isinstance(evidence, PrefixEvidence):  # rejects draws that show nothing of twists
        assert all(law.verdict is Verdict.KEPT for law in found.laws[-5:])


def test_evidence_that_says_nothing_of_prefixes_twists_at_the_end_alone() -> None:
    evidence, prompts = EVIDENCE["constraint"], toy_prior().codec.prompts([(), (0,)])
    completions, _ = toy_prior().sample(Key(3), prompts, 20)
    found, ended = twist(evidence, prompts, completions), completions.ended
    assert 0 < int(ended.sum()) < 40
    assert torch.equal(found[ended], evidence.log_lik(prompts, completions.rows(ended)))
    assert bool((found[~ended] == 0).all())


def test_prefix_evidence_is_told_by_its_door() -> None:
    assert isinstance(ON_PREFIX, PrefixEvidence)
    assert isinstance(ON_PREFIX * Ended(), PrefixEvidence)
