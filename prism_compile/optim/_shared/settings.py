"""The options of solves, as optimizers have them."""

from typing import Any, NamedTuple

import torch

from ..._interface.arguments import DTYPES
from ..._interface.numbers import check_integer
from ..._interface.options import options_for
from ..._rules import Row
from .checks import check_flag


class Settings(NamedTuple):
    """The options of `polar`, and the dtype that it runs in (None: the gradient's)."""

    steps: int
    degree: int
    rule: str | tuple[Row, ...]
    sketch_size: int
    seed: int
    dtype: torch.dtype | None


def check_solve(options: dict[str, Any], steps: str = "steps") -> None:
    """Refuse options that `polar` does not take; the others become Python's. steps: the name of theirs."""
    options[steps] = check_integer(steps, options[steps], 1)
    checked = options_for(
        2,
        options[steps],
        options["degree"],
        options["rule"],
        None,
        options["sketch_size"],
        options["seed"],
        "unrolled",
        False,
    )
    # Checkpoints hold Python's numbers, whatever was given.
    options.update((name, getattr(checked, name)) for name in ("degree", "sketch_size", "seed"))
    if options["dtype"] is not None and options["dtype"] not in DTYPES:
        allowed = ", ".join(map(str, DTYPES))
        raise ValueError(f"dtype must be None or one of {allowed}, got {options['dtype']!r}")
    check_flag("flatten", options["flatten"])
    options["heads"] = check_integer("heads", options["heads"], 1)


def settings_of(options: dict[str, Any], steps: str = "steps") -> Settings:
    """The settings among checked options."""
    return Settings(options[steps], *(options[name] for name in Settings._fields[1:]))
