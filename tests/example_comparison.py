"""A comparison with everything that may stand in one: bounds, dashes with reasons, a refusal, two seeds' curves."""

import math

from credence.report.comparison import CompareRow, Comparison, CurvePoint, Spent
from credence.report.recommend import Candidate, recommend
from credence.report.schema import Estimate, FrontierPoint

ZERO, ALL = Estimate(0.0, 0.0, 0.0), Estimate(1.0, 1.0, 1.0)
EQUAL = "its draws count equally"
NO_DENSITY, CHAIN = "its law has no density that can be computed", "where a chain stands has no density"


def example_comparison() -> Comparison:
    prior = Estimate(2.0, 1.7, 2.3)
    rows = (
        CompareRow(
            "prior", "prior", "prior", Estimate(0.1, 0.05, 0.15), Estimate(0.3, 0.2, 0.4), ZERO, prior,
            Estimate(1.9, 1.6, 2.2), None, -2.1, None, 40.0, 256.0, 0.4, None, None, Spent(30.0, 0.02),
            why={"log_z_high": "no exact posterior draws", "gap_closed": "it is what the share is counted from"},
        ),
        CompareRow(
            "smc", "smc", "draw", Estimate(0.6, 0.5, 0.7), Estimate(0.6, 0.5, 0.7), Estimate(1.8, 1.5, 2.1, "upper"),
            Estimate(0.6, 0.4, 0.8, "upper"), None, Estimate(0.7, 0.6, 0.8, "lower"), -1.9, None, 700.0, 1856.0, None,
            0.6, Spent(200_000.0, 300.0), Spent(9000.0, 6.5), Spent(6428.0, 4.6), 900.0, 2,
            why={"kl_forward": NO_DENSITY, "log_z_high": "no scored exact draws", "pareto_k": EQUAL},
            note="22 rounds",
        ),
        CompareRow(
            "rejection", "rejection", "draw", Estimate(0.7, 0.6, 0.8), Estimate(0.8, 0.7, 0.9), Estimate(2.2, 1.9, 2.5),
            ZERO, ZERO, ALL, -1.8, None, 12.0, 12.0, None, 1.0, Spent(190_000.0, 280.0), Spent(20_000.0, 30.0),
            Spent(10_000.0, 15.0), 880.0, 2, why={"pareto_k": "its draws count equally"},
        ),
        CompareRow(
            "suffix_mh", "suffix_mh", "draw", Estimate(0.5, 0.3, 0.7), Estimate(0.6, 0.5, 0.7), ess=20.0, draws=24.0,
            spent=Spent(1000.0, 3.0), each=Spent(40.0, 0.1), seeds=2,
            why=dict.fromkeys(("kl_prior", "kl_reverse", "kl_forward", "gap_closed"), CHAIN),
        ),
        CompareRow(
            "dpg+reinforce", "dpg+reinforce", "train", Estimate(0.55, 0.4, 0.7), Estimate(0.6, 0.5, 0.7),
            Estimate(1.4, 1.2, 1.6), Estimate(0.8, 0.6, 1.0), Estimate(0.9, 0.7, 1.1), Estimate(0.6, 0.5, 0.7), -2.0,
            -1.6, 30.0, 64.0, 0.6, 1.0, Spent(199_000.0, 295.0), Spent(31.0, 0.02), Spent(165_000.0, 245.0), 2100.0, 2,
            note="40 steps; kept step 30 of the last 34",
        ),
        CompareRow("grpo", "grpo", "refused", refused="evidence.ended.cut = -inf forbids replies"),
        CompareRow("posterior", "posterior", "target", Estimate(0.68, 0.6, 0.76), Estimate(0.8, 0.7, 0.9),
                   Estimate(2.2, 1.9, 2.5), ZERO, ZERO, why={"gap_closed": "it is the target"}),
    )  # fmt: skip
    candidates = [
        Candidate(r.name, r.kind == "train", r.kl_reverse, r.spent.tokens if r.kind == "train" else 0.0, r.each.tokens)
        for r in rows
        if r.spent is not None and r.each is not None
    ]
    looks = [(0.0, 0.0), (90.0, 0.3), (190.0, 0.5), (290.0, 0.62)]
    return Comparison(
        title="cheerful-compare",
        unit="tokens",
        limit=200_000.0,
        seeds=2,
        prompts=8,
        beta=0.1,
        reward_name="vader",
        log_z=Estimate(-1.8, -2.1, -1.5),
        exact_draws=9,
        rows=rows,
        frontier=tuple(
            FrontierPoint(1 / lam, 2.3 * math.sqrt(lam / 12), 0.1 + 0.2 * math.sqrt(lam), lam < 11)
            for lam in range(1, 16)
        ),
        curves=tuple(
            CurvePoint("dpg+reinforce", seed, 600 * s, s, -3 + 2 * share, share - 0.05 * seed)
            for seed in range(2)
            for s, share in looks
        ),
        recommendation=recommend(candidates, prior, "tokens"),
        facts=("grpo refuses: evidence.ended.cut = -inf forbids replies",),
        manifest={"seed": 0},
    )
