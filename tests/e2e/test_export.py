"""An exported policy, read by plain transformers and by credence: the same law, and generate() samples it."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import chi2
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Batch
from credence.core.types import Prompts
from credence.learn.losses.forward_kl import weighted_likelihood
from credence.prior import export
from credence.prior.export import export_policy, generation_config
from credence.prior.hf import LMPrior
from credence.prior.load import load
from credence.prior.policy import LMPolicy, full_policy, lora_policy
from credence.prior.render import TextCodec
from credence.prior.reshape import reshape

ALARM = 1e-6
HORIZON, TEMPERATURE = 2, 1.5
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer() -> PreTrainedTokenizerFast:
    """All bytes and three marks: 259 tokens, far more than a hidden top_k of 50 would leave."""
    inner = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        bos_token="<s>",
        additional_special_tokens=["<|im_start|>"],
    )
    made.chat_template = TEMPLATE
    return made


def prior() -> LMPrior:
    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id, pad_token_id=words.eos_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(1.0 if "norm" in name else 0.35 * torch.randn(p.shape, generator=rng))
    return LMPrior(model, TextCodec(words, "Be brief."), frozenset({int(words.eos_token_id)}), HORIZON)


def trained(kind: str) -> LMPolicy:
    hot = reshape(prior(), TEMPERATURE)
    policy = lora_policy(hot, Key(1), 4) if kind == "lora" else full_policy(hot)
    prompts = given(policy)
    completions, log_q = hot.sample(Key(2), prompts, 16)
    log_lik = torch.linspace(-2, 2, len(completions), dtype=torch.float64)
    for _ in range(4):
        policy.forward_backward(Batch(prompts, completions, log_q, log_q, log_lik), weighted_likelihood)
        policy.step(0.02)
    assert float((policy.score(prompts, completions) - log_q).abs().max()) > 0.1
    return policy


def given(policy: LMPolicy) -> Prompts:
    return policy.codec.prompts(["hi", "今天"])


@pytest.fixture(scope="module", params=["lora", "full"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[LMPolicy, Path]:
    policy = trained(request.param)
    folder = tmp_path_factory.mktemp("export") / "policy"
    export_policy(policy, folder, "# A policy\n\nmeasured: nothing yet\n")
    return policy, folder


def test_the_folder_is_what_plain_transformers_reads(exported: tuple[LMPolicy, Path]) -> None:
    folder = exported[1]
    names = {p.name for p in folder.iterdir()}
    assert names >= {"config.json", "generation_config.json", "model.safetensors", "README.md", "tokenizer.json"}
    assert not any(name.startswith(".") for name in names)
    assert not list(folder.parent.glob(".*.aside"))
    assert (folder / "README.md").read_text().startswith("# A policy")
    assert "credence" not in (folder / "config.json").read_text()
    words = AutoTokenizer.from_pretrained(folder)
    assert words.chat_template == TEMPLATE
    assert words.eos_token == "<|im_end|>"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert type(model) is LlamaForCausalLM
    said = json.loads((folder / "generation_config.json").read_text())
    assert (said["do_sample"], said["temperature"], said["top_k"], said["max_new_tokens"]) == (True, 1.5, 0, HORIZON)


def test_read_back_it_has_not_drifted(exported: tuple[LMPolicy, Path]) -> None:
    """Merged weights in float32: at most 1e-6 nats a token on average, 1e-5 on any."""
    policy, folder = exported
    again = reshape(load(str(folder), horizon=HORIZON, system="Be brief."), policy.temperature)
    assert again.ends == policy.ends
    prompts = again.codec.prompts(["hi", "今天"])
    assert prompts.ids == given(policy).ids
    completions, log_q = policy.sample(Key(5), prompts, 64)
    drift = (again.score(prompts, completions) - log_q)[completions.mask].abs()
    assert float(drift.mean()) <= 1e-6
    assert float(drift.max()) <= 1e-5
    assert again.sample(Key(5), prompts, 64)[0].tokens() == completions.tokens()


def p_generate(model: PreTrainedModel, policy: LMPolicy, draws: int = 12_000) -> float:
    """p-value that generate()'s replies follow the policy: first token and end, by chi-square over cells of 20."""
    prompts = given(policy).take([0])
    ids = torch.tensor([prompts.ids[0]])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        out = model.generate(ids, attention_mask=torch.ones_like(ids), num_return_sequences=draws)
    reply = out[:, ids.shape[1] :]
    assert reply.shape[1] <= HORIZON
    (end,) = policy.ends
    first, second = reply[:, 0], reply[:, 1] == end  # the end token is the pad: a reply that has ended stays ended
    state = policy.start(prompts, 1)
    log_first = torch.log_softmax(policy.next_logits(state).double(), -1)[0]
    tokens = torch.arange(len(log_first))
    state = policy.extend(policy.start(prompts, len(tokens)), tokens)
    stops = torch.softmax(policy.next_logits(state).double(), -1)[:, end]
    stops[end] = 1.0
    law = torch.stack([log_first.exp() * (1 - stops), log_first.exp() * stops]).flatten()
    seen = torch.bincount(second.long() * len(tokens) + first, minlength=len(law)).double()
    order = law.argsort(descending=True)
    expected, seen = draws * law[order], seen[order]
    cells = int((expected >= 20).sum())
    rest = (expected[cells:].sum(), seen[cells:].sum())
    expected, seen = torch.cat([expected[:cells], rest[0][None]]), torch.cat([seen[:cells], rest[1][None]])
    assert float(expected[-1]) >= 20
    assert cells > 60
    return float(chi2.sf(float(((seen - expected) ** 2 / expected).sum()), cells))


@pytest.fixture(scope="module")
def reader(exported: tuple[LMPolicy, Path]) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(exported[1])


def test_plain_generate_samples_the_policy(exported: tuple[LMPolicy, Path], reader: PreTrainedModel) -> None:
    """False alarm 1e-6. Rejects each wrong generation config of the next test."""
    assert p_generate(reader, exported[0]) >= ALARM


WRONG: dict[str, dict[str, Any]] = {
    "top_k of 50, transformers' old default": {"top_k": 50},
    "temperature left out": {"temperature": 1.0},
    "top_p": {"top_p": 0.95},
    "greedy": {"do_sample": False},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_wrong_generation_configs_are_seen(
    exported: tuple[LMPolicy, Path], reader: PreTrainedModel, change: dict[str, Any]
) -> None:
    config = generation_config(exported[0])
    for name, value in change.items():
        setattr(config, name, value)
    right, reader.generation_config = reader.generation_config, config
    try:
        if config.do_sample:
            assert p_generate(reader, exported[0]) < ALARM
        else:
            with pytest.raises(ValueError, match=r"num_return_sequences|[Gg]reedy"):
                p_generate(reader, exported[0])
    finally:
        reader.generation_config = right


def test_an_existing_folder_is_not_touched(exported: tuple[LMPolicy, Path]) -> None:
    policy, folder = exported
    before = sorted((p.name, p.stat().st_mtime_ns) for p in folder.iterdir())
    with pytest.raises(ConfigError, match="exists"):
        export_policy(policy, folder, "another")
    assert sorted((p.name, p.stat().st_mtime_ns) for p in folder.iterdir()) == before


def test_an_export_that_breaks_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = lora_policy(prior(), Key(1), 2)
    calls = itertools.count()

    def broken(*_: object, **__: object) -> None:
        next(calls)
        raise OSError("the disk is full")

    monkeypatch.setattr(type(policy.codec.tokenizer), "save_pretrained", broken)
    with pytest.raises(OSError, match="full"):
        export_policy(policy, tmp_path / "policy", "card")
    assert next(calls) == 1
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    (tmp_path / ".policy.aside").mkdir()
    (tmp_path / ".policy.aside" / "stale.bin").write_text("of a crash")
    export.export_policy(policy, tmp_path / "policy", "card")
    assert [p.name for p in tmp_path.iterdir()] == ["policy"]
    assert not (tmp_path / "policy" / "stale.bin").exists()
