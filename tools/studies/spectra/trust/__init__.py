"""Where the library's default rule fails a bar, by parts."""

from collections.abc import Callable
from functools import partial

from .cases import RIVALS
from .compare import compare_table
from .low_rank import low_rank_table
from .planned import LARGE_SIZES, SIZES, tolerance_table

PARTS = ("low-rank", "compare", "tol")


def parts(rule: str | None, large: bool, quick: bool) -> dict[str, Callable[[], str]]:
    """What makes the text of each; rule: the one that is tried, None for each function's default."""
    sizes = (16,) if quick else SIZES + (LARGE_SIZES if large else ())
    return {
        "low-rank": partial(low_rank_table, (rule, *RIVALS)),
        "compare": partial(compare_table, 16 if quick else 64, rule, *([(8,)] if quick else [])),
        "tol": partial(tolerance_table, sizes, rule),
    }
