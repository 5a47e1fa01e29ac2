"""Ratings of answers that were chosen: the posterior's own law exactly, and what cannot be read is counted."""

from pathlib import Path

import pytest
import torch

from credence.cli.dialogue_update import print_update
from credence.core.keys import Key
from credence.core.types import Completions, Prompts
from credence.dialogue.candidates import FEATURES
from credence.dialogue.feedback import Rating
from credence.evidence.feedback import Feedback, fit_head
from credence.posterior.posterior import Posterior
from credence.study.choosing_feedback import LEAST, centred, measured, opinions, rated, taught_weights
from credence.study.refit_report import Change, Refitted
from tests.choosing import policy, prior

ASKED = ("如何安装软件包？", "什么是 stable？")


def rating(said: str, kind: str, place: int, better: int | None = None, **given: object) -> Rating:
    base = prior()
    messages = ({"role": "user", "content": said},)
    table = base.table(base.codec.prompts([list(messages)]).ids[0])
    texts = [base.candidates[i].text for i in table.index.tolist()]
    text = texts[better] if better is not None else str(given.get("text", ""))
    return Rating("talk", 1, messages, str(given.get("reply", texts[place])), (), kind, text)


RATINGS = (
    rating(ASKED[0], "good", 0), rating(ASKED[0], "bad", 3), rating(ASKED[1], "better", 2, 1),
    rating(ASKED[1], "better", 0, text="别的话"), rating(ASKED[1], "good", 0, reply="Hello."),
)  # fmt: skip


def test_only_what_was_on_offer_is_read_and_the_rest_is_counted() -> None:
    heard = rated(RATINGS, prior())
    assert (len(heard.ratings), heard.passed, len(heard.contexts)) == (3, 2, 2)
    assert heard.better == (None, None, 1)
    said, scale = opinions(heard)
    assert (said.liked.tolist(), len(said.pairs)) == ([True, False], 1)
    assert torch.allclose(said.pairs[0], heard.tables[2].features[1] - heard.tables[2].features[2])
    for table in heard.contexts:
        assert torch.allclose(torch.exp(table.log_m) @ centred(table), torch.zeros(4, dtype=torch.float64), atol=1e-12)
    assert float(scale[FEATURES.index("said_before")]) == LEAST  # nothing was said before: not blown up elsewhere
    assert rated(RATINGS[4:], prior()).ratings == ()


def test_the_weights_are_those_of_the_posterior_of_prior_run_and_ratings() -> None:
    """Rejects: β left out, the spread left out, the run's own weights forgotten or added twice."""
    base = prior()
    heard, run, beta = rated(RATINGS, base), policy(base), 0.5
    said, scale = opinions(heard)
    head = fit_head(said, scale)
    after = policy(base, tuple((run.weights.detach() + taught_weights(head, beta)).tolist()))

    def phi(prompts: Prompts, completions: Completions) -> torch.Tensor:
        rows = [(prompts.ids[b], int(i[0])) for b, i in zip(completions.prompt, completions.ids, strict=True)]
        return torch.stack([centred(base.table(s))[base.table(s).index.tolist().index(token)] for s, token in rows])

    prompts = base.codec.prompts([[{"role": "user", "content": "怎样卸载软件包"}]])
    table = base.table(prompts.ids[0])
    every = Completions(
        table.index[:, None], torch.ones(4, 1, dtype=torch.bool), torch.ones(4, dtype=torch.bool), torch.zeros(4).long()
    )
    joint = Posterior(run, Feedback(phi, head, beta)).log_joint(prompts, every)
    wanted = joint - torch.logsumexp(joint, 0)
    assert torch.allclose(after.law(prompts.ids[0]).detach()[table.index], wanted, atol=1e-12)
    plain = run.law(prompts.ids[0]).detach()[table.index]
    assert float((wanted - plain).abs().max()) > 0.1


def test_what_an_update_reports_is_exact_in_each_state() -> None:
    base = prior()
    heard, run = rated(RATINGS, base), policy(base)
    head = fit_head(*opinions(heard))
    after = policy(base, tuple((run.weights.detach() + taught_weights(head, 0.5)).tolist()))
    numbers, changes = measured(heard, run, after, head, Key(0))
    law = after.law(base.codec.prompts([list(RATINGS[0].messages)]).ids[0]).detach()
    token = int(heard.tables[0].index[heard.served[0]])
    assert changes[0].after == pytest.approx(float(law[token]), abs=1e-12)
    assert [c.kind for c in changes] == ["good", "bad", "better"]
    assert changes[2].margin_after is not None
    assert changes[2].margin_before is not None
    assert changes[2].margin_after > changes[2].margin_before
    assert numbers["liked"].value > 0 > numbers["disliked"].value
    assert numbers["after/reward"].value > numbers["before/reward"].value
    assert numbers["after/kl_before"].value > 0


def test_the_table_of_an_update_has_one_minus_sign(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = (Change(1, "good", "yes", "", -1.5, -1.25, None, None), Change(2, "bad", "no", "", -1.0, -3.5, None, None))
    print_update(Refitted(tmp_path, True, (1, 2), 2, {}, moved))
    told = capsys.readouterr().out
    assert "−1.50  −1.25  +0.25" in told
    assert "−1.00  −3.50  −2.50" in told
