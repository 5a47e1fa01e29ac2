"""The finite law: its base measure by hand, its policy's laws and gradient, and that it learns not to repeat itself."""

import math

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Policy, StepPrior
from credence.core.types import Completions
from credence.dialogue.agent import DialogueAgent
from credence.dialogue.candidates import FEATURES, Candidate, CandidatePrior, candidate_policy, versions
from credence.dialogue.env import DialogueEnv
from credence.dialogue.goals import Goal
from credence.dialogue.grounding import Facts, Grams, Retriever, asked, shortened
from credence.dialogue.knowledge import Entry
from credence.dialogue.rollout import converse, learn_from
from credence.dialogue.users import User
from credence.evidence.reward import Reward
from credence.evidence.telling import overlap, turn

ENTRIES = (
    Entry("q1", "如何安装软件包？", "运行 apt install 加上软件包的名字。需要管理员权限。"),
    Entry("q2", "什么是 stable？", "stable 是稳定版本，它只收到安全更新。"),
    Entry("q3", "如何升级系统？", "先运行 apt update，再运行 apt upgrade。"),
)


def retriever() -> Retriever:
    return Retriever(ENTRIES, Grams())


def prior(count: int = 3, **given: object) -> CandidatePrior:
    return CandidatePrior(versions([e.answer for e in ENTRIES], (12, 80)), retriever(), count, **given)


def test_the_base_measure_is_the_mixture() -> None:
    base = prior(rho=0.25, temperature=0.2)
    ids = base.codec.prompts(["如何安装软件包"]).ids[0]
    table = base.table(ids)
    close = base.retriever.likeness("如何安装软件包")[torch.tensor([base.candidates[i].entry for i in table.index])]
    weight = torch.exp(close / 0.2) / torch.exp(close / 0.2).sum()
    assert torch.allclose(table.log_m, torch.log(0.75 / 3 + 0.25 * weight))
    assert base.candidates[int(table.index[0])].entry == 0
    assert float(torch.exp(base.logits(ids)).sum()) == pytest.approx(1)
    with pytest.raises(ConfigError, match="rho=2"):
        prior(rho=2.0)


def test_prior_and_policy_keep_their_laws() -> None:
    base = prior()
    policy = candidate_policy(base)
    assert isinstance(base, StepPrior)
    assert isinstance(policy, Policy)
    prompts = policy.codec.prompts(["什么是 stable？", [{"role": "user", "content": "你好\n"}]])
    said, log_q = policy.sample(Key(0), prompts, 4)
    assert torch.allclose(policy.score(prompts, said), log_q)
    assert torch.allclose(base.score(prompts, said), log_q)  # w = 0: the prior
    policy.restore({"weights": torch.tensor([1.0, -0.5, -2.0, 0.3], dtype=torch.float64)})
    law = policy.law(prompts.ids[0]).detach()
    assert float(torch.exp(law).sum()) == pytest.approx(1)
    table = base.table(prompts.ids[0])
    wanted = torch.log_softmax(table.log_m + table.features @ policy.state()["weights"], -1)
    assert torch.allclose(law[table.index], wanted)


def test_features_say_what_was_said_before_and_what_a_model_finds_likely() -> None:
    base = prior(fluency=lambda question, answers: [float(len(a)) for a in answers])
    first = [{"role": "user", "content": "如何安装软件包？"}]
    text = base.codec.decode([int(base.table(base.codec.prompts([first]).ids[0]).index[0])])
    later = [*first, {"role": "assistant", "content": text}, {"role": "user", "content": "还是不明白"}]
    table = base.table(base.codec.prompts([later]).ids[0])
    repeated = table.features[:, FEATURES.index("said_before")]
    assert [base.candidates[i].text == text for i in table.index.tolist()] == repeated.bool().tolist()
    assert abs(float(table.features[:, FEATURES.index("fluency")].mean())) < 1e-9


def test_learning_serves_better_answers_and_repeats_itself_less() -> None:
    people = [User(e.name, Goal(e.question, e.answer, "zh"), "zh", 3, key=Key(i)) for i, e in enumerate(ENTRIES)]
    evidence, pleased = Reward(overlap, 0.1) * Reward(turn, 0.1), Reward(overlap, 1.0)
    base = prior(5, rho=0.0)
    agent = DialogueAgent(candidate_policy(base), base, Key(0))
    history = [
        learn_from(agent, converse(agent, lambda: DialogueEnv(people, evidence, pleased), range(3), 6, Key(step)), 0.2)
        for step in range(15)
    ]  # fmt: skip
    first, last = (sum(h["j"] for h in part) / 4 for part in (history[:4], history[-4:]))
    assert last > first + 1
    assert float(agent.policy.state()["weights"][0]) > 0.5


def test_the_gradient_is_that_of_the_log_law() -> None:
    base = prior()
    policy = candidate_policy(base)
    agent = DialogueAgent(policy, base)
    talk = [{"role": "user", "content": "如何升级系统？"}]
    actions = [agent.select_action(talk) for _ in range(2)]
    policy.step = lambda lr: {}
    agent.update_model([[talk], [talk]], [[a] for a in actions], [[1.0], [-2.0]])
    law = policy.law(actions[0].said.prompt)
    wanted = -(3.0 * law[actions[0].said.ids[0]] - 3.0 * law[actions[1].said.ids[0]]) / 2
    assert torch.allclose(policy.weights.grad, torch.autograd.grad(wanted, policy.weights)[0])
    assert isinstance(base.score(policy.codec.prompts([talk]), _one(0, 5)), torch.Tensor)


def _one(row: int, token: int) -> Completions:
    yes = torch.ones(1, 1, dtype=torch.bool)
    return Completions(torch.tensor([[token]]), yes, yes[0], torch.tensor([row]))


def test_grounding_puts_the_right_facts_before_the_question() -> None:
    facts = Facts(retriever(), "用这些资料回答：{knowledge}", chars=20)
    talk = [
        {"role": "user", "content": "请问，什么是 stable？"},
        {"role": "assistant", "content": "……"},
        {"role": "user", "content": "谢谢"},
    ]
    assert asked(talk) == "请问，什么是 stable？"
    assert facts(talk) == "用这些资料回答：stable 是稳定版本，它只收到安全更"
    with pytest.raises(ConfigError, match="knowledge"):
        Facts(retriever(), "no place")
    assert shortened("One. Two is longer. Three", 20) == "One. Two is longer."
    assert [c.text for c in versions(["甲。乙丙丁"], (3, 9))] == ["甲。", "甲。乙丙丁"]
    assert versions(["same"], (9, 10)) == (Candidate("same", 0),)


def test_grams_are_unit_rows_and_find_the_same_words() -> None:
    rows = Grams().embed(["如何安装", "如何安装？", "今天天气", ""])
    assert torch.allclose(rows.norm(dim=1), torch.ones(4))
    assert float(rows[0] @ rows[1]) == pytest.approx(1, abs=1e-6)
    assert float(rows[0] @ rows[2]) < 0.2
    assert not math.isnan(float(rows.sum()))
