"""A made-up run, so that the page and the tables can be looked at and tested without a model.

Its numbers obey the identity E[r] − β KL(law‖π0) = β log Z − β KL(law‖p*), as a real run's must; nothing else is real.
"""

import math

from credence.report.schema import Estimate, Finding, FrontierPoint, Mark, PromptRow, Reply, Report, RulerRow

_BETA = 0.1
_LEVELS = tuple(-0.95 + 0.1 * i for i in range(20))
_PROMPTS = (
    "What do you think about robots?", "Do you like music?", "Tell me something about Venus.", "How was your day?",
    "今天天气怎么样？", "I feel a bit lost at work lately, and nobody seems to notice.", "Who wrote The Odyssey?",
    "Are you alive?",
)  # fmt: skip
_TEXTS = {
    "prior": "Robots are machines that can be programmed to carry out tasks.",
    "best_of_n": "I think robots are wonderful helpers, and they make life easier!",
    "smc": "Robots are great friends and I love how they help people every day, especially when",
    "policy_reinforce": "I think robots are great, and I am happy to help you learn more!",
    "posterior": "I love robots: they are helpful, kind and a joy to work with.",
}


def _tilt(lam: float) -> tuple[float, float, float]:
    """log Z, KL and reward of a toy prior over reward levels, tilted by exp(lam · r)."""
    base = [math.exp(-(((r - 0.05) / 0.42) ** 2)) + 0.35 * math.exp(-(((r - 0.6) / 0.2) ** 2)) for r in _LEVELS]
    weights = [b * math.exp(lam * r) for b, r in zip(base, _LEVELS, strict=True)]
    log_z = math.log(sum(weights) / sum(base))
    reward = sum(w * r for w, r in zip(weights, _LEVELS, strict=True)) / sum(weights)
    return log_z, lam * reward - log_z, reward


def _around(value: float, half: float, bound: str = "") -> Estimate:
    return Estimate(value, value - half, value + half, bound)


def _row(name: str, title: str, kind: str, at: tuple[float, float], spent: tuple[int, int, float]) -> RulerRow:
    """`at`: KL to the prior and E[r]; `spent`: draws, tokens, seconds."""
    log_z, _, _ = _tilt(1 / _BETA)
    (kl, reward), known = at, kind in {"prior", "target"}
    reverse = 0.0 if kind == "target" else log_z - reward / _BETA + kl
    gap = log_z - _tilt(0.0)[2] / _BETA
    bound = "upper" if kind == "draw" else ""
    target, prior = kind == "target", kind == "prior"
    forward = None if kind == "draw" else _around(0.0 if target else 0.42 * reverse + 0.1, 0.0 if target else 0.19)
    share = Estimate(1 - reverse / gap, 1 - (reverse + 0.2) / gap, 1 - (reverse - 0.25) / gap,
                     "lower" if bound else "")  # fmt: skip
    return RulerRow(
        name=name, title=title, kind=kind, reward=_around(reward, 0.04),
        ended=_around(0.62 if known else 0.71, 0.05),
        kl_prior=_around(kl, 0.0 if prior else 0.09, bound),
        kl_reverse=_around(reverse, 0.0 if target else 0.22, bound),
        kl_forward=forward, gap_closed=None if known else share, draws=spent[0], tokens=spent[1], seconds=spent[2],
        note="kept: step 45, best validation ELBO" if name == "policy_reinforce" else "",
    )  # fmt: skip


def _history() -> tuple[dict[str, float | int | str | bool | None], ...]:
    steps: list[dict[str, float | int | str | bool | None]] = []
    best = -math.inf
    for step in range(1, 61):
        rise, noise = 1 - math.exp(-step / 22), 0.5 * math.sin(step * 12.9898) + 0.3 * math.sin(step * 4.1)
        line: dict[str, float | int | str | bool | None] = {
            "step": step, "stage": "dpg" if step <= 20 else "reinforce", "elbo": 1.4 + 2.2 * rise + noise,
            "reward": 0.17 + 0.33 * rise + 0.06 * noise, "kl_prior": 0.9 * rise + 0.06 * noise + 0.05,
            "kl_posterior_estimate": 3.4 - 2.2 * rise - noise if step > 20 else None, "grad_norm": 1 / step,
        }  # fmt: skip
        if step % 10 == 5:
            elbo = 1.35 + 2.1 * rise + 0.1 * noise
            line |= {"val_elbo": elbo, "val_elbo_se": 0.17, "best": elbo > best}
            best = max(best, elbo)
        steps.append(line)
    return tuple(steps)


def _prompt_rows() -> tuple[PromptRow, ...]:
    rows: list[PromptRow] = []
    for i, prompt in enumerate(_PROMPTS):
        log_z, bad = 4.6 + 0.35 * math.cos(2.1 * i), i in (2, 6)
        why = "k̂ 1.12 is above 0.70: a few draws carry the weight" if i == 2 else "no exact draw in 256"
        rows.append(PromptRow(
            prompt=prompt, log_z=log_z, log_z_se=0.11 + 0.3 * bad, log_z_low=log_z - 0.2 - 0.5 * bad,
            log_z_high=None if i == 6 else log_z + 0.3 + 0.4 * bad, ess=8.3 if bad else 41.0 + 3 * i, draws=256,
            pareto_k=1.12 if i == 2 else 0.2 + 0.04 * i, reward_prior=0.1 + 0.02 * i, reward_posterior=0.74 + 0.01 * i,
            kl_posterior_prior=1.7 + 0.1 * i, kl_posterior_prior_se=0.12, exact_draws=0 if i == 6 else 7 + i,
            trusted=not bad, why_not=why if bad else "", log_z_high_se=None if i == 6 else 0.08,
            reward_posterior_se=0.02, kl_forward=0.7 + 0.1 * i, kl_forward_se=0.09,
            kl_forward_exact=None if i == 6 else 0.75 + 0.1 * i, kl_forward_exact_se=None if i == 6 else 0.2,
        ))  # fmt: skip
    return tuple(rows)


def _replies() -> tuple[Reply, ...]:
    replies: list[Reply] = []
    for i, prompt in enumerate(_PROMPTS):
        for law, text in _TEXTS.items():
            said = "今天阳光很好，我很开心能和你聊天！" if i == 4 and law == "policy_reinforce" else text
            words = list(said) if i == 4 else [" " + word if k else word for k, word in enumerate(said.split(" "))]
            shown = tuple(words) if law == "policy_reinforce" else ()
            nats = tuple(round(1.9 * math.sin(2.3 * k + i) + 0.25, 3) for k in range(len(shown)))
            reward = {"prior": 0.0, "best_of_n": 0.83, "smc": 0.91, "policy_reinforce": 0.81, "posterior": 0.93}[law]
            reward -= 0.02 * i
            replies.append(Reply(prompt, law, said, reward, law != "smc", shown, nats))
    return tuple(replies)


def example_report() -> Report:
    """Eight prompts, six laws, sixty steps; two prompts that cannot be trusted."""
    log_z, best_kl, best_reward = _tilt(1 / _BETA)
    base = _tilt(0.0)[2]
    ruler = (
        _row("prior", "Prior", "prior", (0.0, base), (256, 192, 0.2)),
        _row("best_of_n", "Best of 16", "draw", (1.75, 0.66), (256, 3_072, 2.2)),
        _row("smc", "SMC, 16 particles", "draw", (1.55, 0.67), (64, 5_120, 5.4)),
        _row("policy_dpg", "Policy after DPG", "train", (0.38, 0.33), (64, 412_000, 171.0)),
        _row("policy_reinforce", "Policy after REINFORCE", "train", (0.83, 0.475), (64, 955_000, 402.0)),
        _row("posterior", "Posterior", "target", (best_kl, best_reward), (256, 0, 0.0)),
    )
    path = [(lam, *_tilt(lam)[1:]) for lam in (0.0, *(0.35 * 1.16**i for i in range(32)))]
    gap = next(row.gap_closed for row in ruler if row.name == "policy_reinforce")
    return Report(
        title="Cheerful replies from SmolLM2", beta=_BETA, reward_name="VADER compound", horizon=24,
        gap_closed=gap, ruler=ruler, prompts=_prompt_rows(),
        frontier=tuple(FrontierPoint(1 / lam if lam else math.inf, kl, r, lam < 11.5) for lam, kl, r in path),
        marks=tuple(Mark(r.name, r.title, r.kind, r.kl_prior, r.reward) for r in ruler),
        findings=(
            Finding("effective sample size", True, "The prior's draws carry enough of the posterior.", 51.2, 25.6),
            Finding("Pareto k̂", False, "The weights of this prompt have a tail too heavy for their mean to settle; "
                    "its log Z and everything averaged from it may be off.", 1.12, 0.7, _PROMPTS[2]),
            Finding("drift", True, "What was sampled is what is scored.", 1.4e-5, 1e-3),
        ),
        replies=_replies(), history=_history(),
        manifest={"seed": 7, "config": {"name": "cheerful", "evidence": {"reward": {"fn": "vader", "beta": 0.1}}},
                  "versions": {"python": "3.11.2", "torch": "2.13.0", "peft": None},
                  "machine": {"processor": "an example", "cores": 2, "memory_mib": 15_991}, "log_z": log_z},
    )  # fmt: skip
