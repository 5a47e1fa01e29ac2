"""All figures, or those named: python scripts/figures [f1 f8 …] [--out FOLDER]. Status 1 where a verdict fails."""

import argparse
import sys
from pathlib import Path

import f1_kl_estimators
import f2_rao_blackwell
import f3_kl_gradients
import f4_best_of_n
import f5_collapse
import f6_divergences
import f7_group_relative
import f8_two_sided
import f9_soft_values
import f10_quasi_rejection
import f11_soft_best_of_n
import f12_sequence_laws
import f13_over_optimisation
import f14_preferences
import f15_random_number
import f16_reward_beliefs
from result import OUT, Figure, run

FIGURES: tuple[Figure, ...] = tuple(
    module.FIGURE
    for module in (
        f1_kl_estimators,
        f2_rao_blackwell,
        f3_kl_gradients,
        f4_best_of_n,
        f5_collapse,
        f6_divergences,
        f7_group_relative,
        f8_two_sided,
        f9_soft_values,
        f10_quasi_rejection,
        f11_soft_best_of_n,
        f12_sequence_laws,
        f13_over_optimisation,
        f14_preferences,
        f15_random_number,
        f16_reward_beliefs,
    )
)


def main(given: list[str] | None = None) -> int:
    """Run them one after another; the number that failed is printed, and decides the status."""
    names = {figure.name.lower(): figure for figure in FIGURES}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", nargs="*", help=f"of {' '.join(names)}; all by default")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for JSON and pictures")
    asked = parser.parse_args(given)
    unknown = [name for name in asked.figures if name.lower() not in names]
    if unknown:
        parser.error(f"no figure {' '.join(unknown)}: there are {' '.join(names)}")
    wanted = [names[name.lower()] for name in asked.figures] or list(FIGURES)
    failed = [figure.name for figure in wanted if not run(figure, asked.out)]
    print(f"{len(wanted) - len(failed)} of {len(wanted)} hold" + (f"; not {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
