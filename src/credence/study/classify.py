"""`credence believe classify`: labels by noisy channel, by direct question, by a head on embeddings; one table."""

import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from credence.belief.bag_of_words import fit_bag_of_words
from credence.belief.classify import label_prior
from credence.belief.verbaliser import (
    Texts,
    Verbaliser,
    channel_log_lik,
    channel_of,
    direct_log_p,
    read_texts,
    room,
)
from credence.core.errors import ConfigError, nearest
from credence.core.keys import Key
from credence.evidence.classifier import LabelHead, fit_label_head, save_label_head
from credence.evidence.embedding import Embedder, load_embedder
from credence.prior.hf import LMPrior
from credence.prior.load import load
from credence.report.classify import ClassifyReport
from credence.report.classify_page import render
from credence.report.classify_plots import save_png
from credence.report.manifest import manifest
from credence.study.build import check_device
from credence.study.classified import WEIGHTS
from credence.study.classify_config import ClassifyConfig
from credence.study.classify_rows import Found, Heard, Laws, laws, report
from credence.study.folder import MANIFEST, RunFolder, alone, check_place
from credence.study.labelled import Labelled, Parts, from_file, part
from credence.study.live import Live
from credence.study.machine import fast_products
from credence.study.packaged import is_packaged, read_packaged

LOAD, CHANNEL, DIRECT, BAG, HEAD, REPORT = (
    "texts and model", "noisy channel", "direct prompting", "bag of words", "head on embeddings", "report"
)  # fmt: skip
KIND = "classify"
SETTINGS = "classifier.json"
"""In a run's folder, beside the head: what else answering needs."""
PIECE = 64
"""Texts embedded between two ticks."""


def run_classify(
    config: ClassifyConfig, folder: Path, *, overwrite: bool = False, console: Console | None = None
) -> ClassifyReport:
    """Measure every classifier on the config's texts, and leave a folder that can answer.

    Args:
        config: checked settings.
        folder: where report.html, report.json, predictions.jsonl, head.safetensors, classifier.json, manifest.json and
            the PNGs go.
        overwrite: replace an earlier run's folder.
        console: where progress is shown; standard error by default.

    Raises:
        ConfigError: settings, texts or labels that cannot be, or a folder that may not be replaced.
        MissingExtraError: scikit-learn, snownlp or the embedder is not installed.
        BackendError: the texts are not imported yet; a model or the disk failed.

    Cost: K + 1 passes of the language model over validation and test texts for each verbaliser, and one embedding a
    text. Test: tests/e2e/test_classify.py.
    """
    check_place(folder, overwrite)
    started, live = time.time(), Live(console or Console(stderr=True), plan(config))
    with fast_products(), live.running():
        with live.part(LOAD):
            found, parts = labelled(config)
            check_labels(config, parts.train)
            log_prior = label_prior(torch.tensor(parts.train.truth), found.names)
            embedder = None if config.head is None else load_embedder(config.head.embedder)
            live.say(f"  {len(found):,} different texts, labels {', '.join(found.names)}")
        with live.part(BAG):  # before the language model: a package that is missing shows at once
            train, tuned = torch.tensor(parts.train.truth), torch.tensor(parts.validation.truth)
            bag = fit_bag_of_words(parts.train.texts, train, parts.validation.texts, tuned)
        prior = speaker(config)
        texts = read(config, prior, [*parts.validation.texts, *parts.test.texts], found.names)
        place = RunFolder(folder, overwrite)
        with alone(folder), place.under_way(lambda: {"kind": KIND, **_manifest(config, started)}):
            head, vectors = _head(parts, embedder, live)
            heard = listen(config, prior, *texts, found.names, live)
            with live.part(REPORT):
                all_found = Found(parts, found.remarks, config.verbalisers, log_prior, heard, bag, head, vectors)
                said = laws(all_found)
                made = report(config, all_found, said, _manifest(config, started))
                _write(place, config, all_found, said, made)
    return made


def _manifest(config: ClassifyConfig, started: float) -> dict[str, object]:
    return manifest(config.model_dump(mode="json"), config.seed, started)


def plan(config: ClassifyConfig) -> dict[str, float]:
    """Seconds expected of each part: shares for the ETA, not promises."""
    texts, labels = config.data.validation + config.data.test, len(config.verbaliser[0].words)
    passes = texts * len(config.verbaliser) * 0.15
    parts = {LOAD: 5.0, CHANNEL: passes * labels, DIRECT: passes, BAG: 10.0, REPORT: 6.0}
    return parts if config.head is None else {**parts, HEAD: 0.04 * (texts + (config.data.train or 10_000))}


def labelled(config: ClassifyConfig) -> tuple[Labelled, Parts]:
    """All texts, and who goes where by the seed.

    Raises:
        ConfigError: a source that cannot be read, too few texts, a label that training would not see.
        MissingExtraError, BackendError: as read_packaged.
    """
    given = config.data
    if is_packaged(given.source):
        found = read_packaged(given.source)
    else:
        found = from_file(config.folder / given.source, given.text, given.label)
    return found, part(found, given.train, given.validation, given.test, Key(config.seed).fold("parts"))


def check_labels(config: ClassifyConfig, train: Labelled) -> None:
    """Refuse verbalisers that do not say the labels.

    Raises:
        ConfigError: a label without a word, or a word without a label.
    """
    words = set(config.verbaliser[0].words)
    for label in train.names:
        if label not in words:
            raise ConfigError(
                f"label {label!r} has no word.{nearest(label, words)} Give one in each [[verbaliser]]: "
                f'words = {{ {label} = "…", … }}. Words are given for {", ".join(sorted(words))}.'
            )
    if extra := sorted(words - set(train.names)):
        raise ConfigError(
            f"verbaliser.words has {extra[0]!r}, and no text has that label: the labels are {', '.join(train.names)}."
        )


def speaker(config: ClassifyConfig) -> LMPrior:
    """The language model, at temperature 1.

    Raises:
        ConfigError: unknown model or device. BackendError: its files cannot be read.
    """
    given = config.prior
    check_device(given.device)
    beside = config.folder / given.model
    return load(
        str(beside) if beside.is_dir() else given.model,
        horizon=1, system=given.system, style=given.style, device=given.device, dtype=getattr(torch, given.dtype),
    )  # fmt: skip


def read(config: ClassifyConfig, prior: LMPrior, texts: Sequence[str], labels: Sequence[str]) -> tuple[Texts, int]:
    """The texts in the model's tokens, cut at its context or the config's `longest`; and where that is."""
    verbalisers = config.verbalisers
    fits = room(prior, verbalisers, labels)
    longest = min(fits, config.prior.longest or fits)
    return read_texts(prior, texts, verbalisers[0].gap, longest), longest


def listen(
    config: ClassifyConfig, prior: LMPrior, heard: Texts, longest: int, labels: Sequence[str], live: Live
) -> Heard:
    """Every verbaliser's likelihoods and answers of every text."""
    log_lik, answers, steps = dict[str, Tensor](), dict[str, Tensor](), [torch.zeros(0, len(labels))] * 0
    with live.part(CHANNEL):
        for v, tick in _ticking(config.verbalisers, len(heard), live):
            found = channel_log_lik(channel_of(prior, v, labels), heard, tick)
            log_lik[v.name] = torch.stack([one.sum(0) for one in found])
            steps = found if not steps else [a + b for a, b in zip(steps, found, strict=True)]
    with live.part(DIRECT):
        for v, tick in _ticking(config.verbalisers, len(heard), live):
            answers[v.name] = direct_log_p(prior, v, labels, heard, tick)
    steps = [one / len(config.verbalisers) for one in steps]
    return Heard(log_lik, answers, steps, lambda i: prior.codec.pieces(heard.ids[i]), heard.cut, longest)


def _ticking(
    verbalisers: Sequence[Verbaliser], texts: int, live: Live
) -> Generator[tuple[Verbaliser, Callable[[int], None]]]:
    """Each verbaliser, and what is told how many texts more it has read."""
    done = 0

    def tick(more: int) -> None:
        nonlocal done
        done += more
        live.tick(done / (texts * len(verbalisers)))

    for v in verbalisers:
        yield v, tick


def _head(parts: Parts, embedder: Embedder | None, live: Live) -> tuple[LabelHead | None, Tensor | None]:
    """The head fitted on the training texts, and the vectors of validation and test texts."""
    if embedder is None:
        return None, None
    with live.part(HEAD):
        texts = [*parts.train.texts, *parts.validation.texts, *parts.test.texts]
        rows: list[Tensor] = []
        for a in range(0, len(texts), PIECE):
            rows.append(embedder.embed(texts[a : a + PIECE]))
            live.tick(0.95 * min(1.0, (a + PIECE) / len(texts)))
        vectors, n = torch.cat(rows), len(parts.train)
        head = fit_label_head(vectors[:n], torch.tensor(parts.train.truth), parts.train.names, embedder.name)
    return head, vectors[n:]


def _write(place: RunFolder, config: ClassifyConfig, found: Found, said: Laws, made: ClassifyReport) -> None:
    if found.head is not None:
        with place.writing(WEIGHTS) as where:
            save_label_head(found.head, where)
    place.json(SETTINGS, {
        "schema": 1, "labels": list(found.labels), "log_prior": found.log_prior.tolist(), "tau": said.tau,
        "mean_answer": said.mean.tolist(), "chosen": said.chosen, "settings": settings(config),
    })  # fmt: skip
    laws_of = {name: law.exp().tolist() for name, law in said.test.items()}
    place.lines("predictions.jsonl", [
        {"text": text, "label": label,
         "p": {name: dict(zip(found.labels, rows[i], strict=True)) for name, rows in laws_of.items()}}
        for i, (text, label) in enumerate(zip(found.parts.test.texts, found.parts.test.labels, strict=True))
    ])  # fmt: skip
    place.json("report.json", made.to_json())
    place.text("report.html", render(made))
    with place.writing() as where:
        save_png(made, where)
    place.json(MANIFEST, {"status": "done", "kind": KIND, **made.manifest})


def settings(config: ClassifyConfig) -> dict[str, object]:
    """What an answer depends on: the model and the words. Where it computes does not matter."""
    told = config.model_dump(mode="json")
    prior = {name: value for name, value in told["prior"].items() if name != "device"}
    return {"prior": prior, "verbaliser": told["verbaliser"], "head": told["head"]}
