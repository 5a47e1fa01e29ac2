"""A learnt value as a twist: the laws of PrefixEvidence, and SMC that cannot be wrong with the right one."""

import pytest
import torch

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import PrefixEvidence
from credence.core.types import Completions, Prompts
from credence.posterior.posterior import Posterior
from credence.posterior.twist import Twisted, ValueTwist
from credence.prior.guided_table import GuidedTable
from credence.sample.smc import SMC
from tests import valuing
from tests.learning import exacts
from tests.toys import toy_a, toy_prompts, toy_two, two_prompts

TOYS = {"a": (toy_a(), toy_prompts()), "two": (toy_two(), two_prompts())}
everywhere = pytest.mark.parametrize(("posterior", "prompts"), TOYS.values(), ids=TOYS)


def twisted(posterior: Posterior, guide: GuidedTable, shape: str = "token") -> Posterior:
    return Posterior(posterior.prior, Twisted(posterior.evidence, guide, shape))  # pyright: ignore


@everywhere
@pytest.mark.parametrize("shape", ["token", "state"])
def test_soft_values_make_every_weight_equal(posterior: Posterior, prompts: Prompts, shape: str) -> None:
    """With ψ* as critic and π0 ψ* as proposal a single particle gives log Z, to 1e-9."""
    guide = valuing.at_soft_values(posterior, prompts)
    draws = SMC(2, 2, proposal=guide).draw(Key(1), twisted(posterior, guide, shape), prompts, 3)
    wanted = torch.tensor([e.log_z for e in exacts(posterior, prompts)], dtype=torch.float64)
    assert torch.allclose(draws.log_z, wanted, atol=1e-9, rtol=0)
    assert torch.allclose(draws.info["ess_before_draws"], torch.full((len(prompts),), 4.0).double(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("shape", ["token", "state"])
def test_a_value_given_to_smc_itself_steers_as_twisted_evidence_does(shape: str) -> None:
    guide = valuing.somewhere(1)
    twist = ValueTwist(guide, shape)  # pyright: ignore
    given = SMC(8, 2, 1.0, twist=twist).draw(Key(1), toy_a(), toy_prompts(), 6)
    within = SMC(8, 2, 1.0).draw(Key(1), twisted(toy_a(), guide, shape), toy_prompts(), 6)
    plain = SMC(8, 2, 1.0).draw(Key(1), toy_a(), toy_prompts(), 6)
    assert given.texts() == within.texts()
    assert float(given.log_z) == float(within.log_z) != float(plain.log_z)


def test_it_keeps_the_laws_of_prefix_evidence() -> None:
    """log_lik at ended and at cut rows, the value's nats before; readings and bound are the evidence's."""
    guide = valuing.somewhere(1)
    evidence = Twisted(toy_a().evidence, guide)
    assert isinstance(evidence, PrefixEvidence)
    assert evidence.max_log_lik == 2.0
    valuing.check_twist_keeps_log_lik(1)
    rows = Completions(
        torch.tensor([[0, 1], [1, 0]]), torch.tensor([[True, True], [True, False]]), torch.zeros(2).bool(),
        torch.zeros(2).long(),
    )  # fmt: skip
    q, v = guide.state()["q"], guide.state()["v"]
    wanted = [float(q[guide.places[(), (0,)], 1]), float(q[guide.places[(), ()], 1])]
    assert evidence.log_twist(toy_prompts(), rows).tolist() == pytest.approx(wanted)
    by_state = Twisted(toy_a().evidence, guide, "state").log_twist(toy_prompts(), rows)
    assert by_state.tolist() == pytest.approx([float(v[guide.places[(), (0, 1)]]), float(v[guide.places[(), (1,)]])])
    assert evidence.readings(toy_prompts(), rows).keys() == {"toy_reward"}


def test_what_has_no_value_is_refused() -> None:
    with pytest.raises((ConfigError, TypeError), match=r"log_value|Valuing"):
        Twisted(toy_a().evidence, toy_a().prior)  # pyright: ignore
