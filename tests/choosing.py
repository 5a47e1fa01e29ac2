"""A small Chinese helpdesk that chooses among answers: its files, its run, and the law as training had it."""

import csv
from pathlib import Path

import torch

from credence.dialogue.candidates import CandidatePolicy, CandidatePrior, candidate_policy, versions
from credence.dialogue.grounding import Grams, Retriever
from credence.dialogue.knowledge import Entry

ENTRIES = (
    Entry("q1", "如何安装软件包？", "运行 apt install 加上软件包的名字。需要管理员权限。安装之前最好先更新列表。"),
    Entry("q2", "什么是 stable？", "stable 是稳定版本，它只收到安全更新。适合不愿意经常变动的人使用。"),
    Entry("q3", "如何升级系统？", "先运行 apt update，再运行 apt upgrade。跨版本升级请先阅读发行说明。"),
    Entry("q4", "怎样卸载软件包？", "运行 apt remove 加上软件包的名字；连配置文件一起删除用 apt purge。"),
    Entry("q5", "什么是 testing？", "testing 是下一个稳定版本的准备区，软件较新，但没有及时的安全更新。"),
    Entry("q6", "如何查找软件包？", "运行 apt search 加上关键词，或在网站上搜索。"),
)
WEIGHTS = (1.0, -0.5, -2.0, 0.3)
CONFIG = """
name = "desk"
[prior]
model = "{model}"
system = ""
horizon = 6
dtype = "float64"
[users]
source = "faq.csv"
validation = 1
heldout = 2
[talk]
knowledge = "faq.csv"
max_turns = 2
context_window = {window}
[candidates]
count = 4
chars = [16, 60]
score = {score}
[[evidence.reward]]
fn = "overlap"
beta = 0.2
[[evidence.reward]]
fn = "turn"
beta = 0.2
[evidence.ended]
cut = 0.0
[learn]
users = 2
rollouts = 2
steps = 2
validate_every = 2
validation_rollouts = 2
lr = 0.3
[measure]
rollouts = 2
"""


def prior(count: int = 4, **given: object) -> CandidatePrior:
    return CandidatePrior(versions([e.answer for e in ENTRIES], (16, 60)), Retriever(ENTRIES, Grams()), count, **given)


def policy(base: CandidatePrior | None = None, weights: tuple[float, ...] = WEIGHTS) -> CandidatePolicy:
    made = candidate_policy(prior() if base is None else base)
    made.restore({"weights": torch.tensor(weights, dtype=torch.float64)})
    return made


def write(folder: Path, model: str = "smollm2", score: bool = False, window: int = 20) -> Path:
    """The questions and a config that learns from them in a second."""
    with (folder / "faq.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("question", "answer"), *((e.question, e.answer) for e in ENTRIES)])
    config = folder / "desk.toml"
    config.write_text(CONFIG.format(model=model, score=str(score).lower(), window=window), encoding="utf-8")
    return config
