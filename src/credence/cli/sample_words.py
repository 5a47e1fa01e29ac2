"""What an engine says of its own draws, in words: its figures, why a figure is missing, and what to be warned of.

The figures are defined on each engine's page (docs/engines); the verdicts are those of credence.diagnose.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from credence.core.types import Draws
    from credence.study.engine import EngineConfig

MOST_RHAT = 1.05
"""R̂ above which a handful of draws is not shown without a warning; `diagnose.chains` holds a study to 1.01."""

FEW_CHAINS = 4
"""Chains below which R̂ has too little to compare (Vehtari et al. 2021)."""

FEW_TEXTS = 4
"""Different texts among all particles below which draws are copies of one another."""

FEW_DRAWS = 2
"""Effective draws below which one weight decides, as in chat."""

LEAST_MOVED = 0.2
"""Share of particle Gibbs's sweeps that must take another path, else its chains stand still."""

LEAST_SWAPS = 0.2
"""Share of swaps below which neighbouring rungs hardly know of one another (docs/engines/parallel-tempering.md)."""

FAR = 0.5
"""Nats from the posterior above which a law of its own should not be taken for it."""

FIGURES = {
    "ess": "ESS {:.3g}",
    "missed": "{:%} of the posterior out of the proposal's reach",
    "proposals": "{:.0f} proposals",
    "accepted": "{:.0f} accepted",
    "above": "{:.0f} above the bound",
    "excess": "highest weight {:+.3g} nats from the bound",
    "bound": "bound {:.3g} nats",
    "tv": "total variation {:.3g} from the posterior",
    "tv_bound": "at most {:.3g}",
    "kl_bound": "KL to the prior at most {:.3g} nats",
    "kl_posterior_bound": "KL(posterior‖law) at most {:.3g} nats",
    "ess_before_draws": "ESS of the particles {:.3g}",
    "ess_before_resampling": "the least on the way {:.3g}",
    "ancestors": "{:.0f} ancestors",
    "ancestors_island_mean": "{:.3g} an island",
    "unique": "{:.0f} different texts",
    "resamplings": "{:.0f} resamplings",
    "log_z_island_mean": "mean log Ẑ of the islands {:.3g}",
    "log_z_island_sd": "their spread {:.3g}",
    "barred": "{:.0f} particles barred by a twist",
    "moved": "{:%} of sweeps moved",
    "sweeps": "{:.0f} sweeps a chain",
    "rhat": "R̂ {:.3f}",
    "tau": "autocorrelation {:.3g} steps",
    "impossible": "{:%} of draws impossible",
    "block_acceptance": "{:%} of block moves",
    "swaps": "{:%} of swaps taken by the pair that swaps least",
    "log_z_low": "the rungs allow log Z from {log_z_low:.3f} to {log_z_high:.3f}",
    "proposals_ess": "ESS of the proposals {:.3g}",
    "passes": "{:.3g} passes of the model a token",
    "kappa": "threshold {:.3g} nats",
    "mass": "these draws are {:%} of the prior",
    "kl": "KL(token law‖posterior) {:.3g} nats",
    "kl_token": "KL(token law‖posterior) {:.3g} nats",
    "rounds": "{:.0f} rounds",
    "draws": "{:.0f} draws",
}
"""A phrase for each name of an engine's info, which may hold others too; a name without one is shown as it is."""

ACCEPTED = {
    "speculative": "{:%} of drafted tokens kept",
    "rejection": "{:%} of proposals accepted",
    "quasi_rejection": "{:%} of proposals accepted",
}
"""What `acceptance` counts; in chains it is moves."""

LOG_Z_OF_CHAINS = "where chains stand says nothing of it; importance, smc and parallel_tempering estimate it"
LOG_Z_OF_LADDERS = "a rung still stands at an impossible text, or took no step; raise burn_in"


def figures(info: Mapping[str, float], engine: str) -> str:
    """The engine's own numbers in one line; those that are not known (NaN), and shares of nothing, are left out."""
    phrases = {**FIGURES, "acceptance": ACCEPTED.get(engine, "{:%} of moves taken")}
    hidden = {name for name in ("impossible", "missed", "above", "barred") if info.get(name) == 0} | {"log_z_high"}
    return ", ".join(
        phrases.get(name, name + " {:.3g}").replace("{:%}", f"{100 * value:.3g} %").format(value, **info)
        for name, value in info.items()
        if value == value and name not in hidden
    )


def level(log_z: float, se: float, info: Mapping[str, float], engine: str) -> str:
    """log Z with its error, or why there is none."""
    if log_z != log_z:
        return f"log Z: not given ({no_log_z(info, engine)})"
    if se == se:
        return f"log Z = {log_z:.3f} ± {se:.3f} nats"
    reason = "" if math.isinf(log_z) else " (± not known: it takes more draws, islands or chains)"
    return f"log Z = {log_z:.3f} nats{reason}"


def no_log_z(info: Mapping[str, float], engine: str) -> str:
    """Why these draws say nothing of log Z."""
    if "swaps" in info:
        return LOG_Z_OF_LADDERS
    return LOG_Z_OF_CHAINS if "rhat" in info else f"{engine} does not estimate it from these draws"


def warnings(draws: "Draws", settings: "EngineConfig | None") -> list[str]:
    """What a reader should know before believing the draws of one prompt, by the engine's own figures.

    Args:
        draws: of one prompt.
        settings: the engine's table; None for the prior's own draws.
    """
    if settings is None or not draws.status[0].ok:  # a status says what is wrong by itself
        return []
    info = {name: float(value.flatten()[0]) for name, value in draws.info.items()}
    return [
        *_of_weights(draws, info),
        *_of_chains(draws, info, settings),
        *_of_particles(draws, info),
        *_of_decoding(info),
    ]


def _of_weights(draws: "Draws", info: Mapping[str, float]) -> list[str]:
    """Of engines whose draws weigh by chance: those without an ESS, such as beams, weigh unevenly by design."""
    count, weighted = len(draws.completions), len(set(draws.log_w.tolist())) > 1
    if not weighted or "rhat" in info or "ess" not in info:
        return []
    if count > FEW_DRAWS and info["ess"] < FEW_DRAWS:
        return [
            f"One draw decides: {count} weighted draws are worth {info['ess']:.3g} equal ones, and log Z may be far "
            "too low. Draw more, or by an engine that comes nearer to the posterior."
        ]
    from credence.diagnose.weights import weight_findings

    tail = weight_findings(draws.log_w)[1]
    return [] if tail.ok or math.isinf(tail.value) else [tail.meaning]  # inf: too few draws to have a tail


def _of_chains(draws: "Draws", info: Mapping[str, float], settings: "EngineConfig") -> list[str]:
    if "rhat" not in info:
        return []
    from credence.diagnose.chains import chain_findings

    out: list[str] = []
    if (chains := getattr(settings, "chains", FEW_CHAINS)) < FEW_CHAINS:
        out.append(f"Too few chains: R̂ compares {_count(chains, 'chain')}; give at least {FEW_CHAINS}.")
    ((rhat, _),) = chain_findings(draws, MOST_RHAT)
    out += [] if rhat.ok else [rhat.meaning]
    if info["ess"] < len(draws.completions):
        out.append(
            f"{_count(len(draws.completions), 'draw')} of these chains are worth about {info['ess']:.3g} independent "
            f"ones (autocorrelation {info['tau']:.3g} steps): raise thin."
        )
    if info["impossible"] > 0:
        out.append("Some chains still stand at a text that the evidence forbids; it weighs 0. Raise burn_in.")
    if info.get("swaps", 1.0) < LEAST_SWAPS:
        out.append(
            f"Neighbouring rungs hardly exchange texts ({100 * info['swaps']:.3g} % of swaps, {LEAST_SWAPS:.0%} are "
            "wanted): give more rungs."
        )
    return out


def _of_particles(draws: "Draws", info: Mapping[str, float]) -> list[str]:
    from credence.diagnose.particles import warnings_of

    out = list(warnings_of(draws))
    if "kl_token" in info and info.get("unique", FEW_TEXTS) < FEW_TEXTS:
        out.append(f"The particles hold {_count(info['unique'], 'different text')}: these draws are copies.")
    if info.get("moved", 1.0) < LEAST_MOVED:
        out.append(
            f"The chains stand still: {100 * info['moved']:.3g} % of sweeps took another path, {LEAST_MOVED:.0%} are "
            "wanted. Give more particles."
        )
    return out


def _of_decoding(info: Mapping[str, float]) -> list[str]:
    out: list[str] = []
    if info.get("kl", 0.0) > FAR:
        out.append(
            f"This is not the posterior: normalising after each token puts it {info['kl']:.3g} nats away; "
            "sequence_product draws from the posterior itself."
        )
    if info.get("passes", 0.0) >= 1:
        out.append("The draft saves no pass of the model: too few of its tokens are kept. Give a nearer one.")
    return out


def _count(number: float, what: str) -> str:
    return f"{number:.0f} {what}{'' if number == 1 else 's'}"
