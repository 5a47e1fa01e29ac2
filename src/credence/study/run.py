"""`credence run`: one posterior, sampled, learnt and measured.

In this order: what the prior says, inference without training, training in two stages, the ruler, the report. The
held-out prompts choose nothing; the checkpoint is the one of the best validation ELBO, the prior itself being one. What
each part found is kept on the disk until the run is done, so that a killed run can go on (docs/runs.md).
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.types import Prompts
from credence.evidence.product import max_log_lik
from credence.posterior.posterior import Posterior
from credence.prior.export import export_policy
from credence.prior.guided import GuidedLM
from credence.prior.guided_file import save_guide
from credence.prior.policy import LMPolicy
from credence.prior.reshape import Reshaped
from credence.report.html import render
from credence.report.schema import Report
from credence.sample.importance import Importance
from credence.sample.rejection import accept
from credence.sample.smc import SMC
from credence.study import build, classified, plan, preference, recorded_rows, resumption, reward_heads, summary
from credence.study.card import card, unmeasured_card
from credence.study.collect import draw_each, main_reading, reduce, score_each
from credence.study.config import RunConfig
from credence.study.folder import RunFolder, alone
from credence.study.found import Found, said
from credence.study.learning import Learning
from credence.study.live import Live
from credence.study.machine import fast_products
from credence.study.parts import Parts
from credence.study.ruler import Ruler
from credence.study.session import CHECKPOINTS, Session, begun, finished
from credence.study.stored import read_report
from credence.study.trackers import Tracking, check_trackers, final
from credence.study.trainable import check_training
from credence.study.values import VALUES


def run_study(
    config: RunConfig, folder: Path, *, overwrite: bool = False, resume: bool = False, console: Console | None = None
) -> Report:
    """Run a config and leave its folder. Tested in tests/e2e/test_run.py and, as for `resume`, test_run_resume.py.

    Args:
        config: checked settings.
        folder: where the results go; refused if it exists, unless `overwrite` or `resume`. An earlier run there is
            replaced only once everything that this one needs has been loaded.
        overwrite: replace an earlier run's folder.
        resume: go on with an earlier run, from whatever state a kill left it in; begin where there is none. On one
            thread the policy and history.jsonl get the bytes that they would have had.
        console: where progress is shown; standard error by default.

    Returns:
        The report, also written as report.json and report.html.

    Raises:
        ConfigError: bad settings, prompts that do not fit the model, a folder that may not be replaced, or a run that
            was begun with other settings, prompts or weights.
        ContractError: a reward that breaks its law; what was done until then is kept in the folder.
        DegeneracyError: no prior draw is possible under the evidence.
        BackendError: a model, the machine or the disk failed.
        KeyboardInterrupt: passed on after what is done was kept.
    """
    check_settings(config)
    check_trackers(config)
    before = begun(folder, config, overwrite, resume)
    live = Live(console or Console(stderr=True), plan.plan(config), timed=plan.timed(config))
    if finished(folder, before, live):
        return read_report(folder / "report.json")
    session = Session(config, live, before)
    with fast_products(), live.running():
        with live.part(plan.LOAD):
            found = load(config, live.say, lambda: live.turn(plan.TAUGHT))
            found.products = session.products(config.train.products, config.prior.device)
            session.compare(origin(config, found))
            if not session.resumed:
                try_evidence(found, Key(config.seed).fold("trial"))
        place = session.open(folder, overwrite or resume)
        with alone(folder):
            study = _Study(config, live, session, found, place)
            return session.through(place, study.work, study.keep, final)


def origin(config: RunConfig, found: Found) -> dict[str, Any]:
    """What the settings do not say of where a run began: prompts, rewards, and the prior's own numbers."""
    asked = [p.ids for p in (found.heldout, found.validation, found.train)]
    sources: dict[str, Any] = {"prompts.source": asked}
    if (recorded := found.recorded) is not None:
        sources[f"train.{config.train.engine}.data"] = [recorded.given, recorded.replies, recorded.said]
    sources |= preference.origin(config.evidence.preference, config.folder)
    sources |= classified.origin(config.evidence.classifier, config.folder)
    sources |= reward_heads.origin(config.evidence.reward_head, config.folder)
    prior: Any = found.posterior.prior  # build gives a StepPrior
    files = resumption.reward_files(config.evidence.reward, config.folder)
    files["measure.gold"] = resumption.function_file(config.measure.gold, config.folder)
    return resumption.origin(
        config, sources, files, resumption.first_words(prior, found.heldout)
    )  # fmt: skip


def check_settings(config: RunConfig) -> None:
    """Refuse settings with which a run would only fail at its end.

    Raises:
        ConfigError: as check_training, or fewer draws than best-of-n needs.
    """
    check_training(config)
    given = config.measure
    if given.best_of_n > given.draws:
        raise ConfigError(
            f"measure.best_of_n = {given.best_of_n} is read off the prior's draws, and measure.draws = {given.draws} "
            "are fewer. Raise the one or lower the other."
        )


def load(config: RunConfig, say: build.Say = build.to_stderr, fitting: Callable[[], object] = lambda: None) -> Found:
    """Evidence, model and prompts.

    Args:
        config: checked settings.
        say: told of what a file of comparisons holds.
        fitting: called before a reward is fitted to such a file, which takes its time.

    Raises:
        ConfigError: any of them cannot be used, or a prompt is too long for the model.
    """
    made = None if config.evidence.needs_prior else build.evidence(config)  # without a model mistakes show early
    recorded, gold = recorded_rows.read(config), build.gold(config)
    given, parts = build.prompt_sets(config)
    if words := given.words():
        say(words)
    prior = build.prior(config)
    sets = [given.take(p) for p in (parts.heldout, parts.validation, parts.train)]
    heldout, validation, train = (prior.codec.prompts(s.given, s.columns) for s in sets)
    for prompts in (heldout, validation, train):
        check_lengths(prior, prompts, given.source)
    if config.evidence.preference is not None:
        fitting()
    evidence = build.evidence(config, prior=prior, say=say) if made is None else made
    return Found(Posterior(prior, evidence), heldout, validation, train, recorded=recorded, gold=gold)


def try_evidence(found: Found, key: Key) -> None:
    """Read the evidence of two replies: what breaks at its first call leaves no folder and replaces no earlier run.

    Raises:
        ContractError: as the evidence says.
    """
    one = found.heldout.take([0])
    replies, _ = found.posterior.prior.sample(key, one, 2)
    found.posterior.log_lik(one, replies)


def check_lengths(prior: Reshaped, prompts: Prompts, source: str) -> None:
    """Refuse prompts that leave no room for a reply, before anything is drawn.

    Raises:
        ConfigError: names the prompt, its tokens and the context.
    """
    context = getattr(prior.inner, "context", None)
    for given, ids in zip(prompts.given, prompts.ids, strict=True):
        if context is not None and len(ids) + prior.horizon > context:
            text = said(given)
            raise ConfigError(
                f"a prompt of {source} has {len(ids)} tokens; with a reply of {prior.horizon} it exceeds the model's "
                f"context of {context} tokens. Shorten it or lower prior.horizon. It begins: {text[:60]!r}"
            )


class _Study:
    def __init__(self, config: RunConfig, live: Live, session: Session, found: Found, place: RunFolder) -> None:
        self.config, self.live, self.session, self.found, self.place = config, live, session, found, place
        self.key, self.exported = Key(config.seed), False
        self.parts = Parts(place.path / CHECKPOINTS, config.train.keep, live, session.resumed)

    def work(self, told: Sequence[Tracking]) -> Report:
        """All parts in their order; what is on the disk from before is not done again."""
        found, parts = self.found, self.parts
        self.look(found, parts)
        self.infer(found, parts)
        Learning(self.config, found, self.place, parts, self.live, self.key, told).run()
        self.measure(found, parts)
        with self.live.part(plan.REPORT):
            made = self.report(found, self.place)
            parts.clear()
        return made

    def keep(self, status: str) -> str:
        """What a run leaves that did not come to its end: its history so far and its best policy, unmeasured."""
        found = self.found
        trained = found.policy is not None and bool(found.history)
        if found.policy is not None and trained and not self.exported:
            self.export(found.policy, self.place, unmeasured_card(self.config, status))
        return f"{len(found.history)} steps of history" + (" and the best policy so far" if trained else "")

    def export(self, policy: LMPolicy | GuidedLM, place: RunFolder, text: str) -> None:
        """The policy's folder, in place of one that an interruption left: a model, or values on the prior's."""
        with place.writing(VALUES if isinstance(policy, GuidedLM) else "policy") as folder:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(policy, GuidedLM):
                save_guide(policy, folder, text)
            else:
                export_policy(policy, folder, text)
        self.exported = True

    def look(self, found: Found, parts: Parts) -> None:
        """Part 1: prior draws on the held-out prompts, and the exact posterior draws among them."""
        with self.live.part(plan.PRIOR):
            key = self.key.fold("prior")
            n = self.config.measure.draws
            found.prior = parts.draws(
                "prior",
                found.heldout,
                lambda: draw_each(Importance(), key, found.posterior, found.heldout, n, self.live.tick),
            )
            summary.refuse_degenerate(found.prior, found.posterior)
            if plan.engine(self.config) and self.config.train.chosen.finite:
                summary.refuse_forbidding(found.prior, found.posterior, self.config.train.engine)
            found.reward = main_reading(found.prior.readings)
            found.ruler = Ruler(reduce(found.prior, found.reward), self.config.measure.best_of_n)
            found.cost["prior"] = found.prior.cost
            bound = max_log_lik(found.posterior.evidence)
            if bound != float("inf"):
                found.exact = accept(found.prior, bound, key.fold("accept"))
            self.live.say(summary.prior_line(found.prior, found.exact))

    def infer(self, found: Found, parts: Parts) -> None:
        """Part 2: SMC on the same prompts; best-of-n is read off the draws already made."""
        with self.live.part(plan.INFER):
            runs, size = self.config.measure.smc.islands, self.config.measure.smc.particles
            wide = found.heldout.take([b for b in range(len(found.heldout)) for _ in range(runs)])
            sampler = SMC(particles=size, islands=1)
            key = self.key.fold("smc")
            found.smc = parts.draws(
                "smc", wide, lambda: draw_each(sampler, key, found.posterior, wide, size, self.live.tick, runs)
            )
            found.cost["smc"] = found.smc.cost
            if found.ruler is not None:
                found.ruler.smc = summary.smc_runs(found.smc, found.posterior, found.reward, runs)

    def measure(self, found: Found, parts: Parts) -> None:
        """Part 4: the exported policy scored on the prior's draws, so that both carry log Z and the forward KL."""
        policy, prior = found.policy, found.prior
        if policy is None or found.ruler is None or prior is None:
            return
        with self.live.part(plan.RULER):
            seen, _ = parts.packed(
                "ruler", lambda: ({"log_pi": score_each(policy, found.heldout, prior.completions, self.live.tick)}, {})
            )
            found.ruler.final_on_prior = seen["log_pi"].view(len(found.heldout), -1)

    def report(self, found: Found, place: RunFolder) -> Report:
        """Part 5: estimates, page and policy; the manifest says done last."""
        made = summary.report(self.config, found, self.key.fold("intervals"), self.session.manifest())
        if found.policy is not None:
            self.export(found.policy, place, card(made, self.config))
        made = replace(made, manifest=self.session.manifest())
        place.json("report.json", made.to_json())
        place.text("report.html", render(made))
        self.session.done(place, made.manifest)
        return made
