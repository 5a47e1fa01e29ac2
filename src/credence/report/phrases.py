"""Numbers and texts put into words, once for the terminal and for the page."""

import math
import unicodedata

from rich.cells import cell_len, set_cell_size

from credence.report.schema import Estimate, Report, RulerRow

UNKNOWN = "–"
_JOINERS = "\u200c\u200d"
"""Zero-width joiners shape Persian, Indic scripts and emoji; they hide nothing."""

_LAW_ORDER = ("prior", "draw", "train", "target")


def visible(text: str, newline: str = "\n") -> str:
    """The text with every character that could hide or reorder something made visible.

    Control, format (bidi too), surrogate, private and unassigned characters become ⟨U+202E⟩; a carriage return and
    newline become `newline`. Test: tests/unit/test_report.py::test_visible.
    """
    out: list[str] = []
    for char in text.replace("\r\n", "\n"):
        if char == "\n":
            out.append(newline)
        elif char == "\t":
            out.append(" ")
        elif char in _JOINERS or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
            out.append(char)
        else:
            out.append(f"⟨U+{ord(char):04X}⟩")
    return "".join(out)


def short(text: str, cells: int = 40) -> str:
    """One visible line of at most `cells` terminal cells (a Chinese character is two), cut with one ….

    Test: tests/unit/test_report.py::test_short.
    """
    line = visible(text, " ")
    return line if cell_len(line) <= cells else set_cell_size(line, cells - 1).rstrip(" …") + "…"


def number(value: float | None, digits: int = 2) -> str:
    """A number as a reader wants it: true minus, ∞, a dash where it is not known, thousands parted."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) >= 1000:
        digits = 0
    elif abs(value) >= 100:
        digits = min(digits, 1)
    text = f"{abs(value):,.{digits}f}"
    return "−" + text if value < 0 and text.strip("0.,") else text


def plain(value: float) -> str:
    """A number whose size is not known beforehand, to three significant digits: `51.2`, `1.4e−05`."""
    return number(value) if not math.isfinite(value) else f"{value:.3g}".replace("-", "−")


def digits_for(estimate: Estimate) -> int:
    """Two decimals, more where the interval is narrower than they can show."""
    width = estimate.high - estimate.low
    if not math.isfinite(width) or width <= 0 or width >= 0.03:
        return 2
    return 3 if width >= 0.003 else 4


def is_exact(estimate: Estimate) -> bool:
    """True where the interval is the value itself: known without sampling."""
    return estimate.low == estimate.value == estimate.high and not estimate.bound


def value_text(estimate: Estimate | None, percent: bool = False) -> str:
    """`1.84`, `≤ 1.84`, `41 %`, `∞` or `–`."""
    if estimate is None:
        return UNKNOWN
    if is_exact(estimate) and estimate.value == 0:
        return "0 %" if percent else "0"
    scale, digits = (100.0, 0) if percent else (1.0, digits_for(estimate))
    text = number(estimate.value * scale, digits)
    if text == UNKNOWN:
        return text
    sign = {"upper": "≤ ", "lower": "≥ "}.get(estimate.bound, "")
    return sign + text + (" %" if percent else "")


def interval_text(estimate: Estimate | None, percent: bool = False) -> str:
    """`[1.62, 2.07]`, or nothing where the value is exact or no interval is known."""
    if estimate is None or is_exact(estimate) or math.isnan(estimate.value):
        return ""
    low, high = estimate.low, estimate.high
    if math.isnan(low) or math.isnan(high) or low == high:
        return ""
    scale, digits = (100.0, 0) if percent else (1.0, digits_for(estimate))
    return f"[{number(low * scale, digits)}, {number(high * scale, digits)}]"


def estimate_text(estimate: Estimate | None, percent: bool = False) -> str:
    """Value and interval on one line: `1.84  [1.62, 2.07]`."""
    return "  ".join(part for part in (value_text(estimate, percent), interval_text(estimate, percent)) if part)


def count(value: int) -> str:
    """`1.2 M`, `34 k`, `512`: counts that a person compares."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= size:
            scaled = value / (1e3 if unit == " k" else size)
            return f"{scaled:.{0 if scaled >= 100 else 1}f}{unit}"
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """`42 s`, `9 min 20 s`, `1 h 31 min`."""
    if not math.isfinite(seconds):
        return UNKNOWN
    whole = round(seconds)
    if whole < 1:
        return "0 s" if seconds == 0 else f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def rows_of(report: Report, *kinds: str) -> tuple[RulerRow, ...]:
    """The ruler's rows of these kinds, in the order prior, draws, policies, target."""
    rows = [row for row in report.ruler if not kinds or row.kind in kinds]
    return tuple(sorted(rows, key=lambda row: _LAW_ORDER.index(row.kind) if row.kind in _LAW_ORDER else 1))


def exported(report: Report) -> RulerRow | None:
    """The row of the policy that was saved: the last trained one."""
    trained = rows_of(report, "train")
    return trained[-1] if trained else None


def flagged(report: Report) -> str:
    """How many prompts are flagged, as a sentence after others; nothing where none is."""
    count = sum(not row.trusted for row in report.prompts)
    return f" {count} of {len(report.prompts)} prompts cannot be trusted." if count else ""


def answer(report: Report) -> str:
    """The run in one sentence, and more where one would flatter."""
    gap, row, doubts = report.gap_closed, exported(report), flagged(report)
    if row is None and gap is None:
        return "No policy was trained; the laws below need no training." + doubts
    if gap is None or math.isnan(gap.value):
        return "How much of the gap the policy closed is not known; the reasons come first below." + doubts
    amount = {"lower": "at least ", "upper": "at most "}.get(gap.bound, "")
    share = f"{amount}{number(100 * gap.value, 0)} % {interval_text(gap, percent=True)}".strip()
    left = ""
    if row is not None and not math.isnan(row.kl_reverse.value):
        most = {"upper": "at most ", "lower": "at least "}.get(row.kl_reverse.bound, "")
        nats = number(row.kl_reverse.value, digits_for(row.kl_reverse))
        span = f" {interval_text(row.kl_reverse)}".rstrip()
        left = f"; {most}{nats} nats{span} remain"
    if gap.high < 0:
        worse = "The policy ended further from the posterior than the prior was"
        return f"{worse}: {share} of the gap closed{left}.{doubts}"
    doubt = " The interval holds 0: no progress beyond chance is shown." if gap.low <= 0 else ""
    return f"The policy closed {share} of the gap between prior and posterior{left}.{doubt}{doubts}"
