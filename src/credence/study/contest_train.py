"""An engine that trains, in a comparison: its stages until the budget is spent, then its policy, held out."""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from credence.core.errors import BackendError
from credence.core.keys import Key
from credence.core.logspace import ess
from credence.core.meter import metered
from credence.core.protocols import Policy
from credence.core.status import Status
from credence.core.types import Completions, Cost, concat
from credence.diagnose.weights import pareto_k
from credence.evidence.product import measure
from credence.study import recorded_rows
from credence.study.allowance import Allowance, Budget
from credence.study.collect import score_each
from credence.study.config import RunConfig
from credence.study.folder import RunFolder
from credence.study.found import Found
from credence.study.learners import LEARNERS
from credence.study.learning import Learning
from credence.study.live import Live
from credence.study.measured import Measured, distinct
from credence.study.parts import Parts
from credence.study.peak import Peak
from credence.study.ruler import Drawn
from credence.study.summary import refuse_forbidding

TRAINED = 0.8
"""Share of one engine's progress that training takes; the rest is the ruler."""
SCRATCH = "scratch"


@dataclass(eq=False)
class Within:
    """What `Learning` tells, as a part of the comparison's own progress; keeps what each validation found.

    Attributes:
        live: the outer progress.
        allowed: what is being spent.
        curve: tokens, CPU seconds and validation ELBO at each look.
    """

    live: Live
    allowed: Allowance
    curve: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def part(self, name: str) -> Generator[None]:
        """A part of one engine's work is no part of the comparison."""
        self.live.tick(TRAINED * min(1.0, self.allowed.used / self.allowed.budget.limit))
        yield

    def tick(self, share: float) -> None:
        """Progress is what is spent."""
        self.live.tick(TRAINED * min(1.0, self.allowed.used / self.allowed.budget.limit))

    def skip(self, share: float) -> None:
        """An engine that was broken off begins anew: nothing of it was done before."""

    def say(self, text: str, style: str = "") -> None:
        """As it is."""
        self.live.say(text, style or "dim")

    def headings(self) -> None:
        """None: only validations are shown, and those as points of a curve."""

    def step(self, record: Mapping[str, Any], clock: Mapping[str, Any]) -> None:
        """One training step."""
        self.tick(0.0)
        if "val_elbo" in record:
            cost = self.allowed.cost
            self.curve.append(
                {
                    "stage": record["stage"],
                    "step": record["step"],
                    "tokens": cost.tokens,
                    "seconds": cost.seconds,
                    "val_elbo": record["val_elbo"],
                    "val_elbo_se": record["val_elbo_se"],
                    "best": record["best"],
                }
            )


def train(
    config: RunConfig, stages: tuple[str, ...], base: Found, key: Key, budget: Budget, place: RunFolder, live: Live
) -> Measured:
    """Train by these stages until the budget is spent, and measure the policy.

    Args:
        config: as contest.variant gives it.
        stages: in order.
        base: target, prompts, and the reference's prior draws.
        key: of this seed.
        budget: validation included; what measures the policy is apart.
        place: a folder for history.jsonl and timing.jsonl.
        live: progress.

    Raises:
        ConfigError, ContractError, MissingExtraError: it cannot be trained so.
        KeyboardInterrupt: passed on.
    """
    found = Found(base.posterior, base.heldout, base.validation, base.train, products=base.products)
    found.reward, found.recorded = base.reward, recorded_rows.read(config)
    if base.prior is not None and stages[-1] in LEARNERS and config.train.chosen.finite:
        refuse_forbidding(base.prior, base.posterior, config.train.engine)
    peak = Peak(config.prior.device)
    with metered() as meter:
        inner = Within(live, Allowance(budget, meter))
        parts = Parts(place.path / SCRATCH, 1, inner, resumed=False)
        try:
            Learning(config, found, place, parts, inner, key, (), inner.allowed).run()
        finally:
            parts.clear()
        spent, memory = inner.allowed.cost, peak.mib
    if found.policy is None:
        raise BackendError("no stage was trained: this is a fault of credence, please report it.")
    made = look(found.policy, base, key.fold("measure"), config.measure.policy_draws, live)
    made.same = all(done.best == 0 for done in found.fits.values())
    made.cost, made.memory, made.curve = spent, memory, inner.curve
    last = list(found.fits.values())[-1].target
    made.note, made.target = _note(found, budget, spent), "" if last == "posterior" else last
    return made


def _note(found: Found, budget: Budget, spent: Cost) -> str:
    steps = sum(len(done.history) for done in found.fits.values())
    words = f"{steps} steps"
    last = list(found.fits.values())[-1]
    if all(done.best == 0 for done in found.fits.values()):
        words += "; none beat the prior, so this is the prior"
    elif last.best:
        words += f"; kept step {last.best} of the last {len(last.history)}"
    else:
        words += "; no step of the last stage beat what it began from"
    if last.status is Status.NAN:
        words += f"; {last.why}"
    return words + ("; what comes before its last step takes more than the budget" * (budget.of(spent) > budget.limit))


def look(policy: Policy, base: Found, key: Key, n: int, live: Live) -> Measured:
    """n held-out draws a prompt as numbers, and the reference's prior draws under the policy.

    Cost: the ruler's: sampling is metered only to say what one more reply takes.
    """
    prior, heldout, posterior = base.prior, base.heldout, base.posterior
    if prior is None:
        raise BackendError("nothing was drawn from the prior: this is a fault of credence, please report it.")
    rows: list[Completions] = []
    columns: list[torch.Tensor] = []
    each, count = Cost(), len(heldout)
    for b, piece in enumerate(heldout.split(1)):
        began = time.process_time()
        with metered() as meter:
            drawn, log_q = policy.sample(key.fold(b), piece, n)
        each += Cost(meter.tokens or int(drawn.mask.sum()), time.process_time() - began)
        rows.append(drawn)
        log_prior = posterior.prior.score(piece, drawn).sum(-1)
        log_lik, readings = measure(posterior.evidence, piece, drawn)
        columns.append(torch.stack([log_q.sum(-1), log_prior, log_lik, readings[base.reward], drawn.ended.double()]))
        live.tick(TRAINED + 0.5 * (1 - TRAINED) * (b + 1) / count)
    law = Drawn(*torch.stack(columns, 1).double().cpu())
    half = TRAINED + 0.5 * (1 - TRAINED)
    on_prior = score_each(policy, heldout, prior.completions, lambda done: live.tick(half + (1 - half) * done))
    log_w = law.log_joint - law.log_law
    merged = concat(rows, list(range(count)))
    return Measured(
        drawn=law,
        on_prior=on_prior.view(count, -1).cpu(),
        ess=ess(log_w),
        pareto_k=torch.tensor([pareto_k(w) for w in log_w], dtype=torch.float64),
        unique=distinct(merged, torch.ones(len(merged), dtype=torch.bool), count).cpu(),
        draws=torch.full((count,), float(n), dtype=torch.float64),
        each=Cost(round(each.tokens / (n * count)), each.seconds / (n * count)),
    )
