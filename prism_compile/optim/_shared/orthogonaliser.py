"""The polar factors of many parameters' updates, for optimizers of one's own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..._interface.options import RuleLike, check_table, default_rule
from .batches import BatchSolver
from .checks import check_compile, check_parameter
from .directions import Direction, Job, SharedSolver, subject_of
from .layout import at_hand, check_process_group, is_distributed, layout_of, shard_of
from .settings import check_solve, settings_of


class Orthogonaliser:
    """Polar factors of many tensors at once: in batches, compiled, shared out over processes.

    It is what `Muon` does with its directions, for an optimizer of one's own. Tensors of equal (or of
    transposed) shape and dtype are one batch of one call of `polar`, compiled once for each such batch and
    kept by this object. Those that FSDP2 shards (DTensor) are put together by the process that solves them.

    Args:
        steps, rule, degree, sketch_size, seed: see `polar`.
        dtype: the dtype of the iteration; None for the tensor's own.
        flatten: read `[out, ...]` as the matrix `[out, rest]`; False: leading dimensions are a batch.
        heads: number of matrices of equal height that each matrix stacks by rows.
        compile: True, False for eager solves, or keyword arguments of `torch.compile`.
        process_group: a ProcessGroup, or a DeviceMesh of one dimension, whose processes hold the same tensors
            (or the same shards) and share the solves. Each must call with the same shapes in the same order.

    Called with a sequence of tensors `[m, n]` or of more dimensions (float64, float32, bfloat16, float16) it
    returns a list of their polar factors, of the same shapes, dtypes and placements.

    Raises:
        TypeError, ValueError: naming the argument, what it was and what is allowed.

    Cost: that of `polar` for each matrix, a W-th of them on each of W processes.

    Source: K. Jordan, Muon (2024); the rule's own, see `polar`.

    Example:
        >>> import torch
        >>> from prism_compile.optim import Orthogonaliser
        >>> weights = [torch.randn(8, 4), torch.randn(4, 8), torch.randn(6, 6)]
        >>> orthogonalise = Orthogonaliser(steps=8, compile=False)
        >>> for weight, direction in zip(weights, orthogonalise([w.sign() + w for w in weights])):
        ...     _ = weight.sub_(direction, alpha=0.02)
    """

    def __init__(
        self,
        *,
        steps: int = 5,
        rule: RuleLike = None,
        degree: int = 2,
        sketch_size: int = 8,
        seed: int = 0,
        dtype: torch.dtype | None = None,
        flatten: bool = True,
        heads: int = 1,
        compile: bool | dict[str, Any] = True,
        process_group: Any = None,
    ):
        if rule is None:
            rule = default_rule(degree)
        options: dict[str, Any] = {
            "steps": steps,
            "degree": degree,
            "rule": rule if isinstance(rule, str) else check_table(rule),
            "sketch_size": sketch_size,
            "seed": seed,
            "dtype": dtype,
            "flatten": flatten,
            "heads": heads,
        }
        check_solve(options)
        self._settings = settings_of(options)
        self._flatten, self._heads = options["flatten"], options["heads"]
        self._solve = SharedSolver(BatchSolver(check_compile(compile)))
        self._process_group = check_process_group(process_group)

    @torch.no_grad()
    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch's
    def __call__(self, updates: Sequence[Tensor]) -> list[Tensor]:
        """The polar factor of each tensor; see the class."""
        for update in updates:
            check_parameter(update, "updates")
        layouts = [layout_of(update, self._process_group, "updates") for update in updates]
        subjects = [subject_of(u, layout, self._flatten, self._heads) for u, layout in zip(updates, layouts)]
        found: dict[int, Tensor] = {}

        def job(number: int) -> Job:
            update, layout = updates[number], layouts[number]
            here = at_hand(update, layout)

            def take(factor: Tensor) -> None:
                shard = shard_of(factor.reshape(here.shape).to(update.dtype), update, layout)
                found[number] = _placed_like(shard, update)

            return Job(number, self._settings, Direction(here), take)

        filled = [i for i, update in enumerate(updates) if update.numel()]
        self._solve.share_out([subjects[i] for i in filled])
        self._solve([job(i)._replace(number=j) for j, i in enumerate(filled)])
        return [found[i] if i in found else torch.empty_like(update) for i, update in enumerate(updates)]


def _placed_like(shard: Tensor, like: Tensor) -> Tensor:
    """This process's part as the tensor that it is a part of."""
    if not is_distributed(like):
        return shard
    from torch.distributed.tensor import DTensor

    assert isinstance(like, DTensor)
    return DTensor.from_local(
        shard, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )
