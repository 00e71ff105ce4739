"""Where the library's default rule fails a bar, by parts."""

from collections.abc import Callable
from functools import partial

from .cases import RIVALS
from .compare import compare_table
from .low_rank import low_rank_table

PARTS = ("low-rank", "compare")


def parts(rule: str | None, quick: bool) -> dict[str, Callable[[], str]]:
    """What makes the text of each; rule: the one that is tried, None for each function's default."""
    return {
        "low-rank": partial(low_rank_table, (rule, *RIVALS)),
        "compare": partial(compare_table, 16, rule, (8,)) if quick else partial(compare_table, 64, rule),
    }
