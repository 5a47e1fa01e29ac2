"""Small worlds to talk in: a table dialogue that can be enumerated, and a tiny random chat model."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement, permutations, product
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from credence.core.keys import Key
from credence.dialogue.agent import POLICY, DialogueAgent
from credence.dialogue.env import DialogueEnv
from credence.dialogue.goals import Goal
from credence.dialogue.reply import Reply, Said
from credence.dialogue.users import User
from credence.evidence.reward import Reward
from credence.prior.hf import LMPrior
from credence.prior.render import TextCodec
from credence.prior.table import TablePrior
from credence.prior.tabular import TabularPolicy, tabular_policy
from tests.tiny import filled, with_own_norms

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens, and a chat template with turns of its own."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    found = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )
    found.chat_template = TEMPLATE
    return found


def tiny_chat(horizon: int = 6, context: int = 512) -> LMPrior:
    """A random Llama over bytes, float64, one layer."""
    tokenizer = chat_tokenizer()
    end = int(tokenizer.convert_tokens_to_ids("<|im_end|>"))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=context,
        attn_implementation="sdpa",
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=end,
    )
    return LMPrior(filled(with_own_norms(LlamaForCausalLM(config)), 3), TextCodec(tokenizer), frozenset({end}), horizon)


def goals(count: int = 4, language: str = "en") -> list[Goal]:
    return [Goal(f"What is number {i}?", f"Number {i} is the answer {i}.", language) for i in range(count)]


def users(count: int = 4, **given: Any) -> list[User]:
    return [User(f"u{i}", goal, key=Key(i), **given) for i, goal in enumerate(goals(count))]


def letters(prompts: list, completions: list[str], answer: list[str]) -> list[float]:
    """A satisfaction without a model: share of the reply's letters that the answer has."""
    return [sum(c in a for c in r) / max(1, len(r)) for r, a in zip(completions, answer, strict=True)]


def short(prompts: list, completions: list[str]) -> list[float]:
    return [-len(text) / 10 for text in completions]


def small_env(**given: Any) -> DialogueEnv:
    people = given.pop("users", None) or users()
    evidence = given.pop("evidence", None) or Reward(short, 0.5)
    return DialogueEnv(people, evidence, given.pop("satisfaction", None) or Reward(letters, 1.0), **given)


# A dialogue of one or two turns that can be enumerated: two replies of one token, and a user who goes by chance.


@dataclass(frozen=True)
class Path:
    """One dialogue: what was said in which state, its rewards in nats, the user's chance of going this way."""

    states: tuple[tuple[int, ...], ...]
    replies: tuple[int, ...]
    rewards: tuple[float, ...]
    chance: float


def leaves(said: int) -> float:
    """Chance that the user leaves after the first reply."""
    return (0.2, 0.5)[said]


def says(said: int, word: int) -> float:
    """Chance of this word of a user who stays."""
    first = (0.7, 0.4)[said]
    return first if word == 0 else 1 - first


def two_turns() -> list[Path]:
    """Every dialogue of at most two turns."""
    first, second = (0.3, -0.8), ((0.9, -0.2), (-1.3, 0.6))
    out = [Path(((),), (a,), (first[a],), leaves(a)) for a in range(2)]
    out += [
        Path(((), (0, w)), (a, b), (first[a], second[w][b]), (1 - leaves(a)) * says(a, w))
        for a, w, b in product(range(2), repeat=3)
    ]
    return out


def coin(beta: float = 0.1) -> list[Path]:
    """SCIENCE 4.4: reply 0 tosses a coin of 0 or 1, reply 1 is a sure one half; two replies, uniform prior."""
    return [
        Path(((),), (0,), (0.0,), 0.5),
        Path(((),), (0,), (1 / beta,), 0.5),
        Path(((),), (1,), (0.5 / beta,), 1.0),
    ]


def table_agent(paths: list[Path], replies: int, logits: Callable[[tuple[int, ...]], list[float]]) -> DialogueAgent:
    """An agent whose every reply is one token."""
    prior = TablePrior(logits, replies, replies - 1, 1)
    states = list(dict.fromkeys(state for path in paths for state in path.states))
    policy = tabular_policy(prior, prior.codec.prompts(states))
    return DialogueAgent(policy, prior)


def j_of(agent: DialogueAgent, paths: list[Path]) -> Tensor:
    """J/β of the policy over all dialogues, with gradient."""
    policy, total = agent.policy, torch.zeros((), dtype=torch.float64)
    assert isinstance(policy, TabularPolicy)
    assert isinstance(agent.prior, TablePrior)
    for path in paths:
        log_p, value = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for state, reply, reward in zip(path.states, path.replies, path.rewards, strict=True):
            own = torch.log_softmax(policy.logits[policy.places[state, ()]], -1)[reply]
            value = value + reward - (own - torch.log_softmax(agent.prior.logits(state), -1)[reply])
            log_p = log_p + own
        total = total + path.chance * torch.exp(log_p) * value
    return total


def soft_optimum(agent: DialogueAgent) -> float:
    """max J/β of the two-turn world by backward induction: Q = r + E V, the mean inside (SCIENCE 4.4)."""
    assert isinstance(agent.prior, TablePrior)
    prior, paths = agent.prior, two_turns()

    def value(state: tuple[int, ...], gain: list[float]) -> float:
        log_p = torch.log_softmax(prior.logits(state), -1)
        return float(torch.logsumexp(log_p + torch.tensor(gain, dtype=torch.float64), -1))

    later = [value((0, w), [p.rewards[1] for p in paths if p.states[1:] == ((0, w),)][:2]) for w in range(2)]
    first = [
        next(p.rewards[0] for p in paths if p.replies[0] == a)
        + (1 - leaves(a)) * sum(says(a, w) * later[w] for w in range(2))
        for a in range(2)
    ]
    return value((), first)


def talk_once(agent: DialogueAgent, key: Key, count: int) -> tuple[list, list, list]:
    """`count` sampled dialogues of the two-turn world: states, actions, rewards."""
    rewards = {(p.states, p.replies): p.rewards for p in two_turns()}
    states: list[list[tuple[int, ...]]] = [[()] for _ in range(count)]
    actions = [[a] for a in agent.select_actions([()] * count, key.fold(1))]
    lot = key.generator().random((count, 2))
    for d in range(count):
        said = actions[d][0].said.ids[0]
        if lot[d, 0] >= leaves(said):
            states[d].append((0, 0 if lot[d, 1] < says(said, 0) else 1))
    again = [d for d in range(count) if len(states[d]) == 2]
    for d, action in zip(again, agent.select_actions([states[d][1] for d in again], key.fold(2)), strict=True):
        actions[d].append(action)
    values = [
        list(rewards[tuple(s), tuple(a.said.ids[0] for a in said)]) for s, said in zip(states, actions, strict=True)
    ]
    return states, actions, values


def chance_of(agent: DialogueAgent, path: Path) -> float:
    policy = agent.policy
    assert isinstance(policy, TabularPolicy)
    law = torch.log_softmax(policy.logits.detach(), -1)
    nats = sum(float(law[policy.places[s, ()], r]) for s, r in zip(path.states, path.replies, strict=True))
    return path.chance * float(torch.exp(torch.tensor(nats, dtype=torch.float64)))


def as_actions(agent: DialogueAgent, path: Path) -> list[Reply]:
    policy = agent.policy
    assert isinstance(policy, TabularPolicy)
    law = torch.log_softmax(policy.logits.detach(), -1)
    return [
        Reply(str(r), Said(s, (r,), (float(law[policy.places[s, ()], r]),), True, POLICY, agent.version))
        for s, r in zip(path.states, path.replies, strict=True)
    ]


def expected_gradient(agent: DialogueAgent, paths: list[Path], size: int = 2) -> Tensor:
    """E[gradient of update_model's loss] over all `size`-tuples of independent dialogues; nothing moves."""
    policy = agent.policy
    assert isinstance(policy, TabularPolicy)
    total = torch.zeros_like(policy.logits)
    step, policy.step = policy.step, lambda lr: {}
    try:
        # the loss does not know the order of its dialogues, so each set of them stands for all its orders
        for group in combinations_with_replacement(paths, size):
            orders = len(set(permutations(map(id, group))))
            policy.logits.grad = None
            actions = [as_actions(agent, path) for path in group]
            agent.update_model([list(p.states) for p in group], actions, [list(p.rewards) for p in group])
            chance = float(torch.tensor([chance_of(agent, path) for path in group], dtype=torch.float64).prod())
            assert policy.logits.grad is not None
            total += orders * chance * policy.logits.grad
    finally:
        policy.step = step
        policy.logits.grad = None
    return total.detach()


def somewhere(seed: int) -> DialogueAgent:
    """The two-turn world, its policy moved at random away from its prior."""
    agent = table_agent(two_turns(), 2, lambda seen: [0.3 * sum(seen) + 0.1, 0.2 * len(seen)])
    policy = agent.policy
    assert isinstance(policy, TabularPolicy)
    noise = torch.from_numpy(Key(seed).generator().normal(0, 0.6, tuple(policy.logits.shape)))
    policy.restore({"logits": policy.state()["logits"] + noise})
    return agent


def check_dialogue_gradient(seed: int) -> None:
    """E[∇loss] of update_model on pairs of dialogues is −∇J/β."""
    agent = somewhere(seed)
    policy = agent.policy
    assert isinstance(policy, TabularPolicy)
    wanted = -torch.autograd.grad(j_of(agent, two_turns()), policy.logits)[0]
    found = expected_gradient(agent, two_turns())
    assert torch.allclose(found, wanted, atol=1e-10, rtol=0), float((found - wanted).abs().max())


def check_coin(seed: int) -> None:
    """Descent on the expected gradient ends at P(coin) = .5 and J = .5; conditioning ends at .987."""
    agent = table_agent(coin(), 2, lambda seen: [0.0, 0.0])
    policy = agent.policy
    assert isinstance(policy, TabularPolicy)
    start = float(Key(seed).generator().normal(0, 1.0))
    policy.restore({"logits": torch.tensor([[start, 0.0]], dtype=torch.float64)})
    for _ in range(16):
        policy.restore({"logits": policy.state()["logits"] - 2.0 * expected_gradient(agent, coin()).clamp(-1, 1)})
    chance = float(torch.softmax(policy.logits.detach()[0], -1)[0])
    assert abs(chance - 0.5) < 1e-3, chance
    assert abs(0.1 * float(j_of(agent, coin()).detach()) - 0.5) < 1e-5
