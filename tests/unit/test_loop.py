"""The training loop on TOY-A: what it keeps, how it ends, what it refuses, what it writes down."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch

from credence.core.errors import ConfigError, ContractError, ShapeError
from credence.core.keys import Key
from credence.core.protocols import Batch, Scored
from credence.core.status import Status
from credence.core.types import Info
from credence.evidence.constraint import Constraint
from credence.evidence.reward import Reward
from credence.learn.collect import HISTORY, Collector
from credence.learn.dpg import DPG
from credence.learn.loop import Record, Validation, elbo, fit
from credence.learn.reinforce import Reinforce
from credence.posterior.posterior import Posterior
from credence.prior.tabular import TabularPolicy
from tests.learning import at_optimum, every_sequence, exacts, free_policy, mean_kl, stored_draws
from tests.toys import toy_a, toy_prior, toy_prompts, toy_two, two_prompts

PROMPTS = toy_prompts()
LEARNER = Reinforce(1, 8, 0.05)
VALIDATION = Validation(PROMPTS, 24, 2)


@dataclass(frozen=True)
class Changed(Reinforce):
    """REINFORCE whose loss is passed through a function."""

    change: Callable[[torch.Tensor], torch.Tensor] = lambda loss: loss

    def loss(self, scored: Scored) -> tuple[torch.Tensor, Info]:
        value, info = super().loss(scored)
        return self.change(value), info


def fresh() -> TabularPolicy:
    return free_policy(toy_a(), PROMPTS)


def after(calls: int, then: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Leave the loss as it is for so many calls, then change it."""
    count = itertools.count()
    return lambda loss: loss if next(count) < calls else then(loss)


def logits(policy: TabularPolicy) -> torch.Tensor:
    return policy.state()["logits"]


def hard() -> Posterior:
    """Replies that end; others are impossible."""
    return Posterior(toy_prior(), toy_a().evidence * Constraint(lambda tokens: tokens[-1] == 2, "ends"))


def test_a_learner_that_makes_it_worse_returns_the_start() -> None:
    policy = fresh()
    start = logits(policy)
    learner = Changed(1, 8, 0.5, change=lambda loss: -loss)
    done = fit(toy_a(), policy, PROMPTS, learner, Key(1), 6, validation=VALIDATION)
    assert (done.best, done.status) == (0, Status.OK)
    assert torch.equal(logits(policy), start)
    assert [r["best"] for r in done.history if "best" in r] == [False] * 3
    assert done.best_elbo > max(r["val_elbo"] for r in done.history if "val_elbo" in r)


def test_the_best_checkpoint_is_kept_not_the_last() -> None:
    """It gets better for 20 steps, then worse: what returns is what was measured, and it is measured the same again."""
    policy = fresh()
    learner = Changed(1, 16, 0.1, change=after(20, lambda loss: -50 * loss))
    done = fit(toy_a(), policy, PROMPTS, learner, Key(1), 40, validation=VALIDATION)
    seen = {r["step"]: r["val_elbo"] for r in done.history if "val_elbo" in r}
    assert 0 < done.best <= 24
    assert done.best_elbo == seen[done.best] == max(seen.values()) > seen[40]
    again, _ = elbo(toy_a(), policy, PROMPTS, Key(1).fold("val"), 24)
    assert again == done.best_elbo
    assert done.history[done.best - 1]["best"]


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=["nan", "inf"])
@pytest.mark.parametrize("validated", [True, False])
def test_a_nan_ends_it_and_the_policy_is_finite(bad: float, validated: bool) -> None:
    policy = fresh()
    learner = Changed(1, 8, 0.05, change=after(4, lambda loss: loss * bad))
    given = VALIDATION if validated else None
    done = fit(toy_a(), policy, PROMPTS, learner, Key(1), 9, validation=given, stage="second")
    assert done.status is Status.NAN
    assert "step 5 of second" in done.why
    assert "lower lr (now 0.05) or raise beta" in done.why
    assert len(done.history) == 4
    assert bool(torch.isfinite(logits(policy)).all())
    assert done.best in ((0, 2, 4) if validated else (0,))
    assert f"{'Step' if done.best else 'The policy as it came'}" in done.why
    assert policy.logits.grad is None


def test_a_policy_that_blew_up_is_given_back_as_it_came() -> None:
    """A step so large that the next draws are NaN: without validation nothing later is known to be sound."""
    policy = fresh()
    start = logits(policy)
    done = fit(toy_a(), policy, PROMPTS, Reinforce(1, 8, 1e308, 0), Key(1), 9)
    assert done.status is Status.NAN
    assert torch.equal(logits(policy), start)


def test_ctrl_c_from_a_callback_keeps_the_best() -> None:
    policy = fresh()

    def stop(record: Record, clock: Record) -> None:
        if record["step"] == 5:
            raise KeyboardInterrupt

    done = fit(toy_a(), policy, PROMPTS, LEARNER, Key(1), 50, validation=VALIDATION, callbacks=[stop])
    assert (done.status, done.interrupted, len(done.history)) == (Status.STOPPED, True, 5)
    assert elbo(toy_a(), policy, PROMPTS, Key(1).fold("val"), 24)[0] == done.best_elbo


@pytest.mark.parametrize("where", ["forward_backward", "step", "sample"])
def test_ctrl_c_inside_the_policy_leaves_no_half_step(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, count = fresh(), itertools.count()
    right = getattr(TabularPolicy, where)

    def stop(*args: object) -> object:
        done = right(*args) if where != "step" else None
        if next(count) == 3:
            raise KeyboardInterrupt
        return right(*args) if where == "step" else done

    monkeypatch.setattr(TabularPolicy, where, stop)
    done = fit(toy_a(), policy, PROMPTS, LEARNER, Key(1), 50)
    assert (done.status, done.interrupted, done.why) == (Status.STOPPED, True, "interrupted")
    assert (len(done.history), done.best) == (3, 3)
    assert policy.logits.grad is None
    monkeypatch.undo()
    other = fresh()
    fit(toy_a(), other, PROMPTS, replace(LEARNER, warmup=5), Key(1), 50, callbacks=[_stop_after(3)])
    assert torch.equal(logits(policy), logits(other))


def _stop_after(steps: int) -> Callable[[Record, Record], None]:
    def stop(record: Record, clock: Record) -> None:
        if record["step"] == steps:
            raise KeyboardInterrupt

    return stop


def test_the_time_budget_stops_it_and_the_last_steps_compete(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that counts seconds: no step starts late, and steps behind the last look are validated too."""
    ticks = itertools.count()
    monkeypatch.setattr("credence.learn.budget.time.monotonic", lambda: float(next(ticks)))
    given = Validation(PROMPTS, 40, 4)
    done = fit(toy_a(), fresh(), PROMPTS, LEARNER, Key(1), 10_000, validation=given, seconds=60.0)
    assert done.status is Status.STOPPED
    assert not done.interrupted
    assert "time budget of 60 s" in done.why
    assert 4 < len(done.history) < 60
    assert "val_elbo" in done.history[-1]
    rates = [r["lr"] for r in done.history]
    assert rates[-1] < 0.3 * max(rates)  # it falls with the clock


def test_impossible_draws_are_refused_by_reinforce_with_remedies() -> None:
    policy = fresh()
    start = logits(policy)
    with pytest.raises(ContractError, match=r"reverse KL met .* impossible .*log_lik = -inf.*Remedies.*DPG"):
        fit(hard(), policy, PROMPTS, LEARNER, Key(1), 5)
    assert torch.equal(logits(policy), start)


def test_impossible_draws_are_learnt_from_by_dpg() -> None:
    """The ELBO stays -inf, which is no NaN and chooses nothing: the last step is kept, close to the posterior."""
    policy = fresh()
    learner = DPG(1, 100, 0.1)
    stored = every_sequence(hard(), PROMPTS)
    given = Validation(PROMPTS, 500, 5)
    done = fit(hard(), policy, PROMPTS, learner, Key(1), 15, stored=stored, validation=given)
    assert (done.status, done.best, done.best_elbo) == (Status.OK, 15, -math.inf)
    exact = exacts(hard(), PROMPTS)[0]
    log_pi = policy.score(PROMPTS, exact.completions).sum(-1)
    possible = torch.isfinite(exact.log_p)
    assert float((exact.log_p.exp() * (exact.log_p - log_pi))[possible].sum()) < 0.3  # KL(p*‖π) in nats
    assert float((exact.log_p.exp() * (exact.log_p - exact.log_prior))[possible].sum()) > 0.6  # where it began
    assert done.history[-1]["val_elbo_se"] == math.inf


def test_the_history_has_the_documented_keys_and_no_clock() -> None:
    seen: list[tuple[Record, Record]] = []
    done = fit(
        toy_a(), fresh(), PROMPTS, LEARNER, Key(1), 4, validation=VALIDATION, stage="one",
        callbacks=[lambda record, clock: seen.append((record, clock))],
    )  # fmt: skip
    for record in done.history:
        assert set(record) - {"toy_reward"} <= set(HISTORY)
    always = {"stage", "step", "elbo", "log_lik", "kl_prior", "kl_posterior_estimate", "toy_reward", "grad_norm", "lr"}
    assert set(done.history[0]) == always | {"tokens", "advantage_sd", "ratio_ess", "ratio_max"}
    assert set(done.history[1]) == set(done.history[0]) | {"val_elbo", "val_elbo_se", "best"}
    assert [r for r, _ in seen] == done.history
    assert set(seen[0][1]) == {"step", "wall", "cpu", "tokens_per_s", "elapsed", "progress"}
    stored = stored_draws(toy_a(), PROMPTS, Key(2), 8)
    off = fit(toy_a(), fresh(), PROMPTS, DPG(1, 8), Key(1), 1, stored=stored).history[0]
    assert set(off) == always | {"tokens", "ess_share", "ratio_ess", "ratio_max"}
    assert done.cost.tokens == sum(r["tokens"] for r in done.history)


def test_a_reading_may_not_hide_a_key_of_the_history() -> None:
    posterior = Posterior(toy_prior(), Reward(lambda p, c: [0.0] * len(c), 1.0, name="elbo"))
    with pytest.raises(ConfigError, match=r"'elbo'.*another name"):
        fit(posterior, fresh(), PROMPTS, LEARNER, Key(1), 1)


def test_groups_and_prompts_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="group=1"):
        Reinforce(group=1)
    with pytest.raises(ConfigError, match="prompts=0"):
        Reinforce(prompts=0)
    with pytest.raises(ConfigError, match="group=0"):
        DPG(group=0)
    with pytest.raises(ConfigError, match="no training prompts"):
        fit(toy_a(), fresh(), PROMPTS.take([]), LEARNER, Key(1), 1)
    with pytest.raises(ConfigError, match="stored draws"):
        fit(toy_a(), fresh(), PROMPTS, DPG(1), Key(1), 1)
    single = stored_draws(toy_a(), PROMPTS, Key(2), 1)
    with pytest.raises(ShapeError, match="single stored draw"):
        fit(toy_a(), fresh(), PROMPTS, DPG(1), Key(1), 1, stored=single)


def test_stored_draws_must_answer_the_prompts() -> None:
    policy = free_policy(toy_two(), two_prompts())
    stored = stored_draws(toy_two(), two_prompts(), Key(2), 4)
    with pytest.raises(ShapeError, match="other prompts"):
        fit(toy_two(), policy, two_prompts().take([1, 0]), DPG(1), Key(1), 1, stored=stored)
    first = stored.completions.prompt == 0
    nats = (stored.log_q[first], stored.log_prior[first], stored.log_lik[first])
    half = Batch(stored.prompts, stored.completions.rows(first), *nats)
    with pytest.raises(ConfigError, match="prompt 1 has no stored draw"):
        fit(toy_two(), policy, two_prompts(), DPG(1), Key(1), 1, stored=half)


def test_each_epoch_visits_every_prompt_once() -> None:
    many = PROMPTS.take([0] * 7)
    run = Collector(toy_a(), fresh(), many, Reinforce(3), Key(4), None)
    visits = [b for step in range(1, 15) for b in run.visit(step)]
    epochs = [visits[i : i + 7] for i in range(0, 42, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 3


def test_recalled_rows_are_those_of_their_prompts() -> None:
    """Renumbered, at most `group` a prompt, each with its own nats, log Z and readings."""
    stored = replace(
        stored_draws(toy_two(), two_prompts(), Key(2), 5), log_z=torch.tensor([1.0, 2.0], dtype=torch.float64)
    )
    run = Collector(toy_two(), free_policy(toy_two(), two_prompts()), two_prompts(), DPG(1, 3), Key(4), stored)
    for step in (1, 2):
        (b,) = run.visit(step)
        batch = run.collect(step, toy_two())
        rows = slice(5 * b, 5 * b + 3)
        assert batch.prompts.ids == (two_prompts().ids[b],)
        assert batch.completions.prompt.tolist() == [0, 0, 0]
        assert batch.completions.tokens() == stored.completions.tokens()[rows]
        assert torch.equal(batch.log_lik, stored.log_lik[rows])
        assert batch.log_z is not None
        assert batch.log_z.tolist() == [b + 1.0]
        assert torch.equal(batch.readings["two_reward"], stored.readings["two_reward"][rows])


def test_the_elbo_at_the_posterior_is_log_z_without_error() -> None:
    best = at_optimum(toy_a(), PROMPTS)
    assert mean_kl(best, toy_a(), PROMPTS) == pytest.approx(0, abs=1e-12)
    value, se = elbo(toy_a(), best, PROMPTS, Key(3), 5)
    assert value == pytest.approx(0.8520967561, abs=1e-9)
    assert se < 1e-12
    assert elbo(toy_a(), best, PROMPTS, Key(3), 1)[1] == math.inf
