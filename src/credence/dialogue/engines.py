"""How one reply is drawn where it is not simply streamed: the engines that draw, each seen token by token."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ConfigError, DegeneracyError, nearest
from credence.core.keys import Key
from credence.core.protocols import Evidence, State, StepPrior
from credence.core.types import Codec, Completions, Draws, Prompts
from credence.posterior.posterior import Posterior
from credence.prior.steps import Concurrent, sample_by_steps
from credence.sample.best_of_n import BestOfN
from credence.sample.importance import Importance
from credence.sample.rejection import Rejection
from credence.sample.smc import SMC

Engine = Literal["policy", "best_of_n", "smc", "rejection"]
ENGINES: tuple[str, ...] = get_args(Engine)
ISLANDS = 4
"""Independent runs of SMC: they give log Z its error."""
MOST = 512
"""Proposals of rejection before it gives up a reply."""

Tick = Callable[[], None]


def known(engine: str) -> str:
    """The engine's name, if it is one.

    Raises:
        ConfigError: with the nearest.
    """
    if engine not in ENGINES:
        raise ConfigError(
            f"unknown engine {engine!r}.{nearest(engine, ENGINES)} Known: {', '.join(ENGINES)}.",
            "engine",
            name=engine,
            known=", ".join(ENGINES),
        )
    return engine


def known_of(of: int) -> int:
    """The number of candidates, if so few can be weighed against each other.

    Raises:
        ConfigError: fewer than two.
    """
    if of < 2:
        raise ConfigError(f"of={of}: at least two candidates are needed.", "few candidates", of=of)
    return of


@dataclass(frozen=True, eq=False)
class Watched:
    """A prior that says whenever it has taken a step, so that a bar can move; the law is the inner one's."""

    inner: StepPrior
    tick: Tick

    @property
    def codec(self) -> Codec:
        """The inner prior's."""
        return self.inner.codec

    @property
    def ends(self) -> frozenset[int]:
        """The inner prior's."""
        return self.inner.ends

    @property
    def horizon(self) -> int:
        """The inner prior's."""
        return self.inner.horizon

    @property
    def concurrent(self) -> bool:
        """As the inner prior."""
        return isinstance(self.inner, Concurrent) and self.inner.concurrent

    def start(self, prompts: Prompts, n: int) -> State:
        """The inner prior's state."""
        self.tick()
        return self.inner.start(prompts, n)

    def next_logits(self, state: State) -> Float[Tensor, "rows V"]:
        """The inner prior's."""
        return self.inner.next_logits(state)

    def extend(self, state: State, token: Int[Tensor, " rows"]) -> State:
        """One more step."""
        self.tick()
        return self.inner.extend(state, token)

    def take(self, state: State, rows: Int[Tensor, " k"]) -> State:
        """The rows at these positions."""
        return self.inner.take(state, rows)

    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
        """The inner prior's draws, step by step."""
        return sample_by_steps(self, key, prompts, n)

    def score(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """The inner prior's."""
        return self.inner.score(prompts, completions)


@dataclass(frozen=True)
class Answer:
    """One drawn reply: its tokens, nats under what it was sampled from, and what the engine knows of it.

    info: nats (log_lik of the reply); reweighted: weight (its share among the candidates) and ess; best_of_n: kl_bound;
    smc: ancestors; rejection: acceptance; log_z and log_z_se where the engine gives them.
    """

    ids: tuple[int, ...]
    log_q: tuple[float, ...]
    ended: bool
    info: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Drawing:
    """One reply of the posterior by an engine that needs more than one draw.

    Args:
        engine: "best_of_n", "smc", "rejection", or "reweighted": draws of the policy (of the prior where there is
            none), weighted by π0 · exp(log_lik) / π, and one of them drawn by weight. That is how a policy trained at
            one β serves another.
        of: candidates, or particles of all islands together.
    """

    engine: str
    prior: StepPrior
    evidence: Evidence
    policy: StepPrior | None = None
    of: int = 16

    def draw(self, key: Key, prompts: Prompts, tick: Tick) -> Answer:
        """One reply to the one prompt; `tick` is called at each step, about `horizon` times.

        Raises:
            ConfigError: rejection without a bound on the evidence.
            DegeneracyError: no candidate is possible, or rejection accepted none.
        """
        watched = Watched(self.prior, tick)
        proposal = None if self.policy is None else Watched(self.policy, tick)
        posterior = Posterior(watched, self.evidence)
        match self.engine:
            case "reweighted":
                engine = Importance(proposal, probe=0)  # a trained language model gives every token mass
                return self._by_weight(engine.draw(key, posterior, prompts, self.of), key)
            case "best_of_n":
                drawn = BestOfN(self.of).draw(key, posterior, prompts, 1)
            case "smc":
                size = max(2, -(-self.of // ISLANDS))
                smc = SMC(particles=size, islands=ISLANDS, proposal=proposal, probe=0)
                drawn = smc.draw(key, posterior, prompts, 1)
            case "rejection":
                drawn = Rejection(most=MOST).draw(key, posterior, prompts, 1)
            case _:
                raise ConfigError(f"engine {self.engine!r} draws no reply by itself.")
        if len(drawn.completions) == 0:
            raise self._none(drawn.status[0].value)
        return self._answer(drawn, 0, {name: float(v.flatten()[0]) for name, v in drawn.info.items()})

    def _by_weight(self, drawn: Draws, key: Key) -> Answer:
        weights = drawn.weights().cpu().numpy()
        total = float(weights.sum())
        if not math.isfinite(total) or total <= 0:
            raise self._none(f"none of {self.of} candidates is possible under this evidence")
        row = int(key.fold("pick").generator().choice(len(weights), p=weights / total))
        return self._answer(drawn, row, {"weight": float(weights[row]), "ess": float(drawn.ess()[0])})

    def _none(self, why: str) -> DegeneracyError:
        return DegeneracyError(
            f"{self.engine} found no reply: {why}. Try /beta with a larger value (weaker evidence), more candidates "
            "(--of), another engine, or /again.",
            "no reply found",
            engine=self.engine,
            why=why,
        )

    def _answer(self, drawn: Draws, row: int, info: Mapping[str, float]) -> Answer:
        rows = torch.tensor([row])
        one = drawn.completions.rows(rows)
        used = one.mask[0]
        told = {"log_z": float(drawn.log_z[0]), "log_z_se": float(drawn.log_z_se[0])}
        nats = float(self.evidence.log_lik(drawn.prompts, one))
        if math.isinf(nats):
            raise self._none("every candidate is impossible under this evidence")
        return Answer(
            tuple(one.ids[0][used].tolist()),
            tuple(drawn.log_q[row][used].tolist()),
            bool(one.ended[0]),
            {"nats": nats, **info, **told},
        )
