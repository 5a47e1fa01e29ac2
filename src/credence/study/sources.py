"""Where the rows come from that stages of training learn from: the prior, an engine that draws, a file."""

from dataclasses import dataclass
from typing import Any

from credence.core.errors import BackendError
from credence.core.keys import Key
from credence.core.protocols import Batch, Sampler
from credence.core.types import Cost, Prompts
from credence.learn.distil import recalled
from credence.sample.importance import Importance
from credence.study import plan, recorded_rows
from credence.study.collect import draw_each, memory
from credence.study.config import RunConfig
from credence.study.found import Found
from credence.study.live import Telling
from credence.study.parts import Parts
from credence.study.recorded_learners import RecordedConfig
from credence.study.stored_learners import DistilConfig


@dataclass(frozen=True, eq=False)
class Sources:
    """The rows of one run; what was drawn is kept until the run is done, and taken from there by one that goes on."""

    config: RunConfig
    found: Found
    parts: Parts
    live: Telling
    key: Key

    def prompts(self) -> Prompts:
        """The training prompts that stored draws are made for: as many as [train.dpg] says."""
        found, given = self.found, self.config.train.dpg
        order = self.key.fold("dpg prompts").generator().permutation(len(found.train))[: given.prompts]
        return found.train.take([int(i) for i in order])

    def prior(self) -> tuple[Prompts, Batch]:
        """Draws of the prior, weighted by the evidence."""
        given, found, prompts = self.config.train.dpg, self.found, self.prompts()
        with self.live.part(plan.MEMORY):
            key = self.key.fold("memory")
            drawn = self.parts.draws(
                "memory",
                prompts,
                lambda: draw_each(Importance(), key, found.posterior, prompts, given.draws, self.live.tick, 8),
            )
        found.cost[plan.stages(self.config)[0]] = drawn.cost
        return prompts, memory(drawn)

    def sampler(self, given: DistilConfig) -> Sampler:
        """The engine that is distilled."""
        prior: Any = self.found.posterior.prior
        return getattr(self.config.sample, given.sampler).sampler(self.config, prior)

    def engine(self, given: DistilConfig) -> tuple[Prompts, Batch]:
        """Draws of that engine; prompts for which it finds nothing possible are left out.

        Raises:
            DegeneracyError: it finds nothing at all.
        """
        found, prompts, sampler = self.found, self.prompts(), self.sampler(given)
        with self.live.part(plan.MEMORY_ENGINE):
            key = self.key.fold("searched")
            drawn = self.parts.draws(
                "searched",
                prompts,
                lambda: draw_each(sampler, key, found.posterior, prompts, given.group, self.live.tick, 8),
            )
            rows = recalled(found.posterior, drawn)
        if lost := len(prompts) - len(rows.prompts):
            self.live.say(f"  {given.sampler} found no possible reply to {lost} of {len(prompts)} prompts", "yellow")
        name = self.config.train.engine
        found.cost[name] = found.cost.get(name, Cost()) + drawn.cost
        return rows.prompts, rows

    def recorded(self, given: RecordedConfig) -> tuple[Prompts, Batch]:
        """Recorded replies, for an engine that draws none."""
        prior: Any = self.found.posterior.prior  # build gives a reshaped model
        if self.found.recorded is None:
            raise BackendError("recorded replies were not read: this is a fault of credence, please report it.")
        with self.live.part(plan.MEMORY_RECORDED):
            return recorded_rows.rows(
                given, self.found.recorded, prior, lambda line: self.live.say(f"  {line}", "yellow")
            )
