"""`credence run`: one posterior, sampled, learnt and measured.

In this order: what the prior says, inference without training, training in two stages, the ruler, the report. The
held-out prompts choose nothing; the checkpoint is the one of the best validation ELBO, the prior itself being one.
"""

import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from credence.core.errors import BackendError, ConfigError
from credence.core.keys import Key
from credence.core.types import Prompts
from credence.evidence.product import max_log_lik
from credence.posterior.posterior import Posterior
from credence.prior.export import export_policy
from credence.prior.reshape import Reshaped
from credence.report.html import render
from credence.report.manifest import manifest
from credence.report.schema import Report
from credence.sample.importance import Importance
from credence.sample.rejection import accept
from credence.sample.smc import SMC
from credence.study import build, plan, summary
from credence.study.card import card, unmeasured_card
from credence.study.collect import draw_each, main_reading, reduce, score_each
from credence.study.config import RunConfig
from credence.study.folder import RunFolder, check_place
from credence.study.found import Found, said
from credence.study.learning import Learning
from credence.study.live import Live
from credence.study.machine import fast_products
from credence.study.ruler import Ruler


def run_study(config: RunConfig, folder: Path, *, overwrite: bool = False, console: Console | None = None) -> Report:
    """Run a config and leave its folder. Tested in tests/e2e/test_run.py.

    Args:
        config: checked settings.
        folder: where the results go; refused if it exists, unless `overwrite`. An earlier run there is replaced only
            once everything that this one needs has been loaded.
        overwrite: replace an earlier run's folder.
        console: where progress is shown; standard error by default.

    Returns:
        The report, also written as report.json and report.html.

    Raises:
        ConfigError: bad settings, prompts that do not fit the model, or a folder that may not be replaced.
        ContractError: a reward that breaks its law; what was done until then is kept in the folder.
        DegeneracyError: no prior draw is possible under the evidence.
        BackendError: a model, the machine or the disk failed.
        KeyboardInterrupt: passed on after what is done was kept.
    """
    check_settings(config)
    check_place(folder, overwrite)
    study = _Study(config, Live(console or Console(stderr=True), plan.plan(config)))
    with fast_products(), study.live.running():
        with study.live.part(plan.LOAD):
            found = load(config)
        return study.run(found, RunFolder(folder, overwrite))


def check_settings(config: RunConfig) -> None:
    """Refuse settings with which a run would only fail at its end.

    Raises:
        ConfigError: as RunConfig.check_training, or fewer draws than best-of-n needs.
    """
    config.check_training()
    given = config.measure
    if given.best_of_n > given.draws:
        raise ConfigError(
            f"measure.best_of_n = {given.best_of_n} is read off the prior's draws, and measure.draws = {given.draws} "
            "are fewer. Raise the one or lower the other."
        )


def load(config: RunConfig) -> Found:
    """Evidence, model and prompts.

    Raises:
        ConfigError: any of them cannot be used, or a prompt is too long for the model.
    """
    evidence = build.evidence(config)
    given, parts = build.prompt_sets(config)
    prior = build.prior(config)
    sets = [given.take(p) for p in (parts.heldout, parts.validation, parts.train)]
    heldout, validation, train = (prior.codec.prompts(s.given, s.columns) for s in sets)
    for prompts in (heldout, validation, train):
        check_lengths(prior, prompts, given.source)
    return Found(Posterior(prior, evidence), heldout, validation, train)


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
    def __init__(self, config: RunConfig, live: Live) -> None:
        self.config, self.live, self.key = config, live, Key(config.seed)
        self.started = time.time()

    def manifest(self) -> dict[str, Any]:
        return manifest(self.config.model_dump(mode="json"), self.config.seed, self.started)

    def run(self, found: Found, place: RunFolder) -> Report:
        place.json("manifest.json", {"status": "running", **self.manifest()})
        try:
            self.look(found)
            self.infer(found)
            Learning(self.config, found, place, self.live, self.key).run()
            self.measure(found)
            with self.live.part(plan.REPORT):
                return self.report(found, place)
        except KeyboardInterrupt:
            self.keep(found, place, "interrupted", "")
            raise
        except BaseException as error:
            with suppress(BackendError):  # a full disk is one of the reasons to be here: the first error counts
                self.keep(found, place, "failed", f"{type(error).__name__}: {error}")
            raise

    def keep(self, found: Found, place: RunFolder, status: str, why: str) -> None:
        """What a run leaves that did not come to its end: its history so far and its best policy, unmeasured."""
        trained = found.policy is not None and bool(found.history)
        if found.policy is not None and trained and not (place.path / "policy").exists():
            with place.writing("policy") as folder:
                export_policy(found.policy, folder, unmeasured_card(self.config, status))
        place.json("manifest.json", {"status": status, **({"error": why} if why else {}), **self.manifest()})
        kept = f"{len(found.history)} steps of history" + (" and the best policy so far" if trained else "")
        self.live.say(f"{status}: what was done is kept in {place.path} ({kept})", "yellow")

    def look(self, found: Found) -> None:
        """Part 1: prior draws on the held-out prompts, and the exact posterior draws among them."""
        with self.live.part(plan.PRIOR):
            key = self.key.fold("prior")
            n = self.config.measure.draws
            found.prior = draw_each(Importance(), key, found.posterior, found.heldout, n, self.live.tick)
            summary.refuse_degenerate(found.prior, found.posterior)
            found.reward = main_reading(found.prior.readings)
            found.ruler = Ruler(reduce(found.prior, found.reward), self.config.measure.best_of_n)
            found.cost["prior"] = found.prior.cost
            bound = max_log_lik(found.posterior.evidence)
            if bound != float("inf"):
                found.exact = accept(found.prior, bound, key.fold("accept"))
            self.live.say(summary.prior_line(found.prior, found.exact))

    def infer(self, found: Found) -> None:
        """Part 2: SMC on the same prompts; best-of-n is read off the draws already made."""
        with self.live.part(plan.INFER):
            runs, size = self.config.measure.smc.islands, self.config.measure.smc.particles
            wide = found.heldout.take([b for b in range(len(found.heldout)) for _ in range(runs)])
            sampler = SMC(particles=size, islands=1)
            found.smc = draw_each(sampler, self.key.fold("smc"), found.posterior, wide, size, self.live.tick, runs)
            found.cost["smc"] = found.smc.cost
            if found.ruler is not None:
                found.ruler.smc = summary.smc_runs(found.smc, found.posterior, found.reward, runs)

    def measure(self, found: Found) -> None:
        """Part 4: the exported policy scored on the prior's draws, so that both carry log Z and the forward KL."""
        if found.policy is None or found.ruler is None or found.prior is None:
            return
        with self.live.part(plan.RULER):
            scored = score_each(found.policy, found.heldout, found.prior.completions, self.live.tick)
            found.ruler.final_on_prior = scored.view(len(found.heldout), -1)

    def report(self, found: Found, place: RunFolder) -> Report:
        """Part 5: estimates, page and policy; the manifest says done last."""
        made = summary.report(self.config, found, self.key.fold("intervals"), self.manifest())
        if found.policy is not None:
            with place.writing("policy") as folder:
                export_policy(found.policy, folder, card(made, self.config))
        made = replace(made, manifest=self.manifest())
        place.json("report.json", made.to_json())
        place.text("report.html", render(made))
        place.json("manifest.json", {"status": "done", **made.manifest})
        return made
