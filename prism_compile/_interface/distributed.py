"""Distributed tensors: where each process holds whole matrices, it computes on those that it has."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

Function = TypeVar("Function", bound=Callable[..., Any])


def is_distributed(A: object) -> bool:
    """Whether it is a DTensor, without the import of torch.distributed that the type would take."""
    return isinstance(A, Tensor) and hasattr(A, "device_mesh")


def _check_placements(A: "DTensor") -> None:
    """Refuse parts of matrices, which nothing but an exchange makes whole."""
    batch = range(A.ndim - 2)
    for placement in A.placements:
        if not (placement.is_replicate() or any(map(placement.is_shard, batch))):
            raise TypeError(
                "A must be whole matrices at each process, placements Replicate() or Shard(dim) of a batch "
                f"dimension: use full_tensor() or to_local(), got a DTensor with {tuple(A.placements)}"
            )


def placed_like(A: Tensor, part: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A process's part of a tensor of a shape, placed as A is: a DTensor where A is one."""
    if not is_distributed(A):
        return part
    from torch.distributed.tensor import DTensor

    whole = cast("DTensor", A)
    # Given because it does not follow where processes hold unequal parts.
    stride = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(
        part, whole.device_mesh, whole.placements, run_check=False, shape=torch.Size(shape), stride=stride
    )


def by_process(function: Function) -> Function:
    """A function of matrices that takes a DTensor too, where each process holds whole ones."""

    @wraps(function)
    def call(A: Any, *arguments: Any, **options: Any) -> Any:
        if not is_distributed(A):
            return function(A, *arguments, **options)
        _check_placements(A)
        results = function(cast("DTensor", A).to_local(), *arguments, **options)
        batch, first = tuple(A.shape[:-2]), A.ndim - 2
        return pytree.tree_map(lambda part: placed_like(A, part, (*batch, *part.shape[first:])), results)

    return cast(Function, call)
