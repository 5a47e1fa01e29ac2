"""The scorers of translations against one joint table, grids and hand-made numbers."""

import itertools

import pytest
import torch

from credence.belief.ibm1 import fit_ibm1
from credence.belief.temper import log_loss
from credence.belief.translate import (
    BAYES,
    CHANCE,
    CHANNEL,
    COMBINED,
    DIRECT,
    LIKENESS,
    PER_UNIT,
    PRIOR,
    TUNED,
    Readings,
    Weights,
    bayes_law,
    fit_laws,
    line_log_p,
    read_models,
    translation_laws,
)
from credence.belief.units import units
from credence.core.errors import ShapeError
from tests.classifying import byte_model
from tests.translating import (
    check_test_references_choose_nothing,
    check_the_reference_is_no_distractor,
    check_tuned_hears_both_as_much_as_they_are_worth,
    readings,
    sentences,
)

W = Weights(0.4, 0.2, 0.3, 2.0, (1.0, 0.5, -0.1), 7.0)


def test_bayes_is_the_conditional_of_one_joint_table() -> None:
    """p(y) and p(x | y) of a joint law: its own p(y | x), in order and in value; the channel alone ranks otherwise."""
    joint = torch.rand(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    joint = joint / joint.sum()  # x by y
    prior, lik = joint.sum(0).log(), (joint / joint.sum(0)).log()
    found = bayes_law(prior.expand(5, -1), lik)
    assert torch.allclose(found.exp(), joint / joint.sum(1, keepdim=True), atol=1e-12)
    assert not torch.equal(lik.argsort(1), found.argsort(1))


def test_every_scorer_by_hand() -> None:
    rows, _ = readings(3, 2)
    r = Readings(rows.prior, rows.channel, rows.direct, rows.size, rows.sizes, torch.rand(2, 4).double())
    wanted = {
        CHANCE: torch.zeros(2, 4), PRIOR: r.prior, DIRECT: r.direct, PER_UNIT: 2 * r.direct / r.sizes,
        CHANNEL: r.channel, BAYES: r.prior + r.channel, TUNED: 0.4 * r.prior + 0.2 * r.channel,
        COMBINED: r.direct / r.sizes + (0.5 * r.channel - 0.1 * r.prior) / r.size[:, None], LIKENESS: 7 * r.likeness,
    }  # fmt: skip
    found = translation_laws(r, W)
    for name, nats in wanted.items():
        assert torch.allclose(found[name], torch.log_softmax(nats.double(), 1), atol=1e-12), name


def test_tuning_finds_what_validation_wants() -> None:
    """λ near 0.3 and τ near 1/5 of a channel five times too sure; better than Bayes proper, and the best of a grid."""
    check_tuned_hears_both_as_much_as_they_are_worth(7)
    rows, truth = readings(7, 3000)
    found = fit_laws(rows, truth)
    assert found.likeness is None
    laws = translation_laws(rows, found)
    loss = {name: float(log_loss(law, truth).mean()) for name, law in laws.items()}
    for lam, tau in itertools.product((0.1, 0.3, 0.5), (0.1, 0.2, 0.4)):
        law = torch.log_softmax(lam * rows.prior + tau * rows.channel, 1)
        assert loss[TUNED] <= float(log_loss(law, truth).mean()) + 1e-9
    with pytest.raises(ShapeError):
        fit_laws(rows.rows(slice(0, 0)), truth[:0])


def test_the_models_are_read_in_both_directions() -> None:
    pairs = [(units(x), units(y)) for x, y in sentences()]
    channel, direct = fit_ibm1(pairs), fit_ibm1([(y, x) for x, y in pairs])
    sources, texts = ["猫吃水。", "??"], [["The cat eats water.", "A man"], ["no", "unknown words here"]]
    to, back, size, sizes = read_models(sources, texts, channel, direct)
    assert (size.tolist(), sizes.tolist()) == ([4, 2], [[5, 2], [1, 3]])
    assert float(to[0, 0]) == pytest.approx(channel.log_p(units(sources[0]), units(texts[0][0])))
    assert float(back[1, 1]) == pytest.approx(direct.log_p(units(texts[1][1]), units(sources[1])))
    assert float(to[0, 0]) > float(to[0, 1]) + 5
    assert torch.isfinite(to).all()


def test_a_line_s_probability_counts_its_end_and_ignores_its_neighbours() -> None:
    """By single passes of the model; a text is scored alike alone, among others, and with spaces doubled."""
    prior = byte_model()
    texts = ["ab", "the  cat sat", "x"]
    found = line_log_p(prior, texts, "Lines:\n")
    begin = list(prior.codec.prompts(["Lines:\n"]).ids[0])
    for text, nats in zip(texts, found.tolist(), strict=True):
        ids = [*begin, *prior.codec.encode(" ".join(text.split())), *prior.codec.encode("\n")]
        own = 0.0
        for t in range(len(begin), len(ids)):
            with torch.no_grad():
                law = torch.log_softmax(prior.model(torch.tensor([ids[:t]])).logits[0, -1].double(), -1)
            own += float(law[ids[t]])
        assert nats == pytest.approx(own, abs=1e-4)  # its norms round to float32
    assert float(line_log_p(prior, texts[1:2], "Lines:\n")[0]) == pytest.approx(float(found[1]), abs=1e-9)


def test_what_is_only_measured_chooses_nothing() -> None:
    check_test_references_choose_nothing(3)
    check_the_reference_is_no_distractor(3)
