"""The door to several tokens at once, against the steps: of models, reshaped models, policies, products and tables."""

from collections.abc import Callable

import pytest
import torch

from credence.core.keys import Key
from credence.core.protocols import StepPrior
from credence.core.types import Prompts
from credence.prior.hf import LMPrior
from credence.prior.loglinear import LogLinear
from credence.prior.policy import full_policy
from credence.prior.reading import Reading, Rereads, Walked, open_reading
from credence.prior.reshape import reshape
from credence.prior.table import TablePrior
from tests.tiny import as_prior, gpt2_model, llama_model
from tests.toys import policy_logits

HORIZON = 5


def llama() -> LMPrior:
    return as_prior(llama_model(), HORIZON)


def gpt2() -> LMPrior:
    return as_prior(gpt2_model(), HORIZON)


PRIORS: dict[str, Callable[[], StepPrior]] = {
    "table": lambda: TablePrior(policy_logits, 3, 2, HORIZON),
    "llama": llama,
    "gpt2": gpt2,
    "llama, cut": lambda: reshape(llama(), 0.8, 6, 0.9),
    "policy": lambda: full_policy(reshape(gpt2(), 3.0)),
    "product": lambda: LogLinear(llama(), ((reshape(gpt2(), 4.0), 0.5), (reshape(llama(), 2.0), -0.7))),
}


@pytest.fixture(scope="module", params=PRIORS.values(), ids=PRIORS)
def prior(request: pytest.FixtureRequest) -> StepPrior:
    return request.param()


@pytest.fixture(scope="module")
def prompts(prior: StepPrior) -> Prompts:
    """Different lengths, and an end token inside."""
    return prior.codec.prompts([(0, 1), (1,), (max(prior.ends), 0, 1)])


def logits_after(prior: StepPrior, prompts: Prompts, row: int, tokens: list[int]) -> torch.Tensor:
    """By plain steps from the prompt."""
    state = prior.start(prompts.take([row]), 1)
    for token in tokens:
        state = prior.extend(state, torch.tensor([token]))
    return torch.log_softmax(prior.next_logits(state)[0].double(), -1)


def test_readings_are_the_steps_wherever_they_begin_again(prior: StepPrior, prompts: Prompts) -> None:
    """Rows at unlike places, back and forth, rows dropped, places behind the horizon, and a token at place −1."""
    rng, texts = Key(3).generator(), [[], [], []]
    owners = [0, 1, 2]
    reading = open_reading(prior, prompts, 1)
    assert isinstance(reading, Reading)
    said = [v for v in range(3) if v not in prior.ends]
    for width, back in ((1, [0, 0, 0]), (3, [0, 0, 0]), (2, [1, 2, 0]), (4, [3, 1, 2]), (3, [1, 1, 4])):
        at = torch.tensor([len(text) - 1 - b for text, b in zip(texts, back, strict=True)]).clamp(min=-1)
        tokens = torch.tensor(rng.choice(said, (len(texts), width)))
        found = reading.read(tokens, at)
        for r, (text, start) in enumerate(zip(texts, at.tolist(), strict=True)):
            for i, token in enumerate(tokens[r].tolist()):
                place = start + i
                text[max(place, 0) :] = [token] if place >= 0 else []
                if place + 1 < HORIZON:
                    wanted = logits_after(prior, prompts, owners[r], text)
                    assert torch.allclose(torch.log_softmax(found[r, i].double(), -1), wanted, atol=1e-9, rtol=0)
            del text[HORIZON:]
        if width == 2:  # from here on two rows, in another order
            reading.take(torch.tensor([2, 0, 0]))
            owners, texts = [owners[i] for i in (2, 0, 0)], [list(texts[i]) for i in (2, 0, 0)]


def test_all_but_tables_have_a_door_of_their_own(prior: StepPrior, prompts: Prompts) -> None:
    assert isinstance(prior, Rereads) != isinstance(prior, TablePrior)
    assert isinstance(open_reading(prior, prompts, 2), Walked) == isinstance(prior, TablePrior)


def test_a_walk_asks_a_table_about_its_tree_only() -> None:
    """Nothing behind an end token, nothing behind a row's own last place, nothing behind the horizon."""
    rows = {(): [0.0, 1.0, 2.0], (1,): [0.0, 0.0, 0.5], (1, 1): [0.0, 1.0, 0.0]}
    prior = TablePrior(rows.__getitem__, 3, 2, 3)
    reading = Walked(prior, prior.codec.prompts([()]), 2)
    found = reading.read(torch.tensor([[1, 1, 1], [2, 0, 0]]), torch.tensor([0, 0]))
    assert found[0, :2].tolist() == [rows[1,], rows[1, 1]]
