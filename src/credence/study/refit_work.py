"""An update under way: what ratings teach, prior draws, two stages of training, the ruler, the policy's folder."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from itertools import count
from typing import Any

import torch
from torch import Tensor

from credence.core.errors import BackendError
from credence.core.keys import Key
from credence.core.protocols import Batch, Evidence
from credence.core.types import Draws, Prompts
from credence.diagnose.intervals import Group, bootstrap_all
from credence.evidence.feedback import Feedback, Head, left_out, save_head
from credence.evidence.product import Product
from credence.evidence.strength import factors
from credence.learn.dpg import DPG
from credence.learn.loop import Fit, Record, Validation, fit
from credence.learn.reinforce import Reinforce
from credence.posterior.posterior import Posterior
from credence.prior.export import export_policy
from credence.prior.features import Centred
from credence.prior.policy import LMPolicy
from credence.prior.reshape import Reshaped
from credence.report.schema import Estimate, plain_tree
from credence.sample.importance import Importance
from credence.study import build
from credence.study.collect import Tick, draw_each, draw_policy, memory, reduce, score_each
from credence.study.folder import RunFolder
from credence.study.opinions import FILE, HEAD, Heard, Taught, as_evidence, centred, learn, ratings_print, readings
from credence.study.parts import Packed, Parts
from credence.study.refit_basis import Basis
from credence.study.refit_report import Change, Refitted, changes_of, mean_over, summed, update_card
from credence.study.ruler import Drawn, Ruler
from credence.study.session import CHECKPOINTS, Session
from credence.study.trackers import Tracking

LOAD, TEACH, DRAW = "loading the prior", "what the ratings teach", "prior draws to learn from"
FORWARD, REVERSE = "training: forward KL on prior draws", "training: REINFORCE, KL in the return"
MEASURE, SAVE = "before and after", "saving the policy"
READING = "approval"
PARTS = {LOAD: 4.0, TEACH: 10.0, DRAW: 20.0, FORWARD: 60.0, REVERSE: 90.0, MEASURE: 40.0, SAVE: 5.0}
"""Seconds expected of each: shares for the ETA, not promises."""
SHORT = 64
"""Tokens of a prompt up to which a training pass takes pieces of the usual size."""


class Work:
    """An update under way; a callback of the training loop. What its parts found is kept until it is done."""

    def __init__(
        self, basis: Basis, session: Session, place: RunFolder, heard: Heard, prior: Reshaped, evidence: Evidence
    ) -> None:
        self.basis, self.config, self.settings, self.budget = basis, basis.config, basis.settings, basis.budget
        self.session, self.live, self.place = session, session.live, place
        self.heard, self.prior, self.evidence = heard, prior, evidence
        self.key = Key(self.config.seed).fold("dialogue update")
        self.parts = Parts(place.path / CHECKPOINTS, self.config.train.keep, self.live, session.resumed)
        self.begun, self.steps, self.store = 0, 1, self.parts.checkpoints("dpg")  # of the stage at hand
        self.history: list[dict[str, Any]] = []
        self.told: Sequence[Tracking] = ()
        self.taught: Taught | None = None
        self.policy: LMPolicy | None = None
        self.exported = self.headed = False

    def run(self, told: Sequence[Tracking]) -> Refitted:
        """All of it, after the prior is loaded and the folder open."""
        live, heard, prior = self.live, self.heard, self.prior
        self.told = told
        with live.part(TEACH):
            taught, predicted = self._teach()
            posterior = Posterior(prior, Product((*factors(self.evidence), taught)))
        with live.part(DRAW):
            drawn = self._draws("memory", posterior, live.tick)
        self.policy = policy = self._policy(prior, heard.contexts)
        self._train(posterior, policy, memory(drawn))
        with live.part(MEASURE):
            numbers, changes = self._measure(posterior, policy, heard, reduce(drawn, READING))
            numbers["predicted"] = mean_over(predicted[:, None], self.key.fold("predicted"), "predicted")["predicted"]
        with live.part(SAVE):
            ids = tuple(r.id for r in heard.ratings)
            made = Refitted(self.place.path, True, ids, len(heard.contexts), numbers, changes)
            self._save(made, policy)
            self.parts.clear()
        return made

    def keep(self, status: str) -> str:
        """What an update leaves that did not come to its end: history, and its best policy, unmeasured."""
        trained = self.policy is not None and bool(self.history)
        if self.policy is not None and trained and not self.exported:
            why = f"# {self.config.name}\n\nThe update was {status} before this policy was measured.\n"
            self._export(self.policy, why, {})
        return f"{len(self.history)} steps of history" + (" and the best policy so far" if trained else "")

    def _teach(self) -> tuple[Feedback, Tensor]:
        """The ratings as evidence; and how well each is predicted by the others, nats."""
        heard = self.heard
        features = centred(self.settings, self.prior)
        seen, _ = self.parts.packed("taught", lambda: (self._learnt(features), {}))
        for ids, usual in zip(heard.contexts.ids, seen["usual"], strict=True):
            features.remember(ids, usual)
        head = Head(seen["mean"], seen["cov"], seen["scale"])
        ids, said = tuple(r.id for r in heard.ratings), ratings_print(heard.ratings, self.config.prior.model)
        self.taught = Taught(self.settings, ids, said, self.basis.digits, head)
        self.live.say(f"  {len(heard.ratings)} ratings of {len(heard.contexts)} prompts")
        return as_evidence(head, self.settings, features), seen["predicted"]

    def _learnt(self, features: Centred) -> dict[str, Tensor]:
        """The belief over the reward, the centres that it rests on, and what each rating is predicted with."""
        heard = self.heard
        work, done = len(heard.contexts) + readings(heard), count(1)

        def advance() -> None:
            self.live.tick(next(done) / work)

        usual: list[Tensor] = []
        for b in range(len(heard.contexts)):
            usual.append(features.usual(heard.contexts, b))
            advance()
        taught, opinions, scale = learn(heard, self.settings, self.prior, features, advance)
        head, predicted = taught.head, left_out(opinions, scale, self.settings.tau)
        return {
            "mean": head.mean, "cov": head.cov, "scale": head.scale, "usual": torch.stack(usual), "predicted": predicted
        }  # fmt: skip

    def _draws(self, name: str, posterior: Posterior, tick: Tick) -> Draws:
        """Prior draws on the rated prompts."""
        contexts, n, key = self.heard.contexts, self.budget.draws, self.key.fold(name)
        return self.parts.draws(name, contexts, lambda: draw_each(Importance(), key, posterior, contexts, n, tick))

    def _policy(self, prior: Reshaped, contexts: Prompts) -> LMPolicy:
        policy = build.policy(prior, self.config.train, self.key.fold("adapters"))
        # What a piece of a training pass holds in memory grows with the talk before the reply.
        longest = max(len(ids) for ids in contexts.ids)
        policy.train_tokens = max(prior.horizon, policy.train_tokens * SHORT // max(SHORT, longest))
        return policy

    def _train(self, posterior: Posterior, policy: LMPolicy, stored: Batch) -> None:
        budget, contexts = self.budget, self.heard.contexts
        size = min(budget.prompts, len(contexts))
        look = Validation(contexts, max(2, budget.group), 5, key=self.key.fold("validation"))
        stages = (
            (
                FORWARD,
                "dpg",
                DPG(size, budget.draws, budget.lr, baseline=False),
                max(1, budget.epochs * len(contexts) // size),
                stored,
            ),
            (REVERSE, "reinforce", Reinforce(size, budget.group, budget.lr / 1.5), budget.steps, None),
        )
        for title, name, learner, steps, batch in stages:
            self.begun, self.steps, self.store = len(self.history), steps, self.parts.checkpoints(name)
            with self.live.part(title):
                done = fit(
                    posterior, policy, contexts, learner, self.key.fold(name), steps, stored=batch, validation=look,
                    stage=name, callbacks=[self], checkpoints=self.store,
                    checkpoint_every=self.config.train.checkpoint_every,
                )  # fmt: skip
                self._told(name, done)
            if done.interrupted:
                raise KeyboardInterrupt

    def begin(self, history: Sequence[Record]) -> None:
        """A stage begins: what was written after its last checkpoint, or cut through by a kill, goes."""
        for tracker in self.told:
            tracker.begin(history)
        for warning in self.store.warnings:
            self.live.say(f"  {warning}", "yellow")
        if self.session.resumed:
            self.history[self.begun :] = [_full(record) for record in history]
            self.place.lines("history.jsonl", self.history)
        if history:
            self.live.skip(len(history) / self.steps)
            self.live.say(f"  {len(history)} steps taken from the disk", "dim")
        self.headed = False

    def __call__(self, record: Record, clock: Record) -> None:
        """One step, on the disk and on the screen."""
        if not self.headed:
            self.live.headings()
            self.headed = True
        full = _full(record)
        self.history.append(full)
        self.place.append("history.jsonl", full)
        self.live.step(full, clock)
        for tracker in self.told:
            tracker(full, clock)

    def _told(self, name: str, done: Fit) -> None:
        kept = f"step {done.best}" if done.best else "the policy as it came"
        self.live.say(f"  {name}: kept {kept} (validation ELBO {done.best_elbo:.2f})" + (done.why and f"; {done.why}"))

    def _measure(
        self, posterior: Posterior, policy: LMPolicy, heard: Heard, prior_drawn: Any  # noqa: ANN401 - Drawn
    ) -> tuple[dict[str, Estimate], tuple[Change, ...]]:  # fmt: skip
        live, budget, contexts = self.live, self.budget, heard.contexts
        # Fresh draws: those that were learnt from would flatter the policy.
        fresh = self._draws("ruler", posterior, lambda s: live.tick(0.3 * s))
        key, n = self.key.fold("ruler").fold("policy"), budget.measured

        def look() -> Packed:
            made = draw_policy(policy, key, posterior, contexts, n, READING, lambda s: live.tick(0.3 + 0.4 * s))[0]
            return {f.name: getattr(made, f.name) for f in fields(made)}, {}

        seen, _ = self.parts.packed("measured", look)
        drawn = Drawn(*(seen[f.name] for f in fields(Drawn)))
        ruler = Ruler(reduce(fresh, READING), min(8, budget.draws), policies={"feedback": drawn})
        scored = score_each(policy, contexts, fresh.completions, lambda s: live.tick(0.7 + 0.2 * s))
        ruler.final_on_prior = scored.view(len(contexts), -1)
        groups = ruler.groups()

        def statistics(again: Sequence[Group]) -> dict[str, float]:
            found = ruler.statistics(again)
            free = [float(g["prior"][:, 2].mean()) for g in again]
            paid = [float((g["policy:feedback"][:, 2] - g["policy:feedback"][:, 0] + g["policy:feedback"][:, 1]).mean())
                    for g in again]  # fmt: skip
            found |= {"prior/j": sum(free) / len(free), "policy_feedback/j": sum(paid) / len(paid)}
            return found | {"gain": found["policy_feedback/j"] - found["prior/j"]}

        whole = statistics(groups)
        known = {n for n in whole if whole[n] == whole[n] and not n.startswith("best_of_n")}

        def some(again: Sequence[Group]) -> dict[str, float]:
            return {n: v for n, v in statistics(again).items() if n in known}

        read = bootstrap_all(some, groups, self.key.fold("intervals"), resamples=400)
        numbers = {name: Estimate(*values) for name, values in read.items()}
        changes = changes_of(posterior, policy, heard, lambda s: live.tick(0.9 + 0.1 * s))
        return numbers | summed(changes, self.key.fold("changes")), changes

    def _save(self, made: Refitted, policy: LMPolicy) -> None:
        self._export(policy, update_card(made, self.config, self.settings), {
            "numbers": {n: {"value": e.value, "low": e.low, "high": e.high} for n, e in made.numbers.items()},
            "changes": [asdict(c) for c in made.changes],
        })  # fmt: skip
        self.session.done(self.place, self.session.manifest())

    def _export(self, policy: LMPolicy, card: str, found: Mapping[str, Any]) -> None:
        """The policy, and the feedback that it was trained on."""
        if self.taught is None:
            raise BackendError("a policy was trained on no feedback: this is a fault of credence, please report it.")
        with self.place.writing(HEAD) as path:
            save_head(self.taught.head, path)
        with self.place.writing("policy") as folder:
            shutil.rmtree(folder, ignore_errors=True)  # of an update that was broken off
            export_policy(policy, folder, card)
        told = {
            "schema": 1,
            "settings": asdict(self.settings),
            "budget": asdict(self.budget),
            "ratings": list(self.taught.ratings),
            "heard": self.taught.heard,
            "fingerprint": self.taught.fingerprint,
            "contexts": len(self.heard.contexts),
            **found,
        }
        self.place.json(FILE, plain_tree(told))
        self.exported = True


def _full(record: Record) -> dict[str, Any]:
    """A record with the approval under the name that reports look for."""
    return {**record, "reward": record[READING]}
