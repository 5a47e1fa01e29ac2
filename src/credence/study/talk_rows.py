"""From dialogues before and after to rows with intervals: users are resampled, and dialogues within each."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from credence.core.keys import Key
from credence.diagnose.intervals import Group, bootstrap_all
from credence.dialogue.rollout import Talk
from credence.report.schema import Estimate, Finding
from credence.report.talks import Line, TalkReport, TalkRow, Transcript

TITLES = {"before": "prior (before)", "after": "policy (after)", "change": "change"}
FIXED = ("j", "reward", "kl", "kl_turn", "turns", "satisfied")
_RESAMPLES = 1000
_ROUNDING = 1e-9
"""Nats: a policy that is the prior has a KL of 0, not of what float sums leave."""


def table(talks: Sequence[Talk], gains: Sequence[float], names: Sequence[str]) -> dict[int, Tensor]:
    """(dialogues, 5 + readings) of each user: J, reward, KL, turns, satisfied, sums of readings; no failed ones."""
    rows: dict[int, list[list[float]]] = {}
    for talk, gain in zip(talks, gains, strict=True):
        if talk.failed:
            continue
        reward = sum(talk.rewards)
        sums = [sum(float(i["readings"].get(n, 0.0)) for i in talk.infos) for n in names]
        spent = 0.0 if abs(reward - gain) < _ROUNDING else reward - gain
        row = [gain, reward, spent, float(len(talk.actions)), float(talk.satisfied), *sums]
        rows.setdefault(talk.user, []).append(row)
    return {user: torch.tensor(found, dtype=torch.float64) for user, found in rows.items()}


def rows(before: Mapping[int, Tensor], after: Mapping[int, Tensor], names: Sequence[str], key: Key) -> list[TalkRow]:
    """The two laws and their difference on the users that both have dialogues with."""
    both = [user for user in before if user in after]
    groups: list[Group] = [{"before": before[u], "after": after[u]} for u in both]

    def statistics(given: Sequence[Group]) -> dict[str, float]:
        out: dict[str, float] = {}
        for law in ("before", "after"):
            mean = torch.stack([g[law].mean(0) for g in given]).mean(0)
            turns = float(mean[3])
            out |= {f"{law}.{n}": float(mean[i]) for n, i in (("j", 0), ("reward", 1), ("kl", 2), ("turns", 3))}
            out |= {f"{law}.satisfied": float(mean[4]), f"{law}.kl_turn": float(mean[2]) / turns}
            out |= {f"{law}.reading.{n}": float(mean[5 + i]) / turns for i, n in enumerate(names)}
        changes = {n.removeprefix("after"): out[n] - out[f"before{n.removeprefix('after')}"] for n in list(out)
                   if n.startswith("after")}  # fmt: skip
        return out | {f"change{n}": v for n, v in changes.items()}

    found = {n: Estimate(*v) for n, v in bootstrap_all(statistics, groups, key, resamples=_RESAMPLES).items()}
    return [
        TalkRow(law, title, **{n: found[f"{law}.{n}"] for n in FIXED},
                readings={n: found[f"{law}.reading.{n}"] for n in names})
        for law, title in TITLES.items()
    ]  # fmt: skip


def transcript(before: Talk, after: Talk, user: str, question: str, answer: str) -> Transcript:
    """The two dialogues beside each other."""
    return Transcript(user, question, answer, _lines(before), _lines(after), before.satisfied, after.satisfied)


def _lines(talk: Talk) -> tuple[Line, ...]:
    nats = iter(talk.rewards)
    return tuple(
        Line(m["role"], m["content"], next(nats) if m["role"] == "assistant" else None) for m in talk.transcript
    )


def findings(
    change: TalkRow, heldout: int, measured: int, failed: int, skipped: int, best: int, broke: str = "",
    literal: int = 0,
) -> list[Finding]:  # fmt: skip
    """What a reader should know first.

    Args:
        change: after minus before.
        heldout: users.
        measured: those of them whose rewards could be read.
        failed: dialogues with them whose rewards could not.
        skipped: dialogues of training, likewise.
        best: step of the kept policy.
        broke: why learning ended early with a NaN.
        literal: held-out users who ask in the words of the source in which answers are looked up.
    """
    out = [Finding("learning", False, broke)] if broke else []
    if change.j.high < 0:
        out.append(Finding("change in J", False, "J fell on users never seen in training.", change.j.value))
    elif change.j.low <= 0:
        meaning = "The interval of the change in J holds 0: this run does not show that the agent got better."
        out.append(Finding("change in J", False, meaning, change.j.value))
    else:
        out.append(Finding("change in J", True, "J rose on users never seen in training.", change.j.value))
    if best == 0:
        meaning = "No update beat the prior on the validation users, so the prior was kept."
        out.append(Finding("kept policy", False, meaning))
    if measured < heldout:
        meaning = f"{heldout - measured} of {heldout} held-out users have no dialogue whose rewards could all be read."
        out.append(Finding("users left out", False, meaning))
    if failed or skipped:
        meaning = (
            f"The evidence failed in {failed} measured dialogues and in {skipped} of training: they are kept, and left "
            "out of means and updates."
        )
        out.append(Finding("failed rewards", False, meaning, float(failed + skipped)))
    if literal:
        meaning = (
            f"{literal} of {heldout} held-out users ask in the very words of users.source, in which answers are found "
            "more easily than in people's: users.rewordings gives them others."
        )
        out.append(Finding("wordings", False, meaning, float(literal)))
    return out


def final(report: TalkReport) -> dict[str, float]:
    """What a run came to, for trackers: the trained policy's row, and by how much J changed."""
    _, after, change = report.rows
    return {f"final/{name}": getattr(after, name).value for name in FIXED} | {"final/j_change": change.j.value}
