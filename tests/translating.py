"""What tests of translation share: a tiny language with a known dictionary, a tiny translator, a manual in HTML."""

import itertools
import math
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from credence.belief import ibm1, memory, translate
from credence.belief.temper import log_loss
from credence.belief.translate import BAYES, TUNED, Readings
from credence.core.keys import Key
from credence.prior.seq2seq import END, PAD, PairCodec, Seq2SeqPrior
from credence.prior.seq2seq_build import tiny_marian
from credence.study import translate_rows
from credence.study.pairs import PairParts, Pairs
from credence.study.translate_rows import Found

WHO = {"猫": "the cat", "狗": "the dog", "人": "a man", "鸟": "the bird", "鱼": "a fish", "马": "the horse"}
DOES = {"吃": "eats", "看": "sees", "找": "seeks", "要": "wants", "买": "buys"}
WHAT = {"水": "water", "肉": "some meat", "书": "books", "花": "flowers"}


def sentences() -> list[tuple[str, str]]:
    """120 Chinese sentences of three characters and a full stop, with their translations."""
    return [
        (f"{a}{b}{c}。", f"{WHO[a].capitalize()} {DOES[b]} {WHAT[c]}.")
        for a, b, c in itertools.product(WHO, DOES, WHAT)
    ]


@cache
def word_codec() -> PairCodec:
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate((PAD, END, "a", "b", "c"))}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    return PairCodec(PreTrainedTokenizerFast(tokenizer_object=words, eos_token=END, pad_token=PAD))


def tiny_translator(seed: int = 1, horizon: int = 3) -> Seq2SeqPrior:
    """Five tokens, float64, weights large enough that its laws are far from uniform."""
    model = tiny_marian(word_codec(), Key(seed), 8, 1, 2, 12).double()
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "embed_positions" not in name:
                p.add_(0.4 * torch.randn(p.shape, generator=rng, dtype=torch.float64))
    return Seq2SeqPrior(model, word_codec(), horizon)


def page(sections: dict[str, list[str]], title: str = "Manual") -> str:
    """A page as DocBook writes one: a named section each, its paragraphs, tables of contents and navigation around."""
    body = "".join(
        f'<div class="section"><h2><a id="{name}"></a>{i}. {name}</h2>' + "".join(f"<p>{p}</p>" for p in paragraphs)
        + "</div>"
        for i, (name, paragraphs) in enumerate(sections.items(), 1)
    )  # fmt: skip
    return (
        f"<html><head><title>{title}</title></head><body><div class='navheader'><table><tr><th>nav</th></tr></table>"
        f"</div><div class='toc'><p>toc</p></div><div class='chapter'>{body}</div></body></html>"
    )


def readings(seed: int, n: int = 400, k: int = 4, sure: float = 5.0) -> tuple[Readings, torch.Tensor]:
    """A channel that is sure of too much, a prior that says little, references drawn from what they say, weakened."""
    rng = Key(seed).generator()
    prior, channel, direct = (torch.from_numpy(rng.normal(size=(n, k))) for _ in range(3))
    law = torch.softmax(0.3 * prior + channel, 1)
    truth = torch.multinomial(law, 1, generator=torch.Generator().manual_seed(seed)).squeeze(1)
    sizes = torch.from_numpy(rng.integers(3, 20, (n, k)))
    return Readings(prior, sure * channel, direct, torch.from_numpy(rng.integers(3, 20, n)), sizes), truth


def found(seed: int, validation: int = 600, test: int = 60) -> Found:
    """A study of made-up readings."""
    rows, truth = readings(seed, validation + test)

    def pairs(n: int) -> Pairs:
        return Pairs(tuple(f"猫{i}" for i in range(n)), tuple(f"cat {i}" for i in range(n)))

    law = ibm1.fit_ibm1([(("a",), ("b",))])
    texts = tuple(tuple(f"t{i} {k}" for k in range(4)) for i in range(len(rows)))
    parts = PairParts(pairs(9), pairs(validation), pairs(test))
    return Found(parts, (), texts, tuple(truth.tolist()), ("",) * len(rows), rows, law, law)


def check_sum_over_alignments(seed: int) -> None:
    """log p(x | y) is the length's and the sum over every alignment, NULL among them."""
    rng = Key(seed).generator()
    words, theirs = list("abcd"), list("xyz")
    pairs = [(tuple(rng.choice(words, 3)), tuple(rng.choice(theirs, 2))) for _ in range(6)]
    law = ibm1.fit_ibm1(pairs, iterations=3)
    for x, y in pairs[:3]:
        t = [[_translates(law, a, b) for b in ("", *y)] for a in x]
        whole = sum(
            math.prod(t[j][i] / (len(y) + 1) for j, i in enumerate(links))
            for links in itertools.product(range(len(y) + 1), repeat=len(x))
        )
        length = float(law.length.log_p(torch.tensor([len(x)]), torch.tensor([len(y)]))[0])
        assert abs(law.log_p(x, y) - length - math.log(whole)) < 1e-9


def _translates(law: ibm1.IBM1, x: str, y: str) -> float:
    key = law.given[y] * len(law.said) + law.said[x]
    place = np.flatnonzero(law.keys == key)
    own = float(law.t[place[0]]) if len(place) else 0.0
    return (1 - law.smoothing) * own + law.smoothing * float(law.background[law.said[x]])


def check_a_law_over_texts(seed: int) -> None:
    """Texts of two units, known or not, sum to the probability of that length."""
    law = replace(ibm1.fit_ibm1([(tuple("ab"), ("x",)), (tuple("ca"), ("y", "x"))]), smoothing=0.1 + 0.01 * (seed % 9))
    for y in (("x",), ("never",)):
        total = sum(math.exp(law.log_p(x, y)) for x in itertools.product([*law.said, "?"], repeat=2))
        wanted = math.exp(float(law.length.log_p(torch.tensor([2]), torch.tensor([len(y)]))[0]))
        assert abs(total - wanted) < 1e-9


def check_test_references_choose_nothing(seed: int) -> None:
    """Weights, what answers and every law are the same wherever the test references stand."""
    one = found(seed)
    turned = tuple((k + 1) % 4 for k in one.truth[one.tuned :])
    a, b = translate_rows.choose(one), translate_rows.choose(replace(one, truth=one.truth[: one.tuned] + turned))
    assert a.weights == b.weights
    assert a.answers == b.answers
    assert all(torch.equal(a.test[name], b.test[name]) for name in a.test)


def check_tuned_hears_both_as_much_as_they_are_worth(seed: int) -> None:
    """λ near 0.3 and τ near 1/5, better than Bayes proper; Bayes proper hears 1 and 1."""
    rows, truth = readings(seed, 3000)
    weights = translate.fit_laws(rows, truth)
    laws = translate.translation_laws(rows, weights)
    assert abs(weights.lam - 0.3) < 0.1
    assert abs(weights.tau - 0.2) < 0.03
    assert float(log_loss(laws[TUNED], truth).mean()) < float(log_loss(laws[BAYES], truth).mean()) - 0.3
    assert torch.allclose(laws[BAYES], torch.log_softmax(rows.prior + rows.channel, 1), atol=1e-12)


def check_the_reference_is_no_distractor(seed: int) -> None:
    """Though the memory has it under another source, the reference stands among the candidates once."""
    pairs = [*sentences()[:40], ("猫吃，猫吃。", "The cat  eats water.")]
    rng = np.random.Generator(np.random.Philox(key=seed))
    texts, place = memory.candidate_set(memory.of_pairs(pairs), "猫吃水。", "The cat eats water.", 5, rng)
    said = [tuple(memory.units(text)) for text in texts]
    assert said.count(said[place]) == 1
