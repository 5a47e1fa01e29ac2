"""Everything that credence raises, as one tree.

    CredenceError
    ├── ConfigError(ValueError)            a setting that cannot be: what was given, why not, what to write
    ├── ShapeError(ValueError)             axes that do not fit one another
    ├── ContractError(TypeError)           a part that breaks its law: a reward that returns NaN, a twist that jumps
    ├── DegeneracyError(ArithmeticError)   no answer exists under this evidence, or none was found among the draws
    ├── BackendError(RuntimeError)         the machine below failed: a model file, a time-out, memory
    └── MissingExtraError(ImportError)     an optional package is not installed; the message holds the command

Each is also the standard library's type in brackets, so `except ValueError` goes on working.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class CredenceError(Exception):
    """The root: catch this to catch everything that credence raises on purpose.

    Args:
        message: in English: what was given, why it cannot be, what to do.
        case: names the mistake where a surface words it in another language (cli/chat_errors.py); else "".
        given: what that sentence is filled with.
    """

    def __init__(self, message: str = "", case: str = "", **given: object) -> None:
        super().__init__(message)
        self.case, self.given = case, given


class ConfigError(CredenceError, ValueError):
    """A setting, a name or a file that cannot be used as given."""


class ShapeError(CredenceError, ValueError):
    """Tensors whose axes do not fit one another."""


class ContractError(CredenceError, TypeError):
    """A part (reward, evidence, prior, engine) that does not keep its law."""


class DegeneracyError(CredenceError, ArithmeticError):
    """The posterior does not exist, or no draw carries any weight under it."""


class BackendError(CredenceError, RuntimeError):
    """Something below credence failed: model files, devices, time-outs."""


class MissingExtraError(CredenceError, ImportError):
    """An optional package is missing; the message holds the command that installs it."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the known names closest to `name`, or "" when none is close."""
    close = get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
