"""What became of one prompt's draws, or of a run: data, not an exception, until it reaches the edge."""

from enum import Enum


class Status(Enum):
    """The state of a result. `ok` is True where the numbers may be read as they stand."""

    OK = "the numbers may be read as they stand"
    EMPTY = "no draw was accepted for this prompt within the allowed effort"
    DEGENERATE = "every draw is impossible under the evidence: log Z is -inf on this sample"
    BOUND_VIOLATED = "a weight exceeded the stated bound, so rejection was not exact"
    UNREACHED = "the proposal cannot make replies that the posterior holds: log Z is too low, and they are never drawn"
    NAN = "a NaN arose; nothing computed after it was kept"
    STOPPED = "stopped on request; everything up to here was kept"

    @property
    def ok(self) -> bool:
        """Whether the result needs no caveat."""
        return self is Status.OK
