"""The encoder–decoder against the laws of priors and policies, and against plain transformers."""

from pathlib import Path

import pytest
import torch

from credence.core.errors import BackendError, ConfigError
from credence.core.keys import Key
from credence.core.protocols import Batch, Policy, StepPrior
from credence.core.types import Prompts
from credence.learn.losses.forward_kl import weighted_likelihood
from credence.learn.losses.policy_gradient import leave_one_out_gradient
from credence.prior.seq2seq import Seq2SeqPolicy, Seq2SeqPrior, seq2seq_policy
from credence.prior.seq2seq_build import learn_codec, load_seq2seq, save_seq2seq, tiny_marian
from credence.prior.train import scored
from credence.testing import check_step_prior
from tests.translating import sentences, tiny_translator

KEY = Key(5)


def sources(prior: StepPrior) -> Prompts:
    """Different lengths, one of them twice, one empty but for its end."""
    return prior.codec.prompts(["a b c", "b", "", "a b c"])


def batch_of(prior: Seq2SeqPrior, on_policy: bool = False) -> Batch:
    prompts = sources(prior)
    completions, log_q = prior.sample(KEY, prompts, 5)
    log_lik = -torch.where(completions.mask, completions.ids, 0).sum(-1).double()
    return Batch(prompts, completions, log_q, prior.score(prompts, completions), log_lik, on_policy)


def moved(policy: Seq2SeqPolicy, batch: Batch, steps: int = 3) -> Seq2SeqPolicy:
    for _ in range(steps):
        policy.forward_backward(batch, weighted_likelihood)
        policy.step(0.05)
    return policy


def test_it_keeps_the_laws_of_a_step_prior() -> None:
    prior = tiny_translator()
    check_step_prior(prior, sources(prior)).require()


def test_it_is_plain_transformers_forward_pass() -> None:
    """Padded among others or alone: the source's padding is not read. Rejects logits a step off."""
    prior = tiny_translator()
    batch = batch_of(prior)
    for row in range(len(batch.completions)):
        own = batch.completions.tokens()[row]
        ids = batch.prompts.ids[int(batch.completions.prompt[row])]
        begin = [int(prior.model.config.decoder_start_token_id)]  # pyright: ignore[reportArgumentType]
        with torch.no_grad():
            logits = prior.model(
                input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([begin + own[:-1]])
            ).logits
        wanted = torch.log_softmax(logits[0], -1)[torch.arange(len(own)), torch.tensor(own)]
        assert torch.allclose(batch.log_prior[row, : len(own)], wanted, atol=1e-10, rtol=0)


def test_a_policy_starts_as_its_prior_and_leaves_it_alone() -> None:
    prior = tiny_translator()
    policy, batch = seq2seq_policy(prior), batch_of(prior)
    assert isinstance(policy, Policy)
    ours, log_pi = policy.sample(KEY, batch.prompts, 5)
    assert ours.tokens() == batch.completions.tokens()
    assert torch.allclose(log_pi, batch.log_q, atol=1e-12, rtol=0)
    moved(policy, batch)
    assert torch.equal(prior.score(batch.prompts, batch.completions), batch.log_prior)
    assert float((policy.score(batch.prompts, batch.completions) - batch.log_prior).abs().max()) > 0.01
    assert all(p.grad is None for p in prior.model.parameters())


@pytest.mark.parametrize("on_policy", [True, False])
def test_its_gradient_is_that_of_one_plain_pass(on_policy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces of a few rows; rejects pieces that lose rows or put their coefficients on others."""
    from credence.prior import seq2seq

    prior = tiny_translator()
    batch, policy, plain = batch_of(prior, on_policy), seq2seq_policy(prior), seq2seq_policy(prior)
    log_pi = torch.where(batch.completions.mask, plain.law.log_probs(batch.prompts, batch.completions).double(), 0.0)
    leave_one_out_gradient(scored(batch, log_pi))[0].backward()
    monkeypatch.setattr(seq2seq, "TOKENS", 20)
    policy.forward_backward(batch, leave_one_out_gradient)
    for ours, theirs in zip(policy.trainer.parameters, plain.trainer.parameters, strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-12, rtol=1e-9)


def test_state_and_moments_are_all_that_the_next_step_depends_on() -> None:
    prior = tiny_translator()
    batch, policy = batch_of(prior), seq2seq_policy(prior)
    moved(policy, batch)
    state, moments = policy.state(), {n: v.clone() for n, v in policy.moments().items()}
    last = moved(policy, batch).state()
    for given, same in ((moments, True), (None, False)):
        other = seq2seq_policy(prior)
        other.restore(state, given)
        found = moved(other, batch).state()
        assert all(torch.equal(value, last[name]) for name, value in found.items()) == same


def test_the_likeliest_translation_is_the_argmax_of_each_step() -> None:
    prior = tiny_translator(2)
    prompts = sources(prior)
    for place, text in enumerate(prior.likeliest(prompts)):
        one, own = prompts.take([place]), list[int]()
        state = prior.start(one, 1)
        for _ in range(prior.horizon):
            own.append(int(prior.next_logits(state).argmax()))
            if own[-1] in prior.ends:
                break
            state = prior.extend(state, torch.tensor(own[-1:]))
        assert text == prior.codec.decode(own)


def test_a_folder_gives_the_law_back(tmp_path: Path) -> None:
    codec = learn_codec([text for pair in sentences() for text in pair], 300)
    law = Seq2SeqPrior(tiny_marian(codec, KEY, 8, 1, 2, 40), codec, 12)
    save_seq2seq(law, tmp_path / "policy")
    again = load_seq2seq(tmp_path / "policy")
    prompts = codec.prompts(["猫吃水。", "狗"])
    completions, log_q = law.sample(KEY, prompts, 3)
    assert again.horizon == law.horizon
    assert again.codec.prompts(["猫吃水。", "狗"]).ids == prompts.ids
    assert torch.allclose(again.score(prompts, completions), log_q, atol=1e-5)
    with pytest.raises(BackendError, match="could not be read"):
        load_seq2seq(tmp_path / "nowhere")


def test_weights_come_from_the_key_alone() -> None:
    codec = tiny_translator().codec
    before = torch.get_rng_state()
    first, again, other = (tiny_marian(codec, Key(k), 8, 1, 2, 12).state_dict() for k in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.shared.weight"], other["model.shared.weight"])


def test_a_vocabulary_reads_every_text_back() -> None:
    codec = learn_codec([text for pair in sentences() for text in pair], 300)
    for text in ("猫吃肉。", "Ünïcode <end> 𠮷", "the cat"):
        assert codec.decode([*codec.encode(text), codec.end]) == text
    with pytest.raises(ConfigError, match="are needed for the bytes"):
        learn_codec(["a"], 100)


def test_what_cannot_be() -> None:
    prior = tiny_translator()
    with pytest.raises(ConfigError, match="positions"):
        Seq2SeqPrior(prior.model, prior.codec, 12)
    with pytest.raises(ConfigError, match="Shorten it"):
        prior.start(prior.codec.prompts(["a " * 20]), 1)
    with pytest.raises(ConfigError, match="even multiple"):
        tiny_marian(prior.codec, KEY, 9, 1, 2, 12)
