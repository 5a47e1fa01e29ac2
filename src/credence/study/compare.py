"""`credence compare`: engines that draw and engines that train on one target, under one budget, read off one ruler.

In this order: the reference (prior draws on held-out and validation prompts, exact posterior draws among them), every
engine with every seed, the table. Each of these is kept on the disk as it is done, so that a killed comparison goes on,
and one that is done can be given another engine or more seeds.
"""

import gc
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from credence.core.errors import ConfigError, ContractError, DegeneracyError, MissingExtraError
from credence.core.keys import Key
from credence.core.meter import metered
from credence.core.protocols import StepPrior
from credence.core.types import Cost, Draws
from credence.evidence.product import max_log_lik
from credence.report.comparison import Comparison
from credence.report.comparison_page import render
from credence.report.schema import plain_tree
from credence.sample.importance import Importance
from credence.sample.rejection import accept
from credence.study import build, summary
from credence.study.collect import draw_each, main_reading, reduce
from credence.study.contest import KIND, Contest, Entrant, variant
from credence.study.contest_draw import draw
from credence.study.contest_rows import Reference, comparison, laws
from credence.study.contest_ruler import ContestRuler
from credence.study.contest_train import train
from credence.study.engines import PRIOR
from credence.study.folder import RunFolder, alone
from credence.study.found import Found
from credence.study.live import Live
from credence.study.machine import fast_products
from credence.study.measured import Measured, unpack
from credence.study.parts import Parts, pack_draws, unpack_draws
from credence.study.plan import SECONDS_A_TOKEN, centre, fitting
from credence.study.rows import exact_rows
from credence.study.run import check_lengths, origin, try_evidence
from credence.study.session import Session, begun

FOUND = "found"
"""Folder, inside a comparison's, of what each engine and seed left."""
LOAD, REFERENCE, REPORT = "loading the prior", "the ruler: draws of the prior", "the table"
LEAST_LEVEL = 16
"""Prior draws a validation prompt, at least, for the share that a curve of training shows."""


def run_compare(
    contest: Contest, folder: Path, *, overwrite: bool = False, resume: bool = False, console: Console | None = None
) -> Comparison:
    """Run a comparison and leave its folder. Tested in tests/e2e/test_compare.py.

    Args:
        contest: config, engines, budget, seeds.
        folder: where the results go; refused if it exists, unless `overwrite` or `resume`.
        overwrite: replace an earlier comparison's folder.
        resume: go on with an earlier one: what is done is taken from the disk, also where engines or seeds were added.
        console: where progress is shown; standard error by default.

    Returns:
        The record, also written as compare.json and compare.html.

    Raises:
        ConfigError: bad settings, or a comparison that was begun with other settings or another budget.
        DegeneracyError: no prior draw is possible under the evidence.
        BackendError: a model, the machine or the disk failed.
        KeyboardInterrupt: passed on; what is done is kept.
    """
    named = contest.config.model_copy(update={"name": contest.name})
    before = begun(folder, named, overwrite, resume, KIND)
    _same(before, contest)
    live = Live(console or Console(stderr=True), plan(contest))
    session = Session(named, live, before, KIND)
    with fast_products(), live.running():
        with live.part(LOAD):
            found = load(contest, live.say)
            found.products = session.products(named.train.products, named.prior.device)
            session.compare(origin(named, found))
            if not session.resumed:
                try_evidence(found, Key(named.seed).fold("trial"))
        place = session.open(folder, overwrite or resume)
        with alone(folder):
            work = _Compare(contest, live, session, found, place)
            return session.through(place, lambda told: work.run(), work.keep, lambda made: {})


def _same(before: Mapping[str, Any] | None, contest: Contest) -> None:
    """Refuse to go on with a comparison of another budget, or whose engines that draw had other settings."""
    if before is None:
        return
    record = before.get("compare", {})
    if record.get("budget") != contest.record["budget"]:
        raise ConfigError(
            f"this comparison was begun with a budget of {_words(record.get('budget'))} and {contest.budget.words} are "
            "given: figures of two budgets do not compare. Give the same, or begin anew: --overwrite, or --set "
            "name=another."
        )
    was, now = before.get("config", {}).get("sample", {}), plain_tree(contest.config.model_dump(mode="json")["sample"])
    changed = [name for name in now if name not in ("engine", "stop") and was.get(name, now[name]) != now[name]]
    if changed:
        raise ConfigError(
            f"sample.{', sample.'.join(changed)} changed since this comparison was begun: set it back to resume it, or "
            "begin anew: --overwrite, or --set name=another."
        )


def _words(budget: Any) -> str:  # noqa: ANN401 - whatever the manifest holds
    return ", ".join(f"{unit}={limit:g}" for unit, limit in budget.items()) if isinstance(budget, dict) else "nothing"


def plan(contest: Contest) -> dict[str, float]:
    """Seconds by part, in order: shares for the ETA, not promises."""
    config, budget = contest.config, contest.budget
    token = config.prior.horizon * SECONDS_A_TOKEN
    measured, heldout = config.measure, config.prompts.heldout
    asked = heldout + config.prompts.validation
    parts = {LOAD: 4.0 + fitting(config)}
    parts[REFERENCE] = (heldout + config.prompts.validation / 4) * measured.draws * token + asked * centre(config)
    spent = budget.limit * (SECONDS_A_TOKEN * 0.7 if budget.unit == "tokens" else 1.0)
    ruler = heldout * token * (measured.draws * 0.7 + measured.policy_draws * 1.7)
    for entrant in contest.entrants:
        for seed in range(contest.seeds):
            parts[title(entrant, seed, contest)] = spent + (ruler if entrant.kind == "train" else 1.0)
    return {**parts, REPORT: 5.0}


def title(entrant: Entrant, seed: int, contest: Contest) -> str:
    """One engine with one seed, as the screen says it."""
    return f"{entrant.name}, seed {seed + 1} of {contest.seeds}"


def load(contest: Contest, say: build.Say) -> Found:
    """Evidence, model and prompts; evidence of other models too, for engines that draw."""
    config = contest.config
    given, parts = build.prompt_sets(config)
    if words := given.words():
        say(words)
    posterior = build.posterior(config, say)
    prior = posterior.prior
    sets = [given.take(p) for p in (parts.heldout, parts.validation, parts.train)]
    heldout, validation, train_on = (prior.codec.prompts(s.given, s.columns) for s in sets)
    for prompts in (heldout, validation, train_on):
        check_lengths(prior, prompts, given.source)  # pyright: ignore[reportArgumentType] - build gives a Reshaped
    return Found(posterior, heldout, validation, train_on)


@dataclass(eq=False)
class _Compare:
    contest: Contest
    live: Live
    session: Session
    found: Found
    place: RunFolder
    done: dict[str, list[Measured]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.key, self.config = Key(self.contest.config.seed), self.contest.config
        self.parts = Parts(self.place.path / FOUND, 1, self.live, self.session.resumed)
        self.session.more = {KIND: self.contest.record}
        self.session.tell(self.place, "running")

    def run(self) -> Comparison:
        """Everything, in order."""
        with self.live.part(REFERENCE):
            reference = self.refer()
        for entrant in self.contest.entrants:
            for seed in range(self.contest.seeds):
                with self.live.part(title(entrant, seed, self.contest)):
                    self.done.setdefault(entrant.name, []).append(self.one(entrant, seed, reference))
        with self.live.part(REPORT):
            ruler = ContestRuler(reference.prior, laws(self.contest, self.done))
            read = ruler.read(self.key.fold("intervals"))
            made = comparison(self.contest, reference, self.done, ruler, read, self.session.manifest())
            self.place.json("compare.json", made.to_json())
            self.place.text("compare.html", render(made))
            self.session.done(self.place, made.manifest)
        return made

    def keep(self, status: str) -> str:
        """What is left of a comparison that did not come to its end."""
        count = sum(len(runs) for runs in self.done.values())
        return f"{count} of {len(self.contest.entrants) * self.contest.seeds} engines and seeds"

    def refer(self) -> Reference:
        """Prior draws on held-out and validation prompts: the ruler's own, and in nobody's budget."""
        found, n = self.found, self.config.measure.draws
        least = max(LEAST_LEVEL, n // 4)

        def drawn() -> Draws:
            with metered() as meter:
                out = draw_each(Importance(), self.key.fold("prior"), found.posterior, found.heldout, n, self.live.tick)
            return replace(out, cost=Cost(meter.tokens or out.cost.tokens, out.cost.seconds))

        found.prior = self.parts.kept("prior", drawn, pack_draws, lambda c: unpack_draws(c, found.heldout))
        summary.refuse_degenerate(found.prior, found.posterior)
        found.reward = main_reading(found.prior.readings)
        levels = self.parts.draws(
            "validation",
            found.validation,
            lambda: draw_each(
                Importance(), self.key.fold("levels"), found.posterior, found.validation, least, lambda share: None, 8
            ),
        )
        bound = max_log_lik(found.posterior.evidence)
        if bound != float("inf"):
            found.exact = accept(found.prior, bound, self.key.fold("accept"))
        self.live.say(summary.prior_line(found.prior, found.exact))
        replies, cost = len(found.prior.completions), found.prior.cost
        return Reference(
            reduce(found.prior, found.reward),
            [exact_rows(b, found, found.prior) for b in range(len(found.heldout))],
            Cost(round(cost.tokens / replies), cost.seconds / replies),
            levels.log_w.view(len(found.validation), -1),
            found.reward,
        )

    def one(self, entrant: Entrant, seed: int, reference: Reference) -> Measured:
        """One engine with one seed: from the disk, or run and kept; what refuses is asked again another time."""
        name = f"{entrant.name}-{seed}"

        def make() -> Measured:
            place = self.place.within(f"engines/{entrant.name}/seed-{seed}")
            try:
                made = self.work(entrant, self.key.fold("compare", seed), reference, place)
            except (ConfigError, ContractError, DegeneracyError, MissingExtraError) as error:
                made = Measured(refused=str(error))
            gc.collect()  # a policy of the model's size must not stand beside the next one
            return made

        made = self.parts.kept(name, make, Measured.pack, lambda c: unpack((dict(c.tensors), dict(c.state))),
                              lambda m: not m.refused)  # fmt: skip
        self.live.say(line(made), "yellow" if made.refused else "")
        return made

    def work(self, entrant: Entrant, key: Key, reference: Reference, place: RunFolder) -> Measured:
        """Spend the budget.

        Raises:
            ConfigError, ContractError, DegeneracyError, MissingExtraError: this engine cannot, and why.
        """
        config, found, budget = self.config, self.found, self.contest.budget
        if entrant.kind == "train":
            given = variant(config, entrant.stages)
            return train(given, entrant.stages, found, key, budget, place, self.live)
        prior = found.posterior.prior
        if not isinstance(prior, StepPrior):
            raise ConfigError(f"{type(prior).__name__} cannot be stepped.")
        looks = entrant.name == PRIOR
        sampler = Importance() if looks else getattr(config.sample, entrant.name).sampler(config, prior)
        spent = [0.0]

        def told(record: Mapping[str, Any]) -> None:
            place.append("history.jsonl", record)
            spent[0] += float(record[budget.unit])
            self.live.tick(min(1.0, spent[0] / budget.limit))

        return draw(
            sampler, config.sample.draws, found.posterior, found.heldout, key, budget, found.reward,
            reference.prior, told, config.prior.device, looks,
        )  # fmt: skip


def line(made: Measured) -> str:
    """One engine with one seed in one line."""
    if made.refused:
        return f"  refuses: {made.refused}"
    each = "" if made.each is None else f"; one more reply {made.each.tokens} tokens"
    return f"  {made.cost.tokens:,} model tokens, {made.cost.seconds:.0f} CPU seconds{each}; {made.note}"
