"""The contracts, on one page. tests/contract holds every implementation to their laws."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.keys import Key
from credence.core.types import Codec, Completions, Draws, Info, Prompts


@runtime_checkable
class Prior(Protocol):
    """A law over completions that can be sampled and scored, and these two agree.

    codec: reads prompts and completions. ends: tokens that end a completion (they act on completions only: an end
    token may equal pad and may stand inside a prompt). horizon: most tokens of a completion, the end token counted.
    """

    @property
    def codec(self) -> Codec: ...
    @property
    def ends(self) -> frozenset[int]: ...
    @property
    def horizon(self) -> int: ...

    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
        """n draws a prompt (rows prompt-major) with log q of each token in nats, zero outside the mask."""
        ...

    def score(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """log-probability in nats of each token, zero outside the mask, -inf where impossible."""
        ...


State = Any
"""A StepPrior's own state. It is used once: after extend or take the old one may no longer be read."""


@runtime_checkable
class StepPrior(Prior, Protocol):
    """A Prior that can be walked token by token: what SMC, twists and the oracle need."""

    def start(self, prompts: Prompts, n: int) -> State:
        """B·n rows, prompt-major, before any token."""
        ...

    def next_logits(self, state: State) -> Float[Tensor, "rows V"]:
        """Unnormalised log-probabilities of the next token."""
        ...

    def extend(self, state: State, token: Int[Tensor, " rows"]) -> State:
        """Append one token a row."""
        ...

    def take(self, state: State, rows: Int[Tensor, " k"]) -> State:
        """The rows at these positions, repeats allowed: resampling, and dropping what is finished."""
        ...


@runtime_checkable
class Evidence(Protocol):
    """What we learnt about completions, as log-likelihood in nats."""

    def log_lik(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """log p(evidence | completion) in nats, float64; -inf is impossible; never NaN or +inf."""
        ...

    def readings(self, prompts: Prompts, completions: Completions) -> Mapping[str, Float[Tensor, " R"]]:
        """Raw values by name, in their own units."""
        ...


@runtime_checkable
class PrefixEvidence(Evidence, Protocol):
    """Evidence that already says something of an unfinished text."""

    def log_twist(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """Nats for the prefixes given; equals log_lik on a row that has ended."""
        ...


@runtime_checkable
class Target(Protocol):
    """What an engine infers: a prior and evidence (posterior.Posterior is one)."""

    @property
    def prior(self) -> Prior: ...
    @property
    def evidence(self) -> Evidence: ...


class Guarantee(Enum):
    """What a sampler's draws promise; it decides which statistical test holds the engine to it."""

    EXACT = "draws follow the posterior exactly"
    UNBIASED_Z = "E[Z-hat] = Z, and E[Z-hat × weighted mean of f] = Z × E_p*[f]"
    CONSISTENT = "exact as the effort grows"
    BIASED = "its own law; the divergence is bounded as stated"


@runtime_checkable
class Sampler(Protocol):
    """An engine that draws. Settings are fields; n is the number of draws returned a prompt."""

    guarantee: ClassVar[Guarantee]

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws: ...


@dataclass(frozen=True, eq=False)
class Scored:
    """What a loss may look at. Everything but log_pi (and what `needs` adds) is detached.

    Attributes:
        log_pi: (R, T) nats under the policy, with gradient.
        log_prior: (R, T) nats under the prior.
        log_q: (R, T) nats as sampled.
        log_lik: (R,) nats of the evidence.
        mask: (R, T) the policy's own tokens.
        prompt: (R,) the prompt of each row.
        prompts: B.
        log_z: (B,) an estimate of log Z, only where the learner needs "log_z".
        readings: (R,) raw evidence values by name; they are only reported.
        kl: (R, T) KL(π(·|s_t)‖π0(·|s_t)) in nats, over the whole vocabulary, with gradient; where "kl" is needed.
        value: (R, T) v(s_t) in nats, one number a prefix, with gradient; where "value" is needed.
        value_q: (R, T) v(s_t) as it was when the rows were collected; likewise.
    """

    log_pi: Float[Tensor, "R T"]
    log_prior: Float[Tensor, "R T"]
    log_q: Float[Tensor, "R T"]
    log_lik: Float[Tensor, " R"]
    mask: Bool[Tensor, "R T"]
    prompt: Int[Tensor, " R"]
    prompts: int
    log_z: Float[Tensor, " B"] | None = None
    readings: Mapping[str, Float[Tensor, " R"]] = field(default_factory=dict)
    kl: Float[Tensor, "R T"] | None = None
    value: Float[Tensor, "R T"] | None = None
    value_q: Float[Tensor, "R T"] | None = None


Loss = Callable[[Scored], tuple[Float[Tensor, ""], Info]]


@dataclass(frozen=True, eq=False)
class Valued:
    """What the loss of a value function may look at: rows, and what it says of their prefixes, in nats.

    s_t is the prompt and the first t tokens of a row; column t speaks of s_t or of the token x_t drawn there. The soft
    value of a prefix is log ψ*(s) = log E_π0[e^log_lik | s], so Q*(s_t, x_t) = log ψ*(s_t x_t). What is costly is
    computed when it is called for. Functions give zero outside the mask.

    Attributes:
        chosen: Q(s_t, x_t), with gradient. Cost: no product with the vocabulary.
        soft: V(s_t) = log Σ_v π0(v|s_t) e^Q(s_t,v), with gradient. Cost: the vocabulary's sum.
        ahead: V(s_t) of the target network, detached. Cost: the same.
        state: v(s_t), one number a prefix that has its own parameters, with gradient.
        log_prior: (R, T) nats under the prior.
        log_q: (R, T) nats as sampled.
        log_lik: (R,) nats of the evidence.
        mask: (R, T) the model's own tokens.
        prompt: (R,) the prompt of each row.
        prompts: B.
        log_z: (B,) an estimate of log Z where one came with the rows.
        readings: (R,) raw evidence values by name; they are only reported.
    """

    chosen: Callable[[], Float[Tensor, "R T"]]
    soft: Callable[[], Float[Tensor, "R T"]]
    ahead: Callable[[], Float[Tensor, "R T"]]
    state: Callable[[], Float[Tensor, "R T"]]
    log_prior: Float[Tensor, "R T"]
    log_q: Float[Tensor, "R T"]
    log_lik: Float[Tensor, " R"]
    mask: Bool[Tensor, "R T"]
    prompt: Int[Tensor, " R"]
    prompts: int
    log_z: Float[Tensor, " B"] | None = None
    readings: Mapping[str, Float[Tensor, " R"]] = field(default_factory=dict)


ValueLoss = Callable[[Valued], tuple[Float[Tensor, ""], Info]]


@dataclass(frozen=True, eq=False)
class Batch:
    """One step's rows as the loop collected them: everything of Scored but what the policy must add.

    Attributes beyond those of Scored:
        on_policy: the policy drew the rows and has not changed since: log_q is log π.
        needs: what the policy must add besides log_pi: "kl", "value".
        prior: whom the KL of each token is taken to; only where "kl" is needed.
    """

    prompts: Prompts
    completions: Completions
    log_q: Float[Tensor, "R T"]
    log_prior: Float[Tensor, "R T"]
    log_lik: Float[Tensor, " R"]
    on_policy: bool = False
    log_z: Float[Tensor, " B"] | None = None
    readings: Mapping[str, Float[Tensor, " R"]] = field(default_factory=dict)
    needs: frozenset[str] = frozenset()
    prior: Prior | None = None
    value_q: Float[Tensor, "R T"] | None = None


@runtime_checkable
class Learner(Protocol):
    """An engine that trains: a pure loss and the name of the law it converges to."""

    @property
    def target(self) -> str:
        """What the loss converges to: "posterior", or the name of another law."""
        ...

    @property
    def needs(self) -> frozenset[str]:
        """What the loss reads beyond the common fields: "log_z", "kl", "value"."""
        ...

    def loss(self, scored: Scored) -> tuple[Float[Tensor, ""], Info]: ...


@runtime_checkable
class ValueLearner(Protocol):
    """An engine that trains a value of prefixes: a pure loss and the name of the law that its values guide to."""

    @property
    def target(self) -> str:
        """As a Learner's."""
        ...

    @property
    def needs(self) -> frozenset[str]:
        """What the loss reads beyond the common fields."""
        ...

    def value_loss(self, valued: Valued) -> tuple[Float[Tensor, ""], Info]: ...


@runtime_checkable
class Policy(StepPrior, Protocol):
    """A Prior that can be trained: the only mutable thing in the house."""

    def forward_backward(self, batch: Batch, loss: Loss) -> Info:
        """Accumulate the gradient of loss on this batch."""
        ...

    def step(self, lr: float) -> Info:
        """Apply the accumulated gradient and clear it; returns its norm."""
        ...

    def state(self) -> dict[str, Tensor]:
        """A copy of what training changes, to be given back to `restore`."""
        ...

    def moments(self) -> dict[str, Tensor]:
        """What the optimiser remembers, by name, not copied: with `state` all that the next step depends on."""
        ...

    def restore(self, state: Mapping[str, Tensor], moments: Mapping[str, Tensor] | None = None) -> None:
        """Put a state back; the optimiser starts afresh, or from these moments."""
        ...


@runtime_checkable
class Critic(Policy, Protocol):
    """A policy that can also say what a prefix is worth, for learners that need "value"."""

    def value(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """v(s_t) before each token, nats, zero outside the mask, detached."""
        ...


@runtime_checkable
class Guide(Policy, Protocol):
    """A policy π0·e^(Q−V) that is given by a value of prefixes, and can be trained through either."""

    def value_backward(self, batch: Batch, loss: ValueLoss) -> Info:
        """Accumulate the gradient of a value's loss on this batch."""
        ...

    def log_value(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """Q of each row's last token: log ψ of an unfinished text in nats."""
        ...

    def log_state(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """v after each unfinished row: log ψ of its text by the value that has its own parameters, nats."""
        ...
