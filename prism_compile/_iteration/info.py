"""What a rule may know of a step besides its basis."""

from typing import NamedTuple

import torch


class StepInfo(NamedTuple):
    """A step of a run; all of it is static.

    step, steps: of the polynomials alone; newton_steps: before these. dtype: of the matrices, or of the parts
    of complex ones. squared: as in `Form`. interval: the least x and the tolerance that `tol` and `condition`
    ask for. sketch_size, seed: of rules with a sketch.
    """

    step: int
    steps: int
    p: int
    degree: int
    dtype: torch.dtype
    squared: bool = True
    newton_steps: int = 0
    interval: tuple[float, float] | None = None
    sketch_size: int = 1
    seed: int = 0
