"""The ruler: every law read off the same held-out prompts, in nats from the posterior, each with its interval.

log Z comes from prior draws and, where there is a trained policy, from its draws too, pooled by the balance heuristic;
each bootstrap resample forms it anew, so its uncertainty is in every interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from credence.core.keys import Key
from credence.core.logspace import log_mean_exp, normalise
from credence.diagnose.bounds import balance
from credence.diagnose.intervals import Group, bootstrap_all
from credence.report.schema import Estimate
from credence.sample.best_of_n import best_of_n_kl, best_of_n_weights

Values = dict[str, float]

LIGHT = 1e-3
"""Share of a prompt's weight below which a prior draw is not scored under a policy that is not exported."""


def carrying(log_w: Tensor) -> Tensor:
    """(B, n) which prior draws carry weight: at least LIGHT of their prompt's, 1/(4n) where that is less.

    What is left out has less than a quarter of the weight however many draws there are, and on draws that differ much
    a few per cent at most; whoever averages over the rest renormalises, as if the left-out draws were like them.
    """
    share = torch.softmax(log_w, -1)
    return share >= min(LIGHT, 0.25 / log_w.shape[-1])


def _mean(share: Tensor, values: Tensor) -> float:
    """Σ share · values, where what weighs nothing counts nothing, were it infinite."""
    return float(torch.where(share > 0, share * values, 0.0).sum())


@dataclass(frozen=True, eq=False)
class Drawn:
    """Draws of one law on the held-out prompts as numbers, each (B, n): nats, nats, nats, reward, 0 or 1."""

    log_law: Tensor
    log_prior: Tensor
    log_lik: Tensor
    reward: Tensor
    ended: Tensor

    @property
    def log_joint(self) -> Tensor:
        """log π0 + log_lik."""
        return self.log_prior + self.log_lik

    def columns(self, b: int) -> Tensor:
        """(n, 5) of one prompt."""
        return torch.stack([self.log_law[b], self.log_prior[b], self.log_lik[b], self.reward[b], self.ended[b]], -1)


@dataclass(eq=False)
class Ruler:
    """What was drawn on the held-out prompts; `read` turns it into estimates by law and measure.

    Attributes:
        prior: draws of the prior; log_law equals log_prior.
        of: n of best-of-n.
        smc: (B, runs, 4) of independent runs: log Ẑ, mean reward, mean ended, mean log_lik.
        policies: draws of each stage's policy by name, the last one being the exported policy.
        final_on_prior: (B, n) log π of the prior's draws under the exported policy.
        stage_on_prior: by stage (not the last): (B, n, 2) of the prior's draws, log w and log π0 − log π; log w is
            -inf and the other 0 where a draw does not carry weight and was not scored.
    """

    prior: Drawn
    of: int
    smc: Tensor | None = None
    policies: dict[str, Drawn] = field(default_factory=dict)
    final_on_prior: Tensor | None = None
    stage_on_prior: dict[str, Tensor] = field(default_factory=dict)

    @property
    def final(self) -> str:
        """Name of the exported policy's stage, "" without one."""
        return next(reversed(self.policies), "")

    def groups(self) -> list[Group]:
        """One mapping of pools a prompt, for the bootstrap."""
        out: list[Group] = []
        for b in range(self.prior.log_lik.shape[0]):
            under = self.prior.log_prior[b] if self.final_on_prior is None else self.final_on_prior[b]
            stages = [pairs[b] for pairs in self.stage_on_prior.values()]
            pools = {"prior": torch.cat([self.prior.columns(b), under[:, None], *stages], -1)}
            pools |= {f"policy:{name}": drawn.columns(b) for name, drawn in self.policies.items()}
            if self.smc is not None:
                pools["smc"] = self.smc[b]
            out.append(pools)
        return out

    def pooled(self, group: Group) -> tuple[Tensor, Tensor]:
        """Rows (n, 6) [log final, log prior, log_lik, reward, ended, log w] of one prompt's pool, and log Z."""
        prior = group["prior"]
        rows = torch.cat([prior[:, 5:6], prior[:, 1:5]], -1)
        if not self.final:
            log_w = rows[:, 2]
        else:
            final = group[f"policy:{self.final}"]
            rows = torch.cat([rows, final])
            counts = torch.tensor([prior.shape[0], final.shape[0]])
            log_w = balance(rows[:, 1] + rows[:, 2], torch.stack([rows[:, 1], rows[:, 0]], -1), counts)
        return torch.cat([rows, log_w[:, None]], -1), log_mean_exp(log_w)

    def statistics(self, groups: Sequence[Group]) -> Values:
        """Every law's measures, means over prompts, by "law/measure"; gap closed is NaN where there is no gap."""
        each = [self._prompt(group) for group in groups]
        mean = {name: sum(e[name] for e in each) / len(each) for name in each[0]}
        gap = mean["prior/kl_reverse"]
        laws = [name.removesuffix("/kl_reverse") for name in mean if name.endswith("/kl_reverse")]
        some = 0 < gap < math.inf
        return mean | {f"{law}/gap_closed": 1 - mean[f"{law}/kl_reverse"] / gap if some else math.nan for law in laws}

    def _prompt(self, group: Group) -> Values:
        rows, log_z = self.pooled(group)
        share = torch.exp(normalise(rows[:, 5]))
        joint = rows[:, 1] + rows[:, 2]
        prior = group["prior"]
        out = {
            "log_z": float(log_z),
            "posterior/reward": _mean(share, rows[:, 3]),
            "posterior/ended": _mean(share, rows[:, 4]),
            "posterior/kl_prior": _mean(share, rows[:, 2]) - float(log_z),
            "prior/reward": float(prior[:, 3].mean()),
            "prior/ended": float(prior[:, 4].mean()),
            "prior/kl_reverse": float(log_z - prior[:, 2].mean()),
            "prior/kl_forward": _mean(share, rows[:, 2]) - float(log_z),
        }
        out |= self._best_of_n(prior, float(log_z))
        if self.smc is not None:
            z, reward, ended, lik = group["smc"].mean(0).tolist()
            out |= {"smc/reward": reward, "smc/ended": ended}
            out |= {"smc/kl_reverse": float(log_z) - z, "smc/kl_prior": lik - z}
        for name in self.policies:
            drawn = group[f"policy:{name}"]
            log_ratio = drawn[:, 0] - drawn[:, 1]
            law = f"policy_{name}"
            out |= {
                f"{law}/reward": float(drawn[:, 3].mean()),
                f"{law}/ended": float(drawn[:, 4].mean()),
                f"{law}/kl_prior": float(log_ratio.mean()),
                f"{law}/kl_reverse": float(log_z - (drawn[:, 2] - log_ratio).mean()),
            }
            if name == self.final:
                out[f"{law}/kl_forward"] = _mean(share, joint - rows[:, 0]) - float(log_z)
            else:
                out[f"{law}/kl_forward"] = out["posterior/kl_prior"] + self._forward(name, prior)
        return out

    def _forward(self, name: str, prior: Tensor) -> float:
        """E_p*[log π0 − log π] of a stage that is not the last, from the scored ones among these prior rows.

        KL(p*‖π) is KL(p*‖π0), from all draws, plus this: only this renormalises the weight that was left out.

        NaN where none of them was drawn again: a resample without an answer widens the interval.
        """
        place = 6 + 2 * list(self.stage_on_prior).index(name)
        log_w, gap = prior[:, place], prior[:, place + 1]
        return _mean(torch.exp(normalise(log_w)), gap) if bool((log_w > -math.inf).any()) else math.nan

    def _best_of_n(self, prior: Tensor, log_z: float) -> Values:
        """From these rows' own ranks: in a resample they are other ones, and part of the uncertainty."""
        weight, kl = best_of_n_weights(prior[:, 2], self.of), best_of_n_kl(prior[:, 2], self.of)
        lik = _mean(weight, prior[:, 2])
        return {
            "best_of_n/reward": _mean(weight, prior[:, 3]),
            "best_of_n/ended": _mean(weight, prior[:, 4]),
            "best_of_n/kl_prior": kl,
            "best_of_n/kl_reverse": log_z - lik + kl,
        }

    def read(self, key: Key, resamples: int = 400) -> Mapping[str, Estimate]:
        """Every measure with its 95 % interval over prompts and draws; what has no value on the data is left out.

        Cost: about 10 ms a resample for 8 prompts. Test: against enumeration in tests/unit/test_ruler.py.
        """
        groups = self.groups()
        known = {name for name, value in self.statistics(groups).items() if value == value}

        def statistics(again: Sequence[Group]) -> Values:
            return {name: value for name, value in self.statistics(again).items() if name in known}

        found = bootstrap_all(statistics, groups, key, resamples=resamples)
        return {name: Estimate(value, low, high) for name, (value, low, high) in found.items()}
