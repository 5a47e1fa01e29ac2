"""Policies: priors that can be trained. A policy starts as its prior and never shares a module with it.

`lora_policy` and `full_policy` copy the prior's module; frozen weights keep one storage in memory, but switching an
adapter on or off can never change what the prior is, also where that prior was itself a fine-tune.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from credence.core.errors import ConfigError, MissingExtraError
from credence.core.keys import Key
from credence.core.protocols import Batch, Loss, Scored, StepPrior
from credence.core.types import Completions, Info, Prompts
from credence.prior.hf import LMPrior, LMState, trim
from credence.prior.render import TextCodec
from credence.prior.reshape import Reshaped
from credence.prior.steps import sample_by_steps, score_by_steps
from credence.prior.table import TableCodec, TablePrior, Tokens

TRAIN_TOKENS = 1536
"""Completion tokens in one forward and backward pass: bounds activations (about 2 GB on the embedded model)."""


@dataclass(eq=False)
class Trainer:
    """Adam on given parameters, with the gradient's norm clipped; the mutable half of a policy."""

    parameters: list[nn.Parameter]
    clip: float = 1.0
    betas: tuple[float, float] = (0.9, 0.98)
    adam: torch.optim.Adam = field(init=False)

    def __post_init__(self) -> None:
        self.adam = torch.optim.Adam(self.parameters, lr=1.0, betas=self.betas)

    def step(self, lr: float) -> Info:
        """One Adam step; returns the gradient's norm before clipping."""
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.clip))
        for group in self.adam.param_groups:
            group["lr"] = lr
        if norm == norm:  # a NaN gradient is reported, never applied
            self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        return {"grad_norm": norm}


LogProbs = Callable[[Completions], Float[Tensor, "R T"]]
"""Log-probabilities of completions, unmasked, with graph."""


def accumulate(batch: Batch, loss: Loss, pieces: Sequence[Tensor], log_probs: LogProbs) -> Info:
    """The gradient of `loss` on a batch, piece by piece, exact for losses that mix rows (baselines, groups).

    The loss is differentiated at the log-probabilities themselves; each piece then only carries that coefficient
    back. On-policy batches use the log-probabilities recorded at sampling for it; others are scored once without
    graph, unless they fit in one piece. Rows whose coefficients are all zero skip their passes.
    """
    if batch.on_policy:
        value = torch.where(batch.completions.mask, batch.log_q, 0.0)
    elif len(pieces) == 1:
        log_pi = log_probs(batch.completions)
        scalar, info = loss(_scored(batch, torch.where(batch.completions.mask, log_pi.double(), 0.0)))
        scalar.backward()
        return info
    else:
        value = torch.zeros(batch.log_q.shape, dtype=torch.float64, device=batch.log_q.device)
        with torch.no_grad():
            for rows in pieces:
                part = trim(batch.completions.rows(rows))
                value[rows, : part.ids.shape[1]] = torch.where(part.mask, log_probs(part).double(), 0.0)
    leaf = value.detach().clone().requires_grad_()
    scalar, info = loss(_scored(batch, leaf))
    scalar.backward()
    slope = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    for rows in pieces:
        rows = rows[(slope[rows] != 0).any(-1)]
        if not len(rows):
            continue
        part = trim(batch.completions.rows(rows))
        log_pi = torch.where(part.mask, log_probs(part).double(), 0.0)
        (log_pi * slope[rows, : part.ids.shape[1]]).sum().backward()
    return info


def _scored(batch: Batch, log_pi: Tensor) -> Scored:
    return Scored(
        log_pi=log_pi,
        log_prior=batch.log_prior,
        log_q=batch.log_q,
        log_lik=batch.log_lik,
        mask=batch.completions.mask,
        prompt=batch.completions.prompt,
        prompts=len(batch.prompts),
        log_z=batch.log_z,
        readings=batch.readings,
    )


@dataclass(eq=False)
class LMPolicy:
    """A language model being trained, at the temperature of its prior.

    Build with `lora_policy` or `full_policy`; at the start it is the prior, draw by draw.
    """

    lm: LMPrior
    temperature: float
    trainer: Trainer
    names: tuple[str, ...]
    train_tokens: int = TRAIN_TOKENS

    @property
    def codec(self) -> TextCodec:
        """The prior's."""
        return self.lm.codec

    @property
    def ends(self) -> frozenset[int]:
        """The prior's."""
        return self.lm.ends

    @property
    def horizon(self) -> int:
        """The prior's."""
        return self.lm.horizon

    def _law(self) -> Reshaped:
        return Reshaped(self.lm, self.temperature)

    def start(self, prompts: Prompts, n: int) -> LMState:
        """Read the prompts and spread them over B·n rows."""
        return self.lm.start(prompts, n)

    def next_logits(self, state: LMState) -> Float[Tensor, "rows V"]:
        """Logits at the policy's temperature."""
        return self.lm.next_logits(state) / self.temperature

    def extend(self, state: LMState, token: Int[Tensor, " rows"]) -> LMState:
        """Append one token a row."""
        return self.lm.extend(state, token)

    def take(self, state: LMState, rows: Int[Tensor, " k"]) -> LMState:
        """The rows at these positions."""
        return self.lm.take(state, rows)

    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
        """n draws a prompt with log q in nats."""
        return sample_by_steps(self, key, prompts, n)

    def score(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """log π of each token in nats."""
        return self._law().score(prompts, completions)

    def forward_backward(self, batch: Batch, loss: Loss) -> Info:
        """Accumulate the gradient of loss on this batch. Memory: activations of `train_tokens` completion tokens."""

        def log_probs(completions: Completions) -> Float[Tensor, "R T"]:
            return self.lm.log_probs(batch.prompts, completions, self.temperature)

        pieces = self.lm.pieces(batch.completions, self.train_tokens)
        return accumulate(batch, loss, pieces, log_probs)

    def step(self, lr: float) -> Info:
        """One Adam step."""
        return self.trainer.step(lr)

    def state(self) -> dict[str, Tensor]:
        """A copy of the trained tensors by name."""
        return {n: p.detach().clone() for n, p in zip(self.names, self.trainer.parameters, strict=True)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put trained tensors back."""
        with torch.no_grad():
            for name, parameter in zip(self.names, self.trainer.parameters, strict=True):
                parameter.copy_(state[name])


def _unwrap(prior: StepPrior) -> tuple[LMPrior, float]:
    inner, temperature = prior, 1.0
    while isinstance(inner, Reshaped):
        if inner.truncates:
            raise ConfigError(
                "a policy may be reshaped by temperature only: with top_k or top_p, KL(p*‖π) = inf for every target "
                "that allows the tokens cut away. Drop top_k/top_p for training; use them when sampling."
            )
        temperature *= inner.temperature
        inner = inner.inner
    if not isinstance(inner, LMPrior):
        raise ConfigError(f"{type(inner).__name__} is no language model of transformers: nothing to fine-tune.")
    return inner, temperature


def _twin(lm: LMPrior, own: frozenset[int]) -> LMPrior:
    """The prior's module copied; parameters not in `own` keep the prior's storage."""
    memo = {id(p): p for p in lm.model.parameters() if id(p) not in own}
    model = copy.deepcopy(lm.model, memo)  # pyright: ignore[reportArgumentType] - memo maps ids to shared tensors
    return LMPrior(model, lm.codec, lm.ends, lm.horizon, name=f"policy on {lm.name}")


def _policy(lm: LMPrior, temperature: float, clip: float) -> LMPolicy:
    trained = [(n, p) for n, p in lm.model.named_parameters() if p.requires_grad]
    trainer = Trainer([p for _, p in trained], clip=clip)
    return LMPolicy(lm, temperature, trainer, tuple(n for n, _ in trained))


def lora_policy(prior: StepPrior, key: Key, rank: int = 16, alpha: float = 32.0, clip: float = 1.0) -> LMPolicy:
    """Low-rank adapters on every linear layer of the blocks (peft). Starts as the prior.

    Args:
        prior: a language model, perhaps at another temperature.
        key: of the adapters' initialisation.
        rank: of the adapters.
        alpha: their scale is alpha / rank.
        clip: largest gradient norm.

    Raises:
        MissingExtraError: peft is not installed.
        ConfigError: the prior is cut to top-k or top-p, or is no language model.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtraError("LoRA needs peft. Run: pip install 'credence-lm[lora]'") from error
    if rank < 1:
        raise ConfigError(f"rank={rank}: at least 1 is needed.")
    lm, temperature = _unwrap(prior)
    twin = _twin(lm, frozenset())
    for parameter in twin.model.parameters():
        parameter.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear")  # pyright: ignore
    inject_adapter_in_model(config, twin.model)
    rng = key.generator()
    with torch.no_grad():  # peft draws from the global generator; ours is drawn from the key
        for name, parameter in twin.model.named_parameters():
            if "lora_A" in name:
                bound = parameter.shape[1] ** -0.5
                parameter.copy_(torch.from_numpy(rng.uniform(-bound, bound, parameter.shape)))
    return _policy(twin, temperature, clip)


def full_policy(prior: StepPrior, clip: float = 1.0, freeze_embeddings: bool = True) -> LMPolicy:
    """Every weight of the blocks is trained; the tied embeddings stay frozen unless asked otherwise."""
    lm, temperature = _unwrap(prior)
    frozen = {id(p) for p in lm.model.get_input_embeddings().parameters()} | {id(p) for p in lm.head.parameters()}
    frozen = frozen if freeze_embeddings else set[int]()
    own = frozenset(id(p) for p in lm.model.parameters() if id(p) not in frozen)
    twin = _twin(lm, own)
    shared = {id(p) for p in lm.model.parameters()}
    for parameter in twin.model.parameters():
        parameter.requires_grad_(id(parameter) not in shared)
    return _policy(twin, temperature, clip)


@dataclass(eq=False)
class TabularPolicy:
    """One free row of logits for each prefix: can be any law on its tree. For enumerable priors and for tests."""

    prior: TablePrior
    prefixes: dict[Tokens, int]
    logits: nn.Parameter
    trainer: Trainer

    @property
    def codec(self) -> TableCodec:
        """The prior's."""
        return self.prior.codec

    @property
    def ends(self) -> frozenset[int]:
        """The prior's."""
        return self.prior.ends

    @property
    def horizon(self) -> int:
        """The prior's."""
        return self.prior.horizon

    def start(self, prompts: Prompts, n: int) -> list[Tokens | None]:
        """State: the tokens of each row; None once it has ended."""
        return self.prior.start(prompts, n)

    def next_logits(self, state: list[Tokens | None]) -> Float[Tensor, "rows V"]:
        """(rows, V) logits; whatever stands at rows that have ended."""
        return self.logits[torch.tensor([0 if s is None else self.prefixes[s] for s in state])]

    def extend(self, state: list[Tokens | None], token: Int[Tensor, " rows"]) -> list[Tokens | None]:
        """Append one token a row."""
        return self.prior.extend(state, token)

    def take(self, state: list[Tokens | None], rows: Int[Tensor, " k"]) -> list[Tokens | None]:
        """The rows at these positions."""
        return self.prior.take(state, rows)

    @torch.no_grad()
    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
        """n draws a prompt with log q in nats."""
        return sample_by_steps(self, key, prompts, n)

    @torch.no_grad()
    def score(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """log π of each token in nats."""
        return score_by_steps(self, prompts, completions)

    def log_probs(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """The same with gradient, zero outside the mask."""
        rows = [prompts.ids[b] for b in completions.prompt.tolist()]
        steps: list[Tensor] = []
        table = torch.log_softmax(self.logits, -1)
        for t in range(completions.ids.shape[1]):
            here = completions.mask[:, t]
            state = [
                self.prefixes[(*given, *ids[:t])] if inside else 0
                for given, ids, inside in zip(rows, completions.ids.tolist(), here.tolist(), strict=True)
            ]
            log_p = table[torch.tensor(state), completions.ids[:, t]]
            steps.append(torch.where(here, log_p, 0.0))
        return torch.stack(steps, 1)

    def forward_backward(self, batch: Batch, loss: Loss) -> Info:
        """Accumulate the gradient of loss on this batch."""
        scalar, info = loss(_scored(batch, self.log_probs(batch.prompts, batch.completions)))
        scalar.backward()
        return info

    def step(self, lr: float) -> Info:
        """One Adam step."""
        return self.trainer.step(lr)

    def state(self) -> dict[str, Tensor]:
        """A copy of the logits."""
        return {"logits": self.logits.detach().clone()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put logits back."""
        with torch.no_grad():
            self.logits.copy_(state["logits"])


def tabular_policy(prior: TablePrior, prompts: Prompts, clip: float = 1e9) -> TabularPolicy:
    """A policy over the whole tree of these prompts, started at the prior."""
    prefixes: dict[Tokens, int] = {}
    inner = [v for v in range(prior.vocab) if v not in prior.ends]
    for given in dict.fromkeys(prompts.ids):
        for length in range(prior.horizon):
            for reply in product(inner, repeat=length):
                prefixes[(*given, *reply)] = len(prefixes)
    logits = nn.Parameter(torch.stack([prior.logits(p) for p in prefixes]))
    return TabularPolicy(prior, prefixes, logits, Trainer([logits], clip=clip))
