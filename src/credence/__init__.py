"""Prior and evidence in, posterior out, by sampling or by training, with the distance measured in nats.

    p*(x|c) = π0(x|c) · exp(r(x,c)/β) / Z(c)
    E_π[r] − β KL(π‖π0) = β log Z − β KL(π‖p*)

The names below are loaded on first use, so that `import credence` costs no torch.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from credence.core.errors import CredenceError
    from credence.core.keys import Key
    from credence.core.types import Draws, Prompts
    from credence.evidence.constraint import between, contains, matches
    from credence.evidence.ended import Ended
    from credence.evidence.reward import Reward
    from credence.evidence.sentiment import Sentiment, vader
    from credence.learn.loop import fit
    from credence.posterior.exact import enumerate_posterior
    from credence.posterior.posterior import Posterior
    from credence.prior.load import load
    from credence.prior.reshape import reshape
    from credence.prior.table import TablePrior
    from credence.sample.best_of_n import BestOfN
    from credence.sample.importance import Importance
    from credence.sample.rejection import Rejection
    from credence.sample.smc import SMC

    __version__: str

__all__ = [
    "SMC",
    "BestOfN",
    "CredenceError",
    "Draws",
    "Ended",
    "Importance",
    "Key",
    "Posterior",
    "Prompts",
    "Rejection",
    "Reward",
    "Sentiment",
    "TablePrior",
    "between",
    "contains",
    "enumerate_posterior",
    "fit",
    "load",
    "matches",
    "reshape",
    "vader",
]

_ROOMS = {
    "SMC": "sample.smc",
    "BestOfN": "sample.best_of_n",
    "CredenceError": "core.errors",
    "Draws": "core.types",
    "Ended": "evidence.ended",
    "Importance": "sample.importance",
    "Key": "core.keys",
    "Posterior": "posterior.posterior",
    "Prompts": "core.types",
    "Rejection": "sample.rejection",
    "Reward": "evidence.reward",
    "Sentiment": "evidence.sentiment",
    "TablePrior": "prior.table",
    "between": "evidence.constraint",
    "contains": "evidence.constraint",
    "enumerate_posterior": "posterior.exact",
    "fit": "learn.loop",
    "load": "prior.load",
    "matches": "evidence.constraint",
    "reshape": "prior.reshape",
    "vader": "evidence.sentiment",
}


def __getattr__(name: str) -> object:
    """A public name, loaded on first use."""
    from importlib import import_module

    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("credence-lm")
        except PackageNotFoundError:
            return "0 (source tree, not installed)"
    if name in _ROOMS:
        value = getattr(import_module(f"credence.{_ROOMS[name]}"), name)
        globals()[name] = value
        return value
    from credence.core.errors import nearest

    raise AttributeError(f"module 'credence' has no attribute {name!r}.{nearest(name, __all__)}")


def __dir__() -> list[str]:
    """The public names, sorted."""
    return sorted([*__all__, "__version__"])
