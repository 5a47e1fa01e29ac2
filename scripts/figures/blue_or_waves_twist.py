"""SMC with a learnt twist on a rare event: within 0.5 nat of the truth, with several sequences, in 8 of 10 seeds.

    .venv/bin/python scripts/figures/blue_or_waves_twist.py [--draws 1024] [--steps 60] [--out blue_or_waves_twist.json]

The case of examples/blue_or_waves.toml: a reply of 24 tokens that holds "blue" or "waves", on the embedded model. The
value is learnt from prior draws at the one prompt, on frozen states and up to the word that settles the matter; the
guide is SMC's proposal up to there, and its critic. What is learnt by default depends on the next token alone (the
bias of the head): the few hits teach no more (docs/log.md). The truth is counted on the draws of all seeds together,
some ten thousand, or given. Writes JSON with every figure, the tolerance and the verdict; a
seed that stands there already is not measured again.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch

from credence.core.keys import Key
from credence.core.protocols import Batch
from credence.learn.collect import Learner, ValueLearner
from credence.learn.dpg import DPG
from credence.learn.loop import fit
from credence.learn.values.ctl import CTL
from credence.learn.values.fudge import Fudge
from credence.learn.values.sixo import SIXO
from credence.posterior.posterior import Posterior
from credence.posterior.settled import UntilSettled, until_settled
from credence.posterior.twist import Twisted
from credence.prior.guided import GuidedLM, guided_policy
from credence.sample.segments import Segments
from credence.sample.smc import SMC
from credence.study import build
from credence.study.machine import fast_products
from credence.study.toml import load_config

ROOT = Path(__file__).parents[2]
PROMPT = "Tell me about the weather today."
TOLERANCE, DISTINCT, ENOUGH = 0.5, 4, 8
LEARNERS = {"ctl": CTL, "fudge": Fudge, "sixo": SIXO}


def drawn(posterior: Posterior, key: Key, count: int) -> Batch:
    """Prior draws at the prompt, in pieces of 256."""
    from credence.core.types import Completions, pad_to

    prompts = posterior.prior.codec.prompts([PROMPT])
    parts = [posterior.prior.sample(key.fold(a), prompts, min(256, count - a)) for a in range(0, count, 256)]
    width = max(rows.ids.shape[1] for rows, _ in parts)
    wide = [torch.nn.functional.pad(rows.ids, (0, width - rows.ids.shape[1])) for rows, _ in parts]
    mask = [torch.nn.functional.pad(rows.mask, (0, width - rows.mask.shape[1])) for rows, _ in parts]
    rows = Completions(
        torch.cat(wide), torch.cat(mask), torch.cat([r.ended for r, _ in parts]), torch.zeros(count).long()
    )
    log_q = torch.cat([pad_to(q, width) for _, q in parts])
    return Batch(prompts, rows, log_q, log_q, posterior.log_lik(prompts, rows))


def counted(hits: int, draws: int) -> dict[str, float]:
    """log Z of the event, counted on prior draws."""
    return {"draws": draws, "log_z": math.log(hits / draws), "se": math.sqrt((1 - hits / draws) / hits)}


def learnt(
    posterior: Posterior, name: str, draws: int, steps: int, lr: float, key: Key, whole: bool
) -> tuple[GuidedLM, dict[str, Any]]:
    """A guide trained at the one prompt."""
    stored = until_settled(posterior.evidence, drawn(posterior, key.fold("draws"), draws))
    prior: Any = posterior.prior
    guide = guided_policy(prior, key)
    guide.head.outer.weight.requires_grad_(whole)
    guide.remember(stored.prompts, stored.completions)
    learner: Learner | ValueLearner = (
        DPG(1, draws, lr) if name == "dpg" else LEARNERS[name](prompts=1, group=draws, lr=lr)
    )
    done = fit(posterior, guide, stored.prompts, learner, key, steps, stored=stored)
    return guide, {
        "hits": int((stored.log_lik == 0).sum()),
        "loss": [r.get("value_loss") for r in done.history][:: max(1, steps // 6)],
    }


def write(path: Path, book: dict[str, Any]) -> None:
    """What is known so far, as JSON."""
    path.write_text(json.dumps(book, indent=1).replace("-Infinity", '"-inf"'))


def main() -> None:
    """Measure, write, print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "examples/blue_or_waves.toml")
    parser.add_argument("--learner", default="ctl", choices=["dpg", *LEARNERS])
    parser.add_argument("--draws", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--whole", action="store_true", help="train the whole head; wants a rate of 2e-4")
    parser.add_argument("--truth", type=float, help="log Z, where it is known")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("blue_or_waves_twist.json"))
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    config = load_config(given.config)
    settings = {name: str(getattr(given, name)) for name in ("learner", "draws", "steps", "lr", "whole")}
    known: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    runs: list[dict[str, Any]] = known.get("runs", []) if known.get("settings") == settings else []
    with fast_products():
        posterior = Posterior(build.prior(config), build.evidence(config))
        for seed in range(len(runs), given.seeds):
            began = time.process_time()
            key = Key(seed).fold("learn")
            guide, said = learnt(posterior, given.learner, given.draws, given.steps, given.lr, key, given.whole)
            middle = time.process_time()
            twisted = Posterior(posterior.prior, Twisted(posterior.evidence, guide))
            proposal = UntilSettled(guide, posterior.prior, posterior.evidence)
            draws = SMC(particles=64, islands=4, segments=Segments(most=6), proposal=proposal, probe=0).draw(
                Key(seed).fold("smc"), twisted, posterior.prior.codec.prompts([PROMPT]), 16
            )
            distinct = len(set(draws.texts()))
            info = {name: float(draws.info[name][0]) for name in ("ess_before_draws", "ancestors", "unique")}
            runs.append({
                "seed": seed, **said, **info, "log_z": float(draws.log_z[0]), "se": float(draws.log_z_se[0]),
                "distinct": distinct, "cpu_learn": middle - began,
                "cpu_smc": time.process_time() - middle,
                "text": draws.texts()[0],
            })  # fmt: skip
            print(runs[-1], flush=True)
            write(given.out, {"settings": settings, "runs": runs})
    hits = sum(run["hits"] for run in runs)
    exact = counted(hits, given.seeds * given.draws) if given.truth is None else {"log_z": given.truth, "se": 0.0}
    for run in runs:
        run["off"] = run["log_z"] - exact["log_z"]
        run["ok"] = abs(run["off"]) <= TOLERANCE and run["distinct"] >= DISTINCT
    held = sum(run["ok"] for run in runs) >= ENOUGH * given.seeds / 10
    book = {"prompt": PROMPT, "truth": exact, "settings": settings, "tolerance": TOLERANCE, "runs": runs, "ok": held}
    write(given.out, book)
    print(
        f"within {TOLERANCE} nat with {DISTINCT} sequences in {sum(run['ok'] for run in runs)} of {given.seeds}: {held}"
    )


if __name__ == "__main__":
    main()
