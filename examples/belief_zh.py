"""假设：这条评论是好评。先验、似然、P(E)、后验，逐句更新；信念是一个鞅。

A hypothesis about a Chinese text: is this hotel review a good one? Prior, likelihood, P(E) and posterior, sentence by
sentence; the belief is a martingale. Exact numbers by enumeration stand beside estimated ones.

    python examples/belief_zh.py                     一个可以枚举的小模型，不到两秒
    python examples/belief_zh.py --model smollm2     同样的句子，由内置语言模型给出似然（需几分钟）

It draws belief_zh.png and belief_zh-dark.png (--into FOLDER). 中文字体缺失时，图中文字改用英文，不会出现方块。
"""

import argparse
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from credence.belief.belief import Belief
from credence.belief.channel import Channel, predicted_next
from credence.core.keys import Key
from credence.core.types import Completions, Prompts
from credence.prior.hf import LMPrior
from credence.prior.load import load
from credence.prior.table import TablePrior
from credence.report.canvas import DARK, LIGHT, chinese_fonts, sheet, style

SENTENCES = ("房间很干净。", "服务员很热情。", "早餐不错。", "隔音太差了。", "等了很久才入住。", "下次不会再来。")
HYPOTHESES = ("好评", "差评")
PRIOR = (0.7, 0.3)
EVIDENCE = (0, 4, 3, 5)  # 房间很干净。等了很久才入住。隔音太差了。下次不会再来。
LEANING = ((1.2, 1.3, 1.0, -0.6, -0.4, -2.0), (0.1, -0.5, -0.1, 1.0, 1.1, 1.2))
"""小模型：好评与差评各自说每句话的对数几率（未归一化）。"""
DRAWS = 2000

Tokens = tuple[int, ...]


def small(hypothesis: int) -> Callable[[Tokens], list[float]]:
    """Log-odds of the next sentence; what was said is seldom said again; the end grows likelier."""

    def logits(said: Tokens) -> list[float]:
        return [x - 3.0 * said.count(k) for k, x in enumerate(LEANING[hypothesis])] + [-1.5 + 0.5 * len(said)]

    return logits


def by_model(model: LMPrior, hypothesis: int) -> Callable[[Tokens], list[float]]:
    """log p(sentence | the label, what was said) of a language model; no end but the horizon."""
    rows = [model.codec.encode(sentence) for sentence in SENTENCES]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows])
    here = torch.zeros(len(rows), dtype=torch.long)

    def logits(said: Tokens) -> list[float]:
        text = f"下面是一条酒店的{HYPOTHESES[hypothesis]}：" + "".join(SENTENCES[k] for k in said)
        prompts = Prompts((tuple(model.codec.render(text)),), (text,), model.codec)
        nats = model.score(prompts, Completions(ids, mask, here.bool(), here)).sum(1)
        return [*nats.tolist(), -math.inf]

    return logits


def build(model: str | None) -> tuple[Channel, Tokens]:
    """One speaker a hypothesis, over sentences as tokens; and the evidence."""
    end = len(SENTENCES)
    if model is None:
        speakers = [TablePrior(small(y), end + 1, end, len(EVIDENCE)) for y in range(2)]
    else:
        loaded = load(model, style="raw")
        speakers = [TablePrior(by_model(loaded, y), end + 1, end, 3) for y in range(2)]
    prompt = speakers[0].codec.prompts([()])
    return Channel(HYPOTHESES, tuple(speakers), (prompt, prompt)), EVIDENCE[: speakers[0].horizon]


def row_of(tokens: Tokens) -> Completions:
    """One review as completions."""
    ids = torch.tensor([tokens])
    return Completions(ids, torch.ones_like(ids, dtype=torch.bool), torch.tensor([False]), torch.tensor([0]))


def update_table(console: Console, channel: Channel, start: Belief, evidence: Tokens) -> list[Belief]:
    """Print prior, likelihood, P(e|前文) and posterior of each sentence; the beliefs on the way."""
    nats = channel.log_lik(row_of(evidence))[0]
    table = Table(
        title="逐句更新；似然是 log p(e|h,前文)，熵与对数以奈特计", title_justify="left", box=None, padding=(0, 2, 0, 0)
    )
    for heading in ("t", "句子 e", "好评似然", "差评似然", "P(e|前文)", "P(好评)", "熵"):
        table.add_column(heading, justify="left" if heading == "句子 e" else "right", no_wrap=True)
    path = [start]
    table.add_row("0", "（先验）", "", "", "", f"{start.probability('好评'):.4f}", f"{start.entropy():.4f}")
    for t, (k, row) in enumerate(zip(evidence, nats, strict=True), 1):
        after = path[-1].update(row)
        said = math.exp(after.log_evidence - path[-1].log_evidence)
        cells = [f"{float(x):.4f}" for x in row]
        table.add_row(
            str(t), SENTENCES[k], *cells, f"{said:.3g}", f"{after.probability('好评'):.4f}", f"{after.entropy():.4f}"
        )
        path.append(after)
    console.print(table)
    return path


def evidence_of(console: Console, channel: Channel, start: Belief, evidence: Tokens, last: Belief) -> None:
    """P(E): exact, and estimated as the mean likelihood of hypotheses drawn from the prior."""
    lik = channel.log_lik(row_of(evidence))[0].sum(0).exp()
    drawn = Key(0).fold("P(E)").generator().choice(len(PRIOR), DRAWS, p=start.log_p.exp().numpy())
    values = lik[torch.from_numpy(drawn)]
    estimate, error = float(values.mean()), float(values.std() / DRAWS**0.5)
    exact = math.exp(last.log_evidence)
    console.print(f"\nP(E) = Σ P(h) p(E|h)：精确 {exact:.4e}，{DRAWS} 次抽样估计 {estimate:.4e} ± {error:.1e}")
    for h in HYPOTHESES:
        prior, likelihood = start.probability(h), float(lik[HYPOTHESES.index(h)])
        console.print(
            f"P({h}|E) = 先验 × 似然 / P(E) = {prior:.2f} × {likelihood:.4e} / {exact:.4e} = {last.probability(h):.4f}"
        )


def martingale(channel: Channel, start: Belief, horizon: int) -> tuple[float, int]:
    """Largest |E[P(好评|x≤t)|x<t] − P(好评|x<t)| over every possible beginning, and how many there are."""
    worst, count = 0.0, 0
    for length in range(horizon):
        for prefix in itertools.product(range(len(SENTENCES)), repeat=length):
            said, after = predicted_next(channel, start, prefix)
            before = start if not prefix else start.update(channel.log_lik(row_of(prefix))[0])
            average = float((said.exp() * after[:, 0].exp()).sum())
            worst, count = max(worst, abs(average - before.probability("好评"))), count + 1
    return worst, count


def next_table(console: Console, channel: Channel, start: Belief, prefix: Tokens) -> None:
    """What the belief would become after each sentence that may come, and that its mean is where it stands."""
    said, after = predicted_next(channel, start, prefix)
    text = "".join(SENTENCES[k] for k in prefix)
    table = Table(title=f"\n鞅：说过“{text}”以后，下一句", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("下一句", "P(它|前文)", "P(好评|…它)", "乘积"):
        table.add_column(heading, justify="left" if heading == "下一句" else "right")
    total = 0.0
    for name, p, q in zip((*SENTENCES, "（说完了）"), said.exp().tolist(), after[:, 0].exp().tolist(), strict=True):
        if p > 0:
            total += p * q
            table.add_row(name, f"{p:.3g}", f"{q:.4f}", f"{p * q:.3g}")
    console.print(table)
    now = start.update(channel.log_lik(row_of(prefix))[0]).probability("好评")
    console.print(f"乘积之和 {total:.12f}，现在的信念 {now:.12f}")


def simulated(channel: Channel, start: Belief) -> torch.Tensor:
    """(DRAWS, T + 1) beliefs P(好评|x≤t) along reviews drawn from the mixture: h from the prior, then x from h."""
    key = Key(0).fold("paths")
    which = torch.from_numpy(key.generator().choice(2, DRAWS, p=start.log_p.exp().numpy()))
    traces: list[torch.Tensor] = []
    for y, speaker in enumerate(channel.priors):
        completions, _ = speaker.sample(key.fold(y), channel.prompts[y], int((which == y).sum()))
        traces.append(channel.trace(start, completions)[:, :, 0].exp())
    width = max(trace.shape[1] for trace in traces)  # a belief rests once the review has ended
    return torch.cat([torch.cat([t, t[:, -1:].expand(-1, width - t.shape[1])], 1) for t in traces])


def draw(path: list[Belief], paths: torch.Tensor, evidence: Tokens, folder: Path) -> list[Path]:
    """Belief after each sentence; and simulated beliefs whose mean does not move. Light and dark."""
    chinese = bool(chinese_fonts())
    words = {
        "title": "信念：这是好评" if chinese else "Belief: a good review",
        "paths": "鞅：抽样评论上的信念" if chinese else "Martingale: beliefs along drawn reviews",
        "y": "P(好评 | 至此)" if chinese else "P(good | so far)",
        "x": "句数" if chinese else "sentences",
        "mean": "均值 ± 4 标准误" if chinese else "mean ± 4 standard errors",
    }
    labels = ["先验" if chinese else "prior"]
    labels += [SENTENCES[k].rstrip("。") if chinese else f"sentence {t}" for t, k in enumerate(evidence, 1)]
    files: list[Path] = []
    for palette, name in ((LIGHT, "belief_zh.png"), (DARK, "belief_zh-dark.png")):
        with style():
            figure, (left, right) = sheet((11.0, 4.2), palette, cols=2)
            figure.set_facecolor(palette.paper)
            p = [belief.probability("好评") for belief in path]
            left.plot(range(len(p)), p, "o-", color=palette.train, linewidth=2)
            for t, value in enumerate(p):
                left.annotate(f"{value:.3f}", (t, value), (5, 8), textcoords="offset points", color=palette.ink)
            left.set_xticks(range(len(p)), labels, rotation=18, ha="right")
            left.set_title(words["title"], color=palette.ink, loc="left")
            times = range(paths.shape[1])
            for row in paths[:: max(1, len(paths) // 60)]:
                right.plot(times, row.tolist(), color=palette.muted, linewidth=0.6, alpha=0.35)
            mean, error = paths.mean(0), 4 * paths.std(0) / len(paths) ** 0.5
            right.errorbar(times, mean.tolist(), error.tolist(), color=palette.draw, linewidth=2, label=words["mean"])
            right.axhline(p[0], color=palette.target, linestyle="--", linewidth=1.5, label=labels[0])
            right.set_title(words["paths"], color=palette.ink, loc="left")
            right.set_xlabel(words["x"], color=palette.muted)
            right.set_xticks(list(times))
            right.legend(facecolor=palette.paper, edgecolor=palette.grid, framealpha=0.9, labelcolor=palette.ink)
            for ax in (left, right):
                ax.set_ylim(-0.02, 1.08)
                ax.set_ylabel(words["y"], color=palette.muted)
            files.append(folder / name)
            figure.savefig(files[-1], dpi=150)
    return files


def main() -> None:
    """Print the tables, draw the picture."""
    parser = argparse.ArgumentParser(description="先验、似然、P(E)、后验，逐句更新")
    parser.add_argument("--model", help="smollm2, a folder or a hub id; by default a small exact model")
    parser.add_argument("--into", type=Path, default=Path(), help="where the pictures go")
    given = parser.parse_args()
    console = Console(highlight=False, markup=False, soft_wrap=True)
    channel, evidence = build(given.model)
    start = Belief(HYPOTHESES, torch.tensor(PRIOR, dtype=torch.float64).log())
    console.print("假设 h：这条评论是好评，或者是差评。证据 E：" + "".join(SENTENCES[k] for k in evidence))
    console.print(f"似然：{given.model or '可枚举的小模型'}，{len(SENTENCES)} 个候选句\n")
    path = update_table(console, channel, start, evidence)
    evidence_of(console, channel, start, evidence, path[-1])
    next_table(console, channel, start, evidence[:2])
    worst, count = martingale(channel, start, len(evidence))
    console.print(f"全部 {count} 个前文上，|E[P(好评|x≤t)|x<t] − P(好评|x<t)| 最大 {worst:.1e}（枚举，精确）")
    paths = simulated(channel, start)
    means = "，".join(
        f"{float(m):.4f} ± {float(s):.4f}" for m, s in zip(paths.mean(0), paths.std(0) / DRAWS**0.5, strict=True)
    )
    console.print(f"{DRAWS} 条抽样评论上 P(好评|x≤t) 的均值，t = 0, 1, …：{means}（应为 {PRIOR[0]}）")
    given.into.mkdir(parents=True, exist_ok=True)
    for file in draw(path, paths, evidence, given.into):
        console.print(f"图：{file}")
    if not chinese_fonts():
        console.print("（没有中文字体，图中用英文；安装 fonts-noto-cjk 之类的字体后会用中文。）")


if __name__ == "__main__":
    main()
