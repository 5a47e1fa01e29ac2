"""Streaming draws what sampling draws, and shows only what stays."""

import pytest
import torch

from credence.core.keys import Key
from credence.dialogue.stream import Draw, Reader, as_row, stream
from credence.prior.load import load
from credence.prior.reshape import reshape
from tests import talking, tiny
from tests.toys import toy_prior, toy_prompts


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> str:
    return talking.make(tmp_path_factory.mktemp("talker"))


@pytest.mark.parametrize("seed", range(8))
def test_the_stream_is_the_draw(seed: int) -> None:
    for prior, prompts in (
        (toy_prior(), toy_prompts()),
        (reshape(tiny.llama(), 0.7), tiny.codec().prompts([(1, 2)])),
    ):
        draw = Draw()
        list(stream(prior, Key(seed), prompts, draw))
        completions, log_q = prior.sample(Key(seed), prompts, 1)
        assert draw.ids == completions.tokens()[0]
        assert draw.log_q == pytest.approx(log_q[0].tolist())
        assert draw.ended == bool(completions.ended[0])
        row = draw.completions()
        assert torch.equal(row.ids, completions.ids)
        assert torch.allclose(prior.score(prompts, row).sum(), torch.tensor(sum(draw.log_q), dtype=torch.float64))


def test_pieces_are_whole_characters_and_join_to_the_text(talker: str) -> None:
    codec = load(talker).codec
    for text in ("你好，world  ", "  a\n\nb ", "🙂", "", "é "):
        for cut in (0, 1, 2):
            ids = codec.encode(text)
            ids = ids[: len(ids) - cut]
            reader = Reader(codec)
            pieces = [reader.push(i) for i in ids]
            assert not any("�" in piece for piece in pieces)
            assert "".join(pieces) + reader.finish() == codec.decode(ids)


def test_the_same_text_comes_out_of_a_random_model(talker: str) -> None:
    prior = load(talker, horizon=20)
    prompts = prior.codec.prompts(["你好"])
    for seed in range(5):
        draw = Draw()
        text = "".join(stream(prior, Key(seed), prompts, draw))
        assert text == prior.codec.decode(draw.ids)
        assert text == prior.sample(Key(seed), prompts, 1)[0].texts(prior.codec)[0]


def test_an_empty_row_is_no_token() -> None:
    row = as_row([], False)
    assert row.ids.shape == (1, 0)
    assert row.tokens() == [[]]
