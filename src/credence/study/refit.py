"""`credence dialogue update`: from the prior with all evidence, that of the run and that of people, to a new policy.

Always from π0, never from the last policy: its own reward would count again (SCIENCE 1.2: k rounds at β are one at
β/k). The opinions are fitted from scratch each time, so one that was taken back leaves no trace, and none counts twice.
So too where an update is resumed: it goes on only with the ratings that it was begun with (refit_basis).
"""

import shutil
from pathlib import Path

from rich.console import Console

from credence.core.protocols import Evidence
from credence.dialogue.feedback import FeedbackStore, Refit
from credence.study import build, resumption
from credence.study.config import RunConfig
from credence.study.folder import alone
from credence.study.live import Live
from credence.study.opinions import FeedbackSettings, hear
from credence.study.refit_basis import ANEW, FAST, KIND, Basis, Budget, folders, learnt_before, learnt_from, manifest_of
from credence.study.refit_report import Refitted
from credence.study.refit_work import LOAD, PARTS, Work
from credence.study.session import CHECKPOINTS, Session, begun
from credence.study.trackers import check_trackers

__all__ = ["FAST", "Budget", "refit"]
AGAIN = "--resume goes on with it; its ratings count as not learnt yet"


def refit(
    store: FeedbackStore,
    config: RunConfig,
    evidence: Evidence,
    settings: FeedbackSettings,
    budget: Budget,
    folder: Path | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    console: Console | None = None,
) -> Refitted:
    """Fit the reward belief to all ratings that stand, train a policy from the prior, measure it, and save it.

    Args:
        store: the ratings.
        config: the prior, and how a policy is built on it.
        evidence: what is good besides the ratings, as `config` says it.
        settings: how ratings become nats.
        budget: how much is spent.
        folder: where to; the next free one by default, or the latest where one is resumed.
        overwrite: whether it may be replaced.
        resume: go on with an update that was killed or stopped; begin where there is none. On one thread its policy
            and history.jsonl get the bytes that they would have had.
        console: where progress goes.

    Raises:
        ConfigError: no rating that counts, a folder that may not be replaced, or an update that was begun with other
            ratings, options, settings or weights.
        MissingExtraError: a tracker that is not installed.
        BackendError: a model, the machine or the disk failed.
        KeyboardInterrupt: passed on after what is done was kept; the ratings are not marked as learnt.

    Cost: contexts × (draws × (2 + epochs) + steps × group / contexts · prompts + measured) replies, roughly.
    """
    check_trackers(config)
    basis = Basis(store.standing(), config, settings, budget)
    ids = tuple(r.id for r in basis.ratings)
    if (done := _learnt(store, basis, folder, resume)) is not None:
        return Refitted(done, False, ids)
    place = folder or _place(config, resume)
    named = config.model_copy(update={"name": place.name}).at(config.folder)
    basis = Basis(basis.ratings, named, settings, budget)
    instead = "--overwrite to replace it, or --out ANOTHER"
    before = begun(place, named, overwrite, resume, KIND, ANEW, instead) if basis.ratings or resume else None
    if before is not None:
        basis.refuse_another(place, before)
        if before.get("status") == "done":
            _mark(store, basis, place)
            return Refitted(place, False, ids)
    live = Live(console or Console(stderr=True), PARTS)
    session = Session(named, live, before, KIND, AGAIN, ANEW)
    with live.running():
        with live.part(LOAD):
            prior = build.prior(named)
            heard = hear(basis.ratings, prior, named.prior.model)
            files = resumption.reward_files(named.evidence.reward, named.folder)
            found = resumption.origin(named, {}, files, resumption.first_words(prior, heard.contexts))
            session.compare({**found, "update": basis.told()})
        opened = session.open(place, overwrite or resume)
        with alone(place):
            work = Work(basis, session, opened, heard, prior, evidence)
            made = session.through(opened, work.run, work.keep, final)
    _mark(store, basis, place)  # after the last word: what broke off counts as new
    return made


def _learnt(store: FeedbackStore, basis: Basis, folder: Path | None, resume: bool) -> Path | None:
    """Where just this was learnt before; one that was killed after its last word is marked as learnt now."""
    if (place := learnt_before(store, basis.digits, "config.json")) is not None:
        return place
    last = folder or folders(basis.config)[0] if resume else None
    if last is None or not learnt_from(last, basis.digits):
        return None
    _mark(store, basis, last)
    return last


def _mark(store: FeedbackStore, basis: Basis, place: Path) -> None:
    """These ratings are learnt; what a kill between the last word and the end left goes."""
    shutil.rmtree(place / CHECKPOINTS, ignore_errors=True)
    store.refitted(Refit(basis.digits, str(place.resolve()), tuple(r.id for r in basis.ratings), 0.0))


def _place(config: RunConfig, resume: bool) -> Path:
    """The next free folder; where one is resumed, the latest, unless it is done or something else."""
    last, free = folders(config)
    if not resume or last is None:
        return free
    if all(p.name.startswith(".") for p in last.iterdir()):  # killed before its first word
        return last
    return free if manifest_of(last).get("status", "done") == "done" else last


def final(made: Refitted) -> dict[str, float]:
    """What an update came to, for trackers."""
    return {f"final/{name}": estimate.value for name, estimate in made.numbers.items()}
