"""Feedback as evidence on a tiny random chat model: features, centring, the rules that turn a belief into nats."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.types import Completions
from credence.dialogue.stream import as_row
from credence.evidence.feedback import Feedback, Head, Opinions, fit_head
from credence.evidence.strength import at_beta, beta_of
from credence.prior.features import Centred, PooledHidden, ReplyVectors, language_model
from credence.prior.load import load
from credence.prior.reshape import Reshaped, reshape
from tests import talking
from tests.toys import toy_prior


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Reshaped:
    return reshape(load(talking.make(tmp_path_factory.mktemp("talker")), horizon=6), 0.8)


def test_pooled_hidden_reads_the_states_after_each_token(prior: Reshaped) -> None:
    lm = language_model(prior)
    prompts = lm.codec.prompts(["hi", "你好"])
    rows, _ = prior.sample(Key(1), prompts, 5)
    found = PooledHidden(lm)(prompts, rows)
    plain = AutoModel.from_pretrained(lm.name)
    for r in range(len(rows)):
        ids = rows.tokens()[r]
        whole = torch.tensor([[*prompts.ids[int(rows.prompt[r])], *ids]])
        with torch.no_grad():
            states = plain(input_ids=whole).last_hidden_state[0].double()
        begin = len(prompts.ids[int(rows.prompt[r])])
        wanted = states[begin : begin + len(ids) - 1].mean(0) if len(ids) > 1 else states[begin - 1]
        assert torch.allclose(found[r], wanted, atol=1e-4)
    with pytest.raises(ConfigError, match="no reply"):
        PooledHidden(lm)(prompts, rows.rows(torch.zeros(0, dtype=torch.long)))
    with pytest.raises(ConfigError, match="no language model"):
        language_model(toy_prior())


def test_centred_features_have_mean_zero_over_the_priors_replies(prior: Reshaped) -> None:
    lm = language_model(prior)
    prompts = lm.codec.prompts(["hi", "你好"])
    features = Centred(PooledHidden(lm), prior, Key(4), draws=12)
    for b in range(2):
        key = Key(4).fold("centre", *prompts.ids[b])
        rows, _ = prior.sample(key, prompts.take([b]), 12)
        same = Completions(rows.ids, rows.mask, rows.ended, torch.full((12,), b))
        assert torch.allclose(features(prompts, same).mean(0), torch.zeros(8).double(), atol=1e-6)
    assert features.spread(prompts).shape == (8,)
    assert bool((features.spread(prompts) > 0).all())
    again = Centred(PooledHidden(lm), prior, Key(4), draws=12)
    both, alone = features(prompts, same), again(prompts.take([1]), as_rows_of_first(same))
    assert torch.allclose(both, alone, atol=1e-6)  # whatever else was asked, in whatever order


def as_rows_of_first(rows: Completions) -> Completions:
    return Completions(rows.ids, rows.mask, rows.ended, torch.zeros(len(rows), dtype=torch.long))


def test_reply_vectors_read_the_text_alone(prior: Reshaped) -> None:
    def embed(texts: list[str]) -> torch.Tensor:
        return torch.tensor([[float(len(t)), 1.0] for t in texts])

    prompts = prior.codec.prompts(["hi"])
    row = as_row(language_model(prior).codec.encode("abc"), False)
    assert ReplyVectors(embed)(prompts, row).tolist() == [[3.0, 1.0]]


def test_the_rules_turn_the_belief_into_nats(prior: Reshaped) -> None:
    prompts = prior.codec.prompts(["hi"])
    rows, _ = prior.sample(Key(0), prompts, 4)
    lm = language_model(prior)
    features = Centred(PooledHidden(lm), prior, Key(0))
    phi, scale = features(prompts, rows), features.spread(prompts)
    head = fit_head(Opinions(phi[:2], torch.tensor([True, False]), phi[2:3] - phi[3:]), scale)
    mean, sd = head.reward(phi)
    plug_in = Feedback(features, head, beta=0.5)
    assert torch.allclose(plug_in.log_lik(prompts, rows), mean / 0.5)
    careful = Feedback(features, head, beta=0.5, rule="pessimistic", k=2.0)
    assert torch.allclose(careful.log_lik(prompts, rows), (mean - 2 * sd) / 0.5)
    assert list(careful.readings(prompts, rows)) == ["approval", "approval_sd"]
    assert torch.allclose(careful.readings(prompts, rows)["approval"], mean)
    assert mean[0] > mean[1]
    assert beta_of(plug_in) == 0.5
    assert torch.allclose(at_beta(plug_in, 0.25).log_lik(prompts, rows), mean / 0.25)
    for wrong in ({"beta": 0.0}, {"k": -1.0}):
        with pytest.raises(ConfigError):
            Feedback(features, head, **wrong)


def test_impossible_fits_are_refused() -> None:
    nothing = Opinions(torch.zeros(0, 2), torch.zeros(0, dtype=torch.bool), torch.zeros(0, 2))
    with pytest.raises(ConfigError, match="/good"):
        fit_head(nothing, torch.ones(2))
    one = Opinions(torch.ones(1, 2), torch.ones(1, dtype=torch.bool), torch.zeros(0, 2))
    with pytest.raises(ConfigError, match="above 0"):
        fit_head(one, torch.zeros(2))
    with pytest.raises(ConfigError, match="above 0"):
        fit_head(one, torch.ones(2), 0.0)


def test_a_head_is_read_back_as_it_was(prior: Reshaped, tmp_path: Path) -> None:
    from credence.evidence.feedback import load_head, save_head

    one = Opinions(torch.ones(1, 2), torch.ones(1, dtype=torch.bool), torch.zeros(0, 2))
    head = fit_head(one, torch.ones(2))
    save_head(head, tmp_path / "head.safetensors")
    read = load_head(tmp_path / "head.safetensors")
    assert isinstance(read, Head)
    assert torch.equal(read.mean, head.mean)
    assert torch.equal(read.cov, head.cov)
    (tmp_path / "broken").write_bytes(b"x")
    for path in (tmp_path / "broken", tmp_path / "none"):
        with pytest.raises(ConfigError, match="dialogue update"):
            load_head(path)


def test_a_head_read_back_rounds_alike(tmp_path: Path) -> None:
    """Strides choose the kernel of a product, and each kernel its order of sums: a resumed run would drift."""
    from credence.evidence.feedback import load_head, save_head

    rng = Key(4).generator()
    vectors = torch.from_numpy(rng.normal(size=(40, 33))).float()
    opinions = Opinions(vectors[:30], vectors[:30, 0] > 0, vectors[30:])
    head = fit_head(opinions, vectors.std(0))
    save_head(head, tmp_path / "head.safetensors")
    read = load_head(tmp_path / "head.safetensors")
    assert head.cov.stride() == read.cov.stride()
    for ours, theirs in zip(head.reward(vectors), read.reward(vectors), strict=True):
        assert torch.equal(ours, theirs)
