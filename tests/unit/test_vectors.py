from pathlib import Path

import torch

from credence.dialogue.vectors import Remembering
from tests.embedders import HashedGrams

TEXTS = [f"text number {i}" for i in range(9)]


def test_vectors_are_kept_told_apart_and_made_again_when_broken(tmp_path: Path) -> None:
    calls: list[int] = []
    kept = Remembering(HashedGrams(), tmp_path / "new", lambda: calls.append(1))
    first = kept.embed(TEXTS)
    assert len(calls) == kept.missing([*TEXTS, "more"]) - 1 == 9
    assert kept.missing(TEXTS) == 0
    assert torch.equal(kept.embed(TEXTS), first)
    assert len(calls) == 9
    assert kept.place(TEXTS) != Remembering(HashedGrams("other"), tmp_path / "new").place(TEXTS)
    assert kept.place(TEXTS) != kept.place(TEXTS[::-1])
    kept.place(TEXTS).write_bytes(b"not safetensors")
    assert torch.equal(kept.embed(TEXTS), first)
    assert len(calls) == 18
    assert len(kept.embed(TEXTS[:2])) == 2  # what users say is not kept
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert len(Remembering(HashedGrams(), tmp_path / "file").embed(TEXTS)) == 9
