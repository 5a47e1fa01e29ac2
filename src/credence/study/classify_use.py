"""Answers of a measured classifier: of one text with its tokens' log-odds, of a file line by line."""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from credence.belief.classify import channel_law, corrected, direct_law, log_odds_steps
from credence.belief.verbaliser import channel_log_lik, channel_of, direct_log_p
from credence.core.errors import ConfigError
from credence.diagnose.scoring_rules import Interval, wilson
from credence.evidence.classifier import LabelHead, load_label_head
from credence.evidence.embedding import Embedder, load_embedder
from credence.learn.checkpoint import write_whole
from credence.prior.hf import LMPrior
from credence.report.classify import Strip
from credence.study.classified import WEIGHTS
from credence.study.classify import PIECE, SETTINGS, read, settings, speaker
from credence.study.classify_config import ClassifyConfig
from credence.study.classify_rows import CHANNEL, HEAD
from credence.study.stored import read_json
from credence.study.table import Line, read_table

PREDICTED = "predicted"
WRITTEN = (".csv", ".jsonl")


@dataclass(frozen=True)
class Answer:
    """What is believed of one text.

    Attributes:
        label: the likeliest, by the classifier of least log-loss on the run's validation texts.
        by: which that is.
        log_p: by classifier, nats of each label.
        strip: its tokens under the tempered channel.
        cut: whether only its beginning was read by the language model.
    """

    label: str
    by: str
    log_p: dict[str, list[float]]
    strip: Strip
    cut: bool


@dataclass(frozen=True)
class Filed:
    """What became of a file.

    Attributes:
        rows: written.
        empty: rows without a text, which have no label.
        cut: texts of which only the beginning was read.
        by: which classifier answered.
        counts: of each predicted label.
        right: share right with its 95 % interval, where the file has labels.
        remarks: encoding, broken lines, labels that the classifier does not know.
    """

    rows: int
    empty: int
    cut: int
    by: str
    counts: dict[str, int]
    right: Interval | None
    remarks: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TextClassifier:
    """A run's classifiers, ready to answer."""

    config: ClassifyConfig
    labels: tuple[str, ...]
    log_prior: Float[Tensor, " K"]
    tau: float
    mean: Float[Tensor, " K"]
    chosen: str
    head: LabelHead | None
    embedder: Embedder | None

    def answer(self, text: str, prior: LMPrior) -> Answer:
        """One text; its tokens are read by the channel whoever answers.

        Raises:
            ConfigError: nothing to read.
        """
        if not text.strip():
            raise ConfigError("the text is empty: there is nothing to classify.")
        steps, pieces, shown, cut = self._channel(text, prior)
        laws = {CHANNEL: channel_law(steps.sum(0)[None], self.log_prior, self.tau)[0]}
        if self.head is not None:
            laws[HEAD] = self._head([text])[0]
        if self.chosen not in laws:
            laws[self.chosen] = self._direct([text], prior)[0]
        label = int(laws[self.chosen].argmax())
        nats = log_odds_steps(steps, self.log_prior, label, self.tau)
        start = float(self.log_prior[label] - torch.log1p(-self.log_prior[label].exp()))
        p = math.exp(float(laws[CHANNEL][label]))
        strip = Strip(shown, "", self.labels[label], tuple(pieces), tuple(nats.tolist()), start, p)
        return Answer(
            self.labels[label], self.chosen, {name: law.tolist() for name, law in laws.items()}, strip, bool(cut)
        )

    def laws(
        self, texts: Sequence[str], prior: LMPrior | None, tick: Callable[[int], None]
    ) -> tuple[Float[Tensor, "N K"], int]:
        """log p(y | x) of each text by the chosen classifier, and how many were cut."""
        if self.chosen == HEAD:
            rows: list[Tensor] = []
            for a in range(0, len(texts), PIECE):
                rows.append(self._head(texts[a : a + PIECE]))
                tick(len(rows[-1]))
            return torch.cat(rows), 0
        if prior is None:
            raise ConfigError(f"{self.chosen} answers through the language model: it must be loaded.")
        heard, _ = read(self.config, prior, texts, self.labels)
        if self.chosen != CHANNEL:
            return self._direct(texts, prior, tick), heard.cut
        found = [channel_log_lik(channel_of(prior, v, self.labels), heard, tick) for v in self.config.verbalisers]
        total = torch.stack([torch.stack([one.sum(0) for one in of]) for of in found]).mean(0)
        return channel_law(total, self.log_prior, self.tau), heard.cut

    def _channel(self, text: str, prior: LMPrior) -> tuple[Float[Tensor, "T K"], list[str], str, int]:
        heard, _ = read(self.config, prior, [text], self.labels)
        each = [channel_log_lik(channel_of(prior, v, self.labels), heard)[0] for v in self.config.verbalisers]
        return torch.stack(each).mean(0), prior.codec.pieces(heard.ids[0]), heard.texts[0], heard.cut

    def _direct(
        self, texts: Sequence[str], prior: LMPrior, tick: Callable[[int], None] = lambda n: None
    ) -> Float[Tensor, "N K"]:
        heard, _ = read(self.config, prior, texts, self.labels)
        each = [direct_log_p(prior, v, self.labels, heard, tick) for v in self.config.verbalisers]
        return corrected(direct_law(torch.stack(each).mean(0)), self.mean, self.log_prior)

    def _head(self, texts: Sequence[str]) -> Float[Tensor, "N K"]:
        if self.head is None or self.embedder is None:
            raise ConfigError("this run has no head. Give [head] and run it again: --overwrite.")
        return self.head.log_p(self.embedder.embed(texts))


def open_classifier(config: ClassifyConfig, folder: Path, command: str) -> TextClassifier:
    """The classifiers of a run that was measured under these settings.

    Args:
        config: of now.
        folder: of the run.
        command: that makes the run, for the message.

    Raises:
        ConfigError: no such run, or one of other settings.
    """
    if not (folder / SETTINGS).is_file():
        raise ConfigError(
            f"no measured classifier in {folder}: τ, the mean answer and the head come from a run. First: {command}"
        )
    stored = read_json(folder / SETTINGS)
    if stored.get("settings") != json.loads(json.dumps(settings(config))):
        raise ConfigError(
            f"{folder} was measured with other settings of prior, verbaliser or head: what was tuned there does not "
            f"hold here. Set them back, or measure again: {command} --overwrite"
        )
    try:
        numbers = {name: torch.tensor(stored[name], dtype=torch.float64) for name in ("log_prior", "mean_answer")}
        labels, tau, chosen = tuple(stored["labels"]), float(stored["tau"]), str(stored["chosen"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{folder / SETTINGS} was not written by credence ({error}). Measure again.") from None
    head = None if config.head is None else load_label_head(folder / WEIGHTS)
    embedder = None if head is None else load_embedder(head.embedder)
    return TextClassifier(config, labels, numbers["log_prior"], tau, numbers["mean_answer"], chosen, head, embedder)


def check_out(out: Path, overwrite: bool) -> None:
    """Refuse an output file that cannot be written.

    Raises:
        ConfigError: another kind, no such folder, or it exists.
    """
    if out.suffix.lower() not in WRITTEN:
        raise ConfigError(f"--out {out}: labelled files end in {' or '.join(WRITTEN)}.")
    if not out.parent.is_dir():
        raise ConfigError(f"--out {out}: the folder {out.parent} does not exist.")
    if out.exists() and not overwrite:
        raise ConfigError(f"--out {out} exists. Give another name, or --overwrite.")


def classify_file(known: TextClassifier, file: Path, out: Path, tick: Callable[[int], None] = lambda n: None) -> Filed:
    """Label every row of a .csv or .jsonl file: all its columns, `predicted`, and p(label) of each label, as UTF-8.

    A row without a text is written with nothing predicted. Broken lines are left out, counted, and named.

    Raises:
        ConfigError: as read_table; a column that is missing, or that would be written over.
    """
    given = known.config.data
    table = read_table(file, "file")
    texts = ["" if t is None else str(t).strip() for t in table.column(given.text)]
    added = [PREDICTED, *(f"p({label})" for label in known.labels)]
    if taken := sorted(set(added) & set(table.columns)):
        raise ConfigError(f"{file} has a column {taken[0]!r} already, which would be written over. Rename it.")
    full = [i for i, text in enumerate(texts) if text]
    if not full:
        raise ConfigError(f"every text of {file} is empty.")
    prior = None if known.chosen == HEAD else speaker(known.config)
    law, cut = known.laws([texts[i] for i in full], prior, tick)
    predicted = dict(zip(full, law, strict=True))
    rows = [{**line.fields, **_cells(known.labels, predicted.get(i))} for i, line in enumerate(table.lines)]
    write_whole(out, written(out, rows, [*table.columns, *added]).encode())
    names = [known.labels[int(row.argmax())] for row in law]
    right, unknown = _judged(known, [table.lines[i] for i in full], names, given.label)
    counts = {label: names.count(label) for label in known.labels}
    remarks = (*table.remarks(), *unknown)
    return Filed(len(rows), len(texts) - len(full), cut, known.chosen, counts, right, remarks)


def _cells(labels: Sequence[str], law: Tensor | None) -> dict[str, Any]:
    if law is None:
        return {PREDICTED: "", **{f"p({label})": "" for label in labels}}
    p = {f"p({label})": round(math.exp(float(x)), 6) for label, x in zip(labels, law, strict=True)}
    return {PREDICTED: labels[int(law.argmax())], **p}


def written(out: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """The rows as the kind of file that `out` is named after."""
    if out.suffix.lower() == ".jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _judged(
    known: TextClassifier, lines: Sequence[Line], predicted: Sequence[str], name: str
) -> tuple[Interval | None, list[str]]:
    """Share right where the rows have labels, and a sentence on labels that training has never seen."""
    said = [(line, str(line.fields.get(name) or "").strip(), p) for line, p in zip(lines, predicted, strict=True)]
    unseen = [(line, label) for line, label, _ in said if label and label not in known.labels]
    judged = [label == p for _, label, p in said if label in known.labels]
    words = [
        f"{len(unseen)} rows have a label that was never seen in training, such as {unseen[0][1]!r} in line "
        f"{unseen[0][0].number}: they are not counted as right or wrong."
    ] if unseen else []  # fmt: skip
    return wilson(sum(judged), len(judged)) if judged else None, words
