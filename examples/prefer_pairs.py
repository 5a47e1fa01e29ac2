"""Make examples/prefer.jsonl: two replies of the prior to each prompt, judged once by a coin that VADER weights.

    .venv/bin/python examples/prefer_pairs.py [how many prompts]

P(first is chosen) = σ((sentiment of the first − of the second) / 0.2). The judge is Bradley–Terry by construction, so
DPO's target on these pairs is known. Only training prompts of prefer.toml are asked; replies that the horizon cut are
left out, for a file of texts cannot say that a reply did not end.
"""

import json
import math
import sys
from pathlib import Path

from credence.core.keys import Key
from credence.evidence.sentiment import vader
from credence.study import build
from credence.study.toml import load_config

HERE = Path(__file__).parent
SOFTNESS = 0.2


def main(count: int) -> None:
    config = load_config(HERE / "prefer.toml")
    prior = build.prior(config)
    given, parts = build.prompt_sets(config)
    train = given.take(parts.train)
    prompts = prior.codec.prompts(train.given).take(range(min(count, len(train))))
    key, lines = Key(config.seed).fold("pairs"), []
    for c, some in enumerate(prompts.split(32)):
        rows, _ = prior.sample(key.fold(c), some, 6)
        ended: list[dict[str, None]] = [{} for _ in range(len(some))]  # in the order drawn, each text once
        for b, reply, whole in zip(rows.prompt.tolist(), rows.texts(some.codec), rows.ended.tolist(), strict=True):
            if whole and reply:
                ended[b][reply] = None
        for b, (prompt, texts) in enumerate(zip(some.given, ended, strict=True)):
            if len(texts) < 2:
                continue
            pair = list(texts)[:2]
            liked = vader([prompt] * 2, pair)
            chance = 1 / (1 + math.exp(-(liked[0] - liked[1]) / SOFTNESS))
            first = float(key.fold("judge", c).uniform([b], 0)[0]) < chance
            chosen, rejected = pair if first else pair[::-1]
            lines.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
        print(f"{len(lines)} pairs from {32 * c + len(some)} of {len(prompts)} prompts", file=sys.stderr, flush=True)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (HERE / "prefer.jsonl").write_text(text, encoding="utf-8")
    print(f"{len(lines)} pairs from {len(prompts)} prompts")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
