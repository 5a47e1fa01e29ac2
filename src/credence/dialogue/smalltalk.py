"""What people say around a question: greetings, thanks, farewells; and which of several things they meant."""

import re

from credence.dialogue.language import UNKNOWN

_WORDS = {
    "greeting": (
        "hello there|hello|hi there|hi|hey there|hey|good morning|good afternoon|good evening|greetings|howdy",
        "你们好|你好|您好|大家好|嗨|哈喽|哈罗|早上好|上午好|中午好|下午好|晚上好|早安|早|在吗|在么|在不在|有人吗",
    ),
    "thanks": (
        "thank you|thanks a lot|thanks|thx|ty|cheers|much appreciated|that helps|that helped|great|perfect|got it|"
        "okay|ok",
        "谢谢|多谢|感谢|谢啦|谢了|辛苦了|辛苦|明白了|知道了|懂了|好的|好|行|太好了|太棒了|有用",
    ),
    "farewell": (
        "goodbye|good bye|bye bye|bye|see you later|see you|have a nice day|good night",
        "再见|拜拜|回见|回头见|下次见|晚安|先走了|告辞",
    ),
}
_FILLERS = (
    "very much|so much|a lot|for your help|for the help|for that|again|all|everyone|sir|madam|please|really|i|you",
    "非常|十分|真的|真是|太|您的|你的|您|你|帮助|帮忙|解答|啊|呀|啦|了|哦|噢|呢|吧|哈|哟|嗯|很",
)
_ORDER = ("farewell", "thanks", "greeting")
"""Where a message holds several: what closes a talk says more than what opens it."""

_MARK = r"[\s,.!?;:~、，。！？；：～…\-—'\"“”‘’()（）😊🙏👋]"
_SHORT = 2
"""Words this short (ok, 好, 早, hi) are small talk only where nothing else is said or a mark sets them off."""


def small_talk(utterance: str) -> tuple[str | None, str]:
    """What kind of small talk an utterance holds, if any, and what is left of it to be understood.

    "你好，怎么装软件？" gives ("greeting", "怎么装软件？"): small talk is taken off at both ends, whole words in
    English; the rest is empty where nothing else was said. Table: tests/unit/test_smalltalk.py.
    """
    said = {_kind(match.group()) for match in _ANY.finditer(utterance)}
    if said and not _meaning(utterance):
        return next(kind for kind in _ORDER if kind in said), ""
    rest, found = utterance.strip(), set[str]()
    while (hit := _at_an_end(rest)) is not None:
        kind, rest = hit
        found.add(kind)
    return next((kind for kind in _ORDER if kind in found), None), rest


def _longest_first(language: int) -> str:
    """Every small-talk word of a language; 你好 before 好, "thanks a lot" before "thanks"."""
    words = [word for pair in _WORDS.values() for word in pair[language].split("|")]
    return "|".join(sorted(words, key=len, reverse=True))


_ANY = re.compile(rf"(?<![\w'])(?:{_longest_first(0)})(?![\w'])|(?:{_longest_first(1)})", re.IGNORECASE)


def _kind(word: str) -> str:
    return next(kind for kind, pair in _WORDS.items() if word.lower() in "|".join(pair).split("|"))


def _at_an_end(text: str) -> tuple[str, str] | None:
    """The kind that stands set off at the beginning or the end of a text that says more, and the rest of the text."""
    for kind in _ORDER:
        words = "|".join(_WORDS[kind])
        softened = rf"(?:{words})(?:{_FILLERS[1]})*"
        for pattern in (rf"^{_MARK}*{softened}{_MARK}+(?=\S)", rf"(?<={_MARK})(?:{_FILLERS[1]})*{softened}{_MARK}*$"):
            match = re.search(pattern, text, re.IGNORECASE)
            if match is None or (len(re.sub(_MARK, "", match.group())) <= _SHORT and not _set_off(match.group())):
                continue
            if match.start() and match.group().isascii() and text[: match.start()].rstrip()[-1].isalnum():
                continue  # "Why does apt say hi?" asks about it; "Why does apt fail? Thanks" does not
            return kind, text[match.end() :] if match.start() == 0 else text[: match.start()].rstrip()
    return None


def _set_off(found: str) -> bool:
    """Whether a mark that is more than a space ends the word: "hi, …" but not "hi res …"."""
    return bool(re.search(rf"{_MARK}$", found.rstrip())) or not found.isascii()


def _meaning(text: str) -> str:
    """What is left of a text without small talk, marks, and words that only soften."""
    bare = _ANY.sub(" ", text)
    bare = re.sub(rf"\b(?:{_FILLERS[0]})\b", " ", bare, flags=re.IGNORECASE)
    return re.sub(rf"(?:{_FILLERS[1]})|{_MARK}+", "", bare)


_NUMBERS = (
    ("1", "one", "first", "一", "第一", "头一"),
    ("2", "two", "second", "二", "第二", "两"),
    ("3", "three", "third", "三", "第三"),
)
_NONE = re.compile(
    r"^(?:none|neither|none of (?:them|these|those)|neither of (?:them|these)|something else|no|"
    r"都不是|都不对|不是|没有|没有一个|其他的?|别的|都没有)$",
    re.IGNORECASE,
)


def choice(utterance: str, offered: int) -> int | None:
    """Which of the offered candidates an utterance picks: 1, 2, …; 0 for none of them, None where it is no pick.

    "2", "2.", "the second one", 第二个 and 选二 pick; a whole question does not.
    """
    bare = re.sub(f"{_MARK}+", " ", utterance).strip().lower()
    if _NONE.match(bare):
        return 0
    bare = re.sub(r"^(?:the|number|no|option|i mean|i meant|选|我选|我要|是|我是说|我想问)\s*", "", bare)
    bare = re.sub(r"^(?:the|第)\s*", "", bare)
    bare = re.sub(r"\s*please$", "", bare)
    bare = re.sub(r"\s+one$|\s*[个项条种号]\s*(?:吧|啊|呢|问题)*$", "", bare)
    for number, words in enumerate(_NUMBERS[:offered], 1):
        if bare in words:
            return number
    return offered if bare in {"last", "latter", "最后", "最后一"} else None


_SAID = {
    "en": {
        "greeting": "Hello! What would you like to know?",
        "thanks": "You are welcome. Is there anything else?",
        "farewell": "Goodbye!",
        "open": "What would you like to know?",
        "clarify": "I am not sure which of these you mean:\n{choices}\nWhich one is it, or is it something else?",
        "unknown": "I find nothing about this in what I know ({source}, {count} questions). Please ask in other words.",
    },
    "zh": {
        "greeting": "您好！请问您想了解什么？",
        "thanks": "不客气！还有别的问题吗？",
        "farewell": "再见！",
        "open": "请问您想了解什么？",
        "clarify": "我不确定您问的是哪一个：\n{choices}\n是其中哪一个，还是别的问题？",
        "unknown": "我所知道的（{source}，共 {count} 个问题）里没有与此相符的。请换个说法再问一次。",
    },
}


def phrase(kind: str, language: str, **parts: object) -> str:
    """The helpdesk's own words in Chinese or English; English where the language was not recognised."""
    return _SAID["en" if language == UNKNOWN else language][kind].format(**parts)
