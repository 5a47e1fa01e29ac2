"""`credence believe translate`: direct, channel and both on the same candidates; a translator under chrF; one table."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from rich.console import Console
from torch import Tensor

from credence.belief.ibm1 import IBM1, fit_ibm1
from credence.belief.memory import TranslationMemory, candidate_set, of_pairs
from credence.belief.translate import Readings, line_log_p, read_models
from credence.belief.units import units
from credence.core.keys import Key
from credence.evidence.chrf import chrf_counts
from credence.evidence.embedding import Embedder, load_embedder
from credence.prior.hf import LMPrior
from credence.prior.load import load
from credence.prior.seq2seq_build import save_seq2seq
from credence.report.manifest import manifest
from credence.report.translate import TranslateReport
from credence.report.translate_page import render
from credence.report.translate_plots import save_png
from credence.study.build import check_device
from credence.study.folder import MANIFEST, RunFolder, alone, check_place
from credence.study.live import Live
from credence.study.machine import fast_products
from credence.study.pairs import PairParts, Pairs, part_pairs, read_pairs
from credence.study.translate_config import TranslateConfig
from credence.study.translate_policy import Translator, train_translator
from credence.study.translate_rows import Chosen, Found, choose, report
from credence.study.translate_store import POLICY, store

READ, CHANNEL, PRIOR, LIKENESS, LIKELIHOOD, REWARD, MEASURE, REPORT = (
    "pairs and model", "IBM models", "language model", "embeddings", "likelihood", "chrF as reward", "held-out measure",
    "report",
)  # fmt: skip
KIND = "translate"
PIECE = 64
"""Texts embedded between two ticks."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """What is chosen among, for validation sources and then test sources."""

    sources: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    truth: tuple[int, ...]
    nearest: tuple[str, ...]


def run_translate(
    config: TranslateConfig, folder: Path, *, overwrite: bool = False, console: Console | None = None
) -> TranslateReport:
    """Measure every scorer on the config's pairs, train the translator, and leave a folder that can answer.

    Args:
        config: checked settings.
        folder: where report.html, report.json, choices.jsonl, translator.json, channel.safetensors, memory.jsonl,
            policy/, manifest.json and the PNGs go.
        overwrite: replace an earlier run's folder.
        console: where progress is shown; standard error by default.

    Raises:
        ConfigError: settings or pairs that cannot be, or a folder that may not be replaced.
        MissingExtraError: sacrebleu or the embedder is not installed.
        BackendError: the packages are not here; a model or the disk failed.

    Cost: one pass of the language model over each different candidate, one embedding a text, and training. Test:
        tests/e2e/test_translate.py.
    """
    check_place(folder, overwrite)
    chrf_counts(["a"], ["a"])  # a package that is missing shows at once
    embedder = None if config.likeness is None else load_embedder(config.likeness.embedder)
    started, live = time.time(), Live(console or Console(stderr=True), plan(config))
    with fast_products(), live.running():
        with live.part(READ):
            pairs, parts = paired(config)
            live.say(f"  {len(pairs):,} pairs; {len(parts.train):,} to learn from and to look up")
            memory = of_pairs(parts.train.both())
            offered = candidates(config, parts, memory)
        prior = line_speaker(config)
        place = RunFolder(folder, overwrite)
        with alone(folder), place.under_way(lambda: {"kind": KIND, **_manifest(config, started)}):
            channel, direct = fit_both(config, parts, live)
            readings = read_all(config, offered, channel, direct, prior, embedder, live)
            translator = _trained(config, parts, live)
            with live.part(REPORT):
                found = Found(parts, pairs.remarks, offered.texts, offered.truth, offered.nearest, readings, channel,
                              direct, translator)  # fmt: skip
                chosen = choose(found)
                made = report(config, found, chosen, _manifest(config, started))
                _write(place, config, found, chosen, made)
    return made


def _manifest(config: TranslateConfig, started: float) -> dict[str, object]:
    return manifest(config.model_dump(mode="json"), config.seed, started)


def plan(config: TranslateConfig) -> dict[str, float]:
    """Seconds expected of each part: shares for the ETA, not promises."""
    asked = config.data.validation + config.data.test
    texts = asked * config.channel.candidates
    parts = {READ: 8.0, CHANNEL: 1.0 * config.channel.iterations, PRIOR: 0.06 * texts, REPORT: 6.0}
    if config.likeness is not None:
        parts[LIKENESS] = 0.01 * (texts + asked)
    if (given := config.seq2seq) is not None:
        parts[LIKELIHOOD] = 0.004 * given.steps * given.batch
        parts[REWARD] = given.rl_steps * (0.004 * given.prompts * given.group + 0.1)
        parts[MEASURE] = 0.004 * config.data.test * given.draws
    return parts


def paired(config: TranslateConfig) -> tuple[Pairs, PairParts]:
    """All pairs, and who goes where by the seed.

    Raises:
        ConfigError, BackendError: as read_pairs and part_pairs.
    """
    given = config.data
    found = read_pairs(given.source, config.folder, given.column, given.target, given.translations, given.longest)
    return found, part_pairs(found, given.train, given.validation, given.test, Key(config.seed).fold("parts"))


def candidates(config: TranslateConfig, parts: PairParts, memory: TranslationMemory) -> Candidates:
    """For each validation and test source its candidates, where the reference stands, and the memory's first."""
    asked, key = [*parts.validation.both(), *parts.test.both()], Key(config.seed).fold("candidates")
    texts, truth, nearest = list[tuple[str, ...]](), list[int](), list[str]()
    for i, (source, reference) in enumerate(asked):
        found, place = candidate_set(memory, source, reference, config.channel.candidates, key.fold(i).generator())
        texts.append(found)
        truth.append(place)
        first = memory.nearest(source, 1)  # with the reference's own text, where the memory has it
        nearest.append(memory.targets[first[0][0]] if first else "")
    return Candidates(tuple(x for x, _ in asked), tuple(texts), tuple(truth), tuple(nearest))


def line_speaker(config: TranslateConfig) -> LMPrior:
    """The language model, at temperature 1, texts as they stand.

    Raises:
        ConfigError: unknown model or device. BackendError: its files cannot be read.
    """
    given = config.prior
    check_device(given.device)
    beside = config.folder / given.model
    return load(
        str(beside) if beside.is_dir() else given.model,
        horizon=1, style="raw", device=given.device, dtype=getattr(torch, given.dtype),
    )  # fmt: skip


def fit_both(config: TranslateConfig, parts: PairParts, live: Live) -> tuple[IBM1, IBM1]:
    """p(x | y) and p(y | x), ε of each by the validation pairs."""
    with live.part(CHANNEL):
        train = [(units(x), units(y)) for x, y in parts.train.both()]
        tuned = [(units(x), units(y)) for x, y in parts.validation.both()]
        steps = config.channel.iterations
        channel = fit_ibm1(train, tuned, steps, lambda share: live.tick(0.45 * share))
        direct = fit_ibm1(_turned(train), _turned(tuned), steps, lambda share: live.tick(0.5 + 0.45 * share))
    return channel, direct


def _turned(pairs: Sequence[tuple[list[str], list[str]]]) -> list[tuple[list[str], list[str]]]:
    return [(y, x) for x, y in pairs]


def read_all(
    config: TranslateConfig,
    offered: Candidates,
    channel: IBM1,
    direct: IBM1,
    prior: LMPrior,
    embedder: Embedder | None,
    live: Live,
) -> Readings:
    """What every model says of every candidate; each different text is read once."""
    known, back, size, sizes = read_models(offered.sources, offered.texts, channel, direct)
    with live.part(PRIOR):
        log_prior = prior_of(prior, offered.texts, config.prior.before, live.tick)
    likeness = None
    if embedder is not None:
        with live.part(LIKENESS):
            likeness = likeness_of(embedder, offered.sources, offered.texts, live.tick)
    return Readings(log_prior, known, back, size, sizes, likeness)


def prior_of(
    prior: LMPrior, texts: Sequence[Sequence[str]], before: str, tick: Callable[[float], None] = lambda share: None
) -> Float[Tensor, "N K"]:
    """log p(y) of each candidate, nats."""
    each = list(dict.fromkeys(text for row in texts for text in row))
    place, done = {text: i for i, text in enumerate(each)}, 0

    def told(more: int) -> None:
        nonlocal done
        done += more
        tick(done / len(each))

    nats = line_log_p(prior, each, before, told)
    return nats[torch.tensor([[place[text] for text in row] for row in texts])]


def likeness_of(
    embedder: Embedder,
    sources: Sequence[str],
    texts: Sequence[Sequence[str]],
    tick: Callable[[float], None] = lambda share: None,
) -> Float[Tensor, "N K"]:
    """Cosine of each candidate and its source."""
    each = list(dict.fromkeys([*sources, *(text for row in texts for text in row)]))
    rows: list[Tensor] = []
    for a in range(0, len(each), PIECE):
        rows.append(embedder.embed(each[a : a + PIECE]))
        tick(min(1.0, (a + PIECE) / len(each)))
    vectors, place = torch.cat(rows).double(), {text: i for i, text in enumerate(each)}
    asked = vectors[torch.tensor([place[x] for x in sources])]
    given = vectors[torch.tensor([[place[text] for text in row] for row in texts])]
    return (asked[:, None] * given).sum(-1)


def _trained(config: TranslateConfig, parts: PairParts, live: Live) -> Translator | None:
    if config.seq2seq is None:
        return None
    names = {"likelihood": LIKELIHOOD, "reward": REWARD, "measure": MEASURE}

    def turn(name: str) -> Callable[[float], None]:
        if name != "likelihood":
            live.turn(names[name])
        return live.tick

    with live.part(LIKELIHOOD):
        return train_translator(config.seq2seq, parts, Key(config.seed).fold("seq2seq"), turn, lambda line: None)


def _write(place: RunFolder, config: TranslateConfig, found: Found, chosen: Chosen, made: TranslateReport) -> None:
    store(place, config, found, chosen)
    if found.translator is not None:
        with place.writing(POLICY) as where:
            save_seq2seq(found.translator.policy.law, where)
    place.json("report.json", made.to_json())
    place.text("report.html", render(made))
    with place.writing() as where:
        save_png(made, where)
    place.json(MANIFEST, {"status": "done", "kind": KIND, **made.manifest})
