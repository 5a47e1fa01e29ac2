"""Fits of weighted draws (distillation, expert iteration, RWR, MPO, BOND): each comes to the law that it declares."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from credence.core.errors import ConfigError, DegeneracyError
from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.protocols import Batch, Guarantee, Target
from credence.core.status import Status
from credence.core.types import Completions, Cost, Draws, Prompts
from credence.evidence.reward import Reward
from credence.learn.bond import BOND
from credence.learn.collect import Learner
from credence.learn.distil import Distil, recalled
from credence.learn.expert_iteration import ExpertIteration, rounds_of
from credence.learn.loop import fit
from credence.learn.losses.forward_kl import posterior_weights
from credence.learn.losses.ranks import log_best_of, log_win
from credence.learn.mpo import MPO
from credence.learn.reward_weighted import Centre, RewardWeighted
from credence.posterior.exact import enumerate_posterior
from credence.posterior.posterior import Posterior
from credence.prior.train import scored
from credence.sample.best_of_n import BestOfN
from credence.sample.rejection import Rejection
from credence.sample.smc import SMC
from tests import balancing
from tests.balancing import best_of
from tests.learning import PROMPTS, REACHED, at_optimum, every_sequence, free_policy, log_law, somewhere
from tests.toys import toy_a, toy_prior, two_prompts

CHECKS = ("expert_gradient", "bond_gradient", "weighted_gradient", "mpo_gradient")
EXACT = enumerate_posterior(toy_a(), PROMPTS)
INF = float("inf")


@pytest.mark.parametrize("check", CHECKS)
def test_gradients(check: str) -> None:
    getattr(balancing, f"check_{check}")(20)


def in_proportion(law: Tensor, n: int) -> Batch:
    """About n rows of TOY-A, as many of each sequence as a law asks for: draws of it without their noise."""
    times = torch.round(n * torch.exp(law)).long()
    index = torch.repeat_interleave(torch.arange(len(times)), times)
    rows = EXACT.completions.rows(index)
    log_prior = toy_prior().score(PROMPTS, rows)
    log_q = log_prior.clone()
    log_q[:, 0] += law[index] - log_prior.sum(-1)
    return Batch(PROMPTS, rows, log_q, log_prior, EXACT.log_lik[index])


def learnt(learner: Learner, stored: Batch, steps: int = 150) -> Tensor:
    """log law of a free policy after training on these rows."""
    policy = free_policy(toy_a(), PROMPTS)
    fit(toy_a(), policy, PROMPTS, learner, Key(4), steps, stored=stored)
    return log_law(policy, PROMPTS, EXACT).detach()


def prior_law() -> Tensor:
    return EXACT.log_prior


def tilted(law: Tensor, lam: float) -> Tensor:
    return torch.log_softmax(law + lam * EXACT.log_lik, 0)


LAWS: dict[str, tuple[Learner, Callable[[], Tensor], Callable[[], Tensor]]] = {
    "RWR on the prior's draws: p*": (RewardWeighted(1, 9999, 0.2), prior_law, lambda: EXACT.log_p),
    "AWR too": (RewardWeighted(1, 9999, 0.2, centre=Centre.MEAN), prior_law, lambda: EXACT.log_p),
    "RWR on draws of p*: the evidence twice": (
        RewardWeighted(1, 9999, 0.2), lambda: EXACT.log_p, lambda: tilted(EXACT.log_prior, 2.0),
    ),
    "a clip": (
        RewardWeighted(1, 9999, 0.2, clip=1.0), prior_law,
        lambda: torch.log_softmax(EXACT.log_prior + (EXACT.log_lik - EXACT.log_z).clamp(max=0.0), 0),
    ),
    "best of 4": (ExpertIteration(1, 9999, 0.2, of=4), prior_law, lambda: best_of(EXACT, EXACT.log_prior, 4)),
    "a threshold": (
        ExpertIteration(1, 9999, 0.4, of=0, above=0.5), prior_law,
        lambda: torch.log_softmax(torch.where(EXACT.log_lik > 0.5, EXACT.log_prior, -40.0), 0),
    ),
    "BOND": (BOND(1, 9999, 0.2, of=4), prior_law, lambda: best_of(EXACT, EXACT.log_prior, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAWS)
def test_each_comes_to_the_law_it_declares(name: str) -> None:
    """Of 4,000 rows in proportion to a law: KL(declared‖π) < 1e-3, and where it is not p*, p* is far."""
    learner, drawn, wanted = LAWS[name]
    law = learnt(learner, in_proportion(drawn(), 4000))
    assert float(kl(wanted(), law)) < 2 * REACHED
    if "p*" not in name and "AWR" not in name:
        assert float(kl(EXACT.log_p, law)) > 10 * REACHED
        assert learner.target != "posterior"


def test_mpo_comes_to_its_mixture() -> None:
    """(q + α d)/(1 + α) with KL(q‖d) = ε; E and M step from the prior at η = 1 would be p*."""
    law = learnt(MPO(1, 9999, 0.2, epsilon=0.3, trust=0.5), in_proportion(EXACT.log_prior, 4000))
    low, high = 0.0, 5.0
    for _ in range(50):
        middle = (low + high) / 2
        below = float(kl(tilted(EXACT.log_prior, middle), EXACT.log_prior)) < 0.3
        low, high = (middle, high) if below else (low, middle)
    wanted = torch.log((tilted(EXACT.log_prior, low).exp() + 0.5 * EXACT.log_prior.exp()) / 1.5)
    assert float(kl(wanted, law)) < REACHED
    assert float(kl(EXACT.log_p, law)) > 10 * REACHED


def test_two_rounds_of_best_of_2_are_best_of_4() -> None:
    """Drawn anew from the policy; 4,000 draws a round leave 30/(2·4000)·2 nats or so of sampling error."""
    policy = free_policy(toy_a(), PROMPTS)
    seen: list[int] = []

    def train(k: int, rows: Batch) -> None:
        seen.append(k)
        fit(toy_a(), policy, PROMPTS, ExpertIteration(1, 4000, 0.2, of=2), Key(k), 80, stored=rows)

    rounds_of(policy, toy_a(), PROMPTS, Key(9), 4000, 2, train)
    law = log_law(policy, PROMPTS, EXACT).detach()
    assert seen == [1, 2]
    assert float(kl(law, best_of(EXACT, EXACT.log_prior, 4))) < 0.02
    assert float(kl(law, best_of(EXACT, EXACT.log_prior, 2))) > 0.1
    assert ExpertIteration(of=2, rounds=2).target.startswith("best-of-4 of the prior")


def test_best_of_n_as_evidence_sums_to_one() -> None:
    """π0 e^(log best-of-n/π0) over every sequence once: the law itself, ties and impossible rows included."""
    for lik in (EXACT.log_lik, torch.where(EXACT.log_lik > 0, 1.0, -INF).double(), torch.zeros(31).double()):
        given = replace(scored(every_sequence(toy_a(), PROMPTS), torch.zeros(31, 4).double()), log_lik=lik)
        law = EXACT.log_prior + log_best_of(given, 5)
        assert float(law.exp().sum()) == pytest.approx(1, abs=1e-12)
        assert torch.allclose(law, best_of(replace(EXACT, log_lik=lik), EXACT.log_prior, 5), atol=1e-10)


def test_winning_weights_have_mean_one() -> None:
    given = scored(every_sequence(toy_a(), PROMPTS), torch.zeros(31, 4).double())
    w = log_win(given, 4).exp()
    assert float(w.mean()) == pytest.approx(1, abs=1e-12)
    assert int((w == 0).sum()) == 3  # the three least are never the best of four


@dataclass(frozen=True)
class Given:
    """An engine that gives every sequence once, by weight: a draw without noise."""

    log_w: tuple[float, ...]
    log_z: float = float("nan")
    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED_Z

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        rows = EXACT.completions
        return Draws(
            prompts, rows, torch.zeros(31, 4).double(), torch.tensor(self.log_w, dtype=torch.float64),
            torch.tensor([self.log_z], dtype=torch.float64), torch.tensor([float("nan")]).double(), (Status.OK,),
            Cost(), key,
        )  # fmt: skip


@pytest.mark.parametrize("log_z", [EXACT.log_z, float("nan")])
def test_recalled_draws_weigh_as_the_engine_says(log_z: float) -> None:
    """n w̄ to the last digits, by whatever log Z; exact draws have log q = log p*, and a policy there has ratio 1."""
    batch = Distil(sampler=Given(tuple(EXACT.log_p.tolist()), log_z)).draw(Key(1), toy_a(), PROMPTS)
    given = scored(batch, at_optimum(toy_a(), PROMPTS).score(PROMPTS, batch.completions))
    assert torch.allclose(posterior_weights(given), 31 * EXACT.log_p.exp(), atol=1e-12)
    equal = recalled(toy_a(), Given((0.0,) * 31, EXACT.log_z).draw(Key(1), toy_a(), PROMPTS, 31))
    assert torch.allclose(equal.log_q.sum(-1), EXACT.log_p, atol=1e-12)


def test_a_reply_drawn_again_is_one_row_with_both_weights() -> None:
    given = Given(tuple(EXACT.log_p.tolist()), EXACT.log_z).draw(Key(1), toy_a(), PROMPTS, 31)
    index = torch.tensor([0, 3, 0, 5, 3, 0])
    again = replace(
        given,
        completions=EXACT.completions.rows(index),
        log_w=torch.zeros(6).double(),
        log_q=torch.zeros(6, 4).double(),
    )
    batch = recalled(toy_a(), again)
    assert batch.completions.tokens() == EXACT.completions.rows(torch.tensor([0, 3, 5])).tokens()
    weights = posterior_weights(scored(batch, at_optimum(toy_a(), PROMPTS).score(PROMPTS, batch.completions)))
    assert torch.allclose(weights / 3, torch.tensor([3, 2, 1]).double() / 6, atol=1e-12)


def test_distillation_s_gradient_is_that_of_its_weights() -> None:
    policy = somewhere(2)
    learner = Distil(sampler=Given(tuple((0.5 * EXACT.log_p).tolist())))
    policy.forward_backward(learner.draw(Key(1), toy_a(), PROMPTS), learner.loss)
    found = policy.logits.grad
    law = torch.softmax(0.5 * EXACT.log_p, 0)
    wanted = torch.autograd.grad(-(law * log_law(policy, PROMPTS, EXACT)).sum(), policy.logits)[0]
    assert found is not None
    assert torch.allclose(found, wanted, atol=1e-10, rtol=0)


@pytest.mark.parametrize("engine", [Rejection(), SMC(particles=4000)], ids=["rejection", "SMC"])
def test_engines_are_distilled(engine: Rejection | SMC) -> None:
    """8000 KL(draws‖p*) of 4,000 exact draws is χ²_30, above 86 once in a million; SMC's are worth half as many."""
    learner = Distil(1, 4000, 0.2, sampler=engine)
    stored = learner.draw(Key(2), toy_a(), PROMPTS)
    law = learnt(learner, stored)
    assert float(kl(law, EXACT.log_p)) < (86 if isinstance(engine, Rejection) else 2 * 86) / 8000
    assert learner.target == "posterior"


def test_a_biased_engine_s_law_is_named() -> None:
    assert Distil(sampler=BestOfN(4)).target == "the law of BestOfN: not p*"


def test_prompts_without_a_possible_draw_are_left_out() -> None:
    """Of two prompts one has only impossible rows; of none that is left the engine is told of."""
    prompts = two_prompts()
    rows = Completions(
        torch.tensor([[2], [2], [0]]), torch.ones(3, 1).bool(), torch.ones(3).bool(), torch.tensor([0, 0, 1])
    )
    nan = torch.full((2,), float("nan")).double()
    hard = Posterior(toy_prior(), Reward(lambda _, said: [1.0 if x == (0,) else -INF for x in said], 1.0))
    draws = Draws(
        prompts, rows, torch.zeros(3, 1).double(), torch.zeros(3).double(), nan, nan, (Status.OK,) * 2, Cost(), Key(1)
    )
    batch = recalled(hard, draws)
    assert batch.prompts.ids == (prompts.ids[1],)
    assert batch.completions.prompt.tolist() == [0]
    none = Posterior(toy_prior(), Reward(lambda _, said: [-INF] * len(said), 1.0))
    with pytest.raises(DegeneracyError, match="nothing to distil"):
        recalled(none, draws)


def test_what_cannot_be_is_named() -> None:
    for wrong, word in (
        (lambda: ExpertIteration(group=3, of=4), "of=4"), (lambda: ExpertIteration(rounds=0), "rounds=0"),
        (lambda: RewardWeighted(clip=0.0), "clip"),  # pyright: ignore
        (lambda: MPO(epsilon=0.0), "epsilon"), (lambda: MPO(trust=-1.0), "trust"),
        (lambda: BOND(group=3, of=4), "of=4"), (lambda: BOND(forward=1.5), "forward"),
        (lambda: RewardWeighted(prompts=0), "at least one prompt"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=word):
            wrong()


def test_impossible_rows_are_legal_for_fits() -> None:
    """They weigh nothing, and no logged number but an ELBO is infinite, none a NaN."""
    lik = EXACT.log_lik.clone()
    lik[:5] = -INF
    batch = replace(every_sequence(toy_a(), PROMPTS), log_lik=lik)
    for learner in (
        RewardWeighted(),
        RewardWeighted(centre=Centre.MEAN),
        MPO(),
        BOND(),
        ExpertIteration(of=4),
        ExpertIteration(of=0),
    ):
        policy = somewhere(3)
        info = policy.forward_backward(batch, learner.loss)
        assert policy.logits.grad is not None
        assert bool(torch.isfinite(policy.logits.grad).all())
        assert not any(value != value for value in info.values()), (learner, info)


def test_mpo_takes_what_the_draws_can_give() -> None:
    """ε beyond what 31 rows can tilt: all weight on the best, nothing breaks."""
    policy = somewhere(3)
    info = policy.forward_backward(every_sequence(toy_a(), PROMPTS), MPO(epsilon=50.0).loss)
    assert info["tilt"] == pytest.approx(float(torch.log(torch.tensor(31.0))), abs=1e-5)
