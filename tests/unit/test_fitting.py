"""Fitting a helpdesk's two numbers: it lowers the log-loss, restores a spoilt embedder, and reads its file strictly."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.dialogue.fitting import Pair, fit_helpdesk, read_pairs
from credence.dialogue.helpdesk import Helpdesk
from credence.dialogue.knowledge import Entry, Knowledge
from tests.embedders import HashedGrams

TOPICS = ("tea", "bread", "shoes", "trains", "gardens", "violins")
SHOP = Knowledge(tuple(Entry(t, f"What about {t} here?", f"Everything on {t}: all {t}.") for t in TOPICS), "en", "shop")
PAIRS = [
    *(Pair(f"{start} {t}", t) for t in TOPICS for start in ("what about", "tell me of", "I want some")),
    *(Pair(text, None) for text in ("qqq zzz", "0000 1111", "vvv www kkk", "jjjj", "%%% ###", "8 8 8 8")),
]


@dataclass(frozen=True)
class Spoilt:
    """An embedder whose cosines are ten times too close together: its likelihood must be sharpened again."""

    name: str = "spoilt"

    def embed(self, texts: list[str]) -> torch.Tensor:
        return HashedGrams(common=3.0).embed(texts)


@pytest.mark.parametrize("embedder", [HashedGrams(), Spoilt()])
def test_the_fit_lowers_log_loss_on_questions_it_did_not_see(embedder: HashedGrams | Spoilt) -> None:
    found = fit_helpdesk(Helpdesk(SHOP, embedder), PAIRS, Key(0))
    assert found.after.log_loss[0] < found.before.log_loss[0]
    assert found.gain[0] == pytest.approx(found.before.log_loss[0] - found.after.log_loss[0], abs=1e-9)
    assert found.gain[1] <= found.gain[0] <= found.gain[2]
    assert found.after.accuracy[0] > 0.8
    assert sum(count for _, count in found.after.outcomes) == found.pairs == len(PAIRS)
    assert found.none == 6
    settled = Helpdesk(SHOP, embedder).with_settings(found.tau, found.margin)
    _, act = settled.reply(settled.start(), "what about violins")
    assert act.entries[0].name == "violins"


def test_a_spoilt_embedder_gets_more_power() -> None:
    sharp, flat = (fit_helpdesk(Helpdesk(SHOP, e), PAIRS, Key(0)).tau for e in (HashedGrams(), Spoilt()))
    assert flat > 2 * sharp


def test_without_questions_that_fit_nothing_the_margin_stays() -> None:
    found = fit_helpdesk(Helpdesk(SHOP, HashedGrams(), margin=0.4), PAIRS[:18], Key(0))
    assert (found.margin, found.none) == (0.4, 0)


def test_the_file_of_questions(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    rows = [f"en,{t},about {t} {i}" for t in TOPICS for i in (1, 2)]
    path.write_text("\n".join(["language,entry,text", *rows, "en,,what is this", "zh,tea,茶", "en,tea,  "]))
    found = read_pairs(path, SHOP)
    assert len(found) == 13
    assert found[-1] == Pair("what is this", None)
    for text, says in (
        ("entry,words\n", "no column text"),
        ("entry,text\nte,about tea\n", "no entry 'te'. Did you mean 'tea'"),
        ("entry,text\ntea,about tea\n", "holds 1 questions"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            read_pairs(path, SHOP)
        assert says in str(caught.value)
    with pytest.raises(ConfigError, match="no such file"):
        read_pairs(tmp_path / "none.csv", SHOP)
