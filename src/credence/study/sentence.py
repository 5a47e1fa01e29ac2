"""One sentence as the target: its four well-posed remedies, each trained from the prior and measured.

δ is all mass on the sentence x*. KL(δ‖π) = −log π(x*) is exact on every model; KL(π‖δ) is infinite; the divergences of
the rest are estimated from draws (`kl_beside`), and stand beside their exact values where every reply can be listed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import kl
from credence.core.protocols import Batch, Policy, StepPrior
from credence.core.types import Completions, Prompts
from credence.diagnose.divergence import PointMass, kl_beside
from credence.evidence.sentence import Exactly, Near, mixture
from credence.learn.collect import Record
from credence.learn.demonstration import demonstration
from credence.learn.dpg import DPG
from credence.learn.loop import Learner, fit
from credence.learn.reinforce import Reinforce
from credence.posterior.exact import Exact, as_completions, enumerate_posterior
from credence.posterior.posterior import Posterior

REMEDIES = ("bounded reward", "graded reward", "mixture", "forward KL")


@dataclass(frozen=True)
class Effort:
    """What the remedies are and how hard each is trained; pairs and fours in the order of REMEDIES.

    Attributes:
        nats: R/β of the bounded reward.
        beta: edits a nat of the graded reward.
        epsilon: the prior's share in the mixture.
        group: draws a step of the two rewards.
        stored: draws of the prior that the mixture learns from.
        steps: of each remedy.
        rates: Adam's step sizes.
        draws: of each law, to measure it.
    """

    nats: float
    beta: float
    epsilon: float
    group: int
    stored: int
    steps: tuple[int, int, int, int]
    rates: tuple[float, float, float, float]
    draws: int


@dataclass(frozen=True, eq=False)
class Case:
    """A prior, the prompt, and the sentence that should follow.

    Attributes:
        name: for people.
        prior: π0, its horizon at least the sentence's tokens.
        prompts: exactly one.
        tokens: x*, the end token last.
        start: a new policy at the prior.
        effort: see Effort.
        every: the prior enumerated, where it can be.
    """

    name: str
    prior: StepPrior
    prompts: Prompts
    tokens: tuple[int, ...]
    start: Callable[[], Policy]
    effort: Effort
    every: Exact | None = None

    @property
    def sentence(self) -> Completions:
        """x* as one row."""
        return as_completions([self.tokens], self.prior.ends)

    def from_target(self, law: StepPrior) -> PointMass:
        """δ against a law, exact. Cost: one scoring pass over the sentence."""
        return PointMass(min(float(law.score(self.prompts, self.sentence).sum()), 0.0))

    @cached_property
    def begin(self) -> PointMass:
        """δ against the prior."""
        return self.from_target(self.prior)

    @cached_property
    def mixture(self) -> Exactly:
        """(1 − ε)δ + επ0 as evidence."""
        return mixture(self.tokens, self.begin.log_prob, self.effort.epsilon)


@dataclass(frozen=True, eq=False)
class Remedy:
    """A well-posed target in the place of δ, and how it is learnt.

    Attributes:
        name: one of REMEDIES.
        evidence: what makes it a posterior of the prior.
        learner: the library's own.
        steps: of it.
        optimum: KL(δ‖p*) in nats at its exact optimum; NaN where that is not known.
        stored: draws to learn from, for a learner of stored ones.
    """

    name: str
    evidence: Exactly | Near
    learner: Learner
    steps: int
    optimum: float
    stored: Batch | None = None


@dataclass(frozen=True)
class Measured:
    """An estimate from draws, its standard error (inf: a lower bound), and the exact value where replies are listed."""

    value: float
    se: float
    exact: float | None


@dataclass(frozen=True)
class Reached:
    """What one law came to.

    Attributes:
        name: "prior" or one of REMEDIES.
        path: KL(δ‖π) in nats, exact, before the first step and after each.
        optimum: of the remedy; NaN where not known.
        hit: π(x*), exact on every model.
        edits: mean edit distance to x*, tokens.
        kl_prior: KL(π‖π0), nats.
        kl_mixture: KL(π‖(1 − ε)δ + επ0), nats.
        kl_posterior: exact KL(π‖p*) to the remedy's own posterior in nats, where every reply is listed.
        drawn: replies drawn from the policy in training.
        hits: how many of them were x*.
        replies: the first draws, decoded.
    """

    name: str
    path: tuple[float, ...]
    optimum: float
    hit: Measured
    edits: Measured
    kl_prior: Measured
    kl_mixture: Measured
    kl_posterior: float | None
    drawn: int
    hits: int
    replies: tuple[object, ...]


def remedies(case: Case, key: Key) -> tuple[Remedy, ...]:
    """Bounded and graded reward by REINFORCE, mixture and forward KL by DPG.

    Tested against enumeration in tests/oracle/test_sentence.py. Cost: the mixture's stored draws.

    Raises:
        ConfigError: an effort out of range, a sentence that does not end or that the prior cannot say.
    """
    e, mass, tokens = case.effort, case.begin, case.tokens
    sentence = case.sentence
    alone = demonstration(case.prior, case.prompts, sentence)
    mixed = demonstration(case.prior, case.prompts, sentence, e.epsilon, e.stored, key.fold("mixture"))
    graded = Near(tokens, e.beta)
    return (
        _rewarded(0, e, Exactly(tokens, e.nats), -math.log(mass.bounded(e.nats))),
        _rewarded(1, e, graded, _optimum(case, graded)),
        Remedy(REMEDIES[2], case.mixture, DPG(1, 1 + e.stored, e.rates[2]), e.steps[2],
               -math.log1p(-e.epsilon * mass.tv), mixed),
        Remedy(REMEDIES[3], mixture(tokens, mass.log_prob, 0.0), DPG(1, 1, e.rates[3], baseline=False), e.steps[3],
               0.0, alone),
    )  # fmt: skip


def _rewarded(which: int, e: Effort, evidence: Exactly | Near, optimum: float) -> Remedy:
    return Remedy(REMEDIES[which], evidence, Reinforce(1, e.group, e.rates[which]), e.steps[which], optimum)


def _optimum(case: Case, evidence: Near) -> float:
    """−log p*(x*) by enumeration."""
    if case.every is None:
        return math.nan
    law = enumerate_posterior(Posterior(case.prior, evidence), case.prompts)
    return 0.0 - float(law.log_p[law.index()[case.tokens]])


def untrained(case: Case, key: Key) -> Reached:
    """The prior itself."""
    return _measured(case, case.prior, None, key, "prior", (case.begin.forward,), 0, 0)


def trained(case: Case, remedy: Remedy, key: Key, tick: Callable[[float], None] = lambda share: None) -> Reached:
    """Train from the prior, then measure. `tick` hears the share done.

    Cost: the remedy's steps, a scoring pass over the sentence after each, and `effort.draws` draws at the end.
    """
    policy, path = case.start(), [case.begin.forward]

    def follow(record: Record, clock: Record) -> None:
        path.append(case.from_target(policy).forward)
        tick(record["step"] / (remedy.steps + 1))

    done = fit(
        Posterior(case.prior, remedy.evidence), policy, case.prompts, remedy.learner, key.fold(remedy.name),
        remedy.steps, stored=remedy.stored, callbacks=[follow],
    )  # fmt: skip
    fresh = remedy.learner.on_policy
    drawn = remedy.learner.group * len(done.history) if fresh else 0
    hits = round(sum(record["hit"] for record in done.history) * remedy.learner.group) if fresh else 0
    return _measured(case, policy, remedy, key.fold("measure", remedy.name), remedy.name, tuple(path), drawn, hits)


def _measured(
    case: Case,
    law: StepPrior,
    remedy: Remedy | None,
    key: Key,
    name: str,
    path: tuple[float, ...],
    drawn: int,
    hits: int,
) -> Reached:
    """Draws of a law as numbers, exact beside them."""
    rows, log_q = law.sample(key, case.prompts, case.effort.draws)
    log_pi, log_prior = log_q.sum(-1), case.prior.score(case.prompts, rows).sum(-1)
    (hit, edits), log_mix = _told(case, rows), log_prior + case.mixture.log_lik(case.prompts, rows)
    here, root = -path[-1], math.sqrt(case.effort.draws)
    exact, own = _exact(case, law, remedy)
    told = [(float(values.mean()), float(values.std()) / root) for values in (hit, edits)]
    there = case.begin.log_prob, case.begin.log_prob + case.mixture.hit
    told += [kl_beside(log_pi, q, hit > 0, (here, at)) for q, at in zip((log_prior, log_mix), there, strict=True)]
    truths = (math.exp(here), *exact)
    chance, mean, to_prior, to_mix = (Measured(*pair, truth) for pair, truth in zip(told, truths, strict=True))
    first = rows.rows(torch.arange(min(4, len(rows)))).texts(case.prompts.codec)
    optimum = math.nan if remedy is None else remedy.optimum
    return Reached(name, path, optimum, chance, mean, to_prior, to_mix, own, drawn, hits, tuple(first))


def _exact(case: Case, law: StepPrior, remedy: Remedy | None) -> tuple[tuple[float | None, ...], float | None]:
    """Edits and both divergences by enumeration, and KL(π‖p*); None where replies cannot be listed."""
    every = case.every
    if every is None:
        return (None,) * 3, None
    log_pi = law.score(case.prompts, every.completions).sum(-1)
    edits = float(log_pi.exp() @ _told(case, every.completions)[1])
    to_mix = kl(log_pi, every.log_prior + case.mixture.log_lik(case.prompts, every.completions))
    found = edits, float(kl(log_pi, every.log_prior)), float(to_mix)
    if remedy is None:
        return found, None
    own = enumerate_posterior(Posterior(case.prior, remedy.evidence), case.prompts)
    return found, float(kl(log_pi, own.log_p))


def _told(case: Case, rows: Completions) -> tuple[Tensor, Tensor]:
    """Whether each row is the sentence, and its edits to it."""
    told = Near(case.tokens, 1.0).readings(case.prompts, rows)
    return told["hit"], told["edits"]
