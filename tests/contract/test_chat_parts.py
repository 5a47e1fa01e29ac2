"""What the chat hands to engines keeps the laws of what it stands for: a watched prior, feedback as evidence."""

from pathlib import Path

import pytest
import torch

from credence.core.keys import Key
from credence.dialogue.engines import Watched
from credence.evidence.feedback import Feedback, Head
from credence.prior.features import Centred, PooledHidden, language_model
from credence.prior.load import load
from credence.prior.reshape import Reshaped, reshape
from credence.testing import check_evidence, check_step_prior
from tests import talking
from tests.toys import toy_prior, toy_prompts


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Reshaped:
    folder: Path = tmp_path_factory.mktemp("talker")
    return reshape(load(talking.make(folder), horizon=6), 0.8)


def test_a_watched_prior_is_the_prior(prior: Reshaped) -> None:
    for inner, prompts in ((toy_prior(), toy_prompts()), (prior, prior.codec.prompts(["hi", "你好"]))):
        ticks: list[int] = []
        watched = Watched(inner, lambda ticks=ticks: ticks.append(1))
        check_step_prior(watched, prompts, 5, tolerance=1e-5, tokens=0, leaves=100).require()
        rows, log_q = inner.sample(Key(3), prompts, 5)
        same, same_q = watched.sample(Key(3), prompts, 5)
        assert torch.equal(rows.ids, same.ids)
        assert torch.allclose(log_q, same_q, atol=1e-5)
        assert torch.allclose(watched.score(prompts, rows), inner.score(prompts, rows))
        assert len(ticks) >= rows.ids.shape[1]


def test_feedback_reads_each_row_by_itself(prior: Reshaped) -> None:
    prompts = prior.codec.prompts(["hi", "你好"])
    rng = torch.Generator().manual_seed(0)
    root = torch.randn(9, 9, generator=rng, dtype=torch.float64)
    head = Head(torch.randn(9, generator=rng, dtype=torch.float64), root @ root.T / 9, torch.ones(8).double())
    evidence = Feedback(Centred(PooledHidden(language_model(prior)), prior, Key(0)), head, rule="pessimistic")
    check_evidence(evidence, prior, prompts, 6, Key(1), tolerance=1e-5).require()
