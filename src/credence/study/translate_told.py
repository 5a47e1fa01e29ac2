"""A translation study in sentences: what the weights mean, and what became of the small translator."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from credence.belief.ibm1 import IBM1
from credence.belief.translate import Readings, Weights
from credence.report.phrases import number, plain
from credence.report.schema import Estimate
from credence.report.translate import MeasureRow, PolicyReport, Step
from credence.study.translate_config import Seq2SeqConfig
from credence.study.translate_policy import Translator

SHOWN = 8
"""Greedy translations on the page."""


def facts(
    sizes: Mapping[str, int],
    test: Readings,
    weights: Weights,
    bayes: Float[Tensor, "N K"],
    known: tuple[int, int],
    models: tuple[IBM1, IBM1],
    answers: str,
) -> list[str]:
    """Sentences about what was done and found.

    Args:
        sizes: pairs by part, and candidates.
        test: readings of the test sources.
        weights: set by validation.
        bayes: the law of Bayes proper on the test sources.
        known: units of the test sources, and how many were seen in training.
        models: p(x | y), p(y | x).
        answers: title of the scorer that answers later.
    """
    channel, direct = models
    whole, seen = known
    size = float(test.size.double().mean())
    lam, tau = plain(weights.lam), plain(weights.tau)
    evidence = torch.logsumexp(test.prior + test.channel, 1)
    out = [
        f"{sizes['train']:,} pairs to learn from and to look up, {sizes['validation']} for validation, {sizes['test']} "
        f"to test, {sizes['candidates']} candidates each.",
        f"IBM model 1: {len(channel.said):,} units of the source language, {len(channel.given) - 1:,} of the other; "
        f"ε = {channel.smoothing:g} and {direct.smoothing:g} (channel, direct) by validation; {seen:,} of the "
        f"{whole:,} units of the test sources were seen in training.",
        f"λ = {lam}, τ = {tau}: both, tuned, hears {lam} of what the language model says and {tau} of what the channel "
        f"says; Bayes proper hears 1 and 1. The channel alone is best heard at {plain(weights.channel)}: a source of "
        f"{size:.0f} units, the mean, is believed as {weights.channel * size:.1f} independent ones would be.",
        f"Log-linear weights of log p(y|x)/|y|, log p(x|y)/|x|, log p(y)/|x|: "
        f"{', '.join(map(plain, weights.combined))}.",
        "A posterior over candidates is one cut off outside them: log Σ p(y) p(x | y) over the candidates, a lower "
        f"bound of log p(x), is {number(float(evidence.mean()), 1)} nats a source on average. Bayes proper is sure: "
        f"its likeliest candidate has probability {float(bayes.exp().max(1).values.mean()):.3f} on average.",
        f"--text and --file answer by: {answers}, the least log-loss on validation of those with weights.",
    ]
    return out


def policy_report(
    given: Seq2SeqConfig, found: Translator, greedy: tuple[Estimate, Estimate, Estimate], test: int
) -> PolicyReport:
    """The small translator's figures.

    Args:
        given: its settings.
        found: it.
        greedy: corpus chrF of greedy translations before, after, and the gain.
        test: sources of the test part.
    """
    drawn = {name: Estimate(*value) for name, value in found.measured.drawn.items()}
    none = Estimate(0.0, 0.0, 0.0)
    rows = (
        MeasureRow("chrf", "chrF of greedy translations, 0 to 100", *greedy),
        MeasureRow("reward", "E[r]: sentence chrF of draws, 0 to 1", drawn["reward_before"], drawn["reward_after"],
                   drawn["reward_gain"]),
        MeasureRow("kl", "KL(π‖π0), nats", none, drawn["kl"], drawn["kl"]),
        MeasureRow("objective", "J = E[r] − β KL, 0 to 1", drawn["reward_before"], drawn["objective_after"],
                   drawn["objective_gain"]),
    )  # fmt: skip
    steps = tuple(
        Step(
            int(r["step"]),
            given.beta * float(r["elbo"]),
            given.beta * float(r["val_elbo"]) if "val_elbo" in r else None,
        )
        for r in found.rewarded.history
    )
    m = found.measured
    lines = list(zip(m.sources.sources, m.sources.targets, m.greedy["before"], m.greedy["after"], strict=True))[:SHOWN]
    last = found.likelihood.history[-1] if found.likelihood.history else {}
    parameters = sum(p.numel() for p in found.policy.trainer.parameters)
    gain = drawn["objective_gain"]
    verdict = "J rose" if gain.low > 0 else "J fell" if gain.high < 0 else "no change of J beyond chance is shown"
    told = [
        f"{parameters:,} weights, {found.used:,} pairs of at most {given.longest} tokens a side; {len(m.sources)} of "
        f"{test} test sources are as short, with {given.draws} draws each before and after, by the same key.",
        f"Maximum likelihood: {given.steps} steps of {given.batch} pairs, "
        f"{float(last.get('nll_token', float('nan'))):.2f} nats a token in the last step.",
        f"REINFORCE: β = {given.beta:g}, the checkpoint of the best validation J is step {found.rewarded.best} of "
        f"{len(found.rewarded.history)}; on held-out sources {verdict}.",
        *([f"REINFORCE ended early: {found.rewarded.why}."] if found.rewarded.why else []),
    ]
    return PolicyReport(rows, steps, given.beta, found.rewarded.best, tuple(lines), tuple(told))
