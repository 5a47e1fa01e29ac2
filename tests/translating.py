"""What tests of translation share: a tiny language with a known dictionary, a tiny translator, a manual in HTML."""

import itertools
from functools import cache

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from credence.core.keys import Key
from credence.prior.seq2seq import END, PAD, PairCodec, Seq2SeqPrior
from credence.prior.seq2seq_build import tiny_marian

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
