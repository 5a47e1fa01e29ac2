"""`credence dialogue train`: an agent talks with simulated users, learns, and is measured on users it never met."""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from credence.core.errors import ContractError
from credence.core.keys import Key
from credence.core.status import Status
from credence.dialogue.agent import DialogueAgent
from credence.dialogue.candidates import CandidatePolicy, CandidatePrior
from credence.dialogue.lessons import Learnt, Lessons, gains, learn
from credence.dialogue.rollout import Talk, converse, refuse_impossible
from credence.learn.loop import Record
from credence.prior.export import export_policy
from credence.prior.policy import LMPolicy
from credence.report.dialogue import render
from credence.report.talks import TalkReport
from credence.study import resumption
from credence.study.choosing import save_choosing
from credence.study.dialogue_config import KIND, DialogueConfig
from credence.study.folder import RunFolder, alone
from credence.study.live import Live, duration
from credence.study.machine import fast_products
from credence.study.parts import Parts
from credence.study.session import CHECKPOINTS, Session, begun, finished
from credence.study.stored import read_talks
from credence.study.talk_parts import pack_talks, unpack_talks
from credence.study.talk_rows import final, findings, rows, table, transcript
from credence.study.talking import World, check_together, world
from credence.study.trackers import Tracking, check_trackers

LOAD, BEFORE, LEARN, AFTER, REPORT = "loading", "before: held-out users", "learning", "after: held-out users", "report"
MANY = 100
"""Users to learn from that a plan counts where all are taken: their source is read later."""
LAWS = {BEFORE: "before", AFTER: "after"}
HEADINGS = "   step    J/β  E[Σr]  KL/turn  satisfied  turns      ETA   validation J/β"


def train_dialogue(
    config: DialogueConfig, folder: Path, *, overwrite: bool = False, resume: bool = False,
    console: Console | None = None,
) -> TalkReport:  # fmt: skip
    """Run a dialogue config and leave its folder. Tested in tests/e2e/test_dialogue.py and test_dialogue_resume.py.

    Args:
        config: checked settings.
        folder: where results go: report.html, report.json, history.jsonl, transcripts.jsonl, policy/, manifest.json.
        overwrite: replace an earlier run's folder.
        resume: go on with an earlier run, from whatever state a kill left it in; begin where there is none. On one
            thread the policy, history.jsonl and transcripts.jsonl get the bytes that they would have had.
        console: where progress is shown; standard error by default.

    Raises:
        ConfigError: settings or sources that cannot be used, a folder that may not be replaced, or a run that was
            begun with other settings, users, answers or weights.
        BackendError: a model, the FAQ or the disk failed.
        KeyboardInterrupt: passed on after what is done was kept.
    """
    check_together(config)
    check_trackers(config)
    before = begun(folder, config, overwrite, resume, KIND)
    live = Live(console or Console(stderr=True), plan(config))
    if finished(folder, before, live):
        return read_talks(folder / "report.json")
    session = Session(config, live, before, KIND)
    with fast_products(), live.running():
        with live.part(LOAD):
            made = world(config)
            if isinstance(made.policy, LMPolicy):
                made.policy.products = session.products(config.learn.products, config.prior.device)
            agent = DialogueAgent(
                made.policy, made.prior, Key(config.seed).fold("agent"), prompt_tokens=config.talk.prompt_tokens
            )
            session.compare(origin(config, made, agent))
        place = session.open(folder, overwrite or resume)
        with alone(folder):
            run = _Run(config, made, agent, place, live, session)
            return session.through(place, run.work, run.keep, final)


def origin(config: DialogueConfig, made: World, agent: DialogueAgent) -> dict[str, Any]:
    """What the settings do not say of where a run began: users, answers, rewards, and the prior's own numbers.

    Cost: one forward pass over one prompt; where a model scores candidates, over one question's.
    """
    people = [*made.people.heldout, *made.people.validation, *made.people.train]
    sources = {
        "users.source": [[u.name, u.goal.question, u.goal.answer, u.patience, u.strictness] for u in people],
        "users.rewordings": [[u.name, *u.goal.rewordings] for u in people if u.goal.rewordings],
        "talk.knowledge": [[e.question, e.answer] for e in made.entries],
    }
    files = resumption.reward_files(config.evidence.reward, config.folder)
    files["users.satisfaction"] = resumption.function_file(config.users.satisfaction, config.folder)
    prompts = agent.prompts([[{"role": "user", "content": people[0].opens()}]])
    numbers = resumption.first_words(made.prior, prompts)
    if isinstance(made.prior, CandidatePrior):  # a model that scores them is seen in their features only
        numbers += made.prior.table(prompts.ids[0]).features.flatten().tolist()
    return resumption.origin(config, sources, files, numbers)


def plan(config: DialogueConfig) -> dict[str, float]:
    """Seconds expected of each part on two cores: shares for the ETA, not promises. Test: tests/unit/test_live.py."""
    given, chosen = config.learn, config.candidates
    turns = (1 + config.talk.max_turns) / 2
    reply = turns * (0.01 if chosen else config.prior.horizon / 250 + 0.05)  # in one dialogue
    scored = turns * (0.5 if chosen and chosen.score else 0.0)  # a user's questions, the first time that they are asked
    heard = config.users.heldout * config.measure.rollouts * reply
    met = min(config.users.train or MANY, given.users * given.steps) + config.users.validation
    step = given.users * given.rollouts * reply * (1.2 if chosen else 3.5)
    looks = config.users.validation * given.validation_rollouts * reply * (1 + given.steps / given.validate_every)
    learning = min(given.steps * step + looks + met * scored, given.seconds or math.inf)
    before = heard + config.users.heldout * scored
    return {LOAD: 5.0, BEFORE: before, LEARN: max(1.0, learning), AFTER: 1.6 * heard, REPORT: 5.0}


class _Run:
    def __init__(
        self, config: DialogueConfig, made: World, agent: DialogueAgent, place: RunFolder, live: Live, session: Session
    ) -> None:
        self.config, self.made, self.agent = config, made, agent
        self.place, self.live, self.session = place, live, session
        self.key = Key(config.seed)
        self.parts = Parts(place.path / CHECKPOINTS, config.learn.keep, live, session.resumed)
        self.store = self.parts.checkpoints("learn")
        self.learnt, self.history = Learnt(), list[Record]()
        self.talks: dict[str, list[Talk]] = {}
        self.headed, self.exported = False, False

    def work(self, told: Sequence[Tracking]) -> TalkReport:
        """All parts in their order; what is on the disk from before is not done again."""
        before = self.look(BEFORE)
        if all(talk.failed for talk in before):
            raise nothing_read(before)
        self.teach(told)
        after = self.look(AFTER)
        with self.live.part(REPORT):
            made = self.report(before, after)
            self.parts.clear()
        return made

    def keep(self, status: str) -> str:
        """What a run leaves that did not come to its end: its history so far and its best policy, unmeasured."""
        if self.history and not self.exported:
            self.export(f"# {self.config.name}\n\nThe run was {status} before this policy was measured.\n")
        return f"{len(self.history)} updates of history" + (" and the best policy so far" if self.history else "")

    def look(self, part: str) -> list[Talk]:
        """Dialogues with the held-out users; both looks use one key, so that chance is shared."""
        people = self.made.people.heldout

        def talk() -> list[Talk]:
            return converse(
                self.agent, lambda: self.made.env(people, self.config), range(len(people)),
                self.config.measure.rollouts, self.key.fold("heldout"), self.live.tick,
            )  # fmt: skip

        with self.live.part(part):
            # A reward that failed may be mended before the run goes on: then they are to be talked again.
            talks = self.parts.kept(
                LAWS[part],
                talk,
                pack_talks,
                unpack_talks,
                lambda made: not any(r != r or r == -math.inf for t in made for r in t.rewards),
            )
            self.talks[LAWS[part]] = talks
            stored = [_stored(law, talk) for law, said in self.talks.items() for talk in said]
            self.place.lines("transcripts.jsonl", stored)  # now: whatever comes next, what was said is kept
            content = sum(t.satisfied for t in talks) / len(talks)
            self.live.say(f"  {len(talks)} dialogues with {len(people)} users, {content:.0%} satisfied")
            refuse_impossible(talks)
            return talks

    def teach(self, told: Sequence[Tracking]) -> None:
        """The updates, each a line."""
        given, people = self.config.learn, self.made.people
        if given.steps == 0:
            return
        lessons = Lessons(
            given.users, given.rollouts, given.steps, given.lr, seconds=given.seconds,
            validate_every=given.validate_every, validation_rollouts=given.validation_rollouts,
        )  # fmt: skip
        with self.live.part(LEARN):
            self.learnt = learn(
                self.agent, lambda: self.made.env(people.train, self.config), len(people.train),
                lambda: self.made.env(people.validation, self.config), len(people.validation), lessons,
                self.key.fold("learn"), callbacks=[self, *told], checkpoints=self.store,
                checkpoint_every=given.checkpoint_every,
            )  # fmt: skip
            if self.learnt.history != self.history:  # one that the time budget cut is validated after it was told
                self.history = list(self.learnt.history)
                self.place.lines("history.jsonl", [dict(record) for record in self.history])
            why = f"; {self.learnt.why}" if self.learnt.why else ""
            self.live.say(f"  kept step {self.learnt.best}{why}")
        if self.learnt.interrupted:
            raise KeyboardInterrupt

    def begin(self, history: Sequence[Record]) -> None:
        """Before the first update: what was written after the last checkpoint, or cut through by a kill, goes."""
        for warning in self.store.warnings:
            self.live.say(f"  {warning}", "yellow")
        if self.session.resumed:
            self.history = list(history)
            self.place.lines("history.jsonl", [dict(record) for record in history])
            self.place.filter("timing.jsonl", lambda line: line["step"] <= len(history))
        if history:
            self.live.skip(len(history) / self.config.learn.steps)
            self.live.say(f"  {len(history)} updates taken from the disk", "dim")

    def __call__(self, record: Record, clock: Record) -> None:
        """One update, on the disk and on the screen."""
        self.history.append(record)  # so that an interruption finds it
        self.place.append("history.jsonl", record)
        self.place.append("timing.jsonl", {"step": record["step"], **clock})
        self.live.tick(float(clock["progress"]))
        if not self.headed:  # lessons that had ended before the run was resumed have no updates to head
            self.live.say(HEADINGS, "dim")
            self.headed = True
        if "j" not in record:
            self.live.say(f"{record['step']:>7.0f}  every dialogue failed: nothing was learnt", "yellow")
            return
        line = (
            f"{record['step']:>7.0f}{record['j']:>7.2f}{record['reward']:>7.2f}{record['kl_turn']:>9.3f}"
            f"{record['satisfied']:>11.0%}{record['turns']:>7.2f}{duration(self.live.eta()):>9}"
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
                                    self.learnt.why if self.learnt.status is Status.NAN else "",
                                    self.made.literal)),
            transcripts=tuple(shown),
            history=tuple(self.history),
            weights=weights,
        )  # fmt: skip
        change = laws[2].j
        self.export(f"# {self.config.name}\n\nChange of J/β on held-out users: {change.value:.3f} "
                    f"[{change.low:.3f}, {change.high:.3f}] nats a dialogue.\n")  # fmt: skip
        made = replace(made, manifest=self.session.manifest())
        self.place.json("report.json", made.to_json())
        self.place.text("report.html", render(made))
        self.session.done(self.place, made.manifest)
        return made

    def export(self, card: str) -> None:
        """The policy, in place of one that an interruption left: a model, or weights of a law over candidates."""
        policy = self.made.policy
        with self.place.writing("policy") as folder:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(policy, LMPolicy):
                export_policy(policy, folder, card)
            else:
                folder.mkdir()
                (folder / "README.md").write_text(card, encoding="utf-8")
            if isinstance(policy, CandidatePolicy):
                save_choosing(folder, policy)
        self.exported = True


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
