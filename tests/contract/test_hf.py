"""The transformers adapter against full forward passes of the same weights by transformers alone, in float64."""

import copy
from collections.abc import Callable

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from credence.core.errors import BackendError, ConfigError
from credence.core.keys import Key
from credence.core.types import Completions, Prompts
from credence.prior.attention import window
from credence.prior.hf import LMPrior
from credence.prior.reshape import reshape
from credence.prior.stems import stems
from tests.tiny import as_prior, filled, gpt2_model, llama_model

VOCAB, HORIZON = 11, 6
TOLERANCE = 1e-10
GIVEN = [(1, 2, 3, 4, 5), (10,), (10, 10, 7), (1, 2, 3, 4, 5), (3, 10, 0, 9)]
TOLD = (1, 2, 3, 4, 5, 6, 7)
ALIKE = [(*TOLD, 8), (9, 9, 8, 7, 6), (*TOLD, 2, 10), (9, 9, 8, 7, 6, 0), TOLD]
"""Two dialogues' prompts: later turns begin with the earlier ones, and stems of two lengths are padded."""


@pytest.fixture(scope="module", params=[llama_model, gpt2_model], ids=["llama", "gpt2"])
def plain(request: pytest.FixtureRequest) -> PreTrainedModel:
    build: Callable[[int], PreTrainedModel] = request.param
    return build(VOCAB)


@pytest.fixture(scope="module")
def prior(plain: PreTrainedModel) -> LMPrior:
    found = as_prior(copy.deepcopy(plain), HORIZON)
    assert plain.config._attn_implementation in ("eager", "sdpa")
    assert found.model.config._attn_implementation == "credence_grouped"
    return found


@pytest.fixture(scope="module")
def prompts(prior: LMPrior) -> Prompts:
    return prior.codec.prompts(GIVEN)


@pytest.fixture(scope="module")
def drawn(prior: LMPrior, prompts: Prompts) -> tuple[Completions, torch.Tensor]:
    return prior.sample(Key(5), prompts, 7)


@torch.no_grad()
def full(model: PreTrainedModel, tokens: tuple[int, ...]) -> torch.Tensor:
    """Log-probabilities after each position, from one unpadded row and no cache."""
    return torch.log_softmax(model(torch.tensor([tokens]), use_cache=False).logits[0], -1)


def full_score(model: PreTrainedModel, prompt: tuple[int, ...], reply: list[int]) -> torch.Tensor:
    log_p = full(model, (*prompt, *reply))[len(prompt) - 1 : -1]
    return log_p.gather(1, torch.tensor(reply)[:, None]).squeeze(1)


def test_cached_steps_are_the_full_forward_pass(plain: PreTrainedModel, prior: LMPrior, prompts: Prompts) -> None:
    """Prompts of different lengths are left-padded together, and each row must see none of it."""
    state = prior.start(prompts, 2)
    rng = torch.Generator().manual_seed(1)
    rows = [ids for ids in prompts.ids for _ in range(2)]
    for _ in range(HORIZON):
        found = torch.log_softmax(prior.next_logits(state), -1)
        for r, tokens in enumerate(rows):
            assert torch.allclose(found[r], full(plain, tokens)[-1], atol=TOLERANCE, rtol=0)
        token = torch.randint(VOCAB, (len(rows),), generator=rng)
        rows = [(*tokens, int(t)) for tokens, t in zip(rows, token, strict=True)]
        state = prior.extend(state, token)


def test_taking_rows_keeps_their_caches_apart(plain: PreTrainedModel, prior: LMPrior, prompts: Prompts) -> None:
    """Resampling in the middle of a text: repeats, another order, then different continuations of one ancestor."""
    state = prior.extend(prior.start(prompts, 1), torch.tensor([1, 2, 3, 4, 5]))
    state = prior.take(state, torch.tensor([3, 3, 0, 2]))
    state = prior.extend(state, torch.tensor([6, 7, 8, 9]))
    rows = [(*GIVEN[3], 4, 6), (*GIVEN[3], 4, 7), (*GIVEN[0], 1, 8), (*GIVEN[2], 3, 9)]
    found = torch.log_softmax(prior.next_logits(state), -1)
    for r, tokens in enumerate(rows):
        assert torch.allclose(found[r], full(plain, tokens)[-1], atol=TOLERANCE, rtol=0)


def test_score_is_the_full_forward_pass(
    plain: PreTrainedModel, prior: LMPrior, prompts: Prompts, drawn: tuple[Completions, torch.Tensor]
) -> None:
    completions, log_q = drawn
    scored = prior.score(prompts, completions)
    assert torch.allclose(scored, log_q, atol=TOLERANCE, rtol=0)
    lengths = set()
    for r, reply in enumerate(completions.tokens()):
        wanted = full_score(plain, prompts.ids[int(completions.prompt[r])], reply)
        assert torch.allclose(scored[r, : len(reply)], wanted, atol=TOLERANCE, rtol=0)
        lengths.add(len(reply))
    assert len(lengths) > 1  # replies of several lengths, so padding on the right was there to be ignored


@pytest.mark.parametrize("temperature", [0.6, 1.4])
def test_temperature_acts_on_the_logits_of_the_full_pass(
    plain: PreTrainedModel, prior: LMPrior, prompts: Prompts, temperature: float
) -> None:
    shaped = reshape(prior, temperature)
    completions, log_q = shaped.sample(Key(3), prompts, 2)
    for r, reply in enumerate(completions.tokens()):
        ids = prompts.ids[int(completions.prompt[r])]
        log_p = torch.log_softmax(full(plain, (*ids, *reply))[len(ids) - 1 : -1] / temperature, -1)
        wanted = log_p.gather(1, torch.tensor(reply)[:, None]).squeeze(1)
        assert torch.allclose(log_q[r, : len(reply)], wanted, atol=TOLERANCE, rtol=0)
    assert torch.allclose(shaped.score(prompts, completions), log_q, atol=TOLERANCE, rtol=0)


def test_one_row_equals_many(prior: LMPrior, prompts: Prompts, drawn: tuple[Completions, torch.Tensor]) -> None:
    completions, log_q = drawn
    for r in (0, 8, 20, 34):
        b = int(completions.prompt[r])
        row = completions.rows(torch.tensor([r]))
        alone = Completions(row.ids, row.mask, row.ended, torch.zeros(1, dtype=torch.long))
        assert torch.allclose(prior.score(prompts.take([b]), alone), log_q[r : r + 1], atol=TOLERANCE, rtol=0)


def test_scoring_in_small_pieces_changes_nothing(
    prior: LMPrior, prompts: Prompts, drawn: tuple[Completions, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    completions, log_q = drawn
    longest = max(len(ids) for ids in prompts.ids)
    pieces = prior.pieces(prompts, completions, 2 * (completions.ids.shape[1] + longest))
    assert sorted(torch.cat(pieces).tolist()) == list(range(len(completions)))
    assert 1 < max(len(p) for p in pieces) < len(completions)
    monkeypatch.setattr("credence.prior.logprob.CHUNK", 5)
    assert torch.allclose(prior.score(prompts, completions), log_q, atol=TOLERANCE, rtol=0)


def test_a_piece_holds_no_more_tokens_than_it_may_however_long_the_prompts(
    prior: LMPrior, prompts: Prompts, drawn: tuple[Completions, torch.Tensor]
) -> None:
    """Forty long prompts with a row each once took forty times the memory that their rows did."""
    completions, _ = drawn
    for most in (1, 30, 60, 10_000):
        for rows in prior.pieces(prompts, completions, most):
            read = {prompts.ids[int(completions.prompt[r])] for r in rows}
            held = len(read) * max(map(len, read)) + len(rows) * completions.ids.shape[1]
            assert held <= most or len(rows) == 1
    assert len(prior.pieces(prompts, completions, 10_000)) == 1


def test_equal_prompts_are_read_once(prior: LMPrior, prompts: Prompts) -> None:
    seen: list[int] = []
    hook = prior.model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    try:
        prior.start(prompts, 4)
    finally:
        hook.remove()
    assert seen == [4]  # five prompts, two of them equal, whatever the number of draws


def test_a_piece_reads_its_own_prompts_only(
    prior: LMPrior, prompts: Prompts, drawn: tuple[Completions, torch.Tensor]
) -> None:
    """Each piece once read the prompts of the whole batch: a training step cost pieces times too much."""
    completions, log_q = drawn
    seen: list[int] = []
    hook = prior.model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    rows = torch.nonzero(completions.prompt >= 3).flatten()
    try:
        scored = prior.log_probs(prompts, completions.rows(rows)).detach().double()
    finally:
        hook.remove()
    assert seen == [len({prompts.ids[b] for b in (3, 4)}), len(rows)]
    mask = completions.mask[rows]
    assert torch.allclose(scored[mask], log_q[rows][mask], atol=TOLERANCE, rtol=0)


def test_gradient_through_the_shared_prompt_is_the_plain_one(
    plain: PreTrainedModel, prior: LMPrior, prompts: Prompts, drawn: tuple[Completions, torch.Tensor]
) -> None:
    """∇Σ log π over rows of several prompts: the cache is shared, concatenated and differentiable."""
    completions = drawn[0].rows(torch.arange(0, 35, 3))
    ours = prior.log_probs(prompts, completions)
    prior.model.zero_grad()
    ours[completions.mask].sum().backward()
    plain.zero_grad()
    for r, reply in enumerate(completions.tokens()):
        ids = prompts.ids[int(completions.prompt[r])]
        logits = plain(torch.tensor([(*ids, *reply)]), use_cache=False).logits[0, len(ids) - 1 : -1]
        torch.log_softmax(logits, -1).gather(1, torch.tensor(reply)[:, None]).sum().backward()
    for (name, a), b in zip(prior.model.named_parameters(), plain.parameters(), strict=True):
        assert a.grad is not None, name
        assert b.grad is not None
        assert torch.allclose(a.grad, b.grad, atol=1e-8, rtol=1e-8), name
    prior.model.zero_grad()
    plain.zero_grad()


@torch.no_grad()
def test_prompts_that_begin_alike_are_read_as_full_forward_passes(plain: PreTrainedModel, prior: LMPrior) -> None:
    """Beginnings are read once, apart from what follows them: steps, scores, gradients and readings stay the same."""
    prompts = prior.codec.prompts(ALIKE)
    found = stems(ALIKE)
    assert found is not None
    assert sorted(map(len, found[0])) == [4, 6]
    test_cached_steps_are_the_full_forward_pass(plain, prior, prompts)
    drawn = prior.sample(Key(5), prompts, 7)
    test_score_is_the_full_forward_pass(plain, prior, prompts, drawn)
    with torch.enable_grad():
        test_gradient_through_the_shared_prompt_is_the_plain_one(plain, prior, prompts, drawn)
    said = torch.tensor([[0, 4], [0, 3], [0, 2], [0, 1], [0, 10]])  # the first of each stands for the prompt's last
    read = torch.log_softmax(prior.open(prompts, 1).read(said, torch.full((5,), -1)), -1)
    for r, ids in enumerate(ALIKE):
        wanted = full(plain, (*ids, int(said[r, 1])))[-2:]
        assert torch.allclose(read[r], wanted, atol=TOLERANCE, rtol=0)


def test_generate_of_plain_transformers_is_the_same_law(plain: PreTrainedModel, prior: LMPrior) -> None:
    """Greedy decoding by transformers equals ours cut to one token: end token, cache and positions agree."""
    prompts = prior.codec.prompts(GIVEN)
    completions, _ = reshape(prior, top_k=1).sample(Key(1), prompts, 1)
    for ids, reply in zip(prompts.ids, completions.tokens(), strict=True):
        tokens = torch.tensor([ids])
        theirs = plain.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=HORIZON, do_sample=False)
        assert theirs[0, len(ids) :].tolist() == reply


def test_what_does_not_fit_is_refused(plain: PreTrainedModel, prior: LMPrior) -> None:
    with pytest.raises(ConfigError, match="exceed the context"):
        prior.start(prior.codec.prompts([tuple([1] * 30)]), 1)
    with pytest.raises(ConfigError, match="empty prompt"):
        prior.start(prior.codec.prompts([()]), 1)
    with pytest.raises(ConfigError, match="horizon=0"):
        as_prior(copy.deepcopy(plain), 0)
    with pytest.raises(ConfigError, match="no end token"):
        LMPrior(copy.deepcopy(plain), prior.codec, frozenset(), 4)


SHAPE = {
    "vocab_size": VOCAB, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 32, "bos_token_id": None, "eos_token_id": VOCAB - 1,
    "pad_token_id": VOCAB - 1, "attn_implementation": "eager",
}  # fmt: skip


def test_a_sliding_window_is_full_attention_until_it_is_exceeded() -> None:
    """Rejects an adapter that takes the window for nothing: past it the laws are far apart, and no draw is given."""
    model = filled(MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=4)), 3)
    theirs = copy.deepcopy(model)
    prior = as_prior(model, 2)
    assert prior.window == 4
    prompts = prior.codec.prompts([(1, 2), (3,)])
    completions, log_q = prior.sample(Key(1), prompts, 4)
    for r, reply in enumerate(completions.tokens()):
        wanted = full_score(theirs, prompts.ids[int(completions.prompt[r])], reply)
        assert torch.allclose(log_q[r, : len(reply)], wanted, atol=1e-5, rtol=0)  # eager's softmax is float32
    for ids in ((1, 2, 3), (1, 2, 3, 4, 5, 6)):
        with pytest.raises(BackendError, match=r"sliding window of model, 4 tokens \(config.sliding_window\)"):
            prior.start(prior.codec.prompts([ids]), 1)
    long = completions.rows(torch.tensor([0]))
    long = Completions(torch.ones(1, 5, dtype=torch.long), torch.ones(1, 5, dtype=torch.bool), long.ended, long.prompt)
    with pytest.raises(BackendError, match="a reply of 5 exceed the sliding window"):
        prior.score(prompts, long)


def test_a_window_that_is_switched_off_is_none() -> None:
    config = Qwen2Config(**SHAPE, sliding_window=4, use_sliding_window=False)
    assert as_prior(filled(Qwen2ForCausalLM(config), 4)).window is None
    assert window(Qwen2Config(**SHAPE, sliding_window=4, use_sliding_window=True, max_window_layers=1)) == 4
    assert window(Gemma2Config(sliding_window=7, layer_types=["full_attention"] * 26)) is None


@pytest.mark.parametrize("name", ["attn_logit_softcapping", "final_logit_softcapping"])
def test_what_attention_or_logits_do_besides_is_refused(name: str) -> None:
    """Gemma2's caps, one at a time; without them the same model is taken."""
    free = {"attn_logit_softcapping": None, "final_logit_softcapping": None}
    plain = {**SHAPE, "head_dim": 4, "query_pre_attn_scalar": 4, "sliding_window": 20}
    prior = as_prior(filled(Gemma2ForCausalLM(Gemma2Config(**plain, **free)), 5))
    assert prior.window == 20
    capped = filled(Gemma2ForCausalLM(Gemma2Config(**plain, **(free | {name: 2.0}))), 5)
    with pytest.raises(BackendError, match=rf"differ from the model's own by up to .*config.{name}=2.0"):
        as_prior(capped)


def test_attention_sinks_are_refused() -> None:
    shape = {k: v for k, v in SHAPE.items() if k != "num_hidden_layers"}
    config = GptOssConfig(
        **shape,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        num_hidden_layers=1,
        head_dim=4,
        num_local_experts=2,
        num_experts_per_tok=1,
    )
    with pytest.raises(BackendError, match="differ from the model's own"):
        as_prior(filled(GptOssForCausalLM(config), 6).float())
