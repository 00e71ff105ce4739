# Made by `tools/stub`; do not edit.
from typing import Literal, overload

from torch import Tensor

from . import optim as optim
from ._interface.op import keep_ops
from ._interface.options import RuleLike
from ._interface.results import History, PolarFactors, SqrtPair
from ._planning import steps_for

__version__: str
__all__ = [
    "History",
    "PolarFactors",
    "SqrtPair",
    "inv",
    "inv_root",
    "inv_sqrtm",
    "keep_ops",
    "polar",
    "polar_factors",
    "signm",
    "sqrtm",
    "sqrtm_pair",
    "steps_for",
]

@overload
def inv(
    A: Tensor,
    *,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: Literal[False] = False,
) -> Tensor: ...
@overload
def inv(
    A: Tensor,
    *,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: Literal[True],
) -> tuple[Tensor, History]: ...
@overload
def inv(
    A: Tensor,
    *,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool,
) -> Tensor | tuple[Tensor, History]: ...
@overload
def inv_root(
    A: Tensor,
    p: int,
    *,
    eps: float = 0.0,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: Literal[False] = False,
) -> Tensor: ...
@overload
def inv_root(
    A: Tensor,
    p: int,
    *,
    eps: float = 0.0,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: Literal[True],
) -> tuple[Tensor, History]: ...
@overload
def inv_root(
    A: Tensor,
    p: int,
    *,
    eps: float = 0.0,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool,
) -> Tensor | tuple[Tensor, History]: ...
@overload
def polar(
    A: Tensor,
    *,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    form: str = "auto",
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: Literal[False] = False,
) -> Tensor: ...
@overload
def polar(
    A: Tensor,
    *,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    form: str = "auto",
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: Literal[True],
) -> tuple[Tensor, History]: ...
@overload
def polar(
    A: Tensor,
    *,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    form: str = "auto",
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool,
) -> Tensor | tuple[Tensor, History]: ...
@overload
def polar_factors(
    A: Tensor,
    *,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    form: str = "direct",
    side: str = "right",
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: Literal[False] = False,
) -> PolarFactors: ...
@overload
def polar_factors(
    A: Tensor,
    *,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    form: str = "direct",
    side: str = "right",
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: Literal[True],
) -> tuple[PolarFactors, History]: ...
@overload
def polar_factors(
    A: Tensor,
    *,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    form: str = "direct",
    side: str = "right",
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool,
) -> PolarFactors | tuple[PolarFactors, History]: ...
@overload
def signm(
    A: Tensor,
    *,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: Literal[False] = False,
) -> Tensor: ...
@overload
def signm(
    A: Tensor,
    *,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: Literal[True],
) -> tuple[Tensor, History]: ...
@overload
def signm(
    A: Tensor,
    *,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool,
) -> Tensor | tuple[Tensor, History]: ...
@overload
def inv_sqrtm(
    A: Tensor,
    *,
    eps: float = 0.0,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: Literal[False] = False,
) -> Tensor: ...
@overload
def inv_sqrtm(
    A: Tensor,
    *,
    eps: float = 0.0,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: Literal[True],
) -> tuple[Tensor, History]: ...
@overload
def inv_sqrtm(
    A: Tensor,
    *,
    eps: float = 0.0,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool,
) -> Tensor | tuple[Tensor, History]: ...
@overload
def sqrtm(
    A: Tensor,
    *,
    eps: float = 0.0,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: Literal[False] = False,
) -> Tensor: ...
@overload
def sqrtm(
    A: Tensor,
    *,
    eps: float = 0.0,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: Literal[True],
) -> tuple[Tensor, History]: ...
@overload
def sqrtm(
    A: Tensor,
    *,
    eps: float = 0.0,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool,
) -> Tensor | tuple[Tensor, History]: ...
@overload
def sqrtm_pair(
    A: Tensor,
    *,
    eps: float = 0.0,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: Literal[False] = False,
) -> SqrtPair: ...
@overload
def sqrtm_pair(
    A: Tensor,
    *,
    eps: float = 0.0,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: Literal[True],
) -> tuple[SqrtPair, History]: ...
@overload
def sqrtm_pair(
    A: Tensor,
    *,
    eps: float = 0.0,
    steps: int | None = None,
    tol: float | None = None,
    condition: float | None = None,
    newton_steps: int = 0,
    degree: int = 2,
    rule: RuleLike = None,
    scaling: str | None = None,
    sketch_size: int = 8,
    seed: int = 0,
    gradient: str = "unrolled",
    history: bool,
) -> SqrtPair | tuple[SqrtPair, History]: ...
