"""From what a run found to its report, its lines on the screen and its model card."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from credence.core.errors import DegeneracyError
from credence.core.keys import Key
from credence.core.protocols import Evidence
from credence.core.types import Completions, Draws, Prompts
from credence.diagnose.bounds import bracket
from credence.diagnose.drift import drift
from credence.diagnose.intervals import Group
from credence.diagnose.weights import pareto_k, weight_findings
from credence.evidence.product import Product, measure
from credence.learn.loop import Fit
from credence.posterior.posterior import Posterior
from credence.report.schema import Estimate, Finding, PromptRow, Report, RulerRow
from credence.study.config import RunConfig
from credence.study.found import Found, said
from credence.study.picture import marks, optimum, replies
from credence.study.ruler import Ruler

TITLES = {
    "prior": "prior",
    "best_of_n": "best of {of}",
    "smc": "SMC, {particles} particles",
    "policy_dpg": "policy after forward KL",
    "policy_reinforce": "policy after REINFORCE",
    "posterior": "posterior",
}
KINDS = {"prior": "prior", "best_of_n": "draw", "smc": "draw", "posterior": "target"}


def refuse_degenerate(draws: Draws, posterior: Posterior) -> None:
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
        f"every one of {len(rows)} prior draws is impossible under the evidence ({guilty}) for {len(dead)} of "
        f"{len(draws.prompts)} prompts ({prompts}). Draw more (measure.draws), soften the evidence (a reward of finite "
        "values, a finite `otherwise` or `cut`), or look at the replies: credence sample CONFIG --engine prior"
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
    rows = tuple(_row(law, read, config, found) for law in _laws(found))
    groups = ruler.groups()
    prompts = tuple(_prompt(b, group, found, ruler, prior) for b, group in enumerate(groups))
    beta = config.evidence.reward[0].beta / abs(config.evidence.reward[0].weight) if config.evidence.reward else 1.0
    last = rows[-2] if found.policy is not None else None
    nothing = Estimate(0.0, 0.0, 0.0)
    return Report(
        title=config.name,
        beta=beta,
        reward_name=found.reward,
        horizon=config.prior.horizon,
        gap_closed=last.gap_closed or nothing if last is not None else nothing,
        ruler=rows,
        prompts=prompts,
        frontier=optimum(ruler, found.posterior, beta, found.prior),
        marks=marks(rows),
        findings=_findings(found, prompts),
        replies=replies(found),
        history=tuple(found.history),
        manifest=made,
    )


def _laws(found: Found) -> list[str]:
    laws = ["prior", "best_of_n"] + (["smc"] if found.smc is not None else [])
    return [*laws, *(f"policy_{name}" for name in found.fits), "posterior"]


def _row(law: str, read: Any, config: RunConfig, found: Found) -> RulerRow:  # noqa: ANN401 - name -> Estimate
    zero = Estimate(0.0, 0.0, 0.0)
    smc, stage = config.measure.smc, law.removeprefix("policy_")
    bound = "upper" if law == "smc" else ""
    title = TITLES[law].format(of=config.measure.best_of_n, particles=smc.particles)
    same = stage in found.fits and _is_prior(stage, found)
    tokens, seconds = _cost(law, found)
    closed = None if law in ("prior", "posterior") else read.get(f"{law}/gap_closed")
    exact = {"prior": ("kl_prior",), "posterior": ("kl_reverse", "kl_forward")}.get("prior" if same else law, ())

    def measure(name: str) -> Estimate | None:
        if name in exact:
            return zero
        value = read.get(f"{'prior' if same else law}/{name}")
        bounded = bound if name in ("kl_prior", "kl_reverse") else ""
        return None if value is None else Estimate(value.value, value.low, value.high, bounded)

    if closed is not None and bound:
        closed = Estimate(closed.value, closed.low, closed.high, "lower")
    closed = zero if same else closed
    done = found.fits.get(stage)
    note = (
        "no step beat the prior, so this is the prior"
        if same
        else ""
        if done is None
        else f"best checkpoint: step {done.best} of {len(done.history)}"
    )
    draws = {"smc": smc.islands * smc.particles}.get(law, config.measure.draws)
    return RulerRow(
        law,
        title,
        KINDS.get(law, "train"),
        measure("reward") or zero,
        measure("ended") or zero,
        measure("kl_prior") or zero,
        measure("kl_reverse") or zero,
        measure("kl_forward"),
        closed,
        config.measure.policy_draws if done is not None else draws,
        tokens,
        seconds,
        note,
    )


def _is_prior(stage: str, found: Found) -> bool:
    """Whether no step of any stage up to this one was kept."""
    upto = list(found.fits)[: list(found.fits).index(stage) + 1]
    return all(found.fits[name].best == 0 for name in upto)


def _cost(law: str, found: Found) -> tuple[int, float]:
    if law == "posterior":
        return 0, 0.0
    stages = ("dpg", "reinforce") if law == "policy_reinforce" else (law.removeprefix("policy_"),)
    names = stages if law.startswith("policy_") else ("smc",) if law == "smc" else ("prior",)
    spent = [found.cost[name] for name in names if name in found.cost]
    return sum(c.tokens for c in spent), sum(c.seconds for c in spent)


def _prompt(b: int, group: Group, found: Found, ruler: Ruler, prior: Draws) -> PromptRow:
    log_w = prior.log_w[prior.of(b)]
    exact_w = None
    if found.exact is not None and len(found.exact.of(b)):
        rows = found.exact.completions.rows(found.exact.of(b))
        exact_w = found.posterior.log_lik(found.heldout, rows)
    level = bracket(log_w, exact_w)
    share = prior.weights()[prior.of(b)]
    reward, kl = ruler.prior.reward[b], share * log_w
    per_draw = log_w - level.value
    mean = float(kl[share > 0].sum()) - level.value
    pooled, log_z = ruler.pooled(group)
    verdicts = weight_findings(pooled[:, 5])
    broken = [f.meaning for f in verdicts if not f.ok]
    return PromptRow(
        prompt=said(found.heldout.given[b]),
        log_z=level.value,
        log_z_se=level.se,
        log_z_low=level.low,
        log_z_high=level.high,
        ess=float(prior.ess()[b]),
        draws=len(log_w),
        pareto_k=pareto_k(log_w),
        reward_prior=float(reward.mean()),
        reward_posterior=float((share * reward).sum()),
        kl_posterior_prior=mean,
        kl_posterior_prior_se=float((share**2 * (per_draw - mean) ** 2)[share > 0].sum().sqrt()),
        exact_draws=0 if exact_w is None else len(exact_w),
        trusted=not broken,
        why_not=" ".join(broken),
        log_z_pooled=float(log_z),
    )


def _findings(found: Found, prompts: Sequence[PromptRow]) -> tuple[Finding, ...]:
    out: list[Finding] = []
    if found.exact is not None:
        none = [p.prompt for p in prompts if p.exact_draws == 0]
        if none:
            meaning = (
                f"Rejection accepted no draw for {len(none)} of {len(prompts)} prompts ({'; '.join(none)}): there "
                "log Z has no upper bound, and the forward KL rests on weighted draws."
            )
            out.append(Finding("exact_draws", False, meaning, float(len(none)), 0.0))
    for name, done in found.fits.items():
        if done.why:
            out.append(Finding(f"stage {name}", done.status.name == "STOPPED", done.why))
        if done.best == 0:
            out.append(Finding(f"stage {name}", False, "No step beat the policy it started from on the validation."))
    if found.smc is not None:
        out.append(_ancestors(found.smc))
    for name, (rows, log_q, _) in list(found.shown.items())[-1:]:
        if found.policy is not None:
            some = rows.rows(torch.arange(0, len(rows), max(1, len(rows) // 64)))
            seen = drift(found.policy, found.heldout, some, log_q[:: max(1, len(rows) // 64)][: len(some)]).finding()
            out.append(Finding(f"drift of {name}", seen.ok, seen.meaning, seen.value, seen.threshold))
    return tuple(out)


def _ancestors(draws: Draws) -> Finding:
    particles = len(draws.completions) // len(draws.prompts)
    least = float(draws.info["ancestors"].min())
    ok = least >= 4
    meaning = f"SMC's {particles} particles descend from at least {least:.0f} first ones" + (
        "." if ok else ": its draws are near copies, and its log Z may be far too low."
    )
    return Finding("smc_ancestors", ok, meaning, least, 4.0)
