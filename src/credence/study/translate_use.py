"""Answers of a measured translator: ranked candidates of one text, translations of a file line by line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from credence.belief.ibm1 import IBM1
from credence.belief.memory import TranslationMemory
from credence.belief.translate import Readings, Weights, read_models, translation_laws
from credence.belief.units import units
from credence.core.errors import ConfigError
from credence.evidence.embedding import Embedder, load_embedder
from credence.learn.checkpoint import write_whole
from credence.prior.hf import LMPrior
from credence.prior.seq2seq import Seq2SeqPrior
from credence.prior.seq2seq_build import load_seq2seq
from credence.study.classify_use import written
from credence.study.table import read_table
from credence.study.translate import likeness_of, line_speaker, prior_of
from credence.study.translate_config import TranslateConfig
from credence.study.translate_store import POLICY, read_memory, read_models_of, read_weights, stored

TRANSLATED, PROBABILITY, NEAR = "translated", "p(translated)", "nearest_source"
OWN = "the small translator"


@dataclass(frozen=True)
class Ranked:
    """One candidate.

    Attributes:
        text: a translation.
        p: by scorer, its probability among the candidates.
        origin: the memory's source that it translates, or who made it.
        nats: log p(y), log p(x | y), log p(y | x).
    """

    text: str
    p: dict[str, float]
    origin: str
    nats: tuple[float, float, float]


@dataclass(frozen=True)
class Translation:
    """What is believed of one source.

    Attributes:
        source: what of it was read.
        by: the scorer that ranks.
        ranked: candidates, likeliest first; none where the memory shares nothing with the text.
        cut: whether only its beginning was read.
        unknown: units of it that were never seen in training, of how many.
    """

    source: str
    by: str
    ranked: tuple[Ranked, ...]
    cut: bool
    unknown: tuple[int, int]


@dataclass(frozen=True)
class FiledTranslations:
    """What became of a file.

    Attributes:
        rows: written.
        empty: rows without a text.
        none: rows for which there is no candidate.
        cut: texts of which only the beginning was read.
        by: the scorer that ranked.
        remarks: encoding, broken lines.
    """

    rows: int
    empty: int
    none: int
    cut: int
    by: str
    remarks: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TranslationRun:
    """A run's models, ready to answer."""

    config: TranslateConfig
    memory: TranslationMemory
    channel: IBM1
    direct: IBM1
    weights: Weights
    answers: str
    embedder: Embedder | None
    translator: Seq2SeqPrior | None

    def answer(self, text: str, prior: LMPrior) -> Translation:
        """Ranked candidates of one text.

        Raises:
            ConfigError: an empty text, or one with which the memory shares nothing.
        """
        found = self.rank([text], prior)[0]
        if not found.ranked:
            raise ConfigError(
                f"no pair in the memory shares a word or character with {found.source[:40]!r}: there is no candidate. "
                f"The memory holds {len(self.memory):,} pairs such as {self.memory.sources[0][:20]!r}; train on pairs "
                "of your own: --set data.source=pairs.csv"
            )
        return found

    def rank(
        self, texts: Sequence[str], prior: LMPrior, tick: Callable[[float], None] = lambda share: None
    ) -> list[Translation]:
        """Each text's candidates with their probabilities. The language model reads each different candidate once.

        Raises:
            ConfigError: an empty text.
        """
        read = [self._read(text) for text in texts]
        offered = [self._offered(source) for source, _ in read]
        full = [i for i, rows in enumerate(offered) if rows]
        nats = self._nats([offered[i] for i in full], prior, tick)
        laws = {i: self._laws(read[i][0], offered[i], own) for i, own in zip(full, nats, strict=True)}
        out: list[Translation] = []
        for i, (source, cut) in enumerate(read):
            said = units(source)
            rows = laws.get(i, ())
            out.append(Translation(source, self.answers, rows, cut, (len(said) - self.channel.knows(said), len(said))))
        return out

    def _read(self, text: str) -> tuple[str, bool]:
        """One line, cut after `data.longest` units where it has more."""
        line = " ".join(text.split())
        if not units(line):
            raise ConfigError("the text is empty: there is nothing to translate.")
        most = self.config.data.longest
        if len(units(line)) <= most:
            return line, False
        low, high = 0, len(line)
        while low < high:  # the longest beginning of at most so many units
            middle = (low + high + 1) // 2
            low, high = (middle, high) if len(units(line[:middle])) <= most else (low, middle - 1)
        return line[:low].rstrip(), True

    def _offered(self, source: str) -> list[tuple[str, str]]:
        """(candidate, origin): the memory's, and the small translator's greedy one where it reads so long a text."""
        found = self.memory.translations(source, self.config.channel.candidates)
        rows = [(self.memory.targets[i], self.memory.sources[i]) for i in found]
        if rows and self.translator is not None:
            prompts = self.translator.codec.prompts([source])
            if len(prompts.ids[0]) <= self.translator.context:
                said = self.translator.likeliest(prompts)[0]
                if units(said) and said not in [text for text, _ in rows]:
                    rows.append((said, OWN))
        return rows

    def _nats(
        self, offered: Sequence[Sequence[tuple[str, str]]], prior: LMPrior, tick: Callable[[float], None]
    ) -> list[Float[Tensor, " K"]]:
        flat = [text for rows in offered for text, _ in rows]
        if not flat:
            return []
        found = prior_of(prior, [[text] for text in flat], self.config.prior.before, tick).squeeze(1)
        return list(found.split([len(rows) for rows in offered]))

    def _laws(self, source: str, rows: Sequence[tuple[str, str]], nats: Tensor) -> tuple[Ranked, ...]:
        texts = [[text for text, _ in rows]]
        channel, direct, size, sizes = read_models([source], texts, self.channel, self.direct)
        likeness = None if self.embedder is None else likeness_of(self.embedder, [source], texts)
        readings = Readings(nats[None], channel, direct, size, sizes, likeness)
        laws = {name: law[0].exp() for name, law in translation_laws(readings, self.weights).items()}
        order = torch.sort(laws[self.answers], descending=True, stable=True).indices.tolist()
        return tuple(
            Ranked(rows[k][0], {name: float(p[k]) for name, p in laws.items()}, rows[k][1],
                   (float(nats[k]), float(channel[0, k]), float(direct[0, k])))
            for k in order
        )  # fmt: skip


def open_translator(config: TranslateConfig, folder: Path, command: str) -> TranslationRun:
    """A run's models, measured under these settings.

    Args:
        config: of now.
        folder: of the run.
        command: that makes the run, for the message.

    Raises:
        ConfigError: no such run, one of other settings, or files that credence did not write.
        BackendError: the small translator cannot be read.
    """
    told = stored(folder, config, command)
    channel, direct = read_models_of(folder, told)
    weights, embedder = read_weights(folder, told), None
    if config.likeness is not None:
        embedder = load_embedder(config.likeness.embedder)
    translator = None if config.seq2seq is None else load_seq2seq(folder / POLICY)
    answers = str(told.get("answers"))
    return TranslationRun(config, read_memory(folder), channel, direct, weights, answers, embedder, translator)


def translate_file(
    run: TranslationRun, file: Path, out: Path, tick: Callable[[float], None] = lambda share: None
) -> FiledTranslations:
    """Translate every row of a table: all its columns, the likeliest candidate, its probability, its origin, as UTF-8.

    A row without a text, or of which the memory knows nothing, is written with nothing translated. Broken lines are
    left out, counted, and named.

    Raises:
        ConfigError: as read_table; a column that is missing, or that would be written over.
    """
    table, column = read_table(file, "file"), run.config.data.column
    texts = ["" if t is None else " ".join(str(t).split()) for t in table.column(column)]
    added = [TRANSLATED, PROBABILITY, NEAR]
    if taken := sorted(set(added) & set(table.columns)):
        raise ConfigError(f"{file} has a column {taken[0]!r} already, which would be written over. Rename it.")
    full = [i for i, text in enumerate(texts) if units(text)]
    if not full:
        raise ConfigError(f"every text of {file} is empty.")
    found = dict(zip(full, run.rank([texts[i] for i in full], line_speaker(run.config), tick), strict=True))
    rows = [{**line.fields, **_cells(found.get(i))} for i, line in enumerate(table.lines)]
    write_whole(out, written(out, rows, [*table.columns, *added]).encode())
    none = sum(not one.ranked for one in found.values())
    cut = sum(one.cut for one in found.values())
    return FiledTranslations(len(rows), len(texts) - len(full), none, cut, run.answers, tuple(table.remarks()))


def _cells(found: Translation | None) -> dict[str, Any]:
    if found is None or not found.ranked:
        return {TRANSLATED: "", PROBABILITY: "", NEAR: ""}
    best = found.ranked[0]
    return {TRANSLATED: best.text, PROBABILITY: round(best.p[found.by], 6), NEAR: best.origin}
