"""The parts of the trust table by name."""

from collections.abc import Callable
from functools import partial

from .compare import compare_table
from .functions import RIVALS
from .planned import LARGE_SIZES, SIZES, steps_table, tolerance_table
from .rows import half_table, low_rank_table, rows_table

PARTS = ("rows", "low-rank", "half", "steps", "compare", "tol")


def parts(rule: str | None, large: bool, quick: bool) -> dict[str, Callable[[], str]]:
    """What makes the text of each; rule: the one that is tried, None for each function's default."""
    rules = (rule, *RIVALS)
    sizes = (16,) if quick else SIZES + (LARGE_SIZES if large else ())
    return {
        "rows": partial(rows_table, rules),
        "low-rank": partial(low_rank_table, rules),
        "half": partial(half_table, rules),
        "steps": partial(steps_table, rule, 16 if quick else 64),
        "compare": partial(compare_table, 16 if quick else 64, rule, *([(8,)] if quick else [])),
        "tol": partial(tolerance_table, sizes, rule),
    }
