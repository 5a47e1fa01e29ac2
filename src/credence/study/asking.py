"""What `credence believe ask` asks about: a table of hypotheses, or the entries of a FAQ; and how long asking takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from credence.belief.belief import Belief
from credence.belief.inquiry import Asking, Question, Strategy, converse, told
from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.diagnose.intervals import student
from credence.dialogue.knowledge import Knowledge, read_knowledge
from credence.evidence.key_facts import KeyFacts
from credence.report.asking import Curve, CurveReport
from credence.report.schema import Estimate
from credence.study.table import KINDS, read_table

STRATEGIES: tuple[Strategy, ...] = ("gain", "random")
COMMON = 0.6
"""Share of entries above which a word tells them apart no more."""
TOPICS = 150
"""Words of a FAQ that may be asked about: those of largest gain before anything is known."""
YES, NO = {"en": "yes", "zh": "是"}, {"en": "no", "zh": "否"}
ABOUT = {"en": "Is it about “{}”?", "zh": "和“{}”有关吗？"}


@dataclass(frozen=True, eq=False)
class Inquiry:
    """What is in doubt, and what may be asked about it.

    Attributes:
        source: the file or FAQ.
        belief: before anything is asked.
        shown: what a person reads of each hypothesis.
        questions: each may be asked once.
        language: of the questions.
        remarks: what a user should know of the reading.
    """

    source: str
    belief: Belief
    shown: tuple[str, ...]
    questions: tuple[Question, ...]
    language: str
    remarks: tuple[str, ...] = ()


def open_inquiry(source: str, wrong: float, folder: Path = Path()) -> Inquiry:
    """Hypotheses and questions from a table, or from a FAQ.

    Args:
        source: a .csv, .tsv or .jsonl whose first column names the hypotheses and whose others are questions, a cell
            the answer, empty where it is not known; or knowledge: debian-faq:en, debian-faq:zh, a .md or .html file, a
            folder, or a .csv of questions and answers (columns question and answer).
        wrong: chance that an answer is another than the right one.
        folder: where a relative path begins.

    Raises:
        ConfigError: it cannot be read, holds fewer than two hypotheses or no question that tells them apart.
        BackendError: a FAQ that has not been imported.
    """
    path = folder / source
    if path.suffix.lower() in KINDS:
        table = read_table(path, "table of hypotheses")
        if not {"question", "answer"} <= set(table.columns) and not {"问题", "答案"} <= set(table.columns):
            return _of_table(path, wrong)
    return _of_knowledge(read_knowledge(source, folder, None), wrong)


def _of_table(path: Path, wrong: float) -> Inquiry:
    table = read_table(path, "table of hypotheses")
    first, *rest = table.columns
    names = [str(value or "").strip() for value in table.column(first)]
    empty = [line.number for line, name in zip(table.lines, names, strict=True) if not name]
    if empty:
        raise ConfigError(f"{path}, line {empty[0]}: the first column, {first!r}, is empty: it names the hypothesis.")
    if len(names) < 2:
        raise ConfigError(f"{path} holds {len(names)} hypothesis: there is nothing in doubt. Give at least two.")
    questions: list[Question] = []
    idle: list[str] = []
    for column in rest:
        given = [None if value in (None, "") else str(value).strip() for value in table.column(column)]
        if len({a for a in given if a is not None}) < 2:
            idle.append(column)
        else:
            questions.append(told(column, given, wrong))
    if not questions:
        raise ConfigError(
            f"{path}: no column tells the hypotheses apart ({', '.join(rest) or 'there is only one column'}). Each "
            "further column is a question, its cells the answers."
        )
    remarks = table.remarks()
    remarks += [f"left out, since all answer alike: {', '.join(idle)}."] if idle else []
    return Inquiry(
        path.name, Belief.uniform(names), tuple(names), tuple(questions), _language("".join(rest)), tuple(remarks)
    )


def _language(text: str) -> str:
    from credence.dialogue.language import detect

    return "zh" if detect([text]) == "zh" else "en"


def _of_knowledge(known: Knowledge, wrong: float) -> Inquiry:
    """Entries as hypotheses; a question is whether the matter has to do with a word that some entries hold."""
    texts = [f"{entry.question}\n{entry.answer}" for entry in known.entries]
    if len(texts) < 2:
        raise ConfigError(f"{known.source} holds {len(texts)} entry: there is nothing in doubt. Give at least two.")
    facts = KeyFacts([entry.answer for entry in known.entries])
    holds: dict[str, set[int]] = {}
    for number, text in enumerate(texts):
        for fact in facts.of(text):
            holds.setdefault(fact, set()).add(number)
    for fact, where in holds.items():  # a fact of one entry may be a plain word of others
        where |= {number for number, text in enumerate(texts) if fact in text.casefold()}
    language = known.language if known.language in ABOUT else "en"
    kept = [fact for fact, where in holds.items() if 2 <= len(where) <= COMMON * len(texts) and len(fact) > 1]
    kept = _apart(sorted(kept, key=lambda f: abs(len(holds[f]) - len(texts) / 2)), holds)[:TOPICS]
    if not kept:
        raise ConfigError(f"{known.source}: its entries share no word that tells some of them from others.")
    questions = tuple(
        told(
            ABOUT[language].format(fact),
            [YES[language] if number in holds[fact] else NO[language] for number in range(len(texts))],
            wrong,
        )
        for fact in kept
    )
    names = [entry.name for entry in known.entries]
    shown = tuple(entry.question for entry in known.entries)
    return Inquiry(known.source, Belief.uniform(names), shown, questions, language, known.notes)


def _apart(facts: Sequence[str], holds: dict[str, set[int]]) -> list[str]:
    """Of facts that the same entries hold, the longest: asking about each would be asking the same."""
    best: dict[frozenset[int], str] = {}
    for fact in facts:
        same = frozenset(holds[fact])
        if same not in best or len(fact) > len(best[same]):
            best[same] = fact
    return list(best.values())


def curves(
    inquiry: Inquiry, runs: int, sure: float, most: int, wrong: float, seed: int, tick: Callable[[], None]
) -> CurveReport:
    """How doubt falls by turns, asking by gain and at random; the same people answer both.

    Each run means one hypothesis, drawn from the belief. Cost: by gain, questions × answers × hypotheses a turn.

    Args:
        inquiry: what is asked about.
        runs: simulated conversations.
        sure: probability at which asking ends.
        most: questions at most.
        wrong: as the questions were made with, for the record.
        seed: of all.
        tick: called after each conversation.
    """
    key = Key(seed).fold("ask")
    truths = key.generator().choice(len(inquiry.belief), runs, p=inquiry.belief.log_p.exp().numpy())
    found: list[Curve] = []
    for strategy in STRATEGIES:
        done: list[Asking] = []
        for run, truth in enumerate(truths.tolist()):
            done.append(converse(inquiry.belief, inquiry.questions, truth, key.fold("run", run), strategy, sure, most))
            tick()
        found.append(_curve(strategy, done, most))
    return CurveReport(
        inquiry.source, len(inquiry.belief), len(inquiry.questions), wrong, sure, most, runs, seed, tuple(found)
    )


def _curve(strategy: str, done: Sequence[Asking], most: int) -> Curve:
    def held(values: Sequence[float]) -> list[float]:  # a conversation that is over rests where it ended
        return [*values, *[values[-1]] * (most + 1 - len(values))]

    entropy = np.array([held(a.entropy) for a in done])
    truth = np.array([held(a.p_truth) for a in done])
    return Curve(
        strategy,
        _estimate([len(a.asked) for a in done]),
        _share([a.found for a in done]),
        tuple(_estimate(entropy[:, t]) for t in range(most + 1)),
        tuple(_estimate(truth[:, t]) for t in range(most + 1)),
    )


def _share(hits: Sequence[bool]) -> Estimate:
    """A share of runs with Wilson's 95 % interval, which stays between 0 and 1."""
    n, p, z = len(hits), sum(hits) / len(hits), 1.96
    middle, half = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return Estimate(p, (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n))


def _estimate(values: Sequence[float] | np.ndarray) -> Estimate:
    """A mean over runs with its 95 % Student interval."""
    x = np.asarray(values, np.float64)
    half = student(len(x) - 1, 0.95) * float(x.std(ddof=1)) / len(x) ** 0.5
    return Estimate(float(x.mean()), float(x.mean()) - half, float(x.mean()) + half)
