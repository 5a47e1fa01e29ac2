import pytest

from credence.dialogue.smalltalk import choice, phrase, small_talk


@pytest.mark.parametrize(
    ("said", "kind", "rest"),
    [
        ("你好", "greeting", ""),
        ("您好！", "greeting", ""),
        ("你好啊", "greeting", ""),
        ("你好，怎么安装软件包？", "greeting", "怎么安装软件包？"),
        ("谢谢", "thanks", ""),
        ("谢谢您的帮助！", "thanks", ""),
        ("非常感谢", "thanks", ""),
        ("好的，谢谢", "thanks", ""),
        ("明白了，再见", "farewell", ""),
        ("在吗？", "greeting", ""),
        ("怎么安装软件包？谢谢！", "thanks", "怎么安装软件包？"),
        ("Hello!", "greeting", ""),
        ("hi there, how do I install a package?", "greeting", "how do I install a package?"),
        ("How do I install a package? Thanks!", "thanks", "How do I install a package?"),
        ("Why does apt say hi?", None, "Why does apt say hi?"),
        ("How can I make it look perfect?", None, "How can I make it look perfect?"),
        ("thank you very much for your help", "thanks", ""),
        ("ok thanks, bye", "farewell", ""),
        ("history of Debian", None, "history of Debian"),
        ("好用的编辑器有哪些", None, "好用的编辑器有哪些"),
        ("早期的版本叫什么", None, "早期的版本叫什么"),
        ("high load", None, "high load"),
        ("怎么安装软件包", None, "怎么安装软件包"),
        ("", None, ""),
        ("？？？", None, "？？？"),
    ],
)
def test_small_talk(said: str, kind: str | None, rest: str) -> None:
    assert small_talk(said) == (kind, rest)


@pytest.mark.parametrize(
    ("said", "offered", "picked"),
    [
        ("1", 3, 1),
        ("2.", 3, 2),
        ("第二个", 3, 2),
        ("选三", 3, 3),
        ("the second one please", 3, 2),
        ("first", 2, 1),
        ("3", 2, None),
        ("最后一个", 3, 3),
        ("都不是", 2, 0),
        ("neither", 2, 0),
        ("怎么安装软件包？", 3, None),
        ("one of my disks is full", 3, None),
    ],
)
def test_choice(said: str, offered: int, picked: int | None) -> None:
    assert choice(said, offered) == picked


def test_phrases_speak_english_where_the_language_is_unknown() -> None:
    assert phrase("thanks", "und") == phrase("thanks", "en")
    assert "没有" in phrase("unknown", "zh", source="x", count=2)
