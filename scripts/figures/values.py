"""A value of prefixes on the frozen model against training all weights: share of the gap closed by CPU minutes.

    .venv/bin/python scripts/figures/values.py [--budgets 2,5,10] [--methods "spine;head"] [--out values.json]

The main job (examples/cheerful.toml --long). Every (method, budget) is a training of its own with its own schedule of
step sizes: prior draws, states and steps are all paid from the budget, counted in CPU seconds of this process. Then the
policy draws replies to held-out prompts that chose nothing:

    share = (J(π)/β − J(π0)/β) / (log Z − J(π0)/β)        J/β = E_π[log_lik − log π/π0], log Z from prior draws

with a standard error over prompts. The last state counts, not the best of several looks, so that no method pays for
looking. Results go to the file one by one, and what stands there is not measured again.

Verdict: whether the best head closes at least as much as the spine at every budget, within two standard errors.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from credence.core.keys import Key
from credence.core.protocols import Batch, Policy
from credence.core.types import Prompts
from credence.evidence.product import measure
from credence.learn.collect import Learner, ValueLearner
from credence.learn.dpg import DPG
from credence.learn.loop import fit
from credence.learn.reinforce import Reinforce
from credence.learn.values.ctl import CTL
from credence.learn.values.fudge import Fudge
from credence.learn.values.path import PathConsistency
from credence.learn.values.sixo import SIXO
from credence.learn.values.soft_q import TokenSoftQ
from credence.prior.guided import GuidedLM, guided_policy
from credence.prior.policy import full_policy
from credence.study.found import Found
from credence.study.machine import fast_products, training_products
from credence.study.run import load
from credence.study.toml import load_config

ROOT = Path(__file__).parents[2]
GROUP = 16
PIECE = 16


@dataclass(frozen=True)
class Method:
    """How a budget is spent: shares for stored draws and for learning from them; the rest is REINFORCE."""

    draws: float
    stored: float
    learner: Callable[[], Learner | ValueLearner]
    reinforce: Callable[[], Reinforce] | None
    head: bool


METHODS: dict[str, Method] = {
    "spine": Method(0.25, 0.15, lambda: DPG(16, GROUP, 4e-5, baseline=False), lambda: Reinforce(8, 8, 2e-5), False),
    "head": Method(0.25, 0.15, lambda: DPG(16, GROUP, 3e-4, baseline=False), lambda: Reinforce(16, 16, 1e-4), True),
    "head, forward KL": Method(0.8, 0.2, lambda: DPG(16, GROUP, 1e-4, baseline=False), None, True),
    "head, FUDGE": Method(0.85, 0.15, lambda: Fudge(16, GROUP, 1e-4), None, True),
    "head, CTL": Method(0.85, 0.15, lambda: CTL(16, GROUP, 1e-4), None, True),
    "head, SIXO": Method(0.85, 0.15, lambda: SIXO(16, GROUP, 1e-4), None, True),
    "head, whole paths": Method(0.8, 0.2, lambda: PathConsistency(16, GROUP, 1e-4, tilt=0.5), None, True),
    "head, soft Q": Method(0.8, 0.2, lambda: TokenSoftQ(16, GROUP, 3e-4), None, True),
}


def spent() -> float:
    """CPU seconds of this process and its threads."""
    return time.process_time()


def collect(found: Found, key: Key, seconds: float) -> Batch:
    """Prior draws at training prompts in a random order, as many as the seconds allow."""
    began, parts, order = spent(), list[Batch](), key.fold("order").generator().permutation(len(found.train))
    for first in range(0, len(order), PIECE):
        prompts = found.train.take([int(i) for i in order[first : first + PIECE]])
        completions, log_q = found.posterior.prior.sample(key.fold("draw", first), prompts, GROUP)
        log_lik, _ = measure(found.posterior.evidence, prompts, completions)
        parts.append(Batch(prompts, completions, log_q, log_q, log_lik))
        used = spent() - began
        if used * (1 + 1 / len(parts)) > seconds:
            break
    return merged(parts)


def merged(parts: list[Batch]) -> Batch:
    """Batches of consecutive prompts as one."""
    from credence.core.types import concat, pad_to

    offsets = [sum(len(p.prompts) for p in parts[:i]) for i in range(len(parts))]
    rows = concat([p.completions for p in parts], offsets)
    log_q = torch.cat([pad_to(p.log_q, rows.ids.shape[1]) for p in parts])
    first = parts[0].prompts
    prompts = Prompts(
        tuple(i for p in parts for i in p.prompts.ids), tuple(g for p in parts for g in p.prompts.given), first.codec,
        {name: [v for p in parts for v in p.prompts.columns[name]] for name in first.columns},
    )  # fmt: skip
    return Batch(prompts, rows, log_q, log_q, torch.cat([p.log_lik for p in parts]))


def train(
    found: Found, policy: Policy, learner: Learner | ValueLearner, key: Key, seconds: float, stored: Batch | None
) -> int:
    """As many steps as the seconds allow: two are timed, undone, and the schedule is laid over the rest."""
    prompts = found.train if stored is None else stored.prompts
    before, began = policy.state(), spent()
    fit(found.posterior, policy, prompts, learner, key.fold("pace"), 2, stored=stored)
    pace = (spent() - began) / 2
    policy.restore(before)
    steps = max(1, round((seconds - 2 * pace) / pace))
    began = spent()

    def stop(record: Mapping[str, Any], clock: Mapping[str, Any]) -> None:
        if spent() - began > seconds - 2 * pace:
            raise KeyboardInterrupt

    return len(fit(found.posterior, policy, prompts, learner, key, steps, stored=stored, callbacks=[stop]).history)


def one(found: Found, method: Method, minutes: float, seed: int) -> tuple[Policy, dict[str, float]]:
    """Train by one method within a budget."""
    key, total, began = Key(seed).fold("values"), 60 * minutes, spent()
    prior: Any = found.posterior.prior
    stored = collect(found, key.fold("stored"), method.draws * total)
    policy: Any = guided_policy(prior, key) if method.head else full_policy(prior)
    policy.products = found.products
    if isinstance(policy, GuidedLM):
        policy.remember(stored.prompts, stored.completions)
    left = (method.draws + method.stored) * total - (spent() - began)
    steps = train(found, policy, method.learner(), key.fold("stored steps"), max(left, 1.0), stored)
    more = 0
    if method.reinforce is not None:
        left = total - (spent() - began)
        more = train(found, policy, method.reinforce(), key.fold("steps"), max(left, 1.0), None)
    used = {"prompts": len(stored.prompts), "stored_steps": steps, "steps": more, "cpu": spent() - began}
    return policy, used


def gains(found: Found, policy: Policy, key: Key, n: int) -> torch.Tensor:
    """(B,) mean J/β of each held-out prompt under a policy."""
    out: list[torch.Tensor] = []
    for b, prompts in enumerate(found.heldout.split(4)):
        completions, log_q = policy.sample(key.fold(b), prompts, n)
        log_prior = found.posterior.prior.score(prompts, completions)
        gain = found.posterior.log_lik(prompts, completions) - (log_q - log_prior).sum(-1)
        out.append(gain.view(len(prompts), n).mean(1))
    return torch.cat(out)


def ruler(found: Found, draws: int) -> dict[str, list[float]]:
    """J(π0)/β and log Z of each held-out prompt from prior draws."""
    low: list[float] = []
    log_z: list[float] = []
    for b, prompts in enumerate(found.heldout.split(1)):
        completions, _ = found.posterior.prior.sample(Key(0).fold("ruler", b), prompts, draws)
        lik = found.posterior.log_lik(prompts, completions)
        low.append(float(lik.mean()))
        log_z.append(float(torch.logsumexp(lik, 0)) - math.log(draws))
    return {"prior": low, "log_z": log_z}


def share(gain: torch.Tensor, ends: Mapping[str, list[float]]) -> dict[str, float]:
    """Share of the gap closed and its standard error over prompts (delta method)."""
    low, high = (torch.tensor(ends[name], dtype=torch.float64) for name in ("prior", "log_z"))
    top, whole = gain.double() - low, high - low
    value = float(top.mean() / whole.mean())
    se = float((top - value * whole).std() / whole.mean() / len(top) ** 0.5)
    return {"elbo": float(gain.mean()), "share": value, "se": se}


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Share closed against CPU minutes, a line a method."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, ax = plt.subplots(figsize=(6, 4))
    for name in dict.fromkeys(r["method"] for r in results):
        rows = sorted((r for r in results if r["method"] == name), key=lambda r: r["minutes"])
        ax.errorbar([r["minutes"] for r in rows], [r["share"] for r in rows], [r["se"] for r in rows], label=name)
    ax.set(xlabel="CPU minutes, draws included", ylabel="share of the gap closed, held-out prompts", xscale="log")
    ax.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def verdict(results: list[dict[str, Any]]) -> bool:
    """At every budget that both were given, the best head is no worse than the spine within two standard errors."""
    ok: list[bool] = []
    for spine in (r for r in results if r["method"] == "spine"):
        heads = [r for r in results if r["method"] != "spine" and r["minutes"] == spine["minutes"]]
        if heads:
            best = max(heads, key=lambda r: r["share"])
            ok.append(best["share"] >= spine["share"] - 2 * math.hypot(best["se"], spine["se"]))
    return bool(ok) and all(ok)


def main() -> None:
    """Measure what the file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", default="2,5,10", help="CPU minutes")
    parser.add_argument("--methods", default="spine;head;head, forward KL;head, FUDGE", help="parted by ;")
    parser.add_argument("--draws", type=int, default=256, help="prior draws a held-out prompt")
    parser.add_argument("--policy-draws", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("values.json"))
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    names = [name.strip() for name in given.methods.split(";")]
    book: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {"results": []}
    config = load_config(ROOT / "examples/cheerful.toml", [], "long")
    with fast_products() as precision:
        found = load(config)
        found.products = training_products(config.train.products, config.prior.device)
        book |= {"precision": precision, "products": str(found.products), "threads": torch.get_num_threads()}
        if "ruler" not in book:
            book["ruler"] = ruler(found, given.draws)
            given.out.write_text(json.dumps(book, indent=1))
        for minutes in (float(m) for m in given.budgets.split(",")):
            for name in names:
                same = (name, minutes, given.seed)
                if any((r["method"], r["minutes"], r["seed"]) == same for r in book["results"]):
                    continue
                policy, used = one(found, METHODS[name], minutes, given.seed)
                gain = gains(found, policy, Key(given.seed).fold("gain"), given.policy_draws)
                result = {"method": name, "minutes": minutes, "seed": given.seed, **used, **share(gain, book["ruler"])}
                book["results"].append(result)
                book["ok"] = verdict(book["results"])
                given.out.write_text(json.dumps(book, indent=1))
                print({k: round(v, 3) if isinstance(v, float) else v for k, v in result.items()}, flush=True)
    plot(book["results"], given.out.with_suffix(".png"))
    print(f"the best head is no worse than the spine at any budget: {book.get('ok')}")


if __name__ == "__main__":
    main()
