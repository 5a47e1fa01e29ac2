"""What a job's settings must hold, whatever else they do: a run's, a dialogue's."""

from pathlib import Path
from typing import Any, Literal, Protocol

from credence.study.config import PriorConfig, TrackConfig
from credence.study.evidence_config import EvidenceConfig


class Job(Protocol):
    """What the parts are made from: a RunConfig, a DialogueConfig."""

    @property
    def prior(self) -> PriorConfig:
        """Who speaks."""
        ...

    @property
    def evidence(self) -> EvidenceConfig:
        """What is good."""
        ...

    @property
    def folder(self) -> Path:
        """Where relative paths begin."""
        ...


class LongJob(Protocol):
    """One with a folder of its own, that trackers may be told of: also a ControlConfig."""

    @property
    def name(self) -> str:
        """Of its folder."""
        ...

    @property
    def seed(self) -> int:
        """Of everything drawn."""
        ...

    @property
    def track(self) -> TrackConfig:
        """Who else is told."""
        ...

    def model_dump(self, *, mode: Literal["json"]) -> dict[str, Any]:
        """All settings as a JSON tree."""
        ...
