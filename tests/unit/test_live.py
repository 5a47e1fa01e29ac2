import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from credence.study import dialogue, plan
from credence.study.config import RunConfig
from credence.study.dialogue_config import load_dialogue
from credence.study.live import Live, duration
from credence.study.toml import load_config

EXAMPLES = Path(__file__).parents[2] / "examples"


class Clock:
    """time.monotonic under the test's hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("credence.study.live.time.monotonic", lambda: self.now)


def silent() -> Console:
    return Console(file=io.StringIO(), width=80)


def test_the_share_moves_between_ticks_and_never_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    live = Live(silent(), {"one": 10.0, "two": 30.0})
    seen = []
    with live.part("one"):
        for _ in range(40):  # no tick at all, and four times as long as expected
            clock.now += 1
            seen.append(live.share())
    assert seen == sorted(set(seen))  # rejects: a share that waits for ticks
    assert seen[-1] < 0.25
    assert live.share() == pytest.approx(0.25)
    with live.part("two"):
        live.tick(0.5)
        assert live.share() == pytest.approx(0.25 + 0.375)
        live.tick(0.1)  # a second piece of work that counts from its own beginning
        assert live.share() == pytest.approx(0.25 + 0.375)


def test_the_eta_learns_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    live = Live(silent(), {"one": 10.0, "two": 30.0})
    assert live.eta() == pytest.approx(40)
    with live.part("one"):
        clock.now += 20
    assert live.eta() == pytest.approx(60)  # twice as slow as planned
    with live.part("two"):
        clock.now += 30
        live.tick(0.5)
        assert live.eta() == pytest.approx(30)
        clock.now += 10
        assert 15 < live.eta() < 30
    assert live.eta() == 0


def test_the_eta_grows_where_nothing_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    live = Live(silent(), {"one": 10.0, "two": 30.0})
    with live.part("one"):
        clock.now += 5
        assert 30 < live.eta() < 40
        clock.now += 35  # four times as long as planned, and not over
        assert live.eta() > 120  # rejects: an ETA that waits for the next tick


def test_seconds_that_the_clock_sets_are_not_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine three times as slow as planned; rejects an hour's budget that is told as three."""
    clock = Clock(monkeypatch)
    live = Live(silent(), {"one": 100.0, "hour": 3700.0, "last": 50.0}, timed={"hour": 3600.0})
    assert live.eta() == pytest.approx(3850)
    with live.part("one"):
        clock.now += 300
        live.tick(1.0)
    assert live.eta() == pytest.approx(3 * 150 + 3600)
    with live.part("hour"):
        clock.now += 1950
        live.tick(0.5)
        assert live.eta() == pytest.approx(3 * 100 + 1800)
        clock.now += 1950
        live.tick(1.0)
    assert live.eta() == pytest.approx(150)


def test_stages_that_their_budget_ends_are_known_beforehand() -> None:
    assert plan.timed(load_config(None)) == {}
    long = load_config(EXAMPLES / "cheerful.toml", [], "long")
    assert plan.timed(long) == {plan.title("reinforce"): 3900.0}
    assert plan.timed(_without("reinforce.steps=3", "reinforce.seconds=9000")) == {}


def test_without_a_terminal_a_line_comes_though_nothing_ticks() -> None:
    console = silent()
    live = Live(console, {"long": 1.0}, every=0.05)
    with live.running(), live.part("long"):
        time.sleep(0.4)
    spoken = [line for line in console.file.getvalue().splitlines() if "ETA" in line]  # pyright: ignore
    assert 2 <= len(spoken) <= 9
    assert all("long: " in line for line in spoken)
    time.sleep(0.1)
    assert len([x for x in console.file.getvalue().splitlines() if "ETA" in x]) == len(spoken)  # the thread has ended


def test_a_part_says_early_when_it_may_end_and_then_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credence.study.live.SOON", 0.05)
    console = silent()
    live = Live(console, {"one": 1.0, "two": 1.0}, every=60.0)
    with live.running():
        for name in ("one", "two"):
            with live.part(name):
                time.sleep(0.3)
    lines = console.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue]
    assert [line.split(":")[0].strip() for line in lines] == ["one", "one", "two", "two"]
    assert all("ETA" in line for line in lines[1::2])  # rejects: nothing before ten seconds have passed


def test_a_terminal_gets_a_bar_that_moves_by_itself() -> None:
    out = io.StringIO()
    live = Live(Console(file=out, width=80, force_terminal=True), {"long": 0.5, "rest": 0.5})
    with live.running(), live.part("long"):
        time.sleep(0.5)
    shares = {word for word in out.getvalue().replace("\x1b", " ").split() if word.isdigit()}
    assert len(shares) >= 3
    assert "ETA" in out.getvalue()


def test_what_is_said_is_text_never_markup() -> None:
    console = silent()
    live = Live(console, {"a": 1.0})
    live.say("[/nonsense] [red]a\x1b[31m " + "x" * 100)
    written = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "[/nonsense] [red]a⟨U+001B⟩" in written  # rejects: a prompt that is read as markup ends the run
    assert written.count("\n") == 1


def test_a_step_is_one_aligned_line() -> None:
    console = silent()
    live = Live(console, {"a": 1.0})
    live.headings()
    record = {"step": 1, "elbo": -12.345, "reward": 0.5, "kl_prior": -0.001, "kl_posterior_estimate": 3.2}
    clock = {"progress": 0.1, "tokens_per_s": 312.0}
    live.step(record, clock)
    best = {"val_elbo": -10.5, "val_elbo_se": 1.25, "best": True}
    live.step({**record, "step": 100, "elbo": -1234.5, **best}, clock)
    head, first, second = console.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue]
    ends = [head.index(name) + len(name) for name in ("step", "ELBO", "E[r]", "KL(π‖π0)", "KL(π‖p*) ≳", "tok/s", "ETA")]
    for line in (first, second):
        assert len(line) <= 80
        assert all(line[end - 1] != " " and line[end : end + 1] in ("", " ") for end in ends)
    assert "-0.00" not in first
    assert second.endswith("-10.50 ± 1.25 ★")


def test_every_planned_part_takes_time_and_follows_the_config() -> None:
    whole = plan.plan(load_config(None))
    assert all(seconds > 0 for seconds in whole.values())
    assert next(iter(whole)) == plan.LOAD
    assert list(whole)[-1] == plan.REPORT
    plain = plan.plan(_without("dpg.epochs=0", "reinforce.steps=0"))
    assert list(plain) == [plan.LOAD, plan.PRIOR, plan.INFER, plan.REPORT]
    short = plan.plan(_without("reinforce.steps=1000000", "reinforce.seconds=60"))
    assert short[plan.title("reinforce")] < 120
    small = plan.plan(load_config(None, ["prompts.heldout=4", "measure.draws=16"]))
    assert small[plan.REPORT] < whole[plan.REPORT] / 2  # rejects: ten seconds, of a run that takes less


def test_a_part_may_turn_into_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each keeps its own seconds; rejects a part whose time counts for the one it began as."""
    clock = Clock(monkeypatch)
    live = Live(silent(), {"one": 10.0, "two": 30.0})
    with live.part("one"):
        clock.now += 5
        live.turn("two")
        assert live.name == "two"
        clock.now += 20
    assert live.done == {"one": 5.0, "two": 20.0}


def test_fitting_a_reward_to_comparisons_is_planned(tmp_path: Path) -> None:
    """Its own part, by the length of the file; and what it adds to every part that asks it."""
    taught = load_config(EXAMPLES / "taught.toml")
    parts, plain = plan.plan(taught), plan.plan(taught.model_copy(update={"evidence": load_config(None).evidence}))
    assert list(parts)[:3] == [plan.LOAD, plan.TAUGHT, plan.PRIOR]
    assert plan.TAUGHT not in plain
    assert 10 < parts[plan.TAUGHT] < 120
    asking = (plan.PRIOR, plan.INFER, plan.MEMORY, plan.title("reinforce"), plan.measuring("reinforce"))
    assert all(parts[name] > 1.1 * plain[name] for name in asking)
    assert parts[plan.RULER] == plain[plan.RULER]  # the policy is scored there, and nothing is asked
    (tmp_path / "taught.toml").write_text((EXAMPLES / "taught.toml").read_text("utf-8"), "utf-8")
    lines = (EXAMPLES / "prefer.jsonl").read_text("utf-8")
    (tmp_path / "prefer.jsonl").write_text(10 * lines, "utf-8")
    assert plan.plan(load_config(tmp_path / "taught.toml"))[plan.TAUGHT] > 3 * parts[plan.TAUGHT]
    (tmp_path / "prefer.jsonl").unlink()
    assert plan.plan(load_config(tmp_path / "taught.toml"))[plan.TAUGHT] > 0  # the file is missed where it is read


def test_a_dialogue_is_planned_by_what_it_will_cost() -> None:
    def parts(name: str, *overrides: str, profile: str = "") -> dict[str, float]:
        return dialogue.plan(load_dialogue(EXAMPLES / name, overrides, profile))

    whole = parts("helpdesk_zh.toml")
    assert 150 < sum(whole.values()) < 450  # measured: 212 s of CPU. Rejects: a plan of 25 minutes
    assert whole[dialogue.AFTER] < whole[dialogue.BEFORE] / 2  # what scores the candidates has read them by then
    assert sum(parts("helpdesk_zh.toml", profile="fast").values()) < 60
    english = parts("helpdesk_en.toml", "learn.seconds=60")
    assert english[dialogue.LEARN] == 60
    assert all(seconds > 0 for seconds in english.values())


def _without(*settings: str) -> RunConfig:
    return load_config(None, [f"train.{setting}" for setting in settings])


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3725, "1:02:05")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
