"""Recorded replies from files, in the forms that TRL users have, as what the learners of recorded replies need.

    demonstration   prompt + completion; or messages, where every assistant turn is a reply to what stands before it
    comparison      prompt + chosen + rejected; or chosen + rejected that share their beginning, which is the prompt
    label           prompt + completion + label

Texts and message lists are taken for prompt and reply alike. A comparison may carry `votes`, two numbers of judges for
chosen and rejected: [1, 1] is a tie. Every other field is a column.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, get_args

from credence.core.errors import ConfigError, nearest
from credence.study.examples import Given, Row, given_of, messages_of, read_rows

Kind = Literal["demonstration", "comparison", "label"]
KINDS: tuple[str, ...] = get_args(Kind)
NEEDED: Mapping[str, tuple[str, ...]] = {
    "demonstration": ("prompt", "completion"),
    "comparison": ("chosen", "rejected"),
    "label": ("prompt", "completion", "label"),
}
READ_BY = {"demonstration": "sft", "comparison": "dpo or ipo", "label": "kto"}
_TURN = re.compile(r"\n\n(Human|Assistant): ?")


@dataclass(frozen=True)
class Recorded:
    """N examples of one kind.

    Attributes:
        kind: which.
        given: N prompts.
        replies: N; one text each, or for comparisons the chosen and the rejected one.
        said: N; (1, 0) or a comparison's votes, (1,) or (0,) for a label, () for a demonstration.
        columns: further fields by name, N values each, None where an example has none.
        where: N places, such as "pairs.jsonl, line 3".
    """

    kind: Kind
    given: tuple[Given, ...]
    replies: tuple[tuple[str, ...], ...]
    said: tuple[tuple[float, ...], ...]
    columns: dict[str, list[Any]]
    where: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.given)


@dataclass(frozen=True)
class _One:
    given: Given
    replies: tuple[str, ...]
    said: tuple[float, ...]
    columns: dict[str, Any]
    where: str


def load_recorded(source: str, kind: Kind, folder: Path = Path()) -> Recorded:
    """Examples of this kind from a file (.jsonl, .csv, .parquet). Tested in tests/unit/test_recorded.py.

    Args:
        source: a relative path begins at `folder`.
        kind: what each line must be.
        folder: where the config file is.

    Raises:
        ConfigError: no such file, nothing in it, or a line that is no example of this kind: which line, which field,
        what
            was expected, and the nearest name.
        MissingExtraError: a .parquet file without pyarrow.
    """
    path = folder / source
    if path.suffix.lower() == ".txt":
        raise ConfigError(f"{path}: a text file holds prompts alone. Recorded replies need .jsonl, .csv or .parquet.")
    read = {"demonstration": _demonstrations, "comparison": _comparison, "label": _label}[kind]
    found = [one for row in read_rows(path, "file of recorded replies") for one in read(row)]
    if not found:
        raise ConfigError(f"{path} holds no example: at least one is needed.")
    names = dict.fromkeys(name for one in found for name in one.columns)
    return Recorded(
        kind,
        tuple(one.given for one in found),
        tuple(one.replies for one in found),
        tuple(one.said for one in found),
        {name: [one.columns.get(name) for one in found] for name in names},
        tuple(one.where for one in found),
    )


def _need(row: Row, kind: Kind) -> dict[str, Any]:
    """The row's fields, all that the kind needs among them."""
    fields = {name: value for name, value in row.fields.items() if value is not None and value != ""}
    missing = [name for name in NEEDED[kind] if name not in fields]
    if not missing:
        return fields
    other = next((k for k in ("comparison", "label", "demonstration") if set(NEEDED[k]) <= fields.keys()), None)
    hint = f" These are {other}s, which {READ_BY[other]} reads." if other and other != kind else ""
    if "text" in fields and kind == "demonstration":
        hint = " In one `text` nothing says where the reply begins: split it into prompt and completion, or messages."
    empty = " (it is empty)" if missing[0] in row.fields else ""
    meant = "" if hint or empty else nearest(missing[0], set(fields) - set(NEEDED[kind]))
    raise ConfigError(
        f"{row.where}: no {missing[0]!r}{empty}.{meant} A {kind} needs {', '.join(NEEDED[kind])}. Its fields: "
        f"{', '.join(row.fields) or 'none'}.{hint}"
    )


def _demonstrations(row: Row) -> list[_One]:
    if "messages" not in row.fields:
        fields = _need(row, "demonstration")
        given = _asked(fields.pop("prompt"), row)
        return [_One(given, (_reply(fields.pop("completion"), f"{row.where}, completion"),), (), fields, row.where)]
    columns = {name: value for name, value in row.fields.items() if name != "messages"}
    talk = messages_of(row.fields["messages"], f"{row.where}, messages")
    turns = [i for i, message in enumerate(talk) if message["role"] == "assistant" and i]
    if not turns:
        raise ConfigError(f"{row.where}, messages: no assistant message that answers something: nothing to imitate.")
    return [_One(talk[:i], (talk[i]["content"],), (), columns, row.where) for i in turns]


def _comparison(row: Row) -> list[_One]:
    fields = _need(row, "comparison")
    chosen, rejected, votes = (fields.pop(name, None) for name in ("chosen", "rejected", "votes"))
    if "prompt" in fields:
        asked = fields.pop("prompt")
        given = _asked(asked, row)
        sides = [_reply(_after(asked, x), f"{row.where}, {n}") for n, x in (("chosen", chosen), ("rejected", rejected))]
    else:
        given, *sides = shared_beginning(chosen, rejected, row.where)
    return [_One(given, tuple(sides), (1.0, 0.0) if votes is None else _votes(votes, row.where), fields, row.where)]


def _asked(value: Any, row: Row) -> Given:  # noqa: ANN401 - whatever the file held
    """The prompt of a recorded reply.

    Raises:
        ConfigError: its last message is the assistant's: the reply would follow another one, and no template says so.
    """
    where = f"{row.where}, prompt"
    if isinstance(value, list) and value and messages_of(value, where)[-1]["role"] == "assistant":
        raise ConfigError(
            f"{where}: its last message is the assistant's, and the reply would follow it. A prompt ends with what is "
            "replied to: move that message into the reply, or leave it out."
        )
    return given_of(value, where)


def _after(asked: Any, reply: Any) -> Any:  # noqa: ANN401 - whatever the file held
    """A conversation without the prompt that it repeats."""
    repeats = isinstance(asked, list) and isinstance(reply, list) and reply[: len(asked)] == asked
    return reply[len(asked) :] if repeats else reply


def _label(row: Row) -> list[_One]:
    fields = _need(row, "label")
    given = _asked(fields.pop("prompt"), row)
    reply, label = _reply(fields.pop("completion"), f"{row.where}, completion"), fields.pop("label")
    known = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}
    if str(label).strip().lower() not in known:
        raise ConfigError(f"{row.where}, label: {label!r} found; true or false (1 or 0) is needed.")
    return [_One(given, (reply,), (known[str(label).strip().lower()],), fields, row.where)]


def _reply(value: Any, where: str) -> str:  # noqa: ANN401 - whatever the file held
    if isinstance(value, str):
        return value
    talk = messages_of(value, where)
    if len(talk) != 1 or talk[0]["role"] != "assistant":
        raise ConfigError(
            f"{where}: {', '.join(m['role'] for m in talk)} messages found; a reply is one assistant message. Put what "
            "stands before it into prompt."
        )
    return talk[0]["content"]


def _votes(value: Any, where: str) -> tuple[float, float]:  # noqa: ANN401 - whatever the file held
    parts = value.split(",") if isinstance(value, str) else value
    try:
        first, second = (float(x) for x in parts)
    except (TypeError, ValueError):
        first = second = -1.0
    if not (0 <= first < float("inf") and 0 <= second < float("inf") and first + second > 0):
        raise ConfigError(f"{where}, votes: {value!r} found; judges for chosen and for rejected, such as [3, 1].")
    return first, second


def shared_beginning(chosen: Any, rejected: Any, where: str) -> tuple[Given, str, str]:  # noqa: ANN401 - as in the file
    r"""Prompt, chosen and rejected reply of two conversations, or two texts, that begin alike.

    Texts of the form "\n\nHuman: …\n\nAssistant: …" become messages, and the prompt ends at the last "Assistant:"
    that both share. Other texts are cut after the last white space that both share, so that no word is torn.

    Raises:
        ConfigError: they do not begin alike, differ in more than one reply, or are of two forms.
    """
    if isinstance(chosen, str) and isinstance(rejected, str):
        return _shared_text(chosen, rejected, where)
    first, second = (messages_of(x, f"{where}, {n}") for n, x in (("chosen", chosen), ("rejected", rejected)))
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
    common = min(common, len(first) - 1, len(second) - 1)  # two equal conversations still end in a reply
    if not common:
        raise ConfigError(
            f"{where}: chosen and rejected do not begin with the same message, and there is no prompt. Add the "
            "field prompt."
        )
    sides = [_reply(x[common:], f"{where}, {n}") for n, x in (("chosen", first), ("rejected", second))]
    return first[:common], sides[0], sides[1]


def _shared_text(chosen: str, rejected: str, where: str) -> tuple[Given, str, str]:
    length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False)))
    common = chosen[:length]
    turns = list(_TURN.finditer(common))
    if turns and turns[-1].group(1) == "Assistant":
        cut = turns[-1].end()
        if extra := _TURN.search(chosen[cut:]) or _TURN.search(rejected[cut:]):
            raise ConfigError(
                f"{where}: chosen and rejected differ in more than one reply (a further turn of {extra.group(1)} "
                "follows). "
                "Give the whole conversation before the last reply as prompt."
            )
        return _spoken(common[:cut], where), chosen[cut:].strip(), rejected[cut:].strip()
    cut = max((i + 1 for i, char in enumerate(common) if char.isspace()), default=0)
    if not common[:cut].strip():
        raise ConfigError(
            f"{where}: chosen and rejected share no beginning that could be the prompt. Add the field prompt."
        )
    return common[:cut].rstrip(), chosen[cut:], rejected[cut:]


def _spoken(text: str, where: str) -> list[dict[str, str]]:
    """A text of Human: and Assistant: turns as messages, without the open last one."""
    parts = _TURN.split(text)[:-2]  # what stands before the first turn, then name and words in turn
    names, words = parts[1::2], parts[2::2]
    roles = {"Human": "user", "Assistant": "assistant"}
    talk = [{"role": roles[n], "content": w.strip()} for n, w in zip(names, words, strict=True)]
    if not talk:
        raise ConfigError(f"{where}: no Human: turn stands before the reply. Add the field prompt.")
    return talk
