"""Shampoo, its inverse roots by PRISM."""

from collections.abc import Callable
from functools import cached_property, partial
from math import prod
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from .._iteration.precision import accumulation_dtype
from .._iteration.scaling import nonzero
from . import _options as check
from ._optimizer import MatrixOptimizer, Stepping, apply_update
from ._plan import Block, Box, ParameterPlan, chunk_spans, even_spans, shape_of
from ._polar import compiled_apart
from ._preconditioner import (
    SOLVERS,
    BlockStep,
    Group,
    WeightStep,
    inverse_roots,
    refresh_roots,
    restored,
)
from ._processes import Layout, aligned_gradient, sum_over, working_part
from ._round import Request, Round, rounds_of

# Products of a root, about, against those of a step's means and direction.
_ROOT_PRODUCTS = 30


class BlockCut(NamedTuple):
    """How a weight is cut, as `[shape[0], product of the rest]`, into blocks of at most `largest`.

    frequency: the steps between two roots of a block.
    """

    shape: tuple[int, ...]
    largest: int
    frequency: int

    def suits(self, dim: int) -> bool:
        """Whether shards along `dim` > 0 are parts of the matrix."""
        return len(self.shape) == 2

    def plan(self, dim: int, ranks: tuple[int, int]) -> ParameterPlan:
        """The plan for (replicas, shards) ranks, where shards cut the matrix along `dim`.

        The blocks are the fewest, row by row, and even: that makes more of one size than full ones with a
        remainder would, and thus larger batches.
        """
        form = self.shape[0], prod(self.shape[1:])
        rows, columns = (even_spans(size, -(-size // self.largest)) for size in form)
        boxes = tuple((r, c) for r in rows for c in columns)
        return ParameterPlan(
            form, dim, chunk_spans(form[dim], ranks[1]), boxes, tuple(map(self._cost, boxes))
        )

    def _cost(self, box: Box) -> int:
        m, n = shape_of(box)
        return _ROOT_PRODUCTS * (m**3 + n**3) // self.frequency + 2 * m * n * (m + n)


class Shampoo(MatrixOptimizer):
    """Shampoo: weight matrices preconditioned on both sides by inverse roots of the gradients' covariances.

    For a weight W `[m, n]` with gradient G and its mean M (bias-corrected by 1 - β^t, as L, R and V below):

        L ← β₂ L + (1-β₂) G Gᵀ,   R ← β₂ R + (1-β₂) Gᵀ G,   M ← β₁ M + (1-β₁) G
        D = (L + eps·tr(L)/m·I)^(-1/p) M (R + eps·tr(R)/n·I)^(-1/p)
        W ← (1 - lr·weight_decay) W - lr · D · ‖graft‖_F/‖D‖_F

    The roots are those of `prism_compile.inv_root`. A weight of more than two dimensions is taken as the
    matrix `[shape[0], product of the rest]`; one larger than `max_preconditioner_dim` is cut evenly into
    blocks, each with an L and R of its own. Vectors and scalars take Adam's step, i.e. a diagonal
    preconditioner. Factors of one size, of all weights in a group, are one batch of one solve.

    Args:
        params, lr, weight_decay, compile: as for `Muon`, but of any number of dimensions.
        betas: decay of the gradients' mean, in [0, 1), and of the covariances and squares, in [0, 1]; 1 sums
            them, as the paper does.
        eps: damping > 0, relative to the mean eigenvalue. In float32 no less than about 1e-7 times the
            largest factor's size: below it rounding makes an eigenvalue negative.
        max_preconditioner_dim: largest size of a factor.
        precondition_frequency: the roots are computed anew every so many steps, the first time at
            `start_step`.
        start_step: the number of first steps that are those of the grafted method, while factors gather.
        grafting: whose step length D is given, weight by weight: "none" keeps D's own, "sgd" ‖M‖_F,
            "adam" that of M / (√V + grafting_eps). Before `start_step` the step is M for "none" and "sgd".
        grafting_eps: Adam's ε, for grafting and for vectors.
        p: order of both inverse roots. 4 is the paper's A^(-1/(2·order)) for matrices.
        solver: "prism", or "eigh" for `torch.linalg.eigh`, which on a GPU waits for the device.
        steps: steps of `inv_root`; None is what `steps_for` names for tol=1e-2 at the condition 1/eps (p = 4,
            eps = 1e-4: 5), from where on `tools/train --only Shampoo` ends at the loss of eigh's roots.
        process_group: as for `Muon`; each process solves a share of the roots, which an all-gather spreads.
        shard_state: with a process_group, each process also keeps the state of its share of the blocks alone
            and finds their directions, which are gathered in every step.

    Parameters that FSDP2 shards (DTensor) have the state of each block at one process, to which the pieces of
    its gradient travel and from which those of its direction return. Matrices that are cut in other ways
    (tensor parallel; a convolution that is not cut by its first dimension) are gathered by every process.

    `state_dict` has what this process keeps, each block under a name of its own ("left.3"): it is saved and
    loaded, by any number of processes, through `torch.distributed.checkpoint`. All state is in float32, for
    float64 parameters in float64, also when it is loaded into a model of another dtype or device.

    A compiled train step of the caller's takes `step` into its graph as it does `Muon`'s: three graphs, for
    the first step and for those with and without new roots.

    Raises as `Muon` does, and ValueError for a state that lacks blocks.

    `step` reads nothing back from the device and does not branch on data. Parameters without a gradient are
    skipped, their step counts included. Zero gradients give a zero step. A NaN or infinity in a gradient
    enters that parameter's means and factors and stays, as with Adam: guard the step where gradients may
    overflow. Squares of gradients below 1e-19 vanish in float32; the root of a factor that vanished is the
    identity.

    Cost per step: two products of m·m·n and two of m·n·n; every `precondition_frequency` steps the two
    inverse roots, for p = 4 each 5·steps - 4 products of m·m·m and n·n·n.

    Source: Gupta, Koren and Singer, arXiv 1802.09568; grafting and blocks: Anil et al., arXiv 2002.09018; Shi
    et al., arXiv 2309.06497.

    Example:
        >>> import torch
        >>> from prism_compile.optim import Shampoo
        >>> model = torch.nn.Linear(8, 4)
        >>> optimizer = Shampoo(model.parameters(), lr=1e-2, compile=False)
        >>> model(torch.ones(1, 8)).square().sum().backward()
        >>> optimizer.step()
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-4,
        weight_decay: float = 0.0,
        *,
        max_preconditioner_dim: int = 1024,
        precondition_frequency: int = 1,
        start_step: int = 0,
        grafting: str = "adam",
        grafting_eps: float = 1e-8,
        p: int = 4,
        solver: str = "prism",
        steps: int | None = None,
        compile: bool | dict[str, Any] = True,
        process_group: Any = None,
        shard_state: bool = False,
    ):
        # The count is that of steps, which sets when roots are due; a checkpoint has it.
        defaults = {**check.group_defaults(locals()), "count": 0}
        if check.flag("shard_state", shard_state) and process_group is None:
            raise ValueError("shard_state must be False where process_group is None, got True")
        self._shares_replicas = self._shard_state = shard_state
        super().__init__(params, defaults, compile, process_group)

    _keeps_shares = True
    # Of copies and of what is unpickled, which have no process_group.
    _shares_replicas = _shard_state = False

    _saved_options = ("betas", "precondition_frequency", "count")
    _checks: ClassVar = {
        **{"lr": check.rate, "betas": check.betas, "weight_decay": check.amount},
        **dict.fromkeys(("eps", "grafting_eps"), partial(check.amount, above_zero=True)),
        **dict.fromkeys(("max_preconditioner_dim", "precondition_frequency", "p"), check.integer(1)),
        **{"start_step": check.integer(0), "steps": check.optional(check.integer(1))},
        **{"grafting": check.choice("none", "sgd", "adam"), "solver": check.choice(*SOLVERS)},
    }

    @cached_property
    def _inverse_roots(self) -> Callable[..., Tensor]:
        """The solver of a batch; its graphs are neither copied nor pickled."""
        if self._compile_options is None:
            return inverse_roots
        # One graph per shape and option set; Dynamo's limit of 8 would stop at the ninth.
        return compiled_apart(inverse_roots, {"recompile_limit": 256, **self._compile_options})

    def _cut(self, group: Group, param: Tensor) -> BlockCut | None:
        if param.ndim < 2:
            return None
        return BlockCut(tuple(param.shape), group["max_preconditioner_dim"], group["precondition_frequency"])

    def _step(self, stepping: Stepping) -> None:
        due = [group for group, active in stepping if active and self._is_due(group, active)]
        vectors: list[tuple[Tensor, BlockStep]] = []
        requests: list[Request] = []
        for group, active in stepping:
            for weight in active:
                step = WeightStep(group, self.state[weight], weight)
                if weight.ndim < 2:
                    vectors.append((weight, BlockStep(step, None, aligned_gradient(weight))))
                else:
                    share = self._shares[weight]
                    apply = partial(apply_update, group, weight, share.layout, 1.0)
                    gradient = working_part(aligned_gradient(weight), share.layout)
                    requests.append(Request(share, apply, step, gradient))
        rounds = rounds_of((r, r.end.dtype, accumulation_dtype(r.end.dtype)) for r in requests)
        blocks = [_collected(own) for own in rounds]
        self._refresh_roots(due)
        for weight, block in vectors:
            apply_update(block.weight.group, weight, Layout(), 1.0, block.plain())
        for i in range(len(rounds)):
            for numbers in rounds[i].portions():
                rounds[i].distribute(numbers, _updates(rounds[i], numbers, blocks[i]))
        for group, active in stepping:
            group["count"] += bool(active)

    def _is_due(self, group: Group, active: list[Tensor]) -> bool:
        """Whether roots are computed anew; a weight that joins late has none yet."""
        is_new = not all(self.state[weight] for weight in active)
        since_start = group["count"] - group["start_step"]
        return since_start >= 0 and (is_new or since_start % group["precondition_frequency"] == 0)

    def _refresh_roots(self, groups: list[Group]) -> None:
        states = [(group, self.state[w]) for group in groups for w in group["params"] if w in self.state]
        if states:
            # A caller's graph takes the solve in.
            solve = inverse_roots if torch.compiler.is_compiling() else self._inverse_roots
            # With `shard_state` a process has the factors that it solves for.
            refresh_roots(solve, states, None if self._shard_state else self._process_group)

    def _restore(self, group: Group, param: Tensor, saved: dict[str, Any]) -> None:
        owned = []
        if param.ndim > 1 and param.numel():
            share = self._shares[param]
            owned = [block.number for block in share.plan.route([share.number]).owned]
        self.state[param] = restored(saved, param, owned)


def _collected(own: Round) -> dict[Block, BlockStep]:
    """The steps of the blocks that this process owns, their gradients having been brought to it."""
    steps: dict[Block, BlockStep] = {}
    for block, whole in own.collect():
        request = own.requests[block.parameter]
        gradient = own.piece(block, request.end) if whole is None else whole
        steps[block] = BlockStep(request.details, block.number, gradient)
    return steps


def _updates(own: Round, numbers: list[int], steps: dict[Block, BlockStep]) -> dict[Block, Tensor]:
    """The updates of some weights' blocks that are owned here, grafted weight by weight.

    A grafted update has the norm of the plain one; one of zeros stays as it is.
    """
    updates: dict[Block, Tensor] = {}
    norms: dict[Block, Tensor] = {}
    weights: dict[int, list[Block]] = {}
    for block in own.plan.route(numbers).blocks:
        if block in steps:
            updates[block], found = steps[block].update()
            if found is not None:
                norms[block] = found
        if own.requests[block.parameter].details.is_grafted:
            weights.setdefault(block.parameter, []).append(block)
    # A block's owner knows its norms; those of a weight of several are put together, the others' as zeros.
    several = [block for blocks in weights.values() if len(blocks) > 1 for block in blocks]
    if several and not own.plan.is_alone:
        none = own.returns.new_zeros(2)
        together = sum_over(torch.stack([norms.get(block, none) for block in several]), *own.plan.groups)
        norms.update(zip(several, together.unbind()))
    for blocks in weights.values():
        if here := [block for block in blocks if block in updates]:
            each = [norms[block] for block in blocks]
            total = torch.linalg.vector_norm(torch.stack(each), dim=0) if len(each) > 1 else each[0]
            factor = total[1] / nonzero(total[0])
            updates.update((block, updates[block] * factor) for block in here)
    return updates
