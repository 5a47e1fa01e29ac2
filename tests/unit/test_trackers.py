"""Trackers: what each is told, and that none can end a run. The real packages are tested where they are installed."""

import importlib
import importlib.util
import inspect
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from credence.core.errors import ConfigError, MissingExtraError
from credence.study.config import TrackConfig
from credence.study.toml import load_config
from credence.study.trackers import About, MLflow, TensorBoard, Tracking, Wandb, check_trackers, trackers

NAMES = ("tensorboard", "wandb", "trackio", "mlflow")
RECORDS = [
    {"stage": "dpg", "step": 1, "elbo": -1.5, "val_elbo_se": float("inf"), "best": True, "lr": 0.1},
    {"stage": "dpg", "step": 2, "elbo": -1.0, "lr": 0.1},
    {"stage": "reinforce", "step": 1, "elbo": -0.5, "lr": 0.1},
]
CLOCK = {"tokens_per_s": 100.0, "wall": 0.1}


# ---- fakes with the real signatures: test_fakes_have_the_real_signatures compares them ------------------------------

Call = tuple[str, dict[str, Any]]


class Fakes:
    """Modules that write down how they are called."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def note(self, name: str, given: dict[str, Any]) -> None:
        self.calls.append((name, {n: v for n, v in given.items() if n != "self" and v is not None}))

    def wandb(self) -> dict[str, Any]:
        note = self.note

        class Run:
            def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
                note("log", locals())

            def finish(self, exit_code: int | None = None) -> None:
                note("finish", locals())

        def init(
            project: str | None = None, dir: str | None = None, id: str | None = None, name: str | None = None,
            config: dict[str, Any] | None = None, resume: str | None = None, settings: dict[str, Any] | None = None,
        ) -> Run:  # fmt: skip
            note("init", dict(locals()))
            return Run()

        return {"init": init, "Run": Run}

    def trackio(self) -> dict[str, Any]:
        note = self.note

        def init(
            project: str, name: str | None = None, config: dict[str, Any] | None = None, resume: str = "never",
            embed: bool = True, auto_log_gpu: bool | None = None, auto_log_cpu: bool | None = None,
        ) -> None:  # fmt: skip
            sys.stdout.write("* greetings")
            note("init", dict(locals()))

        def log(metrics: dict[str, Any], step: int | None = None) -> None:
            note("log", {"data": metrics, "step": step})

        def finish() -> None:
            note("finish", {})

        return {"init": init, "log": log, "finish": finish}


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    made = Fakes()
    for name in ("wandb", "trackio"):
        module = types.ModuleType(name)
        vars(module).update(getattr(made, name)())
        monkeypatch.setitem(sys.modules, name, module)
    return made


def tracking(name: Any, folder: Path, said: list[str], resumed: bool = False) -> Tracking:
    config = load_config(None, [f"track.to=[{name!r}]", "track.project=mine", "name=one"])
    (made,) = trackers(config, folder, "2026-01-01", resumed, said.append)
    return made


def tell(made: Tracking) -> None:
    """Two stages, the last numbers, the end."""
    made.begin([])
    for record in RECORDS[:2]:
        made(record, CLOCK)
    made.begin([])
    made(RECORDS[2], CLOCK)
    made.tell({"final/gap_closed": 0.5})
    made.close(True)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_every_step_is_told_once_under_the_history_s_names(
    name: str, fakes: Fakes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    tell(tracking(name, tmp_path, said))
    assert said == []
    opened, *logged, closed = fakes.calls
    assert opened[1]["project"] == "mine"
    assert opened[1]["config"]["evidence"]["reward"][0]["beta"] == 0.1
    assert (opened[0], closed[0]) == ("init", "finish")
    told = [(given["step"], given["data"]) for _, given in logged]
    assert told == [
        (1, {"elbo": -1.5, "best": 1.0, "lr": 0.1, "tokens_per_s": 100.0}),  # no inf, no text
        (2, {"elbo": -1.0, "lr": 0.1, "tokens_per_s": 100.0}),
        (3, {"elbo": -0.5, "lr": 0.1, "tokens_per_s": 100.0}),
        (3, {"final/gap_closed": 0.5}),
    ]
    assert capsys.readouterr().out == ""  # stdout is for --json


def test_a_resumed_run_counts_on_and_is_the_same_one(fakes: Fakes, tmp_path: Path) -> None:
    first, again = tracking("wandb", tmp_path, []), tracking("wandb", tmp_path, [], True)
    tell(first)
    again.begin(RECORDS[:2])  # a stage that had ended
    again.begin(RECORDS[2:])  # one that is gone on with
    again({**RECORDS[2], "step": 2}, CLOCK)
    inits = [given for name, given in fakes.calls if name == "init"]
    assert inits[0]["id"] == inits[1]["id"]
    assert fakes.calls[-1][1]["step"] == 4
    tracking("trackio", tmp_path, [], True)(RECORDS[0], CLOCK)
    assert fakes.calls[-2][1]["resume"] == "allow"
    tracking("trackio", tmp_path, [])(RECORDS[0], CLOCK)
    assert fakes.calls[-2][1]["resume"] == "never"


def test_one_that_fails_is_said_once_and_the_run_goes_on(fakes: Fakes, tmp_path: Path) -> None:
    said: list[str] = []
    made = tracking("trackio", tmp_path, said)
    made(RECORDS[0], CLOCK)

    def breaks(metrics: dict[str, Any], step: int | None = None) -> None:
        raise ConnectionError("no route to host")

    sys.modules["trackio"].log = breaks  # pyright: ignore[reportAttributeAccessIssue] - a fake
    tell(made)
    (line,) = said
    assert "trackio is told nothing more, the run goes on: ConnectionError: no route to host" in line
    assert [name for name, _ in fakes.calls] == ["init", "log"]


def test_ctrl_c_inside_a_tracker_is_the_user_s(fakes: Fakes, tmp_path: Path) -> None:
    def breaks(**_: Any) -> None:
        raise KeyboardInterrupt

    sys.modules["trackio"].init = breaks  # pyright: ignore[reportAttributeAccessIssue] - a fake
    with pytest.raises(KeyboardInterrupt):
        tracking("trackio", tmp_path, [])(RECORDS[0], CLOCK)


def test_names_are_checked_and_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="tensorboard"):
        load_config(None, ['track.to=["tensorbord"]'])
    asked = [(name, load_config(None, [f'track.to=["{name}"]'])) for name in NAMES]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_trackers(asked[0][1].model_copy(update={"track": TrackConfig()}))  # pyright: ignore[reportCallIssue]
    for name, config in asked:
        with pytest.raises(MissingExtraError, match=rf"pip install 'credence-lm\[{name}\]'"):
            check_trackers(config)


# ---- the real packages ----------------------------------------------------------------------------------------------


def real(name: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(name) is None
    return pytest.mark.skipif(missing, reason=f"{name} is an extra and not installed here")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path  # pyright: ignore[reportReturnType] - monkeypatch takes it all back


@pytest.mark.parametrize("name", [pytest.param(n, marks=real(n)) for n in ("wandb", "trackio")])
def test_fakes_have_the_real_signatures(name: str) -> None:
    module, fake = importlib.import_module(name), getattr(Fakes(), name)()
    pairs = [(fake["init"], module.init)]
    if name == "wandb":
        from wandb.sdk.wandb_run import Run  # pyright: ignore[reportMissingImports] - an extra

        pairs += [(fake["Run"].log, Run.log), (fake["Run"].finish, Run.finish)]
    else:
        pairs += [(fake["log"], module.log), (fake["finish"], module.finish)]
    for ours, theirs in pairs:
        assert set(inspect.signature(ours).parameters) <= set(inspect.signature(theirs).parameters)


def about(folder: Path, resumed: bool = False, step: int = 1) -> About:
    return About("mine", "one", "abc123", folder, {"seed": 0, "prior": {"model": "m"}}, resumed, step)


@real("tensorboard")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of protobuf and numpy inside it
def test_real_tensorboard(offline: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import (  # pyright: ignore[reportMissingImports]
        EventAccumulator,
    )

    sink = TensorBoard(about(offline))
    for step in (1, 2, 3):
        sink.scalars({"elbo": -1.0 / step}, step)
    killed = EventAccumulator(str(offline / "tensorboard")).Reload()
    assert [e.step for e in killed.Scalars("elbo")] == [1, 2, 3]  # though it was not closed
    sink.close(True)
    again = TensorBoard(about(offline, True, 3))  # went on after step 2
    again.scalars({"elbo": 7.0}, 3)
    again.close(True)
    found = EventAccumulator(str(offline / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in found.Scalars("elbo")] == [(1, -1.0), (2, -0.5), (3, 7.0)]


@real("wandb")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.slow  # it starts a service of its own
def test_real_wandb_offline(offline: Path) -> None:
    sink = Wandb(about(offline))
    sink.scalars({"elbo": -1.0}, 1)
    sink.close(True)
    (file,) = (offline / "wandb").glob("offline-run-*-abc123/*.wandb")
    assert b"elbo" in file.read_bytes()


@real("trackio")
@pytest.mark.slow
def test_real_trackio_local(tmp_path: Path) -> None:
    """In a process of its own: the package reads where to write when it is imported."""
    import sqlite3

    code = """
import sys
from pathlib import Path
from tests.unit.test_trackers import RECORDS, CLOCK, tell, tracking
said = []
tell(tracking("trackio", Path(sys.argv[1]), said))
again = tracking("trackio", Path(sys.argv[1]), said, True)
again.begin(RECORDS)
again({**RECORDS[2], "step": 4}, CLOCK)
again.close(True)
assert said == [], said
"""
    root = Path(__file__).parents[2]
    environment = {
        **os.environ,
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    (file,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(file) as base:
        rows = base.execute("select run_name, step from metrics order by id").fetchall()
    assert rows == [("one", step) for step in (1, 2, 3, 3, 4)]


@real("mlflow")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.slow
def test_real_mlflow_in_files(offline: Path) -> None:
    for step, resumed in ((1, False), (2, True)):
        sink = MLflow(about(offline, resumed, step))
        sink.scalars({"elbo": -float(step), "final/gap_closed": 0.5}, step)
        sink.close(True)
    history = sink.client.get_metric_history(sink.run, "elbo")
    assert [(m.step, m.value) for m in history] == [(1, -1.0), (2, -2.0)]
    run = sink.client.get_run(sink.run)
    assert run.data.params == {"seed": "0", "prior.model": "m"}
    assert run.info.status == "FINISHED"
    assert (offline / "mlflow").is_dir()
