"""What SMC says of a rare event, beside the truth: examples/blue_or_waves.toml on the embedded model.

    .venv/bin/python scripts/figures/blue_or_waves.py [--draws 4000] [--seeds 10] [--out blue_or_waves.json]

The event's probability is counted on plain draws of the prior (log Z = log of the share that holds it, its error by
the binomial law). Then SMC runs on 16 particles in 4 islands at each of ten seeds; each run must carry a warning.
Writes JSON with every figure, the tolerance and the verdict. About ten minutes on two idle cores.
"""

import argparse
import json
import math
import time
from pathlib import Path

from credence.core.keys import Key
from credence.diagnose.particles import particle_findings
from credence.posterior.posterior import Posterior
from credence.sample.importance import Importance
from credence.sample.smc import SMC
from credence.study import build
from credence.study.toml import load_config

ROOT = Path(__file__).parents[2]
PROMPT = "Tell me about the weather today."
PIECE = 250
TOLERANCE = 0.1
"""Nats: the largest standard error of the truth that is taken for one."""


def truth(posterior: Posterior, draws: int) -> dict[str, float]:
    """log Z of the event, counted on prior draws."""
    prompts = posterior.prior.codec.prompts([PROMPT])
    hits, made, began = 0, 0, time.time()
    while made < draws:
        size = min(PIECE, draws - made)
        found = Importance().draw(Key(0).fold("truth", made), posterior, prompts, size)
        hits, made = hits + int((found.log_w == 0).sum()), made + size
        print(f"  {hits} of {made} after {time.time() - began:.0f} s", flush=True)
    share = hits / made
    log_z = math.log(share) if hits else -math.inf
    return {"draws": made, "hits": hits, "log_z": log_z, "se": math.sqrt((1 - share) / max(hits, 1))}


def run(posterior: Posterior, seed: int) -> dict[str, object]:
    """One SMC run, and what its diagnostics say."""
    prompts = posterior.prior.codec.prompts([PROMPT])
    draws = SMC(particles=16, islands=4).draw(Key(seed), posterior, prompts, 8)
    bad = [finding.name for finding in particle_findings(draws)[0] if not finding.ok]
    said = {name: float(draws.info[name][0]) for name in ("ess_before_draws", "ancestors", "unique")}
    return {"seed": seed, "log_z": float(draws.log_z[0]), "distinct": len(set(draws.texts())), **said, "warned": bad}


def main() -> None:
    """Measure, write, print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("blue_or_waves.json"))
    given = parser.parse_args()
    config = load_config(ROOT / "examples/blue_or_waves.toml")
    posterior = Posterior(build.prior(config), build.evidence(config))
    exact = truth(posterior, given.draws)
    runs: list[dict[str, object]] = []
    for seed in range(given.seeds):
        runs.append(run(posterior, seed))
        print(f"  {runs[-1]}", flush=True)
    warned = sum(bool(one["warned"]) for one in runs)
    held = exact["se"] <= TOLERANCE and 0 < warned == len(runs)
    found = {"prompt": PROMPT, "truth": exact, "smc": runs, "tolerance": TOLERANCE, "ok": held}
    given.out.write_text(json.dumps(found, indent=2).replace("-Infinity", '"-inf"').replace("Infinity", '"inf"'))
    print(f"log Z = {exact['log_z']:.2f} ± {exact['se']:.2f} nats; {warned} of {len(runs)} runs warned; ok: {held}")


if __name__ == "__main__":
    main()
