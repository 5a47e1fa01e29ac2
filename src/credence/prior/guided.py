"""A value of prefixes on the frozen states of a language model, and the policy that it guides.

    Q(s, ·) = U · f(h(s)) / τ + l(h(s))     f(h) = W · LayerNorm(h) + b, or a small network
    l(h) = e · LayerNorm(h) + d             v(s) = a · LayerNorm(h) + c
    π(v|s) = π0(v|s) e^(Q(s,v) − V(s))      V(s) = log Σ_v π0(v|s) e^Q(s,v)

h(s) is the model's last hidden state, U its output layer, τ the prior's temperature. l sets how high Q lies, which the
law does not see and a value must know; v is a value by itself. All begin at zero, so the policy begins as the prior.
The model is never trained: its states at stored rows are computed once, and no gradient passes through it. Q at one
token costs no product with the vocabulary, V costs one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from credence.core.errors import ConfigError
from credence.core.keys import Key
from credence.core.protocols import Batch, Loss, StepPrior, Valued, ValueLoss
from credence.core.types import Completions, Info, Prompts
from credence.prior.cache import LMState
from credence.prior.guided_table import check_follow
from credence.prior.hf import LMPrior, trim
from credence.prior.logprob import Output, token_kl, token_log_probs
from credence.prior.policy import TRAIN_TOKENS, twin_of, unwrap
from credence.prior.render import TextCodec
from credence.prior.states import States, Tick
from credence.prior.steps import sample_by_steps
from credence.prior.train import Columns, Trainer, accumulate, valued


class Head(nn.Module):
    """f, l and v: what is trained, a few hundred thousand numbers.

    Args:
        size: d of the model's states.
        width: of the hidden layer of f; 0: f is linear.
        key: of the hidden layer's first weights.
    """

    def __init__(self, size: int, width: int, key: Key) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size, elementwise_affine=False)
        self.inner = nn.Linear(size, width) if width else None
        self.outer, self.high, self.state = nn.Linear(width or size, size), nn.Linear(size, 1), nn.Linear(size, 1)
        with torch.no_grad():
            for part in (self.outer, self.high, self.state):
                for parameter in part.parameters():
                    parameter.zero_()
            if self.inner is not None:
                bound = size**-0.5
                self.inner.bias.zero_()
                self.inner.weight.copy_(torch.from_numpy(key.generator().uniform(-bound, bound, (width, size))))

    def forward(self, hidden: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """f(h), in the head's own format: at least float32, whatever the model's."""
        z = self.norm(hidden.to(self.outer.weight.dtype))
        return self.outer(z if self.inner is None else nn.functional.gelu(self.inner(z)))

    def level(self, hidden: Float[Tensor, "*n d"]) -> Float[Tensor, "*n"]:
        """l(h)."""
        return self.high(self.norm(hidden.to(self.high.weight.dtype))).squeeze(-1)

    def value(self, hidden: Float[Tensor, "*n d"]) -> Float[Tensor, "*n"]:
        """v(s)."""
        return self.state(self.norm(hidden.to(self.state.weight.dtype))).squeeze(-1)


@dataclass(eq=False)
class GuidedLM:
    """A frozen language model guided by a value of prefixes; build with `guided_policy`.

    Attributes:
        lm: the model, never trained.
        temperature: of the prior.
        head: what is trained.
        lagged: the target network: the head as it was, following by `follow` a step.
        follow: in (0, 1]; 1: no target network.
        trainer: Adam on the head.
        states: the model's states at the rows named in `remember`.
        train_tokens: tokens whose vocabulary is looked at in one pass.
        products: format of the matrix products in passes that carry a policy's gradient; None: the weights' own.
    """

    lm: LMPrior
    temperature: float
    head: Head
    lagged: Head
    follow: float
    trainer: Trainer
    names: tuple[str, ...]
    states: States = field(default_factory=States)
    train_tokens: int = TRAIN_TOKENS
    products: torch.dtype | None = None

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

    def start(self, prompts: Prompts, n: int) -> LMState:
        """Read the prompts and spread them over B·n rows."""
        return self.lm.start(prompts, n)

    @torch.no_grad()
    def next_logits(self, state: LMState) -> Float[Tensor, "rows V"]:
        """log π0 + Q up to a constant: one product with the vocabulary."""
        return self.lm.head(self._guided(state.hidden)) / self.temperature

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
        return self.lm.score_mapped(prompts, completions, lambda logits: logits / self.temperature, self._guided)

    def _guided(self, hidden: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
        return (hidden + self.head(hidden)).to(self.lm.dtype)

    def remember(self, prompts: Prompts, completions: Completions, tick: Tick | None = None) -> None:
        """Compute the model's states at these rows once, so that no later pass over them needs the model.

        Cost: a forward pass of these rows, and States.limit bytes at most; beyond it they are rounded to bfloat16.

        Raises:
            ConfigError: they do not fit even so.
        """
        self.states.fill(self.lm, prompts, completions, tick)

    @torch.no_grad()
    def log_value(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """Q of each row's last token, nats. Cost: a forward pass over prompts and rows."""
        out = torch.zeros(len(completions), dtype=torch.float64, device=completions.ids.device)
        for rows in self.lm.pieces(prompts, completions):
            part = trim(completions.rows(rows))
            last = part.lengths[:, None] - 1
            hidden = self.lm.hidden(prompts, part).gather(1, last[..., None].expand(-1, -1, self.size)).squeeze(1)
            out[rows] = self._chosen(self.head, hidden, part.ids.gather(1, last).squeeze(1)).double()
        return out

    @torch.no_grad()
    def log_state(self, prompts: Prompts, completions: Completions) -> Float[Tensor, " R"]:
        """v after each row's last token, nats. Cost: a forward pass over prompts and rows."""
        out = torch.zeros(len(completions), dtype=torch.float64, device=completions.ids.device)
        for rows in self.lm.pieces(prompts, completions):
            part = trim(completions.rows(rows))
            wider = Completions(
                nn.functional.pad(part.ids, (0, 1)), nn.functional.pad(part.mask, (0, 1)), part.ended, part.prompt
            )
            after = part.lengths[:, None, None].expand(-1, -1, self.size)
            out[rows] = self.head.value(self.lm.hidden(prompts, wider).gather(1, after).squeeze(1)).double()
        return out

    @property
    def size(self) -> int:
        """d."""
        return self.head.outer.out_features

    def _chosen(self, head: Head, hidden: Tensor, token: Tensor) -> Tensor:
        return (self.lm.head.weight[token] * head(hidden)).sum(-1) / self.temperature + head.level(hidden)

    def _log_pi(self, head: Head, hidden: Tensor, token: Tensor) -> Tensor:
        return token_log_probs(hidden + head(hidden), self.lm.head, token, self.temperature)

    def forward_backward(self, batch: Batch, loss: Loss) -> Info:
        """Accumulate the gradient of a policy's loss. Cost: the vocabulary's sums; no pass through known states."""

        def look(completions: Completions) -> Columns:
            hidden, token = self.states.read(self.lm, batch.prompts, completions), completions.ids[completions.mask]
            out = {"log_pi": self._log_pi(self.head, hidden, token)}
            if "kl" in batch.needs:
                output = Output(self.lm.head, self.temperature)
                out["kl"] = token_kl(hidden + self.head(hidden), output, hidden, output)
            if "value" in batch.needs:
                out["value"] = self.head.value(hidden)
            return {name: _wide(completions, x) for name, x in out.items()}

        @torch.no_grad()
        def score(completions: Completions) -> Float[Tensor, "R T"]:
            return look(completions)["log_pi"].double()

        pieces = self.lm.pieces(batch.prompts, batch.completions, self.train_tokens)
        return accumulate(batch, loss, pieces, look, score, self.products)

    @torch.no_grad()
    def value(self, prompts: Prompts, completions: Completions) -> Float[Tensor, "R T"]:
        """v(s_t) before each token in nats, zero outside the mask."""
        return _wide(completions, self.head.value(self.states.read(self.lm, prompts, completions)).double())

    def value_backward(self, batch: Batch, loss: ValueLoss) -> Info:
        """Accumulate the gradient of a value's loss on this batch. Cost: as the loss asks, see Valued."""
        scalar, info = loss(self.look(batch))
        scalar.backward()
        return info

    def look(self, batch: Batch) -> Valued:
        """What a value's loss sees of this batch, float64."""
        rows = batch.completions
        hidden, token = self.states.read(self.lm, batch.prompts, rows), rows.ids[rows.mask]
        log_prior = batch.log_prior[rows.mask]

        def soft(head: Head) -> Tensor:
            # V = Q − log π/π0 of the token drawn, as of any other: one gather and one sum over the vocabulary
            chosen, log_pi = self._chosen(head, hidden, token), self._log_pi(head, hidden, token)
            return _wide(rows, chosen.double() - log_pi.double() + log_prior)

        return valued(
            batch,
            chosen=lambda: _wide(rows, self._chosen(self.head, hidden, token).double()),
            soft=lambda: soft(self.head),
            ahead=lambda: soft(self.lagged),
            state=lambda: _wide(rows, self.head.value(hidden).double()),
        )

    def step(self, lr: float) -> Info:
        """One Adam step; the target network follows."""
        info = self.trainer.step(lr)
        with torch.no_grad():
            for old, new in zip(self.lagged.parameters(), self.head.parameters(), strict=True):
                old += self.follow * (new - old)
        return info

    def state(self) -> dict[str, Tensor]:
        """A copy of the head."""
        return {name: p.detach().clone() for name, p in self.head.named_parameters()}

    def moments(self) -> dict[str, Tensor]:
        """What the optimiser remembers, and the target network."""
        kept = {f"lagged/{name}": p.detach() for name, p in self.lagged.named_parameters()}
        return {**self.trainer.moments(self.names), **kept}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor], moments: Mapping[str, Tensor] | None = None) -> None:
        """Put the head back; optimiser and target network start afresh, or from these moments."""
        given = moments or {}
        for name, parameter in self.head.named_parameters():
            parameter.copy_(state[name])
        for name, parameter in self.lagged.named_parameters():
            parameter.copy_(given.get(f"lagged/{name}", state[name]))
        self.trainer.recall(self.names, given)


def _wide(rows: Completions, values: Float[Tensor, " N"]) -> Float[Tensor, "R T"]:
    """Numbers of the tokens in the mask, put in their places."""
    return values.new_zeros(rows.mask.shape).masked_scatter(rows.mask, values)


def guided_policy(prior: StepPrior, key: Key, width: int = 0, follow: float = 0.1, clip: float = 1e9) -> GuidedLM:
    """A value of 0 nats on a frozen language model: the policy starts as the prior.

    Args:
        prior: a language model, perhaps at another temperature.
        key: of the hidden layer's first weights, where there is one.
        width: of the hidden layer; 0: Q is linear in the states.
        follow: share of the way that the target network goes a step, in (0, 1].
        clip: largest gradient norm.

    Raises:
        ConfigError: width below 0, follow outside (0, 1], or a prior that cannot be trained on (prior.policy).
    """
    check_follow(follow)
    if width < 0:
        raise ConfigError(f"width={width}: units of the hidden layer, or 0 for a linear value.")
    given, temperature = unwrap(prior)
    lm = twin_of(given, frozenset())  # the same storage, and no weight of it takes a gradient
    size = lm.head.in_features
    dtype = torch.promote_types(lm.dtype, torch.float32)
    head, lagged = (Head(size, width, key).to(lm.device, dtype) for _ in range(2))
    lagged.requires_grad_(False)
    trainer = Trainer(list(head.parameters()), clip=clip, betas=(0.9, 0.99))
    return GuidedLM(lm, temperature, head, lagged, follow, trainer, tuple(n for n, _ in head.named_parameters()))
