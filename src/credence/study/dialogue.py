"""`credence dialogue train`: an agent talks with simulated users, learns, and is measured on users it never met."""

import json
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from credence.core.errors import BackendError, ContractError
from credence.core.keys import Key
from credence.core.status import Status
from credence.dialogue.agent import DialogueAgent
from credence.dialogue.candidates import CandidatePolicy
from credence.dialogue.lessons import Learnt, Lessons, Record, gains, learn
from credence.dialogue.rollout import Talk, converse
from credence.learn.checkpoint import save_json
from credence.prior.export import export_policy
from credence.prior.policy import LMPolicy
from credence.report.dialogue import render
from credence.report.manifest import manifest
from credence.report.talks import TalkReport
from credence.study.dialogue_config import DialogueConfig
from credence.study.folder import RunFolder, check_place
from credence.study.live import Live
from credence.study.machine import fast_products
from credence.study.talk_rows import findings, rows, table, transcript
from credence.study.talking import Parts, check_together, parts

LOAD, BEFORE, LEARN, AFTER, REPORT = "loading", "before: held-out users", "learning", "after: held-out users", "report"


def train_dialogue(
    config: DialogueConfig, folder: Path, *, overwrite: bool = False, console: Console | None = None
) -> TalkReport:
    """Run a dialogue config and leave its folder. Tested in tests/e2e/test_dialogue.py.

    Args:
        config: checked settings.
        folder: where results go: report.html, report.json, history.jsonl, transcripts.jsonl, policy/, manifest.json.
        overwrite: replace an earlier run's folder.
        console: where progress is shown; standard error by default.

    Raises:
        ConfigError: settings or sources that cannot be used, or a folder that may not be replaced.
        BackendError: a model, the FAQ or the disk failed.
        KeyboardInterrupt: passed on after what is done was kept.
    """
    check_together(config)
    check_place(folder, overwrite)
    live = Live(console or Console(stderr=True), _plan(config))
    with fast_products(), live.running():
        with live.part(LOAD):
            made = parts(config)
        return _Run(config, made, RunFolder(folder, overwrite), live).run()


def _plan(config: DialogueConfig) -> dict[str, float]:
    """Seconds expected of each part on two cores: shares for the ETA, not promises."""
    reply = 0.1 if config.candidates else config.prior.horizon / 250 + 0.05
    turns = (1 + config.talk.max_turns) / 2
    look = config.users.heldout * config.measure.rollouts * turns * reply
    given = config.learn
    step = given.users * given.rollouts * turns * reply * (1.2 if config.candidates else 3.5)
    looks = (
        config.users.validation * given.validation_rollouts * turns * reply * (1 + given.steps / given.validate_every)
    )
    learning = min(given.steps * step + looks, given.seconds or 1e9)
    return {LOAD: 5.0, BEFORE: look, LEARN: max(1.0, learning), AFTER: 1.6 * look, REPORT: 5.0}


class _Run:
    def __init__(self, config: DialogueConfig, made: Parts, place: RunFolder, live: Live) -> None:
        self.config, self.made, self.place, self.live = config, made, place, live
        self.key, self.started = Key(config.seed), time.time()
        self.agent = DialogueAgent(
            made.policy, made.prior, self.key.fold("agent"), prompt_tokens=config.talk.prompt_tokens
        )
        self.learnt = Learnt()
        self.talks: dict[str, list[Talk]] = {}

    def manifest(self) -> dict[str, Any]:
        return manifest(self.config.model_dump(mode="json"), self.config.seed, self.started)

    def run(self) -> TalkReport:
        self.place.json("manifest.json", {"status": "running", "kind": "dialogue", **self.manifest()})
        try:
            before = self.look(BEFORE)
            if all(talk.failed for talk in before):
                raise nothing_read(before)
            self.teach()
            after = self.look(AFTER)
            with self.live.part(REPORT):
                return self.report(before, after)
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            with suppress(BackendError):  # a full disk is one of the reasons to be here: the first error counts
                self.keep("interrupted" if stopped else "failed", "" if stopped else f"{type(error).__name__}: {error}")
            raise

    def keep(self, status: str, why: str) -> None:
        """What a run leaves that did not come to its end."""
        if self.learnt.history and not (self.place.path / "policy").exists():
            self.export(f"# {self.config.name}\n\nThe run was {status} before this policy was measured.\n")
        self.place.json(
            "manifest.json",
            {"status": status, "kind": "dialogue", **({"error": why} if why else {}), **self.manifest()},
        )
        self.live.say(f"{status}: what was done is kept in {self.place.path}", "yellow")

    def look(self, part: str) -> list[Talk]:
        """Dialogues with the held-out users; both looks use one key, so that chance is shared."""
        with self.live.part(part):
            people = self.made.people.heldout
            talks = converse(
                self.agent, lambda: self.made.env(people, self.config), range(len(people)),
                self.config.measure.rollouts, self.key.fold("heldout"), self.live.tick,
            )  # fmt: skip
            self.talks["before" if part == BEFORE else "after"] = talks
            stored = [_stored(law, talk) for law, said in self.talks.items() for talk in said]
            self.place.lines("transcripts.jsonl", stored)  # now: whatever comes next, what was said is kept
            content = sum(t.satisfied for t in talks) / len(talks)
            self.live.say(f"  {len(talks)} dialogues with {len(people)} users, {content:.0%} satisfied")
            return talks

    def teach(self) -> None:
        """The updates, each a line."""
        given, people = self.config.learn, self.made.people
        if given.steps == 0:
            return
        lessons = Lessons(
            given.users, given.rollouts, given.steps, given.lr, seconds=given.seconds,
            validate_every=given.validate_every, validation_rollouts=given.validation_rollouts,
        )  # fmt: skip
        with self.live.part(LEARN):
            self.live.say("   step    J/β  E[Σr]  KL/turn  satisfied  turns   validation J/β", "dim")
            self.learnt = learn(
                self.agent, lambda: self.made.env(people.train, self.config), len(people.train),
                lambda: self.made.env(people.validation, self.config), len(people.validation), lessons,
                self.key.fold("learn"), self.told,
            )  # fmt: skip
            why = f"; {self.learnt.why}" if self.learnt.why else ""
            self.live.say(f"  kept step {self.learnt.best}{why}")
        if self.learnt.interrupted:
            raise KeyboardInterrupt

    def told(self, record: Record, clock: Record) -> None:
        self.learnt.history.append(record)  # so that an interruption finds it
        self.place.append("history.jsonl", record)
        self.place.append("timing.jsonl", {"step": record["step"], **clock})
        self.live.tick(float(clock["progress"]))
        if "j" not in record:
            self.live.say(f"{record['step']:>7.0f}  every dialogue failed: nothing was learnt", "yellow")
            return
        line = (
            f"{record['step']:>7.0f}{record['j']:>7.2f}{record['reward']:>7.2f}{record['kl_turn']:>9.3f}"
            f"{record['satisfied']:>11.0%}{record['turns']:>7.2f}"
        )
        if "val_j" in record:
            line += f"   {record['val_j']:.2f} ± {record['val_j_se']:.2f}{' ★' if record['best'] else ''}"
        self.live.say(line, "green" if record.get("best") else "")

    def report(self, before: list[Talk], after: list[Talk]) -> TalkReport:
        """Intervals, page, transcripts and policy; the manifest says done last."""
        people, policy = self.made.people, self.made.policy
        names = list(next((t.infos[0]["readings"] for t in [*before, *after] if not t.failed), {}))
        tables = [table(t, gains(self.agent, t), names) for t in (before, after)]
        measured = [u for u in tables[0] if u in tables[1]]
        if not measured:
            raise nothing_read([*before, *after])
        laws = rows(tables[0], tables[1], names, self.key.fold("intervals"))
        failed = sum(t.failed for t in [*before, *after])
        first = {t.user: i for i, t in reversed(list(enumerate(before)))}
        shown = [
            transcript(before[first[u]], after[first[u]], who.name, who.goal.question, who.goal.answer)
            for u, who in list(enumerate(people.heldout))[: self.config.measure.transcripts]
        ]
        weights = policy.named() if isinstance(policy, CandidatePolicy) else {}
        made = TalkReport(
            title=self.config.name,
            law="candidates" if isinstance(policy, CandidatePolicy) else "language model",
            users={"train": len(people.train), "validation": len(people.validation), "heldout": len(people.heldout)},
            rows=tuple(laws),
            findings=tuple(findings(laws[2], len(people.heldout), len(measured), failed, self.learnt.skipped,
                                    self.learnt.best,
                                    self.learnt.why if self.learnt.status is Status.NAN else "")),
            transcripts=tuple(shown),
            history=tuple(self.learnt.history),
            weights=weights,
        )  # fmt: skip
        change = laws[2].j
        self.export(f"# {self.config.name}\n\nChange of J/β on held-out users: {change.value:.3f} "
                    f"[{change.low:.3f}, {change.high:.3f}] nats a dialogue.\n")  # fmt: skip
        made = replace(made, manifest=self.manifest())
        self.place.json("report.json", made.to_json())
        self.place.text("report.html", render(made))
        self.place.json("manifest.json", {"status": "done", "kind": "dialogue", **made.manifest})
        return made

    def export(self, card: str) -> None:
        """The policy: a model folder, or the learnt weights of a law over candidates."""
        policy = self.made.policy
        with self.place.writing("policy") as folder:
            if isinstance(policy, LMPolicy):
                export_policy(policy, folder, card)
                return
            folder.mkdir()
            if isinstance(policy, CandidatePolicy):
                save_json(folder / "weights.json", policy.named())
            (folder / "README.md").write_text(card, encoding="utf-8")


def nothing_read(talks: list[Talk]) -> ContractError:
    """What to raise where no dialogue's rewards could be read, with the first reason."""
    first = next(error for talk in talks for info in talk.infos if (error := info["error"]))
    return ContractError(f"the evidence failed in every dialogue with the held-out users. The first reason: {first}")


def _stored(law: str, talk: Talk) -> dict[str, Any]:
    """A dialogue as a line of transcripts.jsonl."""
    errors = [i["error"] for i in talk.infos if i["error"]]
    whole: dict[str, Any] = {
        "law": law,
        "user": talk.infos[0]["user"],
        "satisfied": talk.satisfied,
        "rewards": [None if r != r else r for r in talk.rewards],
        "errors": errors,
        "messages": talk.transcript,
    }
    return json.loads(json.dumps(whole, ensure_ascii=False))
