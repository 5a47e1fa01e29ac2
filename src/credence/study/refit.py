"""`credence dialogue update`: from the prior with all evidence, that of the run and that of people, to a new policy.

Always from π0, never from the last policy: its own reward would count again (SCIENCE 1.2: k rounds at β are one at
β/k). The opinions are fitted from scratch each time, so one that was taken back leaves no trace, and none counts twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from credence.core.errors import BackendError
from credence.core.keys import Key
from credence.core.protocols import Batch, Evidence
from credence.core.types import Prompts
from credence.diagnose.intervals import Group, bootstrap_all
from credence.dialogue.feedback import FeedbackStore, Refit
from credence.evidence.feedback import Feedback, left_out, save_head
from credence.evidence.product import Product
from credence.evidence.strength import factors
from credence.learn.dpg import DPG
from credence.learn.loop import Fit, Record, Validation, fit
from credence.learn.reinforce import Reinforce
from credence.posterior.posterior import Posterior
from credence.prior.export import export_policy
from credence.prior.policy import LMPolicy, full_policy, lora_policy
from credence.prior.reshape import Reshaped
from credence.report.schema import Estimate, plain_tree
from credence.sample.importance import Importance
from credence.study import build
from credence.study.collect import draw_each, draw_policy, memory, reduce, score_each
from credence.study.config import RunConfig
from credence.study.folder import RunFolder, alone, check_place
from credence.study.job import LongJob
from credence.study.live import Live
from credence.study.opinions import (
    FILE,
    HEAD,
    FeedbackSettings,
    Heard,
    Taught,
    centred,
    hear,
    learn,
    ratings_print,
    readings,
)
from credence.study.refit_report import Change, Refitted, changes_of, mean_over, summed, update_card
from credence.study.resumption import reward_files
from credence.study.ruler import Ruler
from credence.study.session import Session
from credence.study.trackers import Tracking, check_trackers

LOAD, TEACH, DRAW = "loading the prior", "what the ratings teach", "prior draws to learn from"
FORWARD, REVERSE = "training: forward KL on prior draws", "training: REINFORCE, KL in the return"
MEASURE, SAVE = "before and after", "saving the policy"
READING = "approval"
AGAIN = "its ratings count as not learnt yet, the same command learns them all again"
PARTS = {LOAD: 4.0, TEACH: 10.0, DRAW: 20.0, FORWARD: 60.0, REVERSE: 90.0, MEASURE: 40.0, SAVE: 5.0}
"""Seconds expected of each: shares for the ETA, not promises."""
SHORT = 64
"""Tokens of a prompt up to which a training pass takes pieces of the usual size."""


@dataclass(frozen=True)
class Budget:
    """How much is spent; the defaults end in some minutes on two cores for a handful of rated prompts.

    Attributes:
        draws: prior draws a context, for forward KL and the ruler.
        epochs: of forward KL.
        steps: of REINFORCE.
        prompts: contexts a step.
        group: replies a context and step.
        lr: step size.
        measured: policy draws a context, for the ruler.
    """

    draws: int = 48
    epochs: int = 3
    steps: int = 12
    prompts: int = 4
    group: int = 8
    lr: float = 3e-4
    measured: int = 48


FAST = Budget(draws=16, epochs=2, steps=4, group=4, measured=16)


def next_folder(config: LongJob, runs: Path = Path("runs")) -> Path:
    """runs/<name>-feedback-<k>, the first that is free."""
    name, k = config.name.partition("-feedback-")[0], 1
    while (runs / f"{name}-feedback-{k}").exists():
        k += 1
    return runs / f"{name}-feedback-{k}"


def learnt_before(store: FeedbackStore, digits: str, file: str) -> Path | None:
    """The folder of an update that rested on the same, and whose policy/`file` is still there."""
    places = (Path(done.folder) for done in reversed(store.refits()) if done.fingerprint == digits)
    return next((p for p in places if (p / "policy" / file).exists() and (p / FILE).exists()), None)


def refit(
    store: FeedbackStore,
    config: RunConfig,
    evidence: Evidence,
    settings: FeedbackSettings,
    budget: Budget,
    folder: Path | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> Refitted:
    """Fit the reward belief to all ratings that stand, train a policy from the prior, measure it, and save it.

    Args:
        store: the ratings.
        config: the prior, and how a policy is built on it.
        evidence: what is good besides the ratings, as `config` says it.
        settings: how ratings become nats.
        budget: how much is spent.
        folder: where to; the next free one by default.
        overwrite: whether it may be replaced.
        console: where progress goes.

    Raises:
        ConfigError: no rating that counts, or a folder that may not be replaced.
        MissingExtraError: a tracker that is not installed.
        BackendError: a model, the machine or the disk failed.
        KeyboardInterrupt: passed on after what is done was kept; the ratings are not marked as learnt.

    Cost: contexts × (draws × (2 + epochs) + steps × group / contexts · prompts + measured) replies, roughly.
    """
    check_trackers(config)
    standing = store.standing()
    ids = tuple(r.id for r in standing)
    digits = ratings_print(
        standing,
        asdict(settings),
        [
            config.model_dump(mode="json", exclude={"name"}),
            asdict(budget),
            reward_files(config.evidence.reward, config.folder),
        ],
    )
    earlier = learnt_before(store, digits, "config.json")
    if earlier is not None:
        return Refitted(earlier, False, ids)
    place = folder or next_folder(config)
    if standing:
        check_place(place, overwrite, "--overwrite to replace it, or --out ANOTHER")
    named = config.model_copy(update={"name": place.name}).at(config.folder)
    live = Live(console or Console(stderr=True), PARTS)
    session = Session(named, live, kind="update", again=AGAIN)
    with live.running():
        with live.part(LOAD):
            prior = build.prior(named)
            heard = hear(standing, prior, named.prior.model)
        opened = session.open(place, overwrite)
        with alone(place):
            work = _Work(named, settings, budget, session, opened, heard, prior, evidence, digits)
            made = session.through(opened, work.run, work.keep, final)
    store.refitted(Refit(digits, str(place.resolve()), ids, 0.0))  # after the last word: what broke off counts as new
    return made


def final(made: Refitted) -> dict[str, float]:
    """What an update came to, for trackers."""
    return {f"final/{name}": estimate.value for name, estimate in made.numbers.items()}


class _Work:
    """An update under way; a callback of the training loop."""

    def __init__(
        self, config: RunConfig, settings: FeedbackSettings, budget: Budget, session: Session, place: RunFolder,
        heard: Heard, prior: Reshaped, evidence: Evidence, digits: str,
    ) -> None:  # fmt: skip
        self.config, self.settings, self.budget = config, settings, budget
        self.session, self.live, self.place = session, session.live, place
        self.heard, self.prior, self.evidence, self.digits = heard, prior, evidence, digits
        self.key = Key(config.seed).fold("dialogue update")
        self.history: list[dict[str, Any]] = []
        self.told: Sequence[Tracking] = ()
        self.taught: Taught | None = None
        self.policy: LMPolicy | None = None
        self.exported = False

    def run(self, told: Sequence[Tracking]) -> Refitted:
        """All of it, after the prior is loaded and the folder open."""
        live, budget, heard, prior = self.live, self.budget, self.heard, self.prior
        self.told = told
        with live.part(TEACH):
            taught, predicted = self._teach()
            posterior = Posterior(prior, Product((*factors(self.evidence), taught)))
        with live.part(DRAW):
            key = self.key.fold("memory")
            drawn = draw_each(Importance(), key, posterior, heard.contexts, budget.draws, live.tick)
        self.policy = policy = self._policy(prior, heard.contexts)
        self._train(posterior, policy, memory(drawn))
        with live.part(MEASURE):
            numbers, changes = self._measure(posterior, policy, heard, reduce(drawn, READING))
            numbers["predicted"] = mean_over(predicted[:, None], self.key.fold("predicted"), "predicted")["predicted"]
        with live.part(SAVE):
            ids = tuple(r.id for r in heard.ratings)
            made = Refitted(self.place.path, True, ids, len(heard.contexts), numbers, changes)
            self._save(made, policy)
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
        heard, prior = self.heard, self.prior
        features = centred(self.settings, prior)
        work, done = len(heard.contexts) + readings(heard), count(1)

        def advance() -> None:
            self.live.tick(next(done) / work)

        for b in range(len(heard.contexts)):
            features.usual(heard.contexts, b)
            advance()
        taught, opinions, scale = learn(heard, self.settings, prior, features, advance)
        ids, said = tuple(r.id for r in heard.ratings), ratings_print(heard.ratings, self.config.prior.model)
        self.taught = Taught(self.settings, ids, said, self.digits, taught.head)
        self.live.say(f"  {len(heard.ratings)} ratings of {len(heard.contexts)} prompts")
        return taught, left_out(opinions, scale, self.settings.tau)

    def _policy(self, prior: Reshaped, contexts: Prompts) -> LMPolicy:
        train = self.config.train
        if train.method == "full":
            policy = full_policy(prior)
        else:
            policy = lora_policy(prior, self.key.fold("adapters"), train.rank, train.alpha)
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
            with self.live.part(title):
                self.live.headings()
                done = fit(
                    posterior, policy, contexts, learner, self.key.fold(name), steps, stored=batch, validation=look,
                    stage=name, callbacks=[self],
                )  # fmt: skip
                self._told(name, done)
            if done.interrupted:
                raise KeyboardInterrupt

    def begin(self, history: Sequence[Record]) -> None:
        """A stage begins."""
        for tracker in self.told:
            tracker.begin(history)

    def __call__(self, record: Record, clock: Record) -> None:
        """One step, on the disk and on the screen."""
        full = {**record, "reward": record[READING]}
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
        key = self.key.fold("ruler")
        fresh = draw_each(Importance(), key, posterior, contexts, budget.draws, lambda s: live.tick(0.3 * s))
        drawn, _, _, _ = draw_policy(
            policy,
            key.fold("policy"),
            posterior,
            contexts,
            budget.measured,
            READING,
            lambda s: live.tick(0.3 + 0.4 * s),
        )
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
