"""The embedded model, with products as fast as a run uses them: what is sampled, scored, and by transformers alone."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import credence
from credence.core.keys import Key
from credence.core.types import Completions, Prompts
from credence.prior import embedded
from credence.prior.hf import LMPrior
from credence.prior.load import load
from credence.prior.reshape import reshape
from credence.study.machine import fast_products

pytestmark = pytest.mark.slow

TEMPERATURE, HORIZON, MOST = 0.7, 16, 1e-4
ASKED = ["How are you?", "Tell me a joke about a very small elephant.", "Hi"]
LOAD = """
import time
from credence.prior.load import load
import transformers.models.llama.modeling_llama
from transformers import AutoTokenizer
start = time.process_time()
load("smollm2")
print(time.process_time() - start)
"""


@pytest.fixture(scope="module", autouse=True)
def products() -> Iterator[None]:
    with fast_products():
        yield


@pytest.fixture(scope="module")
def prior() -> LMPrior:
    return load("smollm2", horizon=HORIZON, system="Reply with one short sentence.")


@pytest.fixture(scope="module")
def prompts(prior: LMPrior) -> Prompts:
    return prior.codec.prompts(ASKED)


@pytest.fixture(scope="module")
def drawn(prior: LMPrior, prompts: Prompts) -> tuple[Completions, torch.Tensor]:
    found = reshape(prior, TEMPERATURE).sample(Key(7), prompts, 16)
    assert len(set(found[0].lengths.tolist())) > 2  # rows finish at different steps, so some were dropped
    return found


def test_what_is_scored_is_what_was_sampled(
    prior: LMPrior, prompts: Prompts, drawn: tuple[Completions, torch.Tensor]
) -> None:
    """log q from the cache, a token at a time, rows dropped, against one pass over whole replies."""
    completions, log_q = drawn
    assert float((reshape(prior, TEMPERATURE).score(prompts, completions) - log_q).abs().max()) <= MOST


@torch.no_grad()
def test_score_is_a_plain_forward_pass_of_transformers(
    prior: LMPrior, prompts: Prompts, drawn: tuple[Completions, torch.Tensor]
) -> None:
    from transformers import AutoModelForCausalLM

    with embedded.quiet():
        plain = AutoModelForCausalLM.from_pretrained(embedded.unpacked(), attn_implementation="sdpa").eval()
    completions = drawn[0]
    scored = prior.score(prompts, completions)
    for r, reply in enumerate(completions.tokens()):
        ids = prompts.ids[int(completions.prompt[r])]
        log_p = torch.log_softmax(plain(torch.tensor([(*ids, *reply)])).logits[0, len(ids) - 1 : -1], -1)
        wanted = log_p.gather(1, torch.tensor(reply)[:, None]).squeeze(1)
        assert float((scored[r, : len(reply)] - wanted).abs().max()) <= MOST


def test_the_second_load_is_quick() -> None:
    """CPU seconds in a process of its own, imports left out; the first load, which unpacks, takes ten times that."""
    embedded.unpacked()
    source = str(Path(credence.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {source!r})\n{LOAD}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert float(done.stdout) < 2
