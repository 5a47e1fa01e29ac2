"""`credence run`: one posterior, sampled, learnt and measured.

In this order: what the prior says, inference without training, training in two stages, the ruler, the report. The
held-out prompts choose nothing; the checkpoint is the one of the best validation ELBO, the prior itself being one.
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from credence.core.errors import BackendError
from credence.core.keys import Key
from credence.core.protocols import Batch
from credence.core.status import Status
from credence.core.types import Completions, Cost, Draws, Prompts
from credence.learn.dpg import DPG
from credence.learn.loop import Fit, Learner, Record, Validation, fit
from credence.learn.reinforce import Reinforce
from credence.posterior.posterior import Posterior
from credence.prior.export import export_policy
from credence.prior.policy import LMPolicy, full_policy, lora_policy
from credence.report.html import render
from credence.report.manifest import manifest
from credence.report.schema import Report
from credence.sample.importance import Importance
from credence.sample.rejection import accept
from credence.sample.smc import SMC
from credence.study import build, summary
from credence.study.collect import draw_each, draw_policy, main_reading, memory, reduce, score_each
from credence.study.config import RunConfig
from credence.study.folder import RunFolder
from credence.study.live import Live
from credence.study.machine import use_fast_products
from credence.study.ruler import Ruler

POSTERIOR_DRAWS = 32
"""Posterior draws a held-out prompt under which an intermediate policy is scored for KL(p*‖π)."""


@dataclass(eq=False)
class Found:
    """What the run has found so far; each part fills in its own."""

    posterior: Posterior
    heldout: Prompts
    validation: Prompts
    train: Prompts
    reward: str = ""
    prior: Draws | None = None
    exact: Draws | None = None
    smc: Draws | None = None
    ruler: Ruler | None = None
    policy: LMPolicy | None = None
    fits: dict[str, Fit] = field(default_factory=dict)
    shown: dict[str, tuple[Completions, torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    cost: dict[str, Cost] = field(default_factory=dict)


def run_study(config: RunConfig, folder: Path, *, overwrite: bool = False, console: Console | None = None) -> Report:
    """Run a config and leave its folder.

    Args:
        config: checked settings.
        folder: where the results go; refused if it exists, unless `overwrite`.
        overwrite: replace an earlier run's folder.
        console: where progress is shown; standard error by default.

    Returns:
        The report, also written as report.json and report.html.

    Raises:
        ConfigError: bad settings, or a folder that may not be replaced.
        DegeneracyError: no prior draw is possible under the evidence.
        KeyboardInterrupt: passed on after what is done was kept.
    """
    config.check_training()
    use_fast_products()
    place = RunFolder(folder, overwrite)
    return _Study(config, place, console or Console(stderr=True)).run()


class _Study:
    def __init__(self, config: RunConfig, place: RunFolder, console: Console) -> None:
        self.config, self.place = config, place
        self.key = Key(config.seed)
        self.live = Live(console, plan(config))
        self.started = time.time()

    def manifest(self, status: str) -> dict[str, Any]:
        made = manifest(self.config.model_dump(mode="json"), self.config.seed, self.started)
        self.place.json("manifest.json", {"status": status, **made})
        return made

    def run(self) -> Report:
        self.manifest("running")
        found: Found | None = None
        try:
            with self.live.running():
                with self.live.part("loading the prior"):
                    found = self.load()
                self.look(found)
                self.infer(found)
                self.learn(found)
                self.measure(found)
                with self.live.part("report"):
                    return self.report(found)
        except KeyboardInterrupt:
            self.keep(found)
            raise
        except BaseException:
            self.manifest("failed")
            raise

    def keep(self, found: Found | None) -> None:
        """What an interrupted run leaves: its history so far and its best policy, unmeasured."""
        if found is not None and found.policy is not None and not (self.place.path / "policy").exists():
            export_policy(found.policy, self.place.path / "policy", summary.unmeasured_card(self.config))
        self.manifest("interrupted")
        self.live.say(f"interrupted: what was done is kept in {self.place.path}")

    def load(self) -> Found:
        evidence = build.evidence(self.config)
        prior = build.prior(self.config)
        given, parts = build.prompt_sets(self.config)
        sets = [given.take(p) for p in (parts.heldout, parts.validation, parts.train)]
        heldout, validation, train = (prior.codec.prompts(s.given, s.columns) for s in sets)
        return Found(Posterior(prior, evidence), heldout, validation, train)

    def look(self, found: Found) -> None:
        """Part 1: prior draws on the held-out prompts, and the exact posterior draws among them."""
        with self.live.part("what the prior says"):
            key = self.key.fold("prior")
            n = self.config.measure.draws
            found.prior = draw_each(Importance(), key, found.posterior, found.heldout, n, self.live.tick)
            summary.refuse_degenerate(found.prior)
            found.reward = main_reading(found.prior.readings)
            found.ruler = Ruler(reduce(found.prior, found.reward), self.config.measure.best_of_n)
            found.cost["prior"] = found.prior.cost
            bound = summary.known_bound(found.posterior)
            if bound is not None:
                found.exact = accept(found.prior, bound, key.fold("accept"))
            self.live.say(summary.prior_line(found.prior, found.exact))

    def infer(self, found: Found) -> None:
        """Part 2: SMC on the same prompts; best-of-n is read off the draws already made."""
        with self.live.part("inference without training"):
            runs, size = self.config.measure.smc.islands, self.config.measure.smc.particles
            wide = found.heldout.take([b for b in range(len(found.heldout)) for _ in range(runs)])
            sampler = SMC(particles=size, islands=1)
            found.smc = draw_each(sampler, self.key.fold("smc"), found.posterior, wide, size, self.live.tick, runs)
            found.cost["smc"] = found.smc.cost
            if found.ruler is not None:
                found.ruler.smc = summary.smc_runs(found.smc, found.posterior, found.reward, runs)

    def learn(self, found: Found) -> None:
        """Part 3: forward KL on weighted prior draws, then REINFORCE with the KL in the return."""
        train = self.config.train
        prior = found.posterior.prior
        if train.dpg.epochs == 0 and train.reinforce.steps == 0:
            return
        if train.method == "lora":
            found.policy = lora_policy(prior, self.key.fold("adapters"), train.rank, train.alpha)  # pyright: ignore
        else:
            found.policy = full_policy(prior)  # pyright: ignore[reportArgumentType] - build gives a StepPrior
        if train.dpg.epochs > 0:
            self.recall(found)
        if train.reinforce.steps > 0:
            given = train.reinforce
            learner = Reinforce(given.prompts, given.group, given.lr)
            with self.live.part("training: REINFORCE, KL in the return"):
                self.stage(found, "reinforce", found.train, learner, given.steps, given.seconds)

    def recall(self, found: Found) -> None:
        """Stage 1 on draws of the prior at training prompts, weighted by the evidence."""
        given = self.config.train.dpg
        order = self.key.fold("dpg prompts").generator().permutation(len(found.train))[: given.prompts]
        prompts = found.train.take([int(i) for i in order])
        with self.live.part("prior draws to learn from"):
            key = self.key.fold("memory")
            drawn = draw_each(Importance(), key, found.posterior, prompts, given.draws, self.live.tick, 8)
        stored = memory(drawn)
        found.cost["dpg"] = drawn.cost
        learner = DPG(given.batch, given.draws, given.lr)
        steps = max(1, given.epochs * len(prompts) // given.batch)
        with self.live.part("training: forward KL on weighted prior draws"):
            self.stage(found, "dpg", prompts, learner, steps, given.seconds, stored)

    def stage(
        self,
        found: Found,
        name: str,
        prompts: Prompts,
        learner: Learner,
        steps: int,
        seconds: float | None,
        stored: Batch | None = None,
    ) -> None:
        train = self.config.train
        policy = found.policy
        if policy is None:
            raise BackendError("no policy was built: this is a fault of credence, please report it.")

        def keep(record: Record, clock: Record) -> None:
            full = {**record, "reward": record[found.reward]}
            found.history.append(full)
            self.place.append("history.jsonl", full)
            self.place.append("timing.jsonl", {"stage": name, **clock})
            self.live.step(full, clock)

        done = fit(
            found.posterior,
            policy,
            prompts,
            learner,
            self.key.fold(name),
            steps,
            stored=stored,
            validation=Validation(found.validation, train.validation_draws, train.validate_every),
            seconds=seconds,
            stage=name,
            callbacks=[keep],
        )
        found.fits[name] = done
        found.cost[name] = found.cost.get(name, Cost()) + done.cost
        self.live.say(summary.stage_line(name, done))
        if done.interrupted:
            raise KeyboardInterrupt
        if done.status is Status.NAN:
            self.live.say(f"[bold yellow]{done.why}[/bold yellow]")
        self.measure_stage(found, name)

    def measure_stage(self, found: Found, name: str) -> None:
        """Held-out draws of the policy as this stage leaves it."""
        policy, ruler = found.policy, found.ruler
        if policy is None or ruler is None or found.prior is None:
            return
        n = self.config.measure.policy_draws
        key = self.key.fold("measure", name)
        drawn, rows, log_q, log_prior = draw_policy(
            policy, key, found.posterior, found.heldout, n, found.reward, lambda _: None
        )
        ruler.policies[name] = drawn
        found.shown[name] = (rows, log_q, log_prior)
        if name == "dpg" and self.config.train.reinforce.steps > 0:
            posterior = found.prior.resample(key.fold("posterior"), POSTERIOR_DRAWS)
            joint = posterior.log_q.sum(-1) + found.posterior.log_lik(found.heldout, posterior.completions)
            under = joint - score_each(policy, found.heldout, posterior.completions, lambda _: None)
            ruler.posterior_under[name] = under.view(len(found.heldout), POSTERIOR_DRAWS)

    def measure(self, found: Found) -> None:
        """Part 4: the exported policy scored on the prior's draws, so that both carry log Z and the forward KL."""
        if found.policy is None or found.ruler is None or found.prior is None:
            return
        with self.live.part("the ruler"):
            scored = score_each(found.policy, found.heldout, found.prior.completions, self.live.tick)
            found.ruler.final_on_prior = scored.view(len(found.heldout), -1)

    def report(self, found: Found) -> Report:
        """Part 5: estimates, page and policy."""
        made = summary.report(self.config, found, self.key.fold("intervals"), self.manifest("done"))
        if found.policy is not None:
            export_policy(found.policy, self.place.path / "policy", summary.card(made, self.config))
        made = replace(made, manifest=self.manifest("done"))
        self.place.json("report.json", made.to_json())
        self.place.text("report.html", render(made))
        return made


def plan(config: RunConfig) -> dict[str, float]:
    """The parts and the seconds each is expected to take on two cores: shares for the ETA, not promises."""
    heldout, horizon = config.prompts.heldout, config.prior.horizon
    measured, train = config.measure, config.train
    token = 1 / 550  # seconds a sampled token; scoring costs about 0.7 of it, a training pass 2.5
    parts = {"loading the prior": 4.0, "what the prior says": heldout * measured.draws * horizon * token}
    smc = heldout * measured.smc.particles * measured.smc.islands * horizon * token
    parts["inference without training"] = 1.5 * smc
    validation = config.prompts.validation * train.validation_draws * horizon * token * 1.7
    look = heldout * measured.policy_draws * horizon * token * 1.7
    if train.dpg.epochs > 0:
        tokens = train.dpg.prompts * train.dpg.draws * horizon
        parts["prior draws to learn from"] = tokens * token
        steps = train.dpg.epochs * train.dpg.prompts / train.dpg.batch
        trained = train.dpg.epochs * tokens * token * 2.5 + validation * (1 + steps / train.validate_every)
        parts["training: forward KL on weighted prior draws"] = min(trained, train.dpg.seconds or trained) + look
    if train.reinforce.steps > 0:
        given = train.reinforce
        tokens = given.steps * given.prompts * given.group * horizon
        trained = tokens * token * 4.2 + validation * (1 + given.steps / train.validate_every)
        parts["training: REINFORCE, KL in the return"] = min(trained, given.seconds or trained) + look
    if train.dpg.epochs > 0 or train.reinforce.steps > 0:
        parts["the ruler"] = heldout * measured.draws * horizon * token * 0.7
    parts["report"] = 10.0
    return parts
