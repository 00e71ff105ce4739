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


def _placed_like(A: "DTensor", result: Tensor) -> Tensor:
    """A process's part of a result, batched as A is, as a DTensor."""
    from torch.distributed.tensor import DTensor

    # Given because it does not follow where processes hold unequal numbers of matrices.
    shape = torch.Size((*A.shape[:-2], *result.shape[A.ndim - 2 :]))
    stride = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(
        result, A.device_mesh, A.placements, run_check=False, shape=shape, stride=stride
    )


def by_process(function: Function) -> Function:
    """A function of matrices that takes a DTensor too, where each process holds whole ones."""

    @wraps(function)
    def call(A: Any, *arguments: Any, **options: Any) -> Any:
        if not is_distributed(A):
            return function(A, *arguments, **options)
        _check_placements(A)
        results = function(cast("DTensor", A).to_local(), *arguments, **options)
        return pytree.tree_map(lambda result: _placed_like(A, result), results)

    return cast(Function, call)
