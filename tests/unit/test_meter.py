"""What went through a model, by hand: prompts once, a token a step and row, a backward pass for what it is."""

import torch

from credence.core.keys import Key
from credence.core.meter import Meter, metered, passed
from credence.core.protocols import Batch
from credence.core.types import Prompts
from credence.evidence.reward import Reward
from credence.learn.dpg import DPG
from credence.prior.policy import LMPolicy, full_policy, lora_policy
from tests.tiny import HORIZON, codec, llama

PROMPTS = Prompts(((1, 2), (3, 4, 5)), ((1, 2), (3, 4, 5)), codec())


def test_sampling_counts_each_prompt_once_and_each_step_of_a_row() -> None:
    with metered() as meter:
        rows, _ = llama().sample(Key(1), PROMPTS, 4)
    read = 2 * 3  # two prompts, the shorter one padded
    steps = meter.forward - read - 16  # the adapter's own probe, when a model is wrapped
    longest = rows.lengths.view(2, 4).amax(1).tolist()
    assert 0 <= steps <= 2 * 4 * (HORIZON - 1)
    assert steps >= int((rows.lengths - 1).sum())
    assert meter.backward == 0
    assert max(longest) <= HORIZON


def test_scoring_counts_prompts_and_rows() -> None:
    prior = llama()
    rows, _ = prior.sample(Key(1), PROMPTS.take([0]), 4)
    with metered() as meter:
        prior.score(PROMPTS.take([0]), rows)
    assert meter.tokens == 2 + 4 * (rows.ids.shape[1] - 1)


def test_a_backward_pass_is_two_forward_ones_and_one_where_only_adapters_are_trained() -> None:
    def trained(policy: LMPolicy) -> Meter:
        prior = policy.lm
        rows, log_q = prior.sample(Key(1), PROMPTS.take([0]), 4)
        lik = Reward(lambda prompts, completions: [float(len(c)) for c in completions], 1.0).log_lik(PROMPTS, rows)
        batch = Batch(PROMPTS.take([0]), rows, log_q, log_q, lik)
        with metered() as meter:
            policy.forward_backward(batch, DPG().loss)
        return meter

    full, lora = trained(full_policy(llama())), trained(lora_policy(llama(), Key(0), rank=1))
    assert full.backward == 2 * full.forward > 0
    assert lora.backward == lora.forward == full.forward


def test_meters_nest_and_close() -> None:
    with metered() as outer:
        passed(2)
        with metered() as inner:
            passed(3, 6)
    passed(100)
    assert (outer.forward, outer.backward, outer.tokens) == (5, 6, 11)
    assert inner.tokens == 9
    assert torch.is_grad_enabled()
