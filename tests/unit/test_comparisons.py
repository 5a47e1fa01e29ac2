"""Judgements gathered: ties, repeats, contradictions and replies compared with themselves are told, and bounded."""

import math
from dataclasses import replace

import pytest
import torch

from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.evidence.comparisons import Comparisons, gather
from credence.learn.dpo import DPO
from credence.learn.ipo import IPO
from credence.learn.kto import KTO
from credence.learn.losses.preference import log_ratio
from credence.learn.recorded import stored_comparisons, stored_demonstrations, stored_labels
from credence.learn.sft import SFT
from credence.posterior.exact import as_completions
from credence.prior.reshape import reshape
from credence.prior.table import TablePrior
from credence.prior.tabular import tabular_policy
from credence.prior.train import scored
from tests.toys import toy_prior

X, Y, Z = (0, 2), (1, 2), (0, 1, 2)
WON, LOST, TIE = (1.0, 0.0), (0.0, 1.0), (0.5, 0.5)
Line = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[float, float]]


def lines(*given: Line) -> tuple:
    """Prompt, first reply, second reply, votes."""
    prompts = toy_prior().codec.prompts([prompt for prompt, *_ in given])
    rows = as_completions([x for _, a, b, _ in given for x in (a, b)], toy_prior().ends)
    rows = replace(rows, prompt=torch.arange(len(given)).repeat_interleave(2))
    return prompts, rows, torch.tensor([votes for *_, votes in given])


def test_the_same_two_replies_are_one_comparison_whatever_their_order() -> None:
    given = [((), X, Y, WON), ((), Y, X, LOST), ((), Y, X, WON), ((1,), X, Y, WON), ((), X, Z, TIE), ((), X, X, WON)]
    kept, found = gather(*lines(*given))
    assert (found.same, found.repeated, found.contradicted, found.ties, found.kept) == ((5,), (1,), (2,), (4,), 3)
    assert torch.allclose(kept.votes, torch.tensor([[2 / 3, 1 / 3], [1.0, 0.0], [0.5, 0.5]]).double())
    assert [tuple(t) for t in kept.replies.tokens()] == [X, Y, X, Y, X, Z]
    assert kept.prompts.ids == ((), (1,), ())
    words = found.words([f"p.jsonl, line {i + 1}" for i in range(6)])
    assert words[0] == "1 comparisons compare a reply with itself and were left out (p.jsonl, line 6)"
    assert len(words) == 4


def test_a_line_copied_a_thousand_times_pulls_no_harder_unless_asked_to() -> None:
    """Both rules; the gradient of DPO is what a comparison can do, and it is at most β a vote."""
    given = lines(*[((), X, Y, WON)] * 1000, ((), X, Z, LOST))
    once, count = (gather(*given, repeats)[0] for repeats in ("once", "count"))
    assert once.votes.tolist() == [[1, 0], [0, 1]]
    assert count.votes.tolist() == [[1000, 0], [0, 1]]
    for kept, most in ((once, 1.0), (count, 1000.0)):
        policy = tabular_policy(toy_prior(), kept.prompts)
        batch = stored_comparisons(toy_prior(), kept, 0.5)
        log_pi = policy.log_probs(batch.prompts, batch.completions).detach().requires_grad_()
        DPO().loss(scored(batch, log_pi))[0].backward()
        assert log_pi.grad is not None
        pull = float(log_pi.grad.abs().max()) * len(kept)
        assert 0.2 * most * 0.5 < pull <= most * 0.5


def test_softened_votes_leave_no_gap_infinite() -> None:
    kept, _ = gather(*lines(((), X, Y, WON)))
    assert kept.softened(0.1).votes[0].tolist() == pytest.approx([0.9, 0.1])
    with pytest.raises(ConfigError, match="one half nothing was said"):
        kept.softened(0.5)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ConfigError, match="no comparison is left"):
        gather(*lines(((), X, X, WON)))
    with pytest.raises(ConfigError, match=r"comparison 0 has the votes \[0.0, 0.0\]"):
        gather(*lines(((), X, Y, (0.0, 0.0))))
    prompts, rows, votes = lines(((), X, Y, WON), ((), X, Z, WON))
    with pytest.raises(ShapeError, match="2N"):
        Comparisons(prompts, rows.rows(torch.tensor([0, 1])), votes)
    with pytest.raises(ShapeError, match="must answer prompt"):
        Comparisons(prompts, rows.rows(torch.tensor([0, 2, 1, 3])), votes)


def test_replies_that_the_prior_cannot_say_are_named() -> None:
    prompts, rows, votes = lines(((), X, Y, WON))
    pairs = gather(prompts, rows, votes)[0]
    never_b = TablePrior(lambda said: [0.0, -math.inf, 0.0], 3, 2, 4)
    with pytest.raises(ConfigError, match="1 recorded replies are impossible under the prior"):
        stored_comparisons(never_b, pairs, 0.5)
    with pytest.raises(ConfigError, match=r"has 2 tokens and the prior's horizon is 1"):
        stored_comparisons(TablePrior(lambda said: [0.0] * 3, 3, 2, 1), pairs, 0.5)
    with pytest.raises(ConfigError, match="another vocabulary"):
        stored_comparisons(TablePrior(lambda said: [0.0] * 4, 4, 2, 4), pairs, 0.5)
    for beta in (0.0, math.inf, 1e-310):
        with pytest.raises(ConfigError, match="logits of preference per nat"):
            stored_comparisons(toy_prior(), pairs, beta)


def test_a_policy_without_its_priors_support_is_refused() -> None:
    """Cut to its likeliest token, a policy gives 0 to replies of the data: h would be −inf."""
    pairs = gather(*lines(((), X, Y, WON)))[0]
    batch = stored_comparisons(toy_prior(), pairs, 0.5)
    cut = reshape(toy_prior(), top_k=1).score(batch.prompts, batch.completions)
    with pytest.raises(ContractError, match=r"the policy gives probability 0 to . of 2 recorded replies"):
        log_ratio(scored(batch, cut))
    turned = replace(batch, log_prior=cut)
    with pytest.raises(ContractError, match="the prior gives probability 0"):
        log_ratio(scored(turned, batch.log_prior))


def test_losses_say_which_rows_they_need() -> None:
    pairs = gather(*lines(((), X, Y, WON)))[0]
    batch = stored_comparisons(toy_prior(), pairs, 0.5)
    plain = stored_demonstrations(toy_prior(), batch.prompts, batch.completions)
    with pytest.raises(ShapeError, match="carry no 'votes', only nothing"):
        DPO().loss(scored(plain, plain.log_prior))
    with pytest.raises(ShapeError, match="carry no 'liked'"):
        KTO().loss(scored(batch, batch.log_prior))
    one = replace(batch, completions=replace(batch.completions, prompt=torch.zeros(2, dtype=torch.long)))
    assert IPO().loss(scored(one, one.log_prior))[1]["h_margin"] == 0
    three = stored_demonstrations(toy_prior(), batch.prompts, batch.completions.rows(torch.tensor([0, 1, 1])))
    with pytest.raises(ShapeError, match="exactly two rows"):
        DPO().loss(scored(three, three.log_prior))


def test_labels_are_set_beside_a_reply_to_another_prompt() -> None:
    prompts = toy_prior().codec.prompts([(), (), (1,)])
    rows = replace(as_completions([X, Y, Z], toy_prior().ends), prompt=torch.arange(3))
    batch = stored_labels(toy_prior(), prompts, rows, [True, False, True], 0.3)
    assert [tuple(t) for t in batch.completions.tokens()] == [X, Z, Y, Z, Z, X]
    assert batch.readings["liked"].tolist() == [1, 0, -1, 0, 1, 0]
    same = toy_prior().codec.prompts([(), (), ()])
    with pytest.raises(ConfigError, match="answers the same prompt"):
        stored_labels(toy_prior(), same, rows, [True, False, True], 0.3)
    with pytest.raises(ShapeError, match="3 prompts, 3 replies, 2 labels"):
        stored_labels(toy_prior(), prompts, rows, [True, False], 0.3)


def test_settings_out_of_range_are_named() -> None:
    for make, says in (
        (lambda: DPO(prompts=0), r"DPO\(prompts=0\)"),
        (lambda: SFT(group=0), r"SFT\(group=0\)"),
        (lambda: DPO(divergence="alpha", alpha=1.0), "1 is 'forward_kl'"),
        (lambda: KTO(liked=0.0), "positive weights"),
    ):
        with pytest.raises(ConfigError, match=says):
            make()
    assert "p* if that reward is the evidence" in DPO().target  # the posterior that fit is given moves no step of it
    assert "not p*" in DPO(divergence="js").target
