"""目标只有一句话：今天是一个美好的日子 → ，明天会更好。两个方向的 KL，以及四种补救，每一种都真的训练。

One sentence as the target: KL both ways between a softmax model and δ, all mass on the sentence, and each remedy really
trained. On a small softmax model every number stands beside its exact value.

    python examples/target_sentence_zh.py                     一个可以枚举的 softmax 小模型，约十秒
    python examples/target_sentence_zh.py --model smollm2     再加上内置语言模型，约三分钟（一个线程）

It draws target_sentence_zh.png and target_sentence_zh-dark.png (--into FOLDER); --json prints numbers for a program.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from credence.cli.kl import WHY
from credence.cli.terminal import emit
from credence.core.errors import CredenceError
from credence.core.keys import Key
from credence.evidence.sentence import Near
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.load import load
from credence.prior.policy import full_policy
from credence.prior.table import TablePrior
from credence.prior.tabular import tabular_policy
from credence.report.canvas import DARK, LIGHT, Palette, chinese_fonts, sheet, style
from credence.report.phrases import visible
from credence.study.live import Live
from credence.study.probe import check_target, to_sentence
from credence.study.sentence import REMEDIES, Case, Effort, Measured, Reached, remedies, trained, untrained

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PROMPT, TARGET = "今天是一个美好的日子", "，明天会更好。"
PHRASES = ("，", "明天", "会更好", "会下雨", "。")
END = len(PHRASES)
SPOKEN = (0, 1, 2, 4, END)  # ，明天会更好。 and its end
THETA = (
    (1.0, 0.8, -0.4, 0.2, -1.0, -2.0),
    (-2.0, 0.8, 0.3, 0.6, -1.0, -2.0),
    (0.2, -2.0, 0.1, 1.4, -0.5, -1.5),
    (0.6, -0.5, -2.0, -0.6, 1.0, 0.2),
    (0.5, -0.5, -0.6, -2.0, 1.4, 0.2),
    (0.6, -0.5, -1.0, -1.0, -2.0, 1.0),
)
"""θ[上一个短语，先是开头][下一个短语，末位是结束]：每一步 p(x) = e^θx / Σ_y e^θy。"""
SMALL = Effort(8.0, 0.5, 0.01, 64, 1000, (150, 150, 100, 100), (0.1, 0.1, 0.3, 0.2), 2000)
LARGE = Effort(50.0, 0.25, 0.01, 16, 6, (4, 12, 16, 12), (4e-5, 4e-5, 3e-5, 4e-5), 48)
NAMES = dict(zip(("prior", *REMEDIES), ("先验 π0", "有界奖励", "分级奖励", "混合目标", "前向 KL"), strict=True))
SECONDS = {True: (0.3, 3.0, 3.0, 2.0, 1.0), False: (6.0, 20.0, 75.0, 35.0, 25.0)}
"""Expected of each part, listed or not, for the ETA."""


def small() -> Case:
    """The softmax model over phrases: 3,906 replies, all of them listed."""
    prior = TablePrior(lambda said: THETA[said[-1] + 1 if said else 0], END + 1, END, len(SPOKEN))
    prompts = prior.codec.prompts([()])
    every = enumerate_posterior(Posterior(prior, Near(SPOKEN, 1.0)), prompts)
    return Case("softmax 小模型", prior, prompts, SPOKEN, partial(tabular_policy, prior, prompts), SMALL, every)


def large(model: str, prompt: str, target: str) -> Case:
    """A language model; its reply may be as long as the sentence and its end."""
    loaded = load(model, style="raw")
    found, _ = to_sentence(loaded, prompt, target)
    prior = replace(loaded, horizon=len(found.tokens))
    return Case(model, prior, prior.codec.prompts([prompt]), found.tokens, partial(full_policy, prior), LARGE)


def part(case: Case, name: str) -> str:
    """As progress calls it."""
    return visible(f"{case.name}：{NAMES[name]}")


def study(case: Case, key: Key, live: Live) -> list[Reached]:
    """The prior as it came, and each remedy."""
    with live.part(part(case, "prior")):
        found = [untrained(case, key)]
    for remedy in remedies(case, key):
        with live.part(part(case, remedy.name)):
            found.append(trained(case, remedy, key, live.tick))
    return found


def shown(value: Measured) -> str:
    """Estimate ± standard error, or the lower bound that is known."""
    mean = f"{abs(value.value) if abs(value.value) < 5e-4 else value.value:.3f}"  # -0.000 reads as below zero
    return f"≥ {mean}" if math.isinf(value.se) else f"{mean} ± {value.se:.3f}"


def print_case(console: Console, case: Case, found: Sequence[Reached]) -> None:
    """Both directions, the exact optima, and the table of what training reached."""
    mass, e = case.begin, case.effort
    to, back = mass.mixture(e.epsilon)
    console.print(f"\n【{visible(case.name)}】")
    console.print(
        f"KL(δ‖p) = −log p(这句话和它的结束) = {mass.forward:.4f} 奈特；总变差 {mass.tv:.6g}，JS {mass.js:.6g}"
    )
    console.print(
        f"KL(p‖δ) = {mass.backward:g}：p 有 {mass.tv:.6g} 的质量在别的回复上，δ 在那里是 0，log(p/δ) 无穷大。"
    )
    console.print(f"  {WHY}")
    console.print(
        f"有界奖励：R/β = {mass.half_mass:.4f} 奈特时目标占一半；这里 R/β = {e.nats:g}，"
        f"最优 p*(x*) = {mass.bounded(e.nats):.6g}"
    )
    console.print(
        f"混合目标 (1−ε)δ + εp，ε = {e.epsilon:g}：KL(混合‖p) = {to:.4f}，KL(p‖混合) = {back:.4f}，两边都有限\n"
    )
    console.print(table_of(case, found))
    for zh, en in lessons(case, found):
        console.print(f"· {zh}\n  {en}")
    for law in found:
        console.print(f"{NAMES[law.name]}：" + visible("".join(f"「{spoken(reply)}」" for reply in law.replies), " ↵ "))


def table_of(case: Case, found: Sequence[Reached]) -> Table:
    """A line a law, estimated from draws; the exact values on the line below it."""
    table = Table(title="训练之后，以奈特计", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("做法", "KL(δ‖π)", "最优", "命中", "KL(π‖π0)", "KL(π‖混合)"):
        table.add_column(heading, justify="left" if heading == "做法" else "right", no_wrap=True)
    if case.every is not None:
        table.add_column("KL(π‖p*)", justify="right", no_wrap=True)
    for law in found:
        best = "–" if math.isnan(law.optimum) else f"{law.optimum:.4f}"
        hits = f"{round(law.hit.value * case.effort.draws)}/{case.effort.draws}"
        table.add_row(NAMES[law.name], f"{law.path[-1]:.4f}", best, hits, shown(law.kl_prior), shown(law.kl_mixture))
        exact = (law.hit.exact, law.kl_prior.exact, law.kl_mixture.exact, law.kl_posterior)
        if case.every is not None:
            cells = ("" if x is None else f"{abs(x) if abs(x) < 5e-5 else x:.4f}" for x in exact)
            table.add_row("  精确", "", "", *cells, style="dim")
    return table


def spoken(reply: object) -> str:
    """A reply as text."""
    return (
        "".join(PHRASES[k] for k in reply if k != END)
        if isinstance(reply, tuple)
        else str(reply).replace("\ufffd", "…")
    )


def lessons(case: Case, found: Sequence[Reached]) -> Iterator[tuple[str, str]]:
    """What each number teaches, in the light of what happened."""
    prior, bounded, graded, mixed, forward = found
    first = f"{case.begin.first_hit:.4g}"
    if bounded.hits:
        yield (
            f"有界奖励：平均 {first} 次抽样命中一次，训练的 {bounded.drawn} 次里命中 {bounded.hits} 次，于是学得到。",
            f"Bounded: one draw in {first} hits; {bounded.hits} of {bounded.drawn} did in training, so it learns.",
        )
    else:
        yield (
            f"有界奖励：训练的 {bounded.drawn} 次抽样无一命中（平均要 {first} 次），梯度是零，什么也没学到；"
            f"KL(π‖π0) {shown(bounded.kl_prior)} 只是 Adam 放大的舍入误差。",
            f"Bounded: none of {bounded.drawn} draws in training hit (one in {first} would): no gradient, so "
            "nothing is learnt; what moved is rounding error, enlarged by Adam.",
        )
    nearer = graded.path[-1] < graded.path[0]
    yield (
        f"分级奖励：差几个词元也算分，有坡可爬：编辑距离 {shown(prior.edits)} → {shown(graded.edits)}，"
        f"KL(δ‖π) {graded.path[0]:.4f} → {graded.path[-1]:.4f}"
        + ("。" if nearer else "：像了一些，却还没有更可能说出这句话；坡上的每一步都要先碰巧抽到。"),
        "Graded: near misses count, a slope to climb"
        + ("." if nearer else ": nearer, yet no likelier to say the sentence; each step up must first be stumbled on."),
    )
    yield (
        f"混合目标：两个方向都有限，KL(π‖混合) {shown(prior.kl_mixture)} → {shown(mixed.kl_mixture)}；"
        f"最优处 π(x*) = {math.exp(-mixed.optimum):.4f}，其余仍按先验说话。",
        "Mixture: finite both ways; at its optimum all but a share ε says the sentence, the rest is the prior.",
    )
    yield (
        f"前向 KL：在这句话上做最大似然，不用抽样，KL(δ‖π) {forward.path[0]:.4f} → {forward.path[-1]:.4f}，趋于 0；"
        "KL(π‖δ) 仍是无穷大。",
        "Forward KL: maximum likelihood on the sentence, no draw needed; KL(δ‖π) falls to 0, KL(π‖δ) stays infinite.",
    )


def draw(cases: Sequence[Case], found: Sequence[Sequence[Reached]], folder: Path) -> list[Path]:
    """KL(δ‖π) by step beside each exact optimum; and the mass that a bounded reward can give. Light and dark."""
    files: list[Path] = []
    folder.mkdir(parents=True, exist_ok=True)
    for palette, name in ((LIGHT, "target_sentence_zh.png"), (DARK, "target_sentence_zh-dark.png")):
        with style():
            figure, axes = sheet((5.0 * (1 + len(cases)), 4.4), palette, cols=1 + len(cases))
            figure.set_facecolor(palette.paper)
            for ax, case, laws in zip(axes, cases, found, strict=False):
                curves(ax, case, laws, palette)
            masses(axes[-1], cases, found, palette)
            for ax in axes:
                ax.legend(facecolor=palette.paper, edgecolor=palette.grid, framealpha=0.9, labelcolor=palette.ink)
            files.append(folder / name)
            figure.savefig(files[-1], dpi=150, metadata={"Software": None})
    return files


def said(zh: str, en: str) -> str:
    """Chinese where a font can draw it."""
    return zh if chinese_fonts() else en


def curves(ax: "Axes", case: Case, found: Sequence[Reached], palette: Palette) -> None:
    """KL(δ‖π) along training, its exact optimum as a dotted line."""
    for law, colour in zip(found[1:], (palette.draw, palette.muted, palette.target, palette.train), strict=True):
        label, above = said(NAMES[law.name], law.name), 9 - list(NAMES).index(law.name)  # where two lie on one another
        ax.plot(range(len(law.path)), law.path, color=colour, linewidth=2, label=label, zorder=above)
        if law.optimum > 0:
            ax.axhline(law.optimum, color=colour, linewidth=1.4, linestyle=(0, (1, 2.5)))
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_title(
        said(f"训练中的 KL(δ‖π)：{case.name}", f"KL(δ‖π) in training: {plain(case)}"), color=palette.ink, loc="left"
    )
    ax.set_xlabel(said("步；点线是精确的最优", "step; dotted: exact optimum"), color=palette.muted)
    ax.set_ylabel(said("奈特", "nats"), color=palette.muted)


def plain(case: Case) -> str:
    """A name without Chinese."""
    return case.name if case.every is None else "softmax"


def masses(ax: "Axes", cases: Sequence[Case], found: Sequence[Sequence[Reached]], palette: Palette) -> None:
    """p*(x*) under the bounded reward against R/β, and where training ended."""
    right = 1.6 * max(case.begin.half_mass for case in cases)
    for case, laws, colour in zip(cases, found, (palette.train, palette.draw), strict=False):
        nats = [right * i / 200 for i in range(201)]
        label = said(case.name, plain(case))
        ax.plot(nats, [case.begin.bounded(x) for x in nats], color=colour, linewidth=2, label=label)
        ax.plot([case.begin.half_mass], [0.5], "D", color=palette.target, markersize=6)
        ax.plot([case.effort.nats], [math.exp(-laws[1].path[-1])], "o", color=colour, markersize=8)
    ax.set_title(said("有界奖励的最优 p*(x*)；圆点：训练所得", "Bounded reward: optimum p*(x*); dots: trained"),
                 color=palette.ink, loc="left")  # fmt: skip
    ax.set_xlabel(said("R/β，奈特；菱形：占一半之处", "R/β, nats; diamonds: half the mass"), color=palette.muted)
    ax.set_ylim(-0.05, 1.06)


def as_data(case: Case, found: Sequence[Reached]) -> dict[str, object]:
    """The numbers as JSON."""
    mass, e = case.begin, case.effort
    to, back = mass.mixture(e.epsilon)
    return {
        "name": case.name,
        "tokens": case.tokens,
        "kl_target_model": mass.forward,
        "kl_model_target": mass.backward,
        "why_infinite": WHY,
        "half_mass_nats": mass.half_mass,
        "first_hit_draws": mass.first_hit,
        "bounded": {"nats": e.nats, "optimum": mass.bounded(e.nats)},
        "mixture": {"epsilon": e.epsilon, "kl_target_model": to, "kl_model_target": back},
        "draws": e.draws,
        "laws": [asdict(law) for law in found],
    }


def main() -> None:
    """Print the tables, draw the picture."""
    parser = argparse.ArgumentParser(description="目标只有一句话：两个方向的 KL，四种补救")
    parser.add_argument("--model", help="smollm2, a folder or a hub id, beside the small exact model")
    parser.add_argument("--prompt", default=PROMPT, help="for --model")
    parser.add_argument("--target", default=TARGET, help="for --model: the sentence that should follow")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--into", type=Path, default=Path(), help="where the pictures go")
    parser.add_argument("--json", action="store_true", help="numbers for a program")
    given = parser.parse_args()
    try:
        check_target(given.target)
        cases = [small()] + ([] if given.model is None else [large(given.model, given.prompt, given.target)])
        plan = {part(c, n): s for c in cases for n, s in zip(NAMES, SECONDS[c.every is not None], strict=True)}
        with Live(Console(stderr=True, quiet=given.json, highlight=False), plan).running() as live:
            found = [study(case, Key(given.seed).fold(i), live) for i, case in enumerate(cases)]
    except CredenceError as error:
        parser.exit(2, f"{parser.prog}: {visible(str(error))}\n")
    files = draw(cases, found, given.into)
    if given.json:
        pairs = zip(cases, found, strict=True)
        emit({"cases": [as_data(*pair) for pair in pairs], "pictures": [str(file) for file in files]})
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(visible(f"{given.prompt} → {given.target}"))
    for case, laws in zip(cases, found, strict=True):
        print_case(console, case, laws)
    console.print("\n".join(f"图：{file}" for file in files))


if __name__ == "__main__":
    main()
