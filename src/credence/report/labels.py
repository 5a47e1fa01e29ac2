"""Where a name can stand on a plot so that it covers least."""

import math
from dataclasses import dataclass, field

from rich.cells import cell_len

Point = tuple[float, float]
_STEP = 7.0
"""Pixels between the samples of a line."""


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: "Box") -> bool:
        """True where the two overlap."""
        across = self.left < other.right and other.left < self.right
        return across and self.bottom < other.top and other.bottom < self.top


@dataclass
class Obstacles:
    """What a label had better not cover; labels once placed join it."""

    frame: Box
    points: list[tuple[Point, float]] = field(default_factory=list[tuple[Point, float]])
    boxes: list[Box] = field(default_factory=list[Box])

    def line(self, start: Point, end: Point, weight: float = 1.0) -> None:
        """A straight line, sampled."""
        count = max(1, math.ceil(math.dist(start, end) / _STEP))
        for i in range(count + 1):
            t = i / count
            self.points.append(((start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1])), weight))

    def dot(self, at: Point, radius: float = 6.0) -> None:
        """A marker."""
        self.boxes.append(Box(at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius))

    def cost(self, box: Box) -> float:
        """How much a label there would cover; leaving the frame costs most."""
        left, bottom, right, top = box.left, box.bottom, box.right, box.top
        covered = sum(weight for (x, y), weight in self.points if left <= x <= right and bottom <= y <= top)
        clashes = sum(box.meets(other) for other in self.boxes)
        frame = self.frame
        outside = (
            max(0.0, frame.left - box.left) + max(0.0, box.right - frame.right)
            + max(0.0, frame.bottom - box.bottom) + max(0.0, box.top - frame.top)
        )  # fmt: skip
        return covered + 20.0 * clashes + 5.0 * outside


def place(at: Point, text: str, size: float, obstacles: Obstacles) -> tuple[float, float, str]:
    """Position and horizontal anchor of a label near `at`, in pixels; it becomes an obstacle for the next.

    Widths come from terminal cells (a Chinese character is two), so that no font is needed.
    Test: tests/unit/test_report.py::test_labels_keep_apart.
    """
    width, height = 0.56 * size * cell_len(text), 1.35 * size
    best: tuple[float, float, float, str, Box] | None = None
    for radius in (14.0, 24.0, 38.0, 54.0):
        for step in range(16):
            angle = 2 * math.pi * step / 16
            dx, dy = math.cos(angle), math.sin(angle)
            anchor = "center" if abs(dx) < 0.3 else ("left" if dx > 0 else "right")
            x, y = at[0] + radius * dx, at[1] + radius * dy
            left = {"left": x, "right": x - width, "center": x - width / 2}[anchor]
            box = Box(left - 2, y - height / 2, left + width + 2, y + height / 2)
            # a little dearer further out and on the left, so that a free plane gives the same calm layout each time
            price = obstacles.cost(box) + 0.06 * radius + (0.4 if anchor == "right" else 0.0)
            if best is None or price < best[0]:
                best = (price, x, y, anchor, box)
    assert best is not None  # noqa: S101 - the loops above ran
    obstacles.boxes.append(best[4])
    return best[1], best[2], best[3]
