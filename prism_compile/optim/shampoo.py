"""Shampoo, its inverse roots by PRISM."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from .._interface.numbers import check_integer
from .._interface.options import check_name
from .._iteration.precision import accumulation_dtype
from ._layout import Layout, aligned, local, shard_of, working_part
from ._optimizer import MatrixOptimizer, Stepping, gradient_of
from ._options import check_amount, check_flag, check_pair, check_rate, group_defaults
from ._plan import Block
from ._preconditioner import (
    BlockCut,
    BlockStep,
    Group,
    WeightStep,
    has_started,
    restored,
    updates_of,
    weight_step,
)
from ._roots import SOLVERS, compiled_inverse_roots, inverse_roots, refresh_roots
from ._round import Direction, Request, Round, Shares, rounds_of

_GRAFTS = ("none", "sgd", "adam")


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
        params: parameters, or groups of them with options of their own; float64, float32, bfloat16, float16.
        lr: learning rate, a number or a tensor of one element.
        betas: decay of the gradients' mean, in [0, 1), and of the covariances and squares, in [0, 1]; 1 sums
            them, as the paper does.
        eps: damping > 0, relative to the mean eigenvalue. In float32 no less than about 1e-7 times the
            largest factor's size: below it rounding makes an eigenvalue negative.
        weight_decay: decoupled weight decay.
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
        compile: True, False for eager solves, or keyword arguments of `torch.compile`; one graph for each
            size and number of factors.
        process_group: a group whose processes hold the same parameters (DDP; for hybrid sharding that of the
            mesh dimension that replicates), as a ProcessGroup or a DeviceMesh of one dimension. Each solves a
            share of the roots, and an all-gather brings them together. None: each solves them all. Its
            processes must have gradients for the same parameters.
        shard_state: with a process_group, each process also keeps the state of its share of the blocks alone
            and finds their directions, which are gathered in every step.

    Parameters that FSDP2 shards (DTensor) have the state of each block at one process, to which the pieces of
    its gradient travel and from which those of its direction return. Matrices that are cut in other ways
    (tensor parallel; a convolution that is not cut by its first dimension) are gathered by every process.

    `state_dict` has what this process keeps, each block under a name of its own ("left.3"): it is saved and
    loaded, by any number of processes, through `torch.distributed.checkpoint`.

    A compiled train step of the caller's takes `step` into its graph, where the optimizer is an argument or a
    closure's variable (of a global Dynamo makes constants) and no other process takes part: three graphs, for
    the first step and for those with and without new roots.

    Raises:
        TypeError, ValueError: naming the argument, what it was and what is allowed; also for parameters that
            are complex or flattened by FullyShardedDataParallel, and for a state that lacks blocks.
        RuntimeError: from `step`, for a sparse gradient.

    `step` reads nothing back from the device and does not branch on data. Parameters without a gradient are
    skipped, their step counts included. Zero gradients give a zero step. A NaN or infinity in a gradient
    enters that parameter's means and factors and stays, as with Adam: guard the step where gradients may
    overflow. Squares of gradients below 1e-19 vanish in float32; the root of a factor that vanished is the
    identity.
    All state is kept in float32 for half-precision and float32 parameters, in float64 for float64 ones, also
    when it is loaded into a model of another dtype or device.

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
        defaults = {**group_defaults(locals()), "count": 0}
        if check_flag("shard_state", shard_state) and process_group is None:
            raise ValueError("shard_state must be False where process_group is None, got True")
        self._shard_state = shard_state
        super().__init__(params, defaults, compile, process_group)

    # Of copies and of what is unpickled, which have no process_group.
    _shard_state = False

    _saved_options = ("betas", "precondition_frequency", "count")

    def _new_shares(self) -> Shares:
        return Shares(keeps=True, shares_replicas=self._shard_state)

    @cached_property
    def _inverse_roots(self) -> Callable[..., Tensor]:
        """The solver of a batch; its graphs are neither copied nor pickled."""
        options = self._compile_options
        return inverse_roots if options is None else compiled_inverse_roots(options)

    def _check_group(self, group: Group) -> None:
        group["lr"] = check_rate(group["lr"])
        betas = check_pair("betas", group["betas"])
        group["betas"] = tuple(check_amount(f"betas[{i}]", beta) for i, beta in enumerate(betas))
        for i, (beta, allowed) in enumerate(zip(group["betas"], ("[0, 1)", "[0, 1]"))):
            if beta > 1 or (beta == 1 and i == 0):
                raise ValueError(f"betas[{i}] must be in {allowed}, got {beta}")
        for name in ("eps", "grafting_eps"):
            group[name] = check_amount(name, group[name], above=True)
        group["weight_decay"] = check_amount("weight_decay", group["weight_decay"])
        for name in ("max_preconditioner_dim", "precondition_frequency", "p"):
            group[name] = check_integer(name, group[name], 1)
        group["start_step"] = check_integer("start_step", group["start_step"], 0)
        if group["steps"] is not None:
            group["steps"] = check_integer("steps", group["steps"], 1)
        check_name("grafting", group["grafting"], _GRAFTS)
        check_name("solver", group["solver"], SOLVERS)

    def _layout(self, group: Group, param: Tensor) -> Layout:
        layout = super()._layout(group, param)
        if param.ndim > 2 and layout.dim:
            # Such a shard is no part of the matrix that has a row and column for each of a block's.
            return layout.whole()
        return layout

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
                step = weight_step(group, self.state[weight], weight)
                if weight.ndim < 2:
                    vectors.append((weight, BlockStep(step, None, aligned(gradient_of(weight), weight))))
                else:
                    requests.append(self._request(step, weight))
        dtypes = [request.direction.end.dtype for request in requests]
        rounds = rounds_of((r, dtype, accumulation_dtype(dtype)) for r, dtype in zip(requests, dtypes))
        blocks = [self._collected(own) for own in rounds]
        self._refresh_roots(due)
        for weight, block in vectors:
            _apply(block.weight.group, weight, block.plain())
        for i in range(len(rounds)):
            for numbers in rounds[i].portions():
                rounds[i].distribute(numbers, updates_of(rounds[i], numbers, blocks[i]))
        for group, active in stepping:
            group["count"] += bool(active)

    def _is_due(self, group: Group, active: list[Tensor]) -> bool:
        """Whether roots are computed anew; a weight that joins late has none yet."""
        is_new = not all(self.state[weight] for weight in active)
        since_start = group["count"] - group["start_step"]
        return has_started(group) and (is_new or since_start % group["precondition_frequency"] == 0)

    def _request(self, step: WeightStep, weight: Tensor) -> Request:
        """The gradient of a weight, and how its update is applied."""
        share = self._shares[weight]
        gradient = working_part(aligned(gradient_of(weight), weight), share.layout)

        def apply(update: Tensor) -> None:
            _apply(step.group, weight, shard_of(update.reshape(gradient.shape), weight, share.layout))

        return Request(share, Direction(gradient), apply, step)

    def _collected(self, own: Round) -> dict[Block, BlockStep]:
        """The steps of the blocks that this process owns, their gradients having been brought to it."""
        steps: dict[Block, BlockStep] = {}
        for block, whole in own.collect():
            request = own.requests[block.parameter]
            gradient = own.piece(block, request.direction.end) if whole is None else whole
            steps[block] = BlockStep(request.details, block.number, gradient)
        return steps

    def _refresh_roots(self, groups: list[Group]) -> None:
        states = [(group, self.state[w]) for group in groups for w in group["params"] if w in self.state]
        if states:
            # A caller's graph takes the solve in.
            solve = inverse_roots if torch.compiler.is_compiling() else self._inverse_roots
            # With `shard_state` a process has the factors that it solves for.
            refresh_roots(solve, states, None if self._shard_state else self._process_group)

    def _owned(self, weight: Tensor) -> list[int]:
        """The numbers of a weight's blocks that are this process's."""
        if weight.ndim < 2 or not weight.numel():
            return []
        share = self._shares[weight]
        return [block.number for block in share.exchange.route([share.number]).owned]

    def _restore(self, group: Group, param: Tensor, saved: dict[str, Any]) -> None:
        self.state[param] = restored(saved, param, self._owned(param))


def _apply(group: Group, weight: Tensor, update: Tensor) -> None:
    """Take the step of this process's part of a weight."""
    lr, target = group["lr"], local(weight)
    target.mul_(1 - lr * group["weight_decay"])
    target.sub_((lr * update).to(target.dtype))
