"""Speculative sampling: a cheap draft proposes several tokens, the target judges them in one pass, exactly."""

import time
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from credence.core.errors import ConfigError, ShapeError
from credence.core.keys import Key
from credence.core.logspace import inverse_cdf
from credence.core.parallel import spread
from credence.core.protocols import Guarantee, StepPrior, Target
from credence.core.status import Status
from credence.core.types import Completions, Cost, Draws, Prompts, concat, pad_to
from credence.evidence.product import measure
from credence.prior.agreement import same_completions, same_width
from credence.prior.reading import Reading, open_reading
from credence.prior.steps import ROWS, Concurrent, row_numbers
from credence.sample.importance import PROBE, PROPOSED, check_probe, log_z_from, probed

_NAMES = ("target", "draft")


def log_acceptance(log_p: Float[Tensor, "*n"], log_q: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """log min(1, p/q) of drafted tokens: p under the target, q under the draft that proposed them, in nats."""
    return (log_p - log_q).clamp(max=0.0)


def log_residual(log_p: Float[Tensor, "*n V"], log_q: Float[Tensor, "*n V"]) -> Float[Tensor, "*n V"]:
    """log of (p − q)_+ / Σ(p − q)_+, the law of the token that takes a rejected one's place; p where p = q."""
    left = (torch.exp(log_p) - torch.exp(log_q)).clamp(min=0.0)
    total = left.sum(-1, keepdim=True)
    return torch.where(total > 0, torch.log(left) - torch.log(total), log_p)


@dataclass(eq=False)
class Speculation:
    """Draws of the target, and what they took. R = B·n rows, prompt-major.

    Attributes:
        completions: rows.
        log_q: (R, T) nats of each token under the target.
        accepted: (R,) drafted tokens that were kept.
        rejected: (R,) drafted tokens that were replaced; those behind a rejected one were never judged.
        passes: (R,) passes of the target, of up to ahead + 1 tokens each.
        drafted: (R,) tokens that the draft proposed.
    """

    completions: Completions
    log_q: Float[Tensor, "R T"]
    accepted: Int[Tensor, " R"]
    rejected: Int[Tensor, " R"]
    passes: Int[Tensor, " R"]
    drafted: Int[Tensor, " R"]


def speculate(target: StepPrior, draft: StepPrior, key: Key, prompts: Prompts, n: int, ahead: int = 4) -> Speculation:
    """n draws a prompt whose law is the target's, exactly, whatever the draft.

    The draft proposes up to `ahead` tokens one after another. The target reads them in one pass, and each in turn is
    kept with probability min(1, p/q); the first that is not is replaced by a draw of (p − q)_+, and where all are
    kept one more token is drawn from p. So a token comes from p in either way:
    q·min(1, p/q) + (1 − Σ min(p, q))·(p − q)_+/Σ(p − q)_+ = p, and a share 1 − TV(p, q) of drafts is kept.

    Uniforms are counted by (row, place): draws do not depend on batches, nor on what other rows do. They do depend on
    `ahead`, since it says which tokens are drawn without a draft.

    Args:
        target: any StepPrior: a model, a policy, a reshaped or a product law.
        draft: another with the same tokens, ends and horizon. The nearer and cheaper, the better.
        key: of the draws.
        prompts: B.
        n: draws a prompt.
        ahead: most tokens drafted between two passes of the target.

    Raises:
        ConfigError: another vocabulary, other ends or another horizon; ahead below 1.
        ShapeError: n below 1 or no prompt.

    Cost: a pass of the target of ahead + 1 tokens a row and `ahead` steps of the draft a round; a round gives
    (1 − a^(ahead + 1))/(1 − a) tokens where a share a is kept, independently. A prior without a door to several tokens
    (prior.reading) is walked again from the prompt each round: right, not fast. Memory: (rows, ahead + 1, V) nats
    twice, at most 256 rows' worth of logits at once.
    Source: Leviathan et al. 2023 (2211.17192); Chen et al. 2023 (2302.01318); SCIENCE 5, 7. Tested in
    tests/oracle/test_speculative.py and tests/statistical/test_decoding.py.
    """
    if n < 1 or len(prompts) == 0:
        raise ShapeError(f"n={n} draws of {len(prompts)} prompts were asked for: at least 1 of each is needed.")
    if ahead < 1:
        raise ConfigError(f"ahead={ahead}: at least one token is drafted between two passes of the target.")
    same_completions(target, draft, _NAMES)
    owner, rows = torch.arange(len(prompts)).repeat_interleave(n), row_numbers(len(prompts), n)
    per = max(1, ROWS // (ahead + 1))
    jobs = [
        partial(_Rounds, target, draft, key, prompts.take(owner[a : a + per].tolist()), rows[a : a + per], ahead)
        for a in range(0, len(owner), per)
    ]
    threads = all(isinstance(model, Concurrent) and model.concurrent for model in (target, draft))
    done = spread([partial(_finished, job) for job in jobs]) if threads else [job().finish() for job in jobs]
    merged = concat([part.completions for part in done], [0] * len(done))
    return Speculation(
        Completions(merged.ids, merged.mask, merged.ended, owner.to(merged.ids.device), close_calls=merged.close_calls),
        torch.cat([pad_to(part.log_q, merged.ids.shape[1]) for part in done]),
        torch.cat([part.accepted for part in done]),
        torch.cat([part.rejected for part in done]),
        torch.cat([part.passes for part in done]),
        torch.cat([part.drafted for part in done]),
    )


def _finished(job: "partial[_Rounds]") -> Speculation:
    return job().finish()


class _Rounds:
    """One piece of rows, one prompt each, from the first token to the last."""

    def __init__(
        self, target: StepPrior, draft: StepPrior, key: Key, prompts: Prompts, numbers: Tensor, ahead: int
    ) -> None:
        self.judge, self.drafter = open_reading(target, prompts, 1), open_reading(draft, prompts, 1)
        self.key, self.numbers, self.ahead, self.horizon = key, numbers, ahead, target.horizon
        self.device = self.judge.device
        rows = len(prompts)
        self.ends = torch.tensor(sorted(target.ends), device=self.device)
        self.ids = torch.zeros(rows, target.horizon, dtype=torch.long, device=self.device)
        self.log_q = torch.zeros(rows, target.horizon, dtype=torch.float64, device=self.device)
        self.length, self.accepted, self.rejected, self.passes, self.drafted = (
            torch.zeros(rows, dtype=torch.long, device=self.device) for _ in range(5)
        )
        self.ended = torch.zeros(rows, dtype=torch.bool, device=self.device)
        self.present = torch.arange(rows, device=self.device)  # the rows that the readings still hold
        self.close = 0

    def finish(self) -> Speculation:
        """Round after round, until every row has ended or is cut."""
        while len(self.present):
            self._round()
            alive = ~self.ended[self.present] & (self.length[self.present] < self.horizon)
            if not bool(alive.all()):
                kept = torch.nonzero(alive).flatten()
                self.present = self.present[kept]
                if len(kept):
                    self.judge.take(kept)
                    self.drafter.take(kept.to(self.drafter.device))
        width = int(self.length.max())
        mask = torch.arange(width, device=self.device) < self.length[:, None]
        row = torch.arange(len(self.ids), device=self.device)
        completions = Completions(self.ids[:, :width], mask, self.ended, row, close_calls=self.close)
        log_q = self.log_q[:, :width]
        return Speculation(completions, log_q, self.accepted, self.rejected, self.passes, self.drafted)

    def _round(self) -> None:
        at = self.length[self.present]
        width = min(self.ahead, self.horizon - int(at.min()))
        tokens, log_q = self._draft(at, width)
        log_p = torch.log_softmax(self._judge(tokens, at).double(), -1)
        same_width(log_p.shape[-1], log_q.shape[-1], _NAMES)
        kept = self._kept(tokens, at, log_p, log_q)
        end = kept & torch.isin(tokens, self.ends)
        count, room = kept.sum(-1), self.horizon - at
        open_ = ~end.any(-1) & (count < room)  # one more token is wanted
        judged = torch.minimum(room, torch.full_like(room, width))
        extra, row = self._extra(at + count, count, log_p, log_q), torch.arange(len(at), device=self.device)
        place = at[:, None] + torch.arange(width, device=self.device)
        where = self.present[:, None].expand_as(place)[kept]
        self.ids[where, place[kept]] = tokens[kept]
        self.log_q[where, place[kept]] = log_p[:, :width].gather(2, tokens[:, :, None]).squeeze(2)[kept]
        where, place = self.present[open_], (at + count)[open_]
        self.ids[where, place] = extra[open_]
        self.log_q[where, place] = log_p[row, count, extra][open_]
        self.ended[self.present] = end.any(-1) | (open_ & torch.isin(extra, self.ends))
        self.length[self.present] += count + open_.long()
        self.accepted[self.present] += count
        self.rejected[self.present] += (open_ & (count < judged)).long()
        self.passes[self.present] += 1
        self.drafted[self.present] += judged

    def _uniform(self, name: str, place: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """One number a row, counted by the row and its own place."""
        rows, steps, key = self.numbers[self.present.cpu()].numpy(), place.cpu().numpy(), self.key.fold(name)
        out = np.empty(len(rows))
        for step in np.unique(steps):
            out[steps == step] = key.uniform(rows[steps == step], int(step))
        return torch.from_numpy(out).to(self.device)

    def _draft(self, at: Int[Tensor, " rows"], width: int) -> tuple[Tensor, Float[Tensor, "rows W V"]]:
        """Proposed tokens (rows, W), and the draft's log-probabilities that they came from."""
        logits, found, laws = self._caught_up(at), list[Tensor](), list[Tensor]()
        for i in range(width):
            token, _, margin = inverse_cdf(logits, self._uniform("draft", at + i))
            self.close += int((margin < 16 * torch.finfo(logits.dtype).eps).sum())
            found.append(token)
            laws.append(torch.log_softmax(logits.double(), -1))
            if i + 1 < width:
                logits = self._logits(self.drafter, token[:, None], at + i)[:, 0]
        return torch.stack(found, 1), torch.stack(laws, 1)

    def _caught_up(self, at: Int[Tensor, " rows"]) -> Float[Tensor, "rows V"]:
        """The draft's logits of the next token: at most two tokens are new to it, its own last and the extra one."""
        back = 1 if int(at.max()) == 0 else 2  # all rows write their first token in the first round
        place = at[:, None] + torch.arange(-back, 0, device=self.device)
        tokens = self.ids[self.present].gather(1, place.clamp(min=0))
        return self._logits(self.drafter, tokens, at - back)[:, -1]

    def _judge(self, tokens: Int[Tensor, "rows W"], at: Int[Tensor, " rows"]) -> Float[Tensor, "rows W+1 V"]:
        """The target's logits of each drafted token, and of the one behind the last."""
        last = self.ids[self.present].gather(1, (at - 1).clamp(min=0)[:, None])
        return self._logits(self.judge, torch.cat([last, tokens], 1), at - 1)

    def _logits(self, reading: Reading, tokens: Tensor, at: Tensor) -> Tensor:
        return reading.read(tokens.to(reading.device), at.to(reading.device)).to(self.device)

    def _kept(self, tokens: Tensor, at: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
        """(rows, W) the drafted tokens that stand: accepted, none before them refused, none behind an end or a cut."""
        width = tokens.shape[1]
        p = log_p[:, :width].gather(2, tokens[:, :, None]).squeeze(2)
        chance = log_acceptance(p, log_q.gather(2, tokens[:, :, None]).squeeze(2))
        lots = torch.stack([self._uniform("accept", at + i) for i in range(width)], 1)
        place = at[:, None] + torch.arange(width, device=self.device)
        end = torch.isin(tokens, self.ends).long()
        stands = (torch.log(lots) < chance) & (place < self.horizon) & (end.cumsum(1) - end == 0)
        return stands.long().cumprod(1).bool()

    def _extra(self, place: Tensor, count: Tensor, log_p: Tensor, log_q: Tensor) -> Int[Tensor, " rows"]:
        """A token of the residual law where a draft was refused, of the target where none was."""
        row, width = torch.arange(len(count), device=self.device), log_q.shape[1]
        here = log_p[row, count]
        residual = log_residual(here, log_q[row, count.clamp(max=width - 1)])
        law = torch.where((count < width)[:, None], residual, here)
        return inverse_cdf(law, self._uniform("extra", place))[0]


@dataclass(frozen=True)
class Speculative:
    """Importance sampling whose draws are made speculatively: the same law, with fewer passes of the costly model.

    Draws follow the proposal (the posterior's prior by default) exactly, whatever the draft; log w = log π0 + log_lik −
    log q towards the posterior, so log w = log_lik where the proposal is the prior. Guarantee: UNBIASED_Z, as
    Importance. log_q is the proposal's, never the draft's.

    info, a prompt: ess (draws), acceptance (share of judged draft tokens that were kept: 1 − TV(p, q) on average over
    the places judged; NaN where none was), passes (of the proposal a token: 1 is plain sampling, 1/(ahead + 1) the
    least), and missed, with a proposal that is probed.

    Args:
        draft: proposes tokens; same tokens, ends and horizon.
        ahead: most tokens drafted between two passes.
        proposal: what is drawn from; the prior by default.
        probe: replies of the prior a prompt on which the reach of a proposal is tested, as Importance does; 0: none.

    Raises:
        ConfigError: models of different tokens, ends or horizons, a prior that cannot be stepped, ahead below 1.

    Cost, source: see speculate. Cost.tokens counts the tokens drafted and judged. Tested in
    tests/statistical/test_decoding.py, against wrong versions in tests/mutants/test_decoding_mutants.py.
    """

    draft: StepPrior
    ahead: int = 4
    proposal: StepPrior | None = None
    probe: int = PROBE
    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED_Z

    def __post_init__(self) -> None:
        if self.ahead < 1:
            raise ConfigError(f"ahead={self.ahead}: at least one token is drafted between two passes of the target.")
        check_probe(self.probe)

    def draw(self, key: Key, posterior: Target, prompts: Prompts, n: int) -> Draws:
        """n weighted draws a prompt, prompt-major."""
        began = time.process_time()
        prior = posterior.prior
        proposal = prior if self.proposal is None else self.proposal
        if not isinstance(proposal, StepPrior):
            raise ConfigError(
                f"speculative sampling judges tokens one by one, and {type(proposal).__name__} cannot be stepped: use "
                "Importance there."
            )
        same_completions(prior, proposal, PROPOSED)
        found = speculate(proposal, self.draft, key, prompts, n, self.ahead)
        completions = found.completions
        log_w, readings = measure(posterior.evidence, prompts, completions)
        tokens = int((found.drafted * 2 + found.passes).sum())
        if proposal is not prior:
            log_w = log_w + prior.score(prompts, completions).sum(-1) - found.log_q.sum(-1)
            tokens += int(completions.mask.sum())
        log_z, se, ess = log_z_from(log_w, completions.prompt, len(prompts))
        status = tuple(Status.DEGENERATE if dead else Status.OK for dead in torch.isneginf(log_z).tolist())
        accepted, rejected, passes, length = (
            x.view(len(prompts), n).sum(-1).double()
            for x in (found.accepted, found.rejected, found.passes, completions.lengths)
        )
        info = {"ess": ess, "acceptance": accepted / (accepted + rejected), "passes": passes / length}
        cost = Cost(tokens, time.process_time() - began)
        draws = Draws(prompts, completions, found.log_q, log_w, log_z, se, status, cost, key, info, readings)
        return probed(draws, self.proposal, posterior, self.probe)
