"""The report's rows: a law on the ruler, a prompt with what its draws say of its posterior. Tested in e2e/test_run."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from credence.core.types import Cost, Draws
from credence.core.types import Finding as Verdict
from credence.diagnose.bounds import WIDEST, LogZ, bracket, log_z_upper
from credence.diagnose.divergence import kl_forward, kl_forward_exact
from credence.diagnose.intervals import Group
from credence.diagnose.weights import pareto_k, weight_findings
from credence.report.schema import Estimate, PromptRow, RulerRow
from credence.study.config import RunConfig
from credence.study.found import Found, said
from credence.study.learners import LEARNERS, shown
from credence.study.ruler import Ruler

TITLES = {
    "prior": "prior",
    "best_of_n": "best of {of}",
    "smc": "SMC, {particles} particles",
    "policy_value": "policy guided by values",
    "policy_dpg": "policy after forward KL",
    **{f"policy_{name}": f"policy after {shown(name)}" for name in LEARNERS},
    "posterior": "posterior",
}
KINDS = {"prior": "prior", "best_of_n": "draw", "smc": "draw", "posterior": "target"}
EXACT_ZERO = {"prior": ("kl_prior",), "posterior": ("kl_reverse", "kl_forward")}
ZERO, UNKNOWN = Estimate(0.0, 0.0, 0.0), Estimate(math.nan, math.nan, math.nan)


def ruler_row(law: str, read: Mapping[str, Estimate], config: RunConfig, found: Found) -> RulerRow:
    """One law's estimates; a policy of which no step was kept is the prior, and reads the prior's."""
    same = _is_prior(law.removeprefix("policy_"), found)
    source = "prior" if same else law

    def known(name: str) -> Estimate | None:
        return ZERO if name in EXACT_ZERO.get(source, ()) else read.get(f"{source}/{name}")

    smc, cost = config.measure.smc, spent(law, config, found)
    side = "upper" if law == "smc" else ""
    return RulerRow(
        name=law,
        title=TITLES[law].format(of=config.measure.best_of_n, particles=smc.particles),
        kind=KINDS.get(law, "train"),
        reward=known("reward") or UNKNOWN,
        ended=known("ended") or UNKNOWN,
        kl_prior=_bounded(known("kl_prior"), side) or UNKNOWN,
        kl_reverse=_bounded(known("kl_reverse"), side) or UNKNOWN,
        kl_forward=known("kl_forward"),
        gap_closed=_gap_closed(law, same, read),
        draws=_draws(law, config),
        tokens=cost.tokens,
        seconds=cost.seconds,
        note=_note(law.removeprefix("policy_"), same, found),
    )


def _bounded(estimate: Estimate | None, side: str) -> Estimate | None:
    return None if estimate is None else Estimate(estimate.value, estimate.low, estimate.high, side)


def _gap_closed(law: str, same: bool, read: Mapping[str, Estimate]) -> Estimate | None:
    """None for the prior, the posterior, and where no gap is seen of which a share could be closed."""
    gap = read.get("prior/kl_reverse")
    seen = gap is None or not gap.low <= 0
    share = read.get(f"{law}/gap_closed") if seen and law not in ("prior", "posterior") else None
    if share is not None and same:
        return ZERO
    return _bounded(share, "lower" if law == "smc" else "")


def _draws(law: str, config: RunConfig) -> int:
    if law.startswith("policy_"):
        return config.measure.policy_draws
    return config.measure.smc.islands * config.measure.smc.particles if law == "smc" else config.measure.draws


def _note(stage: str, same: bool, found: Found) -> str:
    if same:
        return "no step beat the prior, so this is the prior"
    done = found.fits.get(stage)
    return "" if done is None else f"best checkpoint: step {done.best} of {len(done.history)}"


def _is_prior(stage: str, found: Found) -> bool:
    """Whether this is a stage, and no step of any stage up to it was kept."""
    upto = list(found.fits)[: list(found.fits).index(stage) + 1] if stage in found.fits else []
    return bool(upto) and all(found.fits[name].best == 0 for name in upto)


def spent(law: str, config: RunConfig, found: Found) -> Cost:
    """Tokens and CPU seconds: of a policy what its training took; of another law one reply to every held-out prompt.

    One reply of best-of-n is as many prior draws; one of SMC a whole run, whose particles share their ancestors.
    """
    if law.startswith("policy_"):
        stages = list(found.fits)[: list(found.fits).index(law.removeprefix("policy_")) + 1]
        return sum((found.cost[name] for name in stages if name in found.cost), Cost())
    measured = config.measure
    drawn, share = {
        "prior": ("prior", 1 / measured.draws),
        "best_of_n": ("prior", measured.best_of_n / measured.draws),
        "smc": ("smc", 1 / measured.smc.islands),
    }.get(law, ("", 0.0))
    whole = found.cost.get(drawn, Cost())
    return Cost(round(whole.tokens * share), whole.seconds * share)


def prompt_row(b: int, group: Group, found: Found, ruler: Ruler, prior: Draws) -> PromptRow:
    """What the draws say of held-out prompt b; flagged where the prior's own weights, or the pooled ones, carry ill."""
    log_w, exact = prior.log_w[prior.of(b)], exact_rows(b, found, prior)
    # a single exact draw gives an upper bound without an error: it is left out
    enough = log_w[exact] if len(exact) > 1 else None
    level, error = bracket(log_w, enough), None if enough is None else log_z_upper(log_w, enough)[1]
    share, reward = torch.exp(torch.log_softmax(log_w, -1)), ruler.prior.reward[b]
    mean = float((share * reward)[share > 0].sum())
    moved, moved_se = kl_forward(log_w, ruler.prior.log_joint[b], ruler.prior.log_prior[b])
    pooled, log_z = ruler.pooled(group)
    why = _doubts("prior draws", weight_findings(log_w)) + _width(level)
    if ruler.final:
        why += _doubts("prior and policy draws together", weight_findings(pooled[:, 5]))
    return PromptRow(
        prompt=said(found.heldout.given[b]),
        log_z=level.value,
        log_z_se=level.se,
        log_z_low=level.low,
        log_z_high=level.high,
        log_z_high_se=error,
        ess=float(prior.ess()[b]),
        draws=len(log_w),
        pareto_k=pareto_k(log_w),
        reward_prior=float(reward.mean()),
        reward_posterior=mean,
        reward_posterior_se=float((share * (reward - mean))[share > 0].norm()),
        kl_posterior_prior=moved,
        kl_posterior_prior_se=moved_se,
        exact_draws=len(exact),
        trusted=not why,
        why_not=" ".join(why),
        log_z_pooled=float(log_z) if ruler.final else None,
        **_forward(b, ruler, pooled, float(log_z), exact),
    )


def exact_rows(b: int, found: Found, prior: Draws) -> Tensor:
    """Places, among the prior's draws of prompt b, of those accepted as exact; a reply drawn twice is one place."""
    if found.exact is None:
        return torch.zeros(0, dtype=torch.long)
    places = {tuple(said): i for i, said in enumerate(prior.completions.rows(prior.of(b)).tokens())}
    rows = found.exact.completions.rows(found.exact.of(b)).tokens()
    return torch.tensor([places[tuple(row)] for row in rows], dtype=torch.long)


def _forward(b: int, ruler: Ruler, pooled: Tensor, log_z: float, exact: Tensor) -> dict[str, float]:
    """KL(p*‖exported policy) of one prompt: from weighted draws, and from exact ones where there are any."""
    if not ruler.final or ruler.final_on_prior is None:
        return {}
    value, se = kl_forward(pooled[:, 5], pooled[:, 1] + pooled[:, 2], pooled[:, 0])
    out = {"kl_forward": value, "kl_forward_se": se}
    if len(exact):
        each = kl_forward_exact(log_z, ruler.prior.log_joint[b][exact], ruler.final_on_prior[b][exact])
        error = float(each.std()) / math.sqrt(len(each)) if len(each) > 1 else math.inf
        out |= {"kl_forward_exact": float(each.mean()), "kl_forward_exact_se": error}
    return out


def _doubts(which: str, verdicts: Sequence[Verdict]) -> list[str]:
    """One short sentence on one set of weights, or none."""
    words = {"ess": "ESS {:.0f} (at least {:.0f})", "pareto_k": "k̂ {:.2f} (below {:.2f})"}
    words["max_weight"] = "one draw has {:.0%} of the weight (at most {:.0%})"
    bad = [words[v.name].format(v.value, v.threshold) for v in verdicts if not v.ok]
    return [f"{which.capitalize()}: {', '.join(bad)}."] if bad else []


def _width(level: LogZ) -> list[str]:
    if level.finding().ok:
        return []
    if level.high is None:
        return [f"Log Z: two standard errors are {2 * level.se:.2f} nats (at most {WIDEST:g})."]
    return [f"Log Z: its bounds lie {level.high - level.low:.2f} nats apart (at most {WIDEST:g})."]
