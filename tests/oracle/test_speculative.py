"""The law of speculative sampling, computed and not sampled: equal to the target's, whatever the draft."""

import math

import pytest
import torch

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.protocols import StepPrior
from credence.posterior.exact import tree
from credence.prior.reshape import reshape
from credence.prior.table import TablePrior
from credence.sample.speculative import Speculative, log_acceptance, log_residual, speculate
from tests.tiny import gpt2, llama
from tests.toys import toy_a, toy_policy, toy_prior, toy_prompts

Tokens = tuple[int, ...]


def law_of_the_algorithm(target: StepPrior, draft: StepPrior, ahead: int) -> dict[Tokens, float]:
    """Every path of drafts, acceptances and replacements, with its probability, summed by the reply that it gives."""
    _, _, p = tree(target, target.codec.prompts([()]))
    _, _, q = tree(draft, draft.codec.prompts([()]))
    out: dict[Tokens, float] = {}
    todo = {((), 0): 1.0}  # (said, drafts of this round that were accepted) -> probability
    while todo:
        (said, accepted), mass = todo.popitem()
        if said and (said[-1] in target.ends or len(said) == target.horizon):
            out[said] = out.get(said, 0.0) + mass
            continue
        if accepted == ahead:
            steps = {v: (float(torch.exp(p[said][v])), 0) for v in range(len(p[said]))}
        else:
            kept = torch.exp(q[said] + log_acceptance(p[said], q[said])).nan_to_num(0.0)
            steps = {v: (float(kept[v]), accepted + 1) for v in range(len(kept))}
            left = 1 - float(kept.sum())
            for v, x in enumerate(torch.exp(log_residual(p[said], q[said])).tolist()):
                key = ((*said, v), 0)
                todo[key] = todo.get(key, 0.0) + mass * left * x
        for v, (x, count) in steps.items():
            key = ((*said, v), count)
            todo[key] = todo.get(key, 0.0) + mass * x
        todo = {key: x for key, x in todo.items() if x > 0}
    return out


@pytest.mark.parametrize("ahead", [1, 2, 3, 7])
@pytest.mark.parametrize("target", [toy_prior(), reshape(toy_prior(), 0.6, top_k=2)], ids=["prior", "cut"])
def test_the_law_is_the_target_s(target: StepPrior, ahead: int) -> None:
    """To 1e-12, on TOY-A, drafted by a policy at KL 0.33 nats. Rejects min(1, q/p) and a residual left as p."""
    leaves, _, p = tree(target, toy_prompts())
    found = law_of_the_algorithm(target, toy_policy(), ahead)
    for leaf in leaves:
        wanted = math.exp(sum(float(p[leaf[:t]][leaf[t]]) for t in range(len(leaf))))
        assert found.get(leaf, 0.0) == pytest.approx(wanted, abs=1e-12)
    assert sum(found.values()) == pytest.approx(1, abs=1e-12)


def test_the_share_accepted_is_one_minus_the_total_variation() -> None:
    """SCIENCE 7: p = (.5, .3, .2), q = (.2, .5, .3): α = .7, and (1 − α⁴)/(1 − α) = 2.533 tokens a pass at γ = 3."""
    p, q = (torch.log(torch.tensor(x, dtype=torch.float64)) for x in ([0.5, 0.3, 0.2], [0.2, 0.5, 0.3]))
    share = float(torch.exp(q + log_acceptance(p, q)).sum())
    assert share == pytest.approx(0.7, abs=1e-12)
    assert (1 - share**4) / (1 - share) == pytest.approx(2.533, abs=1e-12)
    assert torch.exp(log_residual(p, q)).tolist() == pytest.approx([1, 0, 0])
    assert torch.equal(log_residual(p, p), p)  # nothing is left where nothing can be refused


def test_a_draft_like_the_target_is_always_kept() -> None:
    found = speculate(toy_prior(), toy_prior(), Key(1), toy_prompts(), 50, 2)
    assert int(found.rejected.sum()) == 0
    assert bool((found.passes <= (found.completions.lengths + 2) // 3 + 1).all())
    impossible = TablePrior(lambda _: [0.0, -math.inf, -math.inf], 3, 2, 4)  # the draft says nothing but 0
    kept = speculate(toy_prior(), impossible, Key(1), toy_prompts(), 200, 2)
    assert len(set(map(tuple, kept.completions.tokens()))) > 10


def test_draws_do_not_depend_on_the_batch() -> None:
    """Draw d of prompt b is the same among fewer draws, alone, and before other prompts; models of transformers too."""
    for target, draft in ((toy_prior(), toy_policy()), (llama(), reshape(gpt2(), 5.0))):
        prompts = target.codec.prompts([(0, 1), (1,), (0, 1)])
        many = speculate(target, draft, Key(4), prompts, 7, 2)
        few = speculate(target, draft, Key(4), prompts.take([0, 1]), 3, 2)
        index = [b * 7 + d for b in range(2) for d in range(3)]
        assert few.completions.tokens() == [many.completions.tokens()[i] for i in index]
        assert torch.allclose(target.score(prompts, many.completions), many.log_q, atol=1e-10, rtol=0)
        for tokens, ended in zip(many.completions.tokens(), many.completions.ended.tolist(), strict=True):
            assert not target.ends & set(tokens[:-1])
            assert ended == (tokens[-1] in target.ends)
            assert ended or len(tokens) == target.horizon


def test_pieces_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = speculate(toy_prior(), toy_policy(), Key(2), toy_prompts(), 9, 3)
    monkeypatch.setattr("credence.sample.speculative.ROWS", 16)
    parts = speculate(toy_prior(), toy_policy(), Key(2), toy_prompts(), 9, 3)
    assert parts.completions.tokens() == whole.completions.tokens()
    assert torch.equal(parts.log_q, whole.log_q)


def test_what_cannot_be_is_refused() -> None:
    def table(vocab: int, end: int, horizon: int) -> TablePrior:
        return TablePrior(lambda _: [0.0] * vocab, vocab, end, horizon)

    for draft, words in (
        (table(5, 2, 4), "another vocabulary than the target \\(5 against 3 tokens"),
        (table(3, 1, 4), "draft ends by \\[1\\] within 4 tokens, the target by \\[2\\] within 4"),
        (table(3, 2, 3), "within 3 tokens"),
    ):
        with pytest.raises(ConfigError, match=words):
            Speculative(draft).draw(Key(1), toy_a(), toy_prompts(), 2)
    with pytest.raises(ConfigError, match="ahead=0"):
        Speculative(toy_policy(), 0)
    with pytest.raises(ConfigError, match="ahead=0"):
        speculate(toy_prior(), toy_policy(), Key(1), toy_prompts(), 1, 0)
    with pytest.raises(ShapeError, match="n=0"):
        speculate(toy_prior(), toy_policy(), Key(1), toy_prompts(), 0)
