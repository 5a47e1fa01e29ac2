"""From what a run found to its report, its lines on the screen and its model card."""

import math
from typing import Any

import torch
from torch import Tensor

from credence.core.errors import ContractError, DegeneracyError
from credence.core.keys import Key
from credence.core.protocols import Evidence
from credence.core.types import Completions, Draws, Prompts
from credence.evidence.product import Product, measure
from credence.learn.loop import Fit
from credence.posterior.posterior import Posterior
from credence.report.schema import Report
from credence.study.config import RunConfig
from credence.study.findings import findings
from credence.study.found import Found, said
from credence.study.learners import shown
from credence.study.picture import marks, optimum, replies
from credence.study.rows import prompt_row, ruler_row


def refuse_degenerate(draws: Draws, posterior: Posterior, more: str = "measure.draws") -> None:
    """Stop where nothing can be inferred.

    Raises:
        DegeneracyError: every draw of some prompt is impossible under the evidence; names the evidence and the prompts.
    """
    dead = [b for b in range(len(draws.prompts)) if bool(torch.isneginf(draws.log_w[draws.of(b)]).all())]
    if not dead:
        return
    rows = draws.completions.rows(draws.of(dead[0]))
    guilty = ", ".join(_impossible(posterior.evidence, draws.prompts, rows))
    prompts = ", ".join(repr(said(draws.prompts.given[b])) for b in dead[:3])
    raise DegeneracyError(
        f"every one of {len(rows)} draws is impossible under the evidence ({guilty}) for {len(dead)} of "
        f"{len(draws.prompts)} prompts ({prompts}). Draw more ({more}), soften the evidence (a reward of finite "
        "values, a finite `otherwise` or `cut`), or look at the replies: credence sample CONFIG --engine prior"
    )


def refuse_forbidding(draws: Draws, posterior: Posterior, engine: str = "reinforce") -> None:
    """Stop before an hour is spent on a stage that must refuse what the prior's own draws already show.

    Raises:
        ContractError: some draws are impossible under the evidence, and the engine's reverse KL would be infinite.
    """
    lost = torch.nonzero(torch.isneginf(draws.log_w)).flatten()
    if len(lost):
        guilty = ", ".join(_impossible(posterior.evidence, draws.prompts, draws.completions.rows(lost)))
        raise ContractError(
            f"{len(lost)} of {len(draws.log_w)} prior draws are impossible under the evidence ({guilty}), so "
            f"KL(π‖p*) is infinite for every policy that can still make them: {shown(engine)} has no gradient. Give "
            "finite values (a reward, an `otherwise` or a `cut` of some -10 nats), switch the stage off "
            f"(train.{engine}.steps = 0: forward KL allows -inf), or draw: credence sample CONFIG."
        )


def _impossible(evidence: Evidence, prompts: Prompts, rows: Completions) -> list[str]:
    """Names of the factors that forbid every row by themselves; of all that forbid some, where none does."""
    factors = evidence.factors if isinstance(evidence, Product) else (evidence,)
    shares: list[tuple[str, float]] = []
    for factor in factors:
        nats, readings = measure(factor, prompts, rows)
        shares.append((next(iter(readings), type(factor).__name__), float(torch.isneginf(nats).double().mean())))
    most = max(share for _, share in shares)
    return [name for name, share in shares if share == 1 or (most < 1 and share > 0)]


def smc_runs(draws: Draws, posterior: Posterior, reward: str, runs: int) -> Tensor:
    """(B, runs, 4) of independent runs: log Ẑ, mean reward, mean ended, mean log_lik of the particles drawn."""
    size = len(draws.completions) // len(draws.prompts)
    lik = posterior.log_lik(draws.prompts, draws.completions).view(-1, size).mean(-1)
    value = draws.readings[reward].view(-1, size).mean(-1)
    ended = draws.completions.ended.double().view(-1, size).mean(-1)
    return torch.stack([draws.log_z, value, ended, lik], -1).view(-1, runs, 4)


def prior_line(prior: Draws, exact: Draws | None) -> str:
    """Part 1 in one line."""
    ess = prior.ess()
    line = (
        f"  log Z {float(prior.log_z.mean()):.2f} nats a prompt; ESS {float(ess.min()):.0f} to {float(ess.max()):.0f}"
    )
    if exact is None:
        return line + "; no bound on the reward is known, so there are no exact draws"
    counts = [len(exact.of(b)) for b in range(len(exact.prompts))]
    none = [said(exact.prompts.given[b]) for b, count in enumerate(counts) if count == 0]
    tail = f"; none for: {', '.join(none)}" if none else ""
    return line + f"; {sum(counts)} exact posterior draws{tail}"


def stage_line(name: str, done: Fit) -> str:
    """A stage in one line."""
    kept = f"step {done.best}" if done.best else "the policy as it came"
    why = f"; {done.why}" if done.why else ""
    elbo = f" (validation ELBO {done.best_elbo:.2f})" if math.isfinite(done.best_elbo) else ""
    return f"  {name}: {len(done.history)} steps, kept {kept}{elbo}{why}"


def report(config: RunConfig, found: Found, key: Key, made: dict[str, Any]) -> Report:
    """Every number of the run, with intervals."""
    ruler, prior = found.ruler, found.prior
    if ruler is None or prior is None:
        raise DegeneracyError("nothing was drawn: there is nothing to report.")
    read = ruler.read(key)
    rows = tuple(ruler_row(law, read, config, found) for law in _laws(found))
    prompts = tuple(prompt_row(b, group, found, ruler, prior) for b, group in enumerate(ruler.groups()))
    beta = config.evidence.first_beta or 1.0
    return Report(
        title=config.name,
        beta=beta,
        reward_name=found.reward,
        horizon=config.prior.horizon,
        gap_closed=rows[-2].gap_closed if found.fits else None,
        ruler=rows,
        prompts=prompts,
        frontier=optimum(ruler, beta),
        marks=marks(rows),
        findings=findings(found, rows, prompts),
        replies=replies(found, key.fold("shown")),
        history=tuple(found.history),
        manifest=made,
    )


def _laws(found: Found) -> list[str]:
    laws = ["prior", "best_of_n"] + (["smc"] if found.smc is not None else [])
    return [*laws, *(f"policy_{name}" for name in found.fits), "posterior"]
