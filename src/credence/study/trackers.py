"""Experiment trackers by name: each is told every step, and none of them can end a run.

A tracker gets the numbers of history.jsonl under the same names, at the step counted over all stages, then the final
ones under "final/". Nothing of the prompts or replies is handed over. docs/runs.md says where each one writes.
"""

import contextlib
import hashlib
import importlib.util
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from credence.core.errors import MissingExtraError
from credence.learn.loop import Record
from credence.report.manifest import without_paths
from credence.report.schema import Report
from credence.study.config import TrackerName
from credence.study.job import LongJob


@dataclass(frozen=True)
class About:
    """What a tracker is told of a run when it is opened.

    Attributes:
        project: that the run belongs to.
        name: of the run.
        id: the same for all processes that went on with one run, another for any other run.
        folder: of the run.
        settings: the config, absolute paths shortened.
        resumed: whether an earlier process began the run.
        step: the first that will be told.
    """

    project: str
    name: str
    id: str
    folder: Path
    settings: Mapping[str, Any]
    resumed: bool
    step: int


class Sink(Protocol):
    """One opened tracker."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Finite numbers at a step."""
        ...

    def close(self, ok: bool) -> None:
        """The run is over; ok if it came to its end."""
        ...


class TensorBoard:
    """Event files in runs/<name>/tensorboard/; on resuming, what lies after the checkpoint is purged."""

    def __init__(self, about: About) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self.writer = SummaryWriter(str(about.folder / "tensorboard"), purge_step=about.step)
        self.writer.add_text("settings", f"```json\n{json.dumps(about.settings, ensure_ascii=False, indent=1)}\n```")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One event a number, on the disk at once: what a kill takes here, no resumed run tells again."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def close(self, ok: bool) -> None:
        """Flush."""
        self.writer.close()


class Wandb:
    """Weights & Biases, its files in runs/<name>/; online, offline or off as WANDB_MODE says."""

    def __init__(self, about: About) -> None:
        import wandb  # pyright: ignore[reportMissingImports] - an extra

        self.run = wandb.init(
            project=about.project,
            name=about.name,
            id=about.id,
            dir=str(about.folder),
            config=dict(about.settings),
            resume="allow",
            settings={"console": "off", "silent": True},  # our own lines stay ours, and --json stays one document
        )

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One row."""
        self.run.log(dict(values), step=step)

    def close(self, ok: bool) -> None:
        """Hand over what is left."""
        self.run.finish(exit_code=0 if ok else 1)


class Trackio:
    """trackio, in its own folder on this machine (TRACKIO_DIR)."""

    def __init__(self, about: About) -> None:
        import trackio  # pyright: ignore[reportMissingImports] - an extra

        self.trackio = trackio
        trackio.init(
            project=about.project,
            name=about.name,
            config=dict(about.settings),
            resume="allow" if about.resumed else "never",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One row."""
        self.trackio.log(dict(values), step=step)

    def close(self, ok: bool) -> None:
        """Write what is left."""
        self.trackio.finish()


class MLflow:
    """MLflow, at MLFLOW_TRACKING_URI; without it in runs/<name>/mlflow/."""

    def __init__(self, about: About) -> None:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else it wants a database on this machine
        from mlflow.entities import Metric, Param  # pyright: ignore[reportMissingImports] - an extra
        from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports] - an extra

        given = os.environ.get("MLFLOW_TRACKING_URI")
        self.client, self.metric = MlflowClient(given or (about.folder.resolve() / "mlflow").as_uri()), Metric
        found = self.client.get_experiment_by_name(about.project)
        experiment = found.experiment_id if found else self.client.create_experiment(about.project)
        earlier = self.client.search_runs([experiment], f"tags.`credence.id` = '{about.id}'")
        if earlier:
            self.run = str(earlier[0].info.run_id)
            self.client.update_run(self.run, status="RUNNING")
            return
        made = self.client.create_run(experiment, tags={"credence.id": about.id}, run_name=about.name)
        self.run = str(made.info.run_id)
        params = [Param(name, str(value)) for name, value in flat(about.settings)]
        for i in range(0, len(params), 100):  # the most that MLflow takes at once
            self.client.log_batch(self.run, params=params[i : i + 100])

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One batch."""
        now = round(time.time() * 1000)
        self.client.log_batch(self.run, metrics=[self.metric(n, v, now, step) for n, v in values.items()])

    def close(self, ok: bool) -> None:
        """Say how it ended."""
        self.client.set_terminated(self.run, "FINISHED" if ok else "FAILED")


SINKS: Mapping[TrackerName, Callable[[About], Sink]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "trackio": Trackio,
    "mlflow": MLflow,
}


@dataclass(eq=False)
class Tracking:
    """One tracker as a callback of a training loop. Its first failure is said and closes it; the run goes on.

    Attributes:
        name: of the tracker.
        about: the run; `step` is filled in when the first step comes.
        say: tells the user a line.
        failed: whether it is out.
    """

    name: TrackerName
    about: Callable[[int], About]
    say: Callable[[str], None]
    failed: bool = False
    _sink: Sink | None = None
    _before: int = field(default=0, init=False)
    _at: int = field(default=0, init=False)

    def begin(self, history: Sequence[Record]) -> None:
        """A stage begins: its steps follow those of the stages before it."""
        self._before, self._at = self._at, self._at + len(history)

    def __call__(self, record: Record, clock: Record) -> None:
        """One step."""
        self.tell({**record, "tokens_per_s": clock["tokens_per_s"]}, self._before + int(record["step"]))

    def tell(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Numbers at a step counted over all stages, the last one by default; what is no finite number is left out."""
        self._at = at = self._at if step is None else step
        known = {n: float(v) for n, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}
        known.pop("step", None)
        self._try(lambda: self._open(at).scalars(known, at))

    def close(self, ok: bool) -> None:
        """The run is over."""
        sink = self._sink
        if sink is not None:
            self._try(lambda: sink.close(ok))

    def _open(self, step: int) -> Sink:
        if self._sink is None:
            self._sink = SINKS[self.name](self.about(step))
        return self._sink

    def _try(self, work: Callable[[], None]) -> None:
        if self.failed:
            return
        try:
            with contextlib.redirect_stdout(sys.stderr):  # trackio greets on stdout, which is for --json
                work()
        except Exception as error:  # noqa: BLE001 - whatever a tracker breaks with, hours of training are worth more
            self.failed = True
            self.say(f"  {self.name} is told nothing more, the run goes on: {type(error).__name__}: {error}")


def check_trackers(config: LongJob) -> None:
    """Refuse a tracker that is not installed, before anything is loaded.

    Raises:
        MissingExtraError: with the command that installs it.
    """
    for name in config.track.to:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(
                f"track.to names {name}, which is not installed. Run: pip install 'credence-lm[{name}]'  "
                "(or leave it out of track.to)."
            )


def trackers(
    config: LongJob, folder: Path, started: str, resumed: bool, say: Callable[[str], None]
) -> tuple[Tracking, ...]:
    """Those that the config names.

    Args:
        config: of the run.
        folder: of the run.
        started: when its first process began.
        resumed: whether this is another one.
        say: tells the user a line.
    """
    settings = without_paths(config.model_dump(mode="json"))
    unique = hashlib.sha256(f"{config.name} {config.seed} {started}".encode()).hexdigest()[:16]

    def about(step: int) -> About:
        return About(config.track.project, config.name, unique, folder, settings, resumed, step)

    return tuple(Tracking(name, about, say) for name in config.track.to)


def final(report: Report) -> dict[str, float]:
    """What a run came to: the exported policy's numbers on the ruler."""
    row = next((r for r in reversed(report.ruler) if r.kind == "train"), None)
    if row is None:
        return {}
    found = {"reward": row.reward, "kl_prior": row.kl_prior, "kl_reverse": row.kl_reverse, "kl_forward": row.kl_forward}
    found["gap_closed"] = report.gap_closed
    return {f"final/{name}": estimate.value for name, estimate in found.items() if estimate is not None}


def flat(value: Any, path: str = "") -> list[tuple[str, Any]]:  # noqa: ANN401 - walks any JSON tree
    """Every leaf of the settings with its dotted path; lists are leaves."""
    if not isinstance(value, Mapping):
        return [(path, value)]
    return [leaf for name, below in value.items() for leaf in flat(below, f"{path}.{name}" if path else str(name))]
