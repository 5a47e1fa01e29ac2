"""The policy gradient of a dialogue: returns of turns, each with the KL of itself and of what follows.

A dialogue has turns t = 1..T; in turn t the policy says a_t to the state s_t, and the world (a user, a coin) answers by
chance. With r_t the evidence's nats and k_t = log π(a_t|s_t)/π0(a_t|s_t) of the *whole* turn,

    J/β = E[Σ_t (r_t − k_t)]        D_t = Σ_{u ≥ t} (r_u − k_u)        ∇J/β = E[Σ_t (D_t − b_t) ∇log π(a_t|s_t)]

for every baseline b_t that does not look at this dialogue. The world's chance stands inside plain means: J is not a
log-mean-exp, and its optimum no conditional law (SCIENCE 4.4, the coin against the sure thing).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from credence.core.errors import ContractError, ShapeError
from credence.core.protocols import Loss, Scored
from credence.core.types import Info


def returns_to_go(
    gain: Float[Tensor, " R"], dialogue: Int[Tensor, " R"], turn: Int[Tensor, " R"]
) -> Float[Tensor, " R"]:
    """D: the sum of each row's own gain and of those of later turns of its dialogue, nats.

    Args:
        gain: (R,) r_t − k_t of each row.
        dialogue: (R,) which dialogue a row belongs to.
        turn: (R,) its turn; a dialogue has each turn at most once.
    """
    later = (dialogue[:, None] == dialogue[None, :]) & (turn[None, :] >= turn[:, None])
    return torch.where(later, gain[None, :], 0.0).sum(1)


def baselines(
    back: Float[Tensor, " R"], dialogue: Int[Tensor, " R"], turn: Int[Tensor, " R"], user: Int[Tensor, " R"]
) -> Float[Tensor, " R"]:
    """Mean D of the *other* dialogues at the same turn: those of the same user; else of any user; else 0.

    Other dialogues are independent of this one given the policy, so each choice leaves the gradient unbiased (tested by
    enumeration in tests/oracle/test_dialogue_gradient.py).
    """
    same_turn = (turn[:, None] == turn[None, :]) & (dialogue[:, None] != dialogue[None, :])
    same_user = same_turn & (user[:, None] == user[None, :])
    near, far = _mean(back, same_user), _mean(back, same_turn)
    return torch.where(same_user.any(1), near, torch.where(same_turn.any(1), far, 0.0))


def _mean(values: Float[Tensor, " R"], among: Bool[Tensor, "R R"]) -> Float[Tensor, " R"]:
    return torch.where(among, values[None, :], 0.0).sum(1) / among.sum(1).clamp(min=1)


def dialogue_gradient(dialogue: Sequence[int], turn: Sequence[int], user: Sequence[int]) -> Loss:
    """The loss whose expected gradient is −∇J/β, mean over dialogues; rows of the batch are turns.

    loss = −(1/N) Σ_rows (D − b) Σ_tokens log π, on turns that the policy itself drew. `log_lik` of a row is its r_t.

    Info (nats, means over the N dialogues): j, E[Σ(r − k)], which is J/β, not J; reward, E[Σ r]; kl, E[Σ k]; kl_turn,
    Σ k over turns; turns, turns a dialogue; advantage_sd, of D − b over rows. Means of the evidence's readings over
    turns.

    Args:
        dialogue: which dialogue each row belongs to, 0 to N − 1.
        turn: which turn of it.
        user: who talked: dialogues of one user are each other's baselines.

    Raises:
        ShapeError: the rows scored are not the rows named here.
        ContractError: a turn is impossible under the evidence, so that J is −inf for every policy that can say it.
    """
    of, at, who = (torch.tensor(list(x), dtype=torch.long) for x in (dialogue, turn, user))

    def loss(scored: Scored) -> tuple[Tensor, Info]:
        if len(of) != len(scored.log_lik):
            raise ShapeError(f"{len(of)} turns were named and {len(scored.log_lik)} are scored: one row each.")
        if bool(torch.isneginf(scored.log_lik).any()):
            raise ContractError(
                "a turn is impossible under the evidence (−inf nats), so J is −inf and has no gradient. Give finite "
                "nats: Ended(cut=-3.0), a constraint with otherwise=-8.0."
            )
        of_, at_, who_ = (x.to(scored.log_lik.device) for x in (of, at, who))
        spent = (scored.log_pi.detach() - scored.log_prior).sum(-1)
        back = returns_to_go(scored.log_lik - spent, of_, at_)
        advantage = back - baselines(back, of_, at_, who_)
        count = len(set(of.tolist()))
        log_pi = torch.where(scored.mask, scored.log_pi, 0.0).sum(-1)
        value = -(advantage * log_pi).sum() / count
        kl = float(spent.sum())
        info = {
            **{name: float(values.mean()) for name, values in scored.readings.items()},
            "j": (float(scored.log_lik.sum()) - kl) / count,
            "reward": float(scored.log_lik.sum()) / count,
            "kl": kl / count,
            "kl_turn": kl / len(of),
            "turns": len(of) / count,
            "advantage_sd": float(advantage.std()) if len(of) > 1 else 0.0,
        }
        return value, info

    return loss
