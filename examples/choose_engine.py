"""Which engine should answer? Thompson sampling over credence's own engines, and the log that it leaves.

Arms are engines, the context is how hard a prompt is, the reward is what the reply earns less what it cost to draw:
on easy prompts the prior alone will do, on hard ones the best of eight is worth its price. Every engine's reward is
stored for every prompt, so that what the log says of a policy can be set beside the truth.

Run: python examples/choose_engine.py [--prompts 600] [--into LOG.csv] [--seed 0]
then: credence believe choose LOG.csv --policy by_hand
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from credence import BestOfN, Importance, Key, Posterior, Reward, TablePrior
from credence.belief.chooser import Chooser
from credence.belief.linear_arms import LinearArms

ENGINES = {"prior": 1, "best of 8": 8}
LEVELS, HORIZON, PRICE = 8, 6, 0.025
"""How hard a prompt can be, tokens of a reply, and what a drawn candidate costs."""


def good(prompts: list[tuple[int, ...]], replies: list[tuple[int, ...]]) -> list[float]:
    """Share of the reply that is the wanted token 0."""
    return [reply.count(0) / HORIZON for reply in replies]


def language() -> TablePrior:
    """Three tokens; the prompt's one token says how seldom 0 comes. Token 8 never comes, so no reply ends early."""
    return TablePrior(
        lambda seen: [4.5 - 0.7 * seen[0], 0.0, 0.4] + [-1e9] * 6, vocab=LEVELS + 1, end=LEVELS, horizon=HORIZON
    )


def rewards(prompts: int, key: Key) -> tuple[list[int], dict[str, list[float]]]:
    """How hard each prompt is, and what each engine's reply to it earns."""
    prior = language()
    posterior = Posterior(prior, Reward(good, beta=0.05))
    hard = [int(level) for level in key.fold("prompts").generator().integers(LEVELS, size=prompts)]
    asked = prior.codec.prompts([(level,) for level in hard])
    table: dict[str, list[float]] = {}
    for name, of in ENGINES.items():
        engine = Importance() if of == 1 else BestOfN(of=of)
        draws = engine.draw(key.fold(name), posterior, asked, 1)
        replies = [tuple(text) for text in draws.texts()]
        table[name] = [value - PRICE * (of - 1) for value in good([], replies)]
    return hard, table


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=600)
    parser.add_argument("--into", type=Path, default=Path("choose_engine.csv"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    key = Key(given.seed)
    hard, table = rewards(given.prompts, key)
    chooser = Chooser(LinearArms.start(tuple(ENGINES), 1, scale=0.3), key, "thompson", explore=0.2)
    by_hand = ["prior" if level < LEVELS // 2 else "best of 8" for level in hard]
    with given.into.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["hard", "arm", "reward", "propensity", "by_hand"])
        for i, level in enumerate(hard):
            context = [level / LEVELS - 0.5]
            choice = chooser.choose(context)
            reward = table[choice.arm][i]
            chooser = chooser.learn(choice.arm, reward, context)
            out.writerow([level, choice.arm, f"{reward:.4f}", f"{choice.propensity:.6f}", by_hand[i]])
    print(f"{given.into}: {given.prompts} choices")
    print("what is true of these prompts:")
    for name in ENGINES:
        print(f"  always {name:10} {np.mean(table[name]):.3f}")
    print(f"  uniform           {np.mean([table[name] for name in ENGINES]):.3f}")
    print(f"  by_hand           {np.mean([table[arm][i] for i, arm in enumerate(by_hand)]):.3f}")
    for level in range(LEVELS):
        mine = [i for i in range(len(hard)) if hard[i] == level]
        means = "  ".join(f"{name} {np.mean([table[name][i] for i in mine]):.2f}" for name in ENGINES)
        print(f"  hard = {level}: {means}")


if __name__ == "__main__":
    main()
