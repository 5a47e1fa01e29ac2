"""Aligned pairs: tables in any encoding, two files line by line, misaligned lines by number, Debian's manual."""

from pathlib import Path

import pytest

from credence.core.errors import BackendError, ConfigError
from credence.core.keys import Key
from credence.study import debian_reference
from credence.study.pairs import Pairs, part_pairs, read_pairs
from tests.translating import page, sentences

MANY = "".join(f"第{i}只猫,cat number {i}\n" for i in range(300))


def read(tmp_path: Path, text: str, name: str = "a.csv", encoding: str = "utf-8", other: str = "") -> Pairs:
    (tmp_path / name).write_bytes(text.encode(encoding))
    return read_pairs(name, tmp_path, "zh", "en", other, 40)


def test_a_table_in_gbk_is_read_and_said(tmp_path: Path) -> None:
    text = "zh,en\n" + "".join(f"{x},{y}\n" for x, y in sentences()[:30])
    found = read(tmp_path, text, encoding="gbk")
    assert found.both() == sentences()[:30]
    assert "read as gb18030" in found.remarks[0]
    assert read(tmp_path, text).remarks == ()
    lines = '{"zh": "猫", "en": "cat"}\n{"zh": "狗", "en": "dog"}\n'
    assert read(tmp_path, lines, "a.jsonl").both() == [("猫", "cat"), ("狗", "dog")]


def test_misaligned_lines_are_named_and_over_one_percent_is_an_error(tmp_path: Path) -> None:
    found = read(tmp_path, f"zh,en\n{MANY}猫,\n短,{'far too many words ' * 6}\n")
    assert len(found) == 300
    assert (
        "2 of 302 lines left out: line 302 (no translation), line 303 (misaligned: 1 units against 24)"
        in (found.remarks[0])
    )
    with pytest.raises(ConfigError, match=r"4 of 304 lines left out: line 302 \(no source\).*More than 1%"):
        read(tmp_path, f"zh,en\n{MANY}" + ",lonely\n" * 4)


def test_each_source_once_and_long_ones_left_out(tmp_path: Path) -> None:
    found = read(tmp_path, f"zh,en\n{MANY}第1只猫,another\n{'很' * 41},{'very ' * 30}\n")
    assert len(found) == 300
    assert found.targets[1] == "cat number 1"
    assert found.remarks == ("a.csv: left out 1 repeated, 1 of more than 40 units.",)


def test_two_files_line_by_line(tmp_path: Path) -> None:
    own, theirs = ("".join(f"{pair[side]}\n" for pair in sentences()[:2]) for side in (0, 1))
    (tmp_path / "en.txt").write_text(theirs, encoding="utf-8")
    found = read(tmp_path, own, "zh.txt", "gbk", "en.txt")
    assert found.both() == sentences()[:2]
    assert "zh.txt was read as gb18030" in found.remarks[0]
    for text, other, says in (
        ("猫\n狗\n鱼\n", "en.txt", r"zh.txt has 3 lines and en.txt has 2"),
        ("猫\n狗\n", "", "name the file with its translations"),
        ("猫\n狗\n", "eng.txt", "Did you mean 'en.txt'"),
    ):
        with pytest.raises(ConfigError, match=says):
            read(tmp_path, text, "zh.txt", "utf-8", other)
    with pytest.raises(ConfigError, match=r"belongs to a \.txt"):
        read(tmp_path, "zh,en\n猫,cat\n", other="en.txt")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    for text, says in (("zh,english\n猫,cat\n", "no column 'en'"), ("zh,en\n,\n", "holds no row")):
        with pytest.raises(ConfigError, match=says):
            read(tmp_path, text)
    with pytest.raises(ConfigError, match=r"no such file|Did you mean"):
        read_pairs("b.csv", tmp_path, "zh", "en", "", 40)


def test_parts_do_not_meet_and_follow_the_seed(tmp_path: Path) -> None:
    found = read(tmp_path, f"zh,en\n{MANY}")
    parts = part_pairs(found, 0, 20, 30, Key(1))
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (250, 20, 30)
    assert len({*parts.train.sources, *parts.validation.sources, *parts.test.sources}) == 300
    assert part_pairs(found, 5, 20, 30, Key(1)).test == parts.test
    assert part_pairs(found, 5, 20, 30, Key(2)).test != parts.test
    with pytest.raises(ConfigError, match="ask for fewer"):
        part_pairs(found, 280, 20, 30, Key(1))


def installed(tmp_path: Path, english: dict[str, list[str]], chinese: dict[str, list[str]]) -> None:
    folder = tmp_path / debian_reference.ENGLISH.folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ch01.en.html").write_text(page(english), encoding="utf-8")
    (folder / "ch01.zh-cn.html").write_text(page(chinese), encoding="utf-8")


def test_the_manual_is_aligned_section_by_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks pair by section and order; a section that does not fit is named, and moves no other one out of step."""
    monkeypatch.setattr(debian_reference, "SYSTEM", tmp_path)
    many = [f"Line {i} of it" for i in range(300)]
    english = {"_one": ["Use <code>apt</code>.", "dpkg -i"], "_two": ["Only here", "and here"], "_three": many}
    chinese = {
        "_one": ["使用 <code>apt</code>。", "dpkg -i"],
        "_two": ["只在这里"],
        "_three": [f"第{i}行" for i in range(300)],
    }
    installed(tmp_path, english, chinese)
    assert debian_reference.is_here()
    pairs, told = debian_reference.read_reference()
    assert pairs[0] == ("使用 apt。", "Use apt.")
    assert pairs[1:] == [(f"第{i}行", f"Line {i} of it") for i in range(300)]
    assert told == ["debian-reference: 3 of 307 blocks left out, whose sections do not fit: ch01#_two (3 blocks)."]
    installed(tmp_path, {**english, "_three": many[:20]}, {**chinese, "_three": chinese["_three"][:20]})
    with pytest.raises(BackendError, match="not of one version"):
        debian_reference.read_reference()


def test_numbers_of_headings_are_no_translation() -> None:
    for given, bare in (
        ("第 2 章 软件包管理", "软件包管理"), ("2.1.3. 内核", "内核"), ("表 6.13. 网络", "网络"),
        ("附录 A. 附录", "附录"),
        ("Table 6.13. List", "List"), ("Chapter 1. GNU", "GNU"), ("A.1. The maze", "The maze"),
        ("GNU tools", "GNU tools"),
    ):  # fmt: skip
        block = debian_reference.Block("h2", "", given, True)
        assert debian_reference._unnumbered(block) == bare


def test_a_missing_package_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian_reference, "SYSTEM", tmp_path)
    monkeypatch.setenv("CREDENCE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BackendError, match="credence believe import debian-reference"):
        read_pairs("debian-reference", tmp_path, "zh", "en", "", 40)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match="apt-get is not here"):
        debian_reference.fetch()
