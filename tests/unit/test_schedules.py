"""β that moves, and rules that stop: from the history alone, so that a resumed run agrees."""

import pytest
import torch

from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.keys import Key
from credence.core.status import Status
from credence.evidence.product import Tempered
from credence.learn.loop import Validation, fit
from credence.learn.reinforce import Reinforce
from credence.learn.schedules import Annealed, ToKL, realised
from credence.learn.stops import KLBudget, NoBetter
from credence.posterior.posterior import Posterior
from tests.learning import PROMPTS, free_policy
from tests.policy_gradients import check_controller
from tests.toys import toy_a


def tau(posterior: Posterior) -> float:
    assert isinstance(posterior.evidence, Tempered)
    return posterior.evidence.tau


def test_annealing_is_geometric_and_ends_at_the_target() -> None:
    path = Annealed(toy_a(), 0.01, 5)
    found = [tau(path(step, {})) for step in (1, 2, 3, 5, 9)]
    assert found == pytest.approx([0.01, 0.01**0.75, 0.1, 1.0, 1.0])
    assert tau(Annealed(toy_a(), 0.5, 1)(1, {})) == 0.5


@pytest.mark.parametrize("seed", [20, 21])
def test_the_controller_comes_to_rest_at_the_kl_asked_for(seed: int) -> None:
    check_controller(seed)


def test_the_controller_is_bounded_and_begins_at_the_target() -> None:
    driven = ToKL(toy_a(), 0.5, gain=1.0, most=0.5, bound=2.0)
    assert tau(driven(1, {})) == 1.0
    assert tau(driven(2, {"tau": 1.9, "kl_prior": 0.0})) == pytest.approx(2.0)
    assert tau(driven(2, {"tau": 1.0, "kl_prior": 0.75})) == pytest.approx(2.718281828**-0.5)
    for wrong in ({"kl": 0.0}, {"kl": 1.0, "gain": -1.0}):
        with pytest.raises(ConfigError):
            ToKL(toy_a(), **wrong)
    with pytest.raises(ConfigError, match="first"):
        Annealed(toy_a(), 0.0)


def test_the_history_says_the_beta_realised() -> None:
    assert realised(toy_a().tempered(0.5).tempered(0.5)) == {"tau": 0.25, "beta": 2.0}
    both = Posterior(toy_a().prior, toy_a().evidence * toy_a(0.2).evidence)
    assert realised(both) == {"tau": 1.0}
    policy = free_policy(toy_a(), PROMPTS)
    done = fit(Annealed(toy_a(), 0.25, 3), policy, PROMPTS, Reinforce(1, 4, 0.05), Key(1), 4)
    assert [r["beta"] for r in done.history] == pytest.approx([2.0, 1.0, 0.5, 0.5])


def test_a_kl_budget_stops_training() -> None:
    done = fit(
        toy_a(), free_policy(toy_a(), PROMPTS), PROMPTS, Reinforce(1, 32, 0.2), Key(1), 60, stops=[KLBudget(0.2, 2)]
    )
    assert done.status is Status.STOPPED
    assert "KL budget of 0.2 nats is spent" in done.why
    assert sum(r["kl_prior"] for r in done.history[-2:]) / 2 >= 0.2 > done.history[-3]["kl_prior"]


def test_a_driven_beta_is_said_to_rest_elsewhere() -> None:
    """Its β is not the evidence's; one that is annealed comes back to it."""
    lines: list[str] = []
    for schedule in (ToKL(toy_a(), 0.3), Annealed(toy_a(), 0.1, 2)):
        policy = free_policy(toy_a(), PROMPTS)
        done = fit(schedule, policy, PROMPTS, Reinforce(1, 4), Key(1), 2, say=lines.append)
        assert (done.target == "posterior") == isinstance(schedule, Annealed)
    assert lines == ["Reinforce converges to the posterior at the β where KL(π‖π0) is 0.3 nats."]


def test_records_without_a_kl_say_what_to_leave_out() -> None:
    """DPO's replies come from a law that nobody knows. Rejects a KeyError."""
    record = {"preference_loss": 0.7, "tau": 1.0}
    for read in (lambda: KLBudget(1.0)([record] * 3), lambda: ToKL(toy_a(), 1.0)(2, record)):
        with pytest.raises(ConfigError, match=r"tell no kl_prior.*Leave ToKL and KLBudget out.*NoBetter"):
            read()


def test_a_measure_gives_a_number_for_each_draw() -> None:
    """Rejects a mean over draws that the measure did not look at."""
    for measure, says in ((lambda *_: [1.0], "1 values for 4 draws"), (lambda _, rows: [None] * len(rows), "None")):
        given = Validation(PROMPTS, 4, 1, measure=measure)  # pyright: ignore[reportArgumentType]
        with pytest.raises(ContractError, match=says):
            fit(toy_a(), free_policy(toy_a(), PROMPTS), PROMPTS, Reinforce(1, 4), Key(1), 1, validation=given)


def test_an_advantage_of_another_shape_is_named() -> None:
    for own, says in ((lambda _: torch.zeros(3), r"shape \(3,\).*\(4,\), one a row"), (lambda _: [0.0] * 4, "list")):
        with pytest.raises(ShapeError, match=says):
            fit(
                toy_a(), free_policy(toy_a(), PROMPTS), PROMPTS, Reinforce(1, 4, advantage=own), Key(1), 1,
                say=lambda line: None,
            )  # pyright: ignore[reportArgumentType] # fmt: skip


def test_no_better_checkpoint_stops_training() -> None:
    looks = [{}, {"best": True}, {"best": False}, {}, {"best": False}]
    assert NoBetter(2)(looks) == "no better checkpoint in the last 2 looks"
    assert NoBetter(3)(looks) == ""
    assert KLBudget(1.0, 3)([{"kl_prior": 9.0}]) == ""
    for wrong in (lambda: KLBudget(0.0), lambda: NoBetter(0)):
        with pytest.raises(ConfigError):
            wrong()


def test_another_measure_chooses_the_checkpoint() -> None:
    """The shortest replies are best here, whatever the ELBO says; both stand in the history."""
    policy = free_policy(toy_a(), PROMPTS)
    given = Validation(PROMPTS, 16, 2, measure=lambda prompts, rows: (-rows.lengths.double()).tolist())
    done = fit(toy_a(), policy, PROMPTS, Reinforce(1, 16, 0.1), Key(1), 8, validation=given)
    seen = {r["step"]: r["val_measure"] for r in done.history if "val_measure" in r}
    assert len(seen) == 4
    assert done.best_elbo >= max(seen.values())
    assert done.best == 0 or done.best_elbo == seen[done.best]
