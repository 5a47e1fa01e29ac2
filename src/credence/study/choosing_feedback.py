"""Ratings of a law over candidates, learnt exactly: the reward is linear in its features, so the posterior is its kind.

    r(x) = θ·φ(x),  φ = f − E_m[f]  in units of their spread         evidence.feedback, θ by its Laplace mean
    m·exp(w·f) · exp(r/β) ∝ m·exp(w'·f),   w' = w + θ/(spread·β)     no training, no draw

w is always what the run's simulated users taught, never an earlier update's, so no rating counts twice.
Tests: tests/unit/test_choosing_feedback.py, tests/e2e/test_chat_choosing.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from rich.console import Console
from torch import Tensor

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.progress import no_tick
from credence.dialogue.candidates import FEATURES, CandidatePolicy, CandidatePrior, Table, candidate_policy
from credence.dialogue.feedback import FeedbackStore, Rating, Refit
from credence.dialogue.room import prompts_of
from credence.dialogue.turn import Turn
from credence.evidence.feedback import Head, Opinions, fit_head, left_out, save_head
from credence.report.schema import Estimate, plain_tree
from credence.study.approval import Approved
from credence.study.choosing import Chosen, save_choosing
from credence.study.folder import RunFolder, alone, check_place
from credence.study.live import Live
from credence.study.opinions import FILE, HEAD, FeedbackSettings, Taught, ratings_print
from credence.study.refit_basis import folders, learnt_before
from credence.study.refit_report import Change, Refitted, mean_over, summed
from credence.study.served import WEIGHTS
from credence.study.session import Session

LOAD, READ, LEARN = "loading the answers", "reading what was rated", "learning from it"
PARTS = {LOAD: 2.0, READ: 4.0, LEARN: 1.0}
LEAST = 0.1
"""Of a feature's own unit: one that hardly moved in what was rated is not blown up where it does."""


@dataclass(frozen=True, eq=False)
class Rated:
    """Ratings whose reply this law could have given, in the order they came.

    Attributes:
        ratings: those.
        tables: what was on offer at each.
        served: which of it was said.
        better: which of it would have been better; None where no such text is given.
        passed: ratings that were passed over: other models' replies, better texts that were not on offer.
    """

    ratings: tuple[Rating, ...]
    tables: tuple[Table, ...]
    served: tuple[int, ...]
    better: tuple[int | None, ...]
    passed: int

    @property
    def contexts(self) -> list[Table]:
        """The distinct states."""
        return list({id(table): table for table in self.tables}.values())


def rated(ratings: Sequence[Rating], prior: CandidatePrior, tick: Callable[[], None] = no_tick) -> Rated:
    """The ratings as choices. Cost: what reading a state costs; a model's pass each where one scores."""
    found: list[tuple[Rating, Table, int, int | None]] = []
    for rating in ratings:
        table = prior.table(prompts_of(prior, rating.messages).ids[0])
        texts = [prior.candidates[i].text for i in table.index.tolist()]
        wanted = rating.text if rating.kind == "better" else rating.reply
        if rating.reply in texts and wanted in texts:
            better = texts.index(rating.text) if rating.kind == "better" else None
            found.append((rating, table, texts.index(rating.reply), better))
            _ = table.features  # a model reads here
        tick()
    columns = list(zip(*found, strict=True)) if found else [(), (), (), ()]
    return Rated(*columns, passed=len(ratings) - len(found))  # pyright: ignore[reportArgumentType] - four columns of it


def centred(table: Table) -> Float[Tensor, "K F"]:
    """φ before scaling: features minus their mean under m, so that m's own reward is 0."""
    return table.features - torch.exp(table.log_m) @ table.features


def opinions(heard: Rated) -> tuple[Opinions, Float[Tensor, " F"]]:
    """What was said in features, and the unit of each: its standard deviation under m over the rated states."""
    phi = [centred(table) for table in heard.tables]
    none = torch.zeros(0, len(FEATURES), dtype=torch.float64)
    thumbs, pairs, liked = [none], [none], list[bool]()
    for rating, values, said, better in zip(heard.ratings, phi, heard.served, heard.better, strict=True):
        if better is None:
            thumbs.append(values[said : said + 1])
            liked.append(rating.kind == "good")
        else:
            pairs.append(values[better : better + 1] - values[said : said + 1])
    squares = torch.stack([torch.exp(t.log_m) @ centred(t) ** 2 for t in heard.contexts])
    scale = squares.mean(0).sqrt().clamp(min=LEAST)
    return Opinions(torch.cat(thumbs), torch.tensor(liked, dtype=torch.bool), torch.cat(pairs)), scale


def taught_weights(head: Head, beta: float) -> Float[Tensor, " F"]:
    """What the mean reward adds to the weights, nats a unit of each feature."""
    return head.mean[: len(FEATURES)] / (head.scale * beta)


@dataclass(eq=False)
class ChoiceApproval:
    """The belief over a user's approval of an answer that was chosen; study/approval.py is that of a model's reply.

    Args:
        store: the ratings.
        prior: the base measure.
        settings: how ratings become a reward.
    """

    store: FeedbackStore
    prior: CandidatePrior
    settings: FeedbackSettings = field(default_factory=FeedbackSettings)

    def work(self, turn: Turn) -> int:
        """Steps of `of`: the ratings, where a model reads what was on offer."""
        return len(self.store.standing()) if self.prior.fluency is not None else 0

    def of(self, turn: Turn, tick: Callable[[], None] = no_tick) -> Approved | None:
        """What is believed of this reply; None without any rating of such answers."""
        heard = rated(self.store.standing(), self.prior, tick)
        if not heard.ratings or not turn.ids:
            return None
        head = fit_head(*opinions(heard), self.settings.tau)
        table = self.prior.table(prompts_of(self.prior, turn.messages).ids[0])
        if turn.ids[0] not in table.index.tolist():
            return None
        phi = centred(table)[table.index.tolist().index(turn.ids[0])][None]
        mean, sd = head.reward(phi)
        return Approved(float(mean[0]), float(sd[0]), float(head.approval(phi)[0]), len(heard.ratings))


def refit_choosing(
    store: FeedbackStore,
    found: Chosen,
    settings: FeedbackSettings,
    folder: Path | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> Refitted:
    """The run's law with all ratings that stand as one more evidence, in a folder of its own.

    Args:
        store: the ratings.
        found: the run, or an update of it: the ratings are added to what the run itself learnt.
        settings: how ratings become nats; the rule is the mean reward.
        folder: where to; the next free one by default.
        overwrite: whether it may be replaced.
        console: where progress goes.

    Raises:
        ConfigError: a rule but plug_in, no rating that counts, or a folder that may not be replaced.
        BackendError: the model that scores candidates, or the disk, failed.

    Cost: exact and at once; a second a rated state where a model scores its answers.
    """
    if settings.rule != "plug_in":
        raise ConfigError(
            f"--rule {settings.rule} is not linear in the features, and a law that chooses has a weight a feature. "
            "Leave --rule out; a larger --beta trusts ratings less."
        )
    standing = store.standing()
    ids = tuple(r.id for r in standing)
    digits = ratings_print(
        standing, asdict(settings), found.run.tolist(), [[e.name, e.question, e.answer] for e in found.entries],
        found.config.model_dump(mode="json", exclude={"name"}),
    )  # fmt: skip
    earlier = learnt_before(store, digits, WEIGHTS)
    if earlier is not None:
        return Refitted(earlier, False, ids)
    place = folder or folders(found.config)[1]
    check_place(place, overwrite, "--overwrite to replace it, or --out ANOTHER")
    named = found.config.model_copy(update={"name": place.name}).at(found.config.folder)
    live = Live(console or Console(stderr=True), PARTS)
    session = Session(named, live, kind="update", again="the same command learns them all again")
    with live.running():
        with live.part(LOAD):
            score = named.candidates is not None and named.candidates.score
            run = replace(found, config=named, weights=found.run).policy(score)
        with live.part(READ):
            done = iter(range(1, len(standing) + 1))
            heard = rated(standing, run.prior, lambda: live.tick(next(done) / len(standing)))
            _check(heard, len(standing))
        opened = session.open(place, overwrite)
        with alone(place):
            made = session.through(
                opened, lambda told: _learn(heard, run, settings, digits, opened, session), lambda status: "", _final
            )
    store.refitted(Refit(digits, str(place.resolve()), ids, 0.0))  # after the last word: what broke off counts as new
    return made


def _check(heard: Rated, given: int) -> None:
    if heard.ratings:
        return
    others = f" {given} ratings are of other replies than this run's answers." if given else ""
    raise ConfigError(
        f"no rating that counts for this run.{others} Talk to it (credence chat --policy RUN), and rate: /good, /bad, "
        "or /better N with the number of a better answer in /why."
    )


def _learn(
    heard: Rated, run: CandidatePolicy, settings: FeedbackSettings, digits: str, place: RunFolder, session: Session
) -> Refitted:
    with session.live.part(LEARN):
        said, scale = opinions(heard)
        head = fit_head(said, scale, settings.tau)
        after = candidate_policy(run.prior)
        after.restore({"weights": run.weights.detach() + taught_weights(head, settings.beta)})
        key = Key(session.config.seed).fold("dialogue update")
        numbers, changes = measured(heard, run, after, head, key)
        numbers |= mean_over(left_out(said, scale, settings.tau)[:, None], key.fold("predicted"), "predicted")
        ids = tuple(r.id for r in heard.ratings)
        made = Refitted(place.path, True, ids, len(heard.contexts), numbers, changes, heard.passed)
        with place.writing(HEAD) as path:
            save_head(head, path)
        with place.writing("policy") as folder:
            folder.mkdir(exist_ok=True)
            save_choosing(folder, after)
        taught = Taught(settings, ids, ratings_print(heard.ratings), digits, head)
        place.json(FILE, plain_tree(_told(taught, made, run)))
        session.done(place, session.manifest())
        return made


def _told(taught: Taught, made: Refitted, run: CandidatePolicy) -> dict[str, object]:
    return {
        "schema": 1,
        "settings": asdict(taught.settings),
        "ratings": list(taught.ratings),
        "passed": made.passed,
        "heard": taught.heard,
        "fingerprint": taught.fingerprint,
        "contexts": made.contexts,
        "run": run.named(),
        "numbers": {n: {"value": e.value, "low": e.low, "high": e.high} for n, e in made.numbers.items()},
        "changes": [asdict(c) for c in made.changes],
    }


def measured(
    heard: Rated, run: CandidatePolicy, after: CandidatePolicy, head: Head, key: Key
) -> tuple[dict[str, Estimate], tuple[Change, ...]]:
    """Both laws on the rated states, exact in each; intervals are over states, or over ratings."""
    rows: dict[str, list[float]] = {}
    for table in heard.contexts:
        laws = {"before": _law(table, run), "after": _law(table, after)}
        reward = head.reward(centred(table))[0]
        for name, law in laws.items():
            p = torch.exp(law)
            rows.setdefault(f"{name}/reward", []).append(float(p @ reward))
            rows.setdefault(f"{name}/kl_prior", []).append(float(p @ (law - table.log_m)))
        moved = float(torch.exp(laws["after"]) @ (laws["after"] - laws["before"]))
        rows.setdefault("after/kl_before", []).append(moved)
    numbers: dict[str, Estimate] = {}
    for name, values in rows.items():
        numbers |= mean_over(torch.tensor(values, dtype=torch.float64)[:, None], key.fold(name), name)
    changes: list[Change] = []
    for r, table, said, better in zip(heard.ratings, heard.tables, heard.served, heard.better, strict=True):
        old, new = _law(table, run), _law(table, after)
        margins = (None, None) if better is None else (float(old[better] - old[said]), float(new[better] - new[said]))
        changes.append(Change(r.id, r.kind, r.reply, r.text, float(old[said]), float(new[said]), *margins))
    return numbers | summed(changes, key.fold("changes")), tuple(changes)


def _law(table: Table, policy: CandidatePolicy) -> Float[Tensor, " K"]:
    return torch.log_softmax(table.log_m + table.features @ policy.weights.detach(), -1)


def _final(made: Refitted) -> dict[str, float]:
    """What an update came to, for trackers."""
    return {f"final/{name}": estimate.value for name, estimate in made.numbers.items()}
