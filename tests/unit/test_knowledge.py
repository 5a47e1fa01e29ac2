"""Readers of knowledge against nasty files: what is an error, what is dropped and counted, what is guessed and said."""

from pathlib import Path

import pytest

from credence.core.errors import BackendError, ConfigError
from credence.dialogue import debian_faq
from credence.dialogue.knowledge import Knowledge, paired, read_knowledge

# Of our own making, in the shape of Debian's DocBook pages.
PAGE = """<?xml version="1.0" encoding="UTF-8"?><html><head><meta http-equiv="Content-Type" content="text/html;
charset=UTF-8" /><title>Chapter 2. Tea</title></head><body><div class="navheader"><h3>Chapter 2. Tea</h3></div>
<div class="chapter"><h1 class="title"><a id="tea"></a>Chapter 2. Tea</h1><div class="toc"><dl><dt>2.1. How hot?</dt>
</dl></div><p>All about tea.</p>
<div class="section"><h2 class="title" style="clear: both"><a id="hot"></a>2.1. How hot is the water?</h2>
<p>Between 70 and 95&nbsp;degrees.<br/>Use <code class="filename">/etc/tea/<em><code>NAME</code></em></code> &amp; a
<span class="command"><strong>kettle</strong></span><a href="#f" class="footnote"><sup>[1]</sup></a>.</p>
<ul><li><p>green: 70</p></li><li><p>black: 95</p></li></ul><pre class="screen">boil --to 70
  --now</pre></div>
<div class="section"><h2><a id="milk"></a>2.2.&nbsp;Milk?</h2></div>
<div class="section"><h2><a id="sugar"></a>2.3. Is sugar <em>allowed</em>?</h2><p>Yes.</p><script>var x = "no";</script>
<style>p { color: red }</style></div></div><div class="navfooter"><p>Next</p></div></body></html>"""

ZH_PAGE = """<html><head><meta charset="utf-8"></head><body><h1><a id="tea"></a>第 2 章 茶</h1>
<h2><a id="hot"></a>2.1. 水温多高？</h2><p>七十到
九十五度，用
<code>kettle</code> 烧水。</p><h2><a id="sugar"></a>2.3. 可以加糖吗？</h2><p>可以。</p></body></html>"""


def read(folder: Path, name: str, content: str | bytes) -> Knowledge:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_knowledge(name, folder)


def test_csv_drops_and_counts(tmp_path: Path) -> None:
    text = (
        "question,answer,topic\n"
        "How do I pay?,By card.,money\n"
        'What is it,"Two, or three\nlines.",x\n'
        "Where are you?,,place\n"
        ",An answer without a question.,x\n"
        "how do i pay,By card,money\n"
        "\n"
    )
    found = read(tmp_path, "faq.csv", text)
    assert [(e.name, e.question) for e in found.entries] == [("q1", "How do I pay?"), ("q2", "What is it")]
    assert found.entries[1].answer == "Two, or three\nlines."
    assert dict(found.dropped) == {"without an answer": 1, "without a question": 1, "said twice": 1}
    assert found.language == "en"
    assert found.notes == ()


@pytest.mark.parametrize("field", ["x" * 131_073, '"unclosed\n' + "How?,Like this.\n" * 9000])
def test_a_field_that_no_csv_reader_takes_is_named_with_its_line(tmp_path: Path, field: str) -> None:
    text = f"question,answer\nWhere?,Here.\n\nHow?,{field}\n"
    with pytest.raises(ConfigError, match=r"begins at line 4 .*131,072 characters.*never closed"):
        read(tmp_path, "faq.csv", text)
    assert len(read(tmp_path, "faq.csv", f"question,answer\nHow?,{'x' * 131_000}\n")) == 1


def test_csv_in_chinese_with_a_mark_semicolons_and_names(tmp_path: Path) -> None:
    text = "\ufeff编号;问题;答案\npay;怎么付款？;刷卡，或者现金。\n;在哪里？;在北京。\n"
    found = read(tmp_path, "faq.csv", text)
    assert [(e.name, e.question, e.answer) for e in found.entries] == [
        ("pay", "怎么付款？", "刷卡，或者现金。"),
        ("q2", "在哪里？", "在北京。"),
    ]
    assert found.language == "zh"


def test_gb18030_is_guessed_and_said(tmp_path: Path) -> None:
    found = read(tmp_path, "faq.csv", "问题,答案\n怎么付款？,刷卡，或者付现金。\n".encode("gb18030"))
    assert found.entries[0].answer == "刷卡，或者付现金。"
    assert found.notes == ("read as gb18030",)
    assert read(tmp_path, "two.csv", "question,answer\nWhere is it?,It is here.\n".encode("utf-16")).notes == (
        "read as utf-16",
    )


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "mixed.csv",
            "question,answer\n你好吗,很好\n".encode() + "天气,晴\n".encode("gb18030"),
            "line 2 is UTF-8, line 3",
        ),
        ("latin.csv", "question,answer\nO\u00f9 \u00eates-vous,\u00e0 c\u00f4t\u00e9\n".encode("latin-1"), "iconv"),
        ("two.csv", "question,answer\nHow?,This.\nhow ?,That.\n", "two different answers: line 2 and line 3"),
        ("none.csv", "question,answer\nHow?,\n", "no answered question (1 without an answer)"),
        ("empty.csv", "", "no column question"),
        ("wrong.csv", "qestion,answer\na,b\n", "Did you mean"),
        ("wide.csv", "question,answer\nHow?,This, or that\n", "line 2: 3 fields for 2 columns"),
        ("quote.csv", 'question,answer\nHow?,"never closed\n', "not CSV"),
        ("names.csv", "name,question,answer\nx,A?,b\nx,C?,d\n", "'x' stands 2 times"),
        ("declared.html", b"<meta charset='shift_jis'><h2>a</h2><p>\xff\xff</p>", "says that it is in shift_jis"),
        ("odd.html", b"<meta charset='wurst'><h2>a</h2><p>\xff\xff</p>", "no known encoding"),
        ("nothing.html", "<html><body><p>No question here.</p></body></html>", "no answered question"),
        ("faq.docx", "x", ".csv, .md, .html"),
    ],
)
def test_errors_name_the_place_and_the_way_out(tmp_path: Path, name: str, content: str | bytes, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, name, content)
    assert says in str(caught.value)


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "faq.csv").write_text("question,answer\na,b\n")
    with pytest.raises(ConfigError, match=r"Did you mean 'faq.csv'"):
        read_knowledge("fag.csv", tmp_path)
    with pytest.raises(ConfigError, match="holds no HTML page"):
        read_knowledge(".", tmp_path)


def test_markdown_headings_are_questions(tmp_path: Path) -> None:
    text = (
        "# Our shop\n\nWelcome.\n\n## 1. How do I **pay**?\n\nBy `card`.\n\n```sh\n# not a heading\npay --now\n```\n\n"
        "Where are you?\n--------------\n\n- here\n- there\n\n## Empty\n\n### Shoes\nReturn\n\n"
        "### Hats\n\n#### Size\nLarge.\n\n### Gloves\n\n#### Size\nSmall.\n"
    )
    found = read(tmp_path, "faq.md", text)
    asked = {e.question: e.answer for e in found.entries}
    assert list(asked) == ["How do I pay?", "Where are you?", "Shoes", "Hats: Size", "Gloves: Size"]
    assert "# not a heading" in asked["How do I pay?"]
    assert asked["Hats: Size"] == "Large."
    assert dict(found.dropped) == {"without an answer": 3}


def test_html_of_debians_shape(tmp_path: Path) -> None:
    found = read(tmp_path, "tea.html", PAGE)
    assert [(e.name, e.question) for e in found.entries] == [
        ("hot", "How hot is the water?"),
        ("sugar", "Is sugar allowed?"),
    ]
    hot = found.entries[0].answer
    assert hot == (
        "Between 70 and 95 degrees.\nUse `/etc/tea/NAME` & a kettle.\n- green: 70\n- black: 95\nboil --to 70\n--now"
    )
    assert found.entries[1].answer == "Yes."
    assert dict(found.dropped) == {"without an answer": 1}


def test_html_lists_and_details_where_no_heading_asks(tmp_path: Path) -> None:
    listed = "<h1>FAQ</h1><dl><dt>Q: How?</dt><dd>A: So.</dd><dt>Why?<dd>Because <b>yes</b>.</dl>"
    assert [(e.question, e.answer) for e in read(tmp_path, "a.html", listed).entries] != []
    plain = "<dl><dt>Q: How?</dt><dd>A: So.</dd><dt>Why?</dt><dd>Because <b>yes</b>.</dd></dl>"
    assert [(e.question, e.answer) for e in read(tmp_path, "b.html", plain).entries] == [
        ("How?", "So."),
        ("Why?", "Because yes."),
    ]
    folded = "<details><summary>How?</summary>So.</details><details><summary>Why?</summary>Because.</details>"
    assert [e.answer for e in read(tmp_path, "c.html", folded).entries] == ["So.", "Because."]


def test_a_folder_of_pages_and_pairs_in_two_languages(tmp_path: Path) -> None:
    for code, page in (("en", PAGE), ("zh", ZH_PAGE)):
        (tmp_path / code).mkdir()
        (tmp_path / code / "tea.html").write_text(page, encoding="utf-8")
    english, chinese = (read_knowledge(code, tmp_path) for code in ("en", "zh"))
    assert chinese.entries[0].answer == "七十到九十五度，用 `kettle` 烧水。"
    assert chinese.language == "zh"
    assert [(a.name, b.question) for a, b in paired(english, chinese)] == [
        ("hot", "水温多高？"),
        ("sugar", "可以加糖吗？"),
    ]


def test_an_unrecognised_language_is_noted_and_can_be_stated(tmp_path: Path) -> None:
    found = read(tmp_path, "faq.csv", "question,answer\nКак платить?,Картой.\n")
    assert found.language == "und"
    assert "language not recognised" in found.notes[0]
    assert read_knowledge("faq.csv", tmp_path, "en").language == "en"
    with pytest.raises(ConfigError, match="the helpdesk speaks"):
        read_knowledge("faq.csv", tmp_path, "ru")


def test_debian_faq_not_installed_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian_faq, "SYSTEM", tmp_path)
    monkeypatch.setenv("CREDENCE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BackendError, match="credence knowledge import debian-faq:zh"):
        read_knowledge("debian-faq:zh")
    with pytest.raises(ConfigError, match="debian-faq:en, debian-faq:zh"):
        read_knowledge("debian-faq:fr")
    # an installed package is found under the system's root, its title page left out
    place = tmp_path / debian_faq.EDITIONS["zh"].folder
    place.mkdir(parents=True)
    for name in ("tea", "index"):
        (place / f"{name}.zh-cn.html").write_text(ZH_PAGE, encoding="utf-8")
    found = read_knowledge("debian-faq:zh")
    assert (len(found), found.language, found.source) == (2, "zh", "debian-faq:zh")


def test_the_import_says_what_went_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match="apt-get is not here"):
        debian_faq.fetch("en")
    for tool, body in (("dpkg-deb", "exit 0"), ("apt-get", "echo 'E: Unable to locate package' >&2; exit 100")):
        (tmp_path / tool).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / tool).chmod(0o755)
    with pytest.raises(BackendError, match=r"E: Unable to locate package Try: apt-get update"):
        debian_faq.fetch("en")
    assert not list((tmp_path / "cache").glob("*"))  # nothing half-made stays
