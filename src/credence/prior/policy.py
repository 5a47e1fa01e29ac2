"""Policies: priors that can be trained. A policy starts as its prior and never shares a module with it.

`lora_policy` and `full_policy` copy the prior's module; frozen weights keep one storage in memory, but switching an
adapter on or off can never change what the prior is, also where that prior was itself a fine-tune.
"""

import copy
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from credence.core.errors import ConfigError, MissingExtraError
from credence.core.keys import Key
from credence.core.protocols import Batch, Loss, Prior, StepPrior
from credence.core.types import Completions, Info, Prompts
from credence.prior.critic import ValueHead
from credence.prior.hf import LMPrior, LMState, trim
from credence.prior.logprob import Output, token_kl, token_log_probs
from credence.prior.reading import Reading
from credence.prior.render import TextCodec
from credence.prior.reshape import Reshaped
from credence.prior.steps import sample_by_steps
from credence.prior.train import Columns, Trainer, accumulate

TRAIN_TOKENS = 2048
"""Tokens, prompts' and completions', in one forward and backward pass: bounds activations (about 2 GB on the embedded
model)."""


@dataclass(eq=False)
class LMPolicy:
    """A language model being trained, at the temperature of its prior.

    Build with `lora_policy` or `full_policy`; at the start it is the prior, draw by draw.

    Attributes:
        train_tokens: in one forward and backward pass.
        products: format of the matrix products in those passes, bfloat16 for instance; None: the weights' own. Draws,
            scores and the loss's coefficients are not touched by it, nor are weights and Adam.
        critic: a value of each prefix, for learners that need "value"; None: it has none.
    """

    lm: LMPrior
    temperature: float
    trainer: Trainer
    names: tuple[str, ...]
    train_tokens: int = TRAIN_TOKENS
    products: torch.dtype | None = None
    critic: ValueHead | None = None

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

    @property
    def concurrent(self) -> bool:
        """As the model."""
        return self.lm.concurrent

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

    def open(self, prompts: Prompts, n: int) -> Reading:
        """The model's reading at the policy's temperature."""
        return self._law().open(prompts, n)

    def sample(self, key: Key, prompts: Prompts, n: int) -> tuple[Completions, Float[Tensor, "R T"]]:
        """n draws a prompt with log q in nats."""
        return sample_by_steps(self, key, prompts, n)

    def score(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """log π of each token in nats."""
        return self._law().score(prompts, completions)

    def forward_backward(self, batch: Batch, loss: Loss) -> Info:
        """Accumulate the gradient of loss on this batch. Memory: activations of `train_tokens` tokens."""
        prior = self._prior(batch.prior) if "kl" in batch.needs else None

        def look(completions: Completions) -> Columns:
            return self._look(batch, completions, prior)

        def score(completions: Completions) -> Float[Tensor, "R T"]:
            return self.score(batch.prompts, completions)

        pieces = self.lm.pieces(batch.prompts, batch.completions, self.train_tokens)
        return accumulate(batch, loss, pieces, look, score, self.products)

    def _look(self, batch: Batch, completions: Completions, prior: tuple[LMPrior, Output] | None) -> Columns:
        """log π of each token of one piece, and what else is needed: one pass of the model, one of the prior's."""
        shape, output = completions.ids.shape, Output(self.lm.head, self.temperature)
        hidden = self.lm.hidden(batch.prompts, completions).flatten(0, 1)
        out = {"log_pi": token_log_probs(hidden, self.lm.head, completions.ids.flatten(), self.temperature)}
        if prior is not None:
            with torch.no_grad():
                before = prior[0].hidden(batch.prompts, completions).flatten(0, 1)
            out["kl"] = token_kl(hidden, output, before, prior[1])
        if "value" in batch.needs:
            out["value"] = self._critic()(hidden)
        return {name: x.view(shape) for name, x in out.items()}

    def _prior(self, given: Prior | None) -> tuple[LMPrior, Output]:
        """The model and output layer to which the KL of each token is taken.

        Raises:
            ConfigError: no prior, or one whose next-token laws cannot be had, or of another vocabulary.
        """
        if given is None:
            raise ConfigError("the KL of each token is needed and no prior is given: set Batch.prior, as fit does.")
        lm, temperature = unwrap(given)  # pyright: ignore[reportArgumentType] - it refuses what is no language model
        if lm.head.out_features != self.lm.head.out_features:
            raise ConfigError(
                f"the prior knows {lm.head.out_features} words and the policy {self.lm.head.out_features}: their KL is "
                "that of laws over different things. Build the policy on this prior."
            )
        return lm, Output(lm.head, temperature)

    def _critic(self) -> ValueHead:
        if self.critic is None:
            raise ConfigError("this learner needs a value of prefixes: build the policy with value=True.")
        return self.critic

    @torch.no_grad()
    def value(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """v(s_t) before each token in nats, zero outside the mask. Cost: a forward pass.

        Raises:
            ConfigError: the policy was built without one.
        """
        head, out = self._critic(), torch.zeros(completions.mask.shape, dtype=torch.float64, device=self.lm.device)
        for rows in self.lm.pieces(prompts, completions):
            part = trim(completions.rows(rows))
            found = head(self.lm.hidden(prompts, part)).double()
            out[rows, : part.ids.shape[1]] = torch.where(part.mask, found, 0.0)
        return out

    def step(self, lr: float) -> Info:
        """One Adam step, of the value too."""
        more = {} if self.critic is None else self.critic.step(lr)
        return {**self.trainer.step(lr), **more}

    def state(self) -> dict[str, Tensor]:
        """A copy of the trained tensors by name."""
        own = {n: p.detach().clone() for n, p in zip(self.names, self.trainer.parameters, strict=True)}
        return own if self.critic is None else {**own, **self.critic.own()}

    def moments(self) -> dict[str, Tensor]:
        """What the optimiser remembers; not copied."""
        own = self.trainer.moments(self.names)
        return own if self.critic is None else {**own, **self.critic.moments()}

    def restore(self, state: Mapping[str, Tensor], moments: Mapping[str, Tensor] | None = None) -> None:
        """Put trained tensors back; the optimiser starts afresh, or from these moments."""
        with torch.no_grad():
            for name, parameter in zip(self.names, self.trainer.parameters, strict=True):
                parameter.copy_(state[name])
        self.trainer.recall(self.names, moments or {})
        if self.critic is not None:
            self.critic.restore(state, moments or {})


def unwrap(prior: StepPrior) -> tuple[LMPrior, float]:
    """The language model and the temperature of a prior that can be trained on.

    Raises:
        ConfigError: it is cut to top-k or top-p, is a policy, or no language model.
    """
    inner, temperature = prior, 1.0
    while isinstance(inner, Reshaped):
        if inner.truncates:
            raise ConfigError(
                "a policy may be reshaped by temperature only: with top_k or top_p, KL(p*‖π) = inf for every target "
                "that allows the tokens cut away. Drop top_k/top_p for training; use them when sampling."
            )
        temperature *= inner.temperature
        inner = inner.inner
    if isinstance(inner, LMPolicy):
        raise ConfigError("a policy is no prior to train another on: export it, and load the folder as the prior.")
    if not isinstance(inner, LMPrior):
        raise ConfigError(f"{type(inner).__name__} is no language model of transformers: nothing to fine-tune.")
    return inner, temperature


def twin_of(lm: LMPrior, own: frozenset[int]) -> LMPrior:
    """The prior's module copied; parameters not in `own` keep the prior's storage."""
    # Parameters of the twin's own on the same storage: whether they take gradients is then the twin's affair alone.
    memo = {id(p): nn.Parameter(p.data, False) for p in lm.model.parameters() if id(p) not in own}
    model = copy.deepcopy(lm.model, memo)  # pyright: ignore[reportArgumentType] - memo maps ids to shared tensors
    return LMPrior(model, lm.codec, lm.ends, lm.horizon, name=f"policy on {lm.name}")


def _policy(lm: LMPrior, temperature: float, clip: float, value: bool) -> LMPolicy:
    trained = [(n, p) for n, p in lm.model.named_parameters() if p.requires_grad]
    trainer = Trainer([p for _, p in trained], clip=clip)
    kind = torch.promote_types(lm.dtype, torch.float32)
    critic = ValueHead(lm.head.in_features).to(lm.device, kind) if value else None
    return LMPolicy(lm, temperature, trainer, tuple(n for n, _ in trained), critic=critic)


def lora_policy(
    prior: StepPrior, key: Key, rank: int = 16, alpha: float = 32.0, clip: float = 1.0, value: bool = False
) -> LMPolicy:
    """Low-rank adapters on every linear layer of the blocks (peft; GPT-2's Conv1D too). Starts as the prior.

    Every weight of the prior is shared with it, none is trained; tested in tests/contract/test_policies.py.

    Args:
        prior: a language model, perhaps at another temperature.
        key: of the adapters' initialisation.
        rank: of the adapters.
        alpha: their scale is alpha / rank.
        clip: largest gradient norm.
        value: with a value of each prefix, for learners that need one.

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
    lm, temperature = unwrap(prior)
    if any("lora_" in name for name, _ in lm.model.named_parameters()):
        raise ConfigError(f"{lm.name} carries adapters of its own: merge them into its weights before training on it.")
    twin = twin_of(lm, frozenset())
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear")  # pyright: ignore
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():  # peft draws from the global generator
        warnings.filterwarnings("ignore", message="fan_in_fan_out")  # it sets this right itself for GPT-2's Conv1D
        inject_adapter_in_model(config, twin.model)
    rng = key.generator()
    with torch.no_grad():
        for name, parameter in twin.model.named_parameters():
            parameter.requires_grad_("lora_" in name)
            if "lora_A" in name:
                bound = parameter.shape[1] ** -0.5
                parameter.copy_(torch.from_numpy(rng.uniform(-bound, bound, parameter.shape)))
    return _policy(twin, temperature, clip, value)


def full_policy(
    prior: StepPrior, clip: float = 1.0, freeze_embeddings: bool = True, value: bool = False, only: str = ""
) -> LMPolicy:
    """The model's own weights are trained, all or some. Starts as the prior; tested in tests/contract/test_policies.py.

    Weights that are not trained share the prior's memory.

    Args:
        prior: a language model, perhaps at another temperature.
        clip: largest gradient norm.
        freeze_embeddings: leave the word embeddings and the output layer as they are.
        value: with a value of each prefix, for learners that need one.
        only: a regular expression; of the weights above, those are trained in whose name it is found. "": all.

    Raises:
        ConfigError: the prior is cut to top-k or top-p, or is no language model; `only` is no regular expression, or
            found in no name.
    """
    lm, temperature = unwrap(prior)
    words = [*lm.model.get_input_embeddings().parameters(), *lm.head.parameters()]
    frozen = {id(p) for p in words} if freeze_embeddings else set[int]()
    free = {n: p for n, p in lm.model.named_parameters() if id(p) not in frozen}
    own = {n: p for n, p in free.items() if _pattern(only).search(n)}
    if not own:
        raise ConfigError(
            f"only={only!r} is found in the name of no weight that could be trained, so nothing would be. "
            f"Names are such as {', '.join(list(free)[-3:])}."
        )
    twin = twin_of(lm, frozenset(id(p) for p in own.values()))
    shared = {p.data_ptr() for p in lm.model.parameters() if id(p) not in {id(q) for q in own.values()}}
    for parameter in twin.model.parameters():
        parameter.requires_grad_(parameter.data_ptr() not in shared)
    return _policy(twin, temperature, clip, value)


def _pattern(only: str) -> re.Pattern[str]:
    """A regular expression, or why it is none."""
    try:
        return re.compile(only)
    except re.error as error:
        raise ConfigError(f"only={only!r} is no regular expression: {error}.") from error
