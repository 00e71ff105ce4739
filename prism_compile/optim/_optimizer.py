"""What the optimizers of this package have in common: param groups, closures, copies and refusals."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from .._iteration.precision import ieee_float32, without_autocast
from ._layout import Layout, check_process_group, layout_of
from ._options import check_compile, check_tensor
from ._round import Cut, Shares

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

# A param group, with those of its parameters that a step concerns.
Stepping = list[tuple[dict[str, Any], list[Tensor]]]


class MatrixOptimizer(Optimizer):
    """An optimizer whose matrices are solved in batches by graphs of its own.

    A subclass has `_check_group`, which refuses a param group and makes its numbers Python's, `_cut`,
    `_new_shares` and `_step`.
    """

    def __init__(
        self, params: ParamsT, defaults: dict[str, Any], compile: bool | dict[str, Any], process_group: Any
    ):
        self._process_group: ProcessGroup | None = check_process_group(process_group)
        self._begin(compile)
        super().__init__(params, defaults)

    def _begin(self, compile: bool | dict[str, Any]) -> None:
        """Begin anew with graphs and shares: they are neither copied nor pickled."""
        self._compile_options = check_compile(compile)
        self._compile = compile
        self._layouts: dict[Tensor, Layout] = {}
        # Whether other processes take part; of the layouts themselves a trace would make guards.
        self._is_shared = False
        self._shares = self._new_shares()

    def _new_shares(self) -> Shares:
        raise NotImplementedError

    def _check_group(self, group: dict[str, Any]) -> None:
        raise NotImplementedError

    def _cut(self, group: dict[str, Any], param: Tensor) -> Cut | None:
        """How a parameter is cut into blocks; None for one that has none."""
        raise NotImplementedError

    def _step(self, stepping: Stepping) -> None:
        raise NotImplementedError

    def _layout(self, param: Tensor) -> Layout:
        """How a parameter lies over processes, which does not change."""
        if param not in self._layouts:
            self._layouts[param] = layout_of(param, self._process_group)
            self._is_shared |= self._layouts[param] != Layout()
        return self._layouts[param]

    def _share_out(self) -> None:
        """Give the blocks of all param groups to processes."""
        wanted: list[tuple[Tensor, Layout, Cut]] = []
        for group in self.param_groups:
            for param in group["params"]:
                cut = self._cut(group, param) if param.numel() else None
                if cut is not None:
                    wanted.append((param, self._layout(param), cut))
        self._shares.share_out(wanted)

    def __getstate__(self) -> dict[str, Any]:
        if self._process_group is not None:
            raise TypeError(
                f"{type(self).__name__} with a process_group can be neither copied nor pickled, for the "
                f"group cannot; save its state_dict"
            )
        return {**super().__getstate__(), "_compile": self._compile}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # `load_state_dict` ends here too, with groups and state alone.
        if "_compile" in state:
            self._process_group = None
            self._begin(state["_compile"])
        self._share_out()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, its options checked; see `torch.optim.Optimizer.add_param_group`."""
        if isinstance(param_group, dict):
            for name in ("compile", "process_group"):
                if name in param_group:
                    raise ValueError(f"{name} must be the optimizer's, got it for a param group of its own")
            # The caller's own dict stays as it is.
            param_group = dict(param_group)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            for param in group["params"]:
                check_tensor(param)
                self._layout(param)
            self._check_group(group)
            self._share_out()
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns the closure's loss, evaluated with gradients, or None.

        Raises RuntimeError for a sparse gradient, before anything is changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._is_shared and torch.compiler.is_compiling():
            self._step_apart()
        else:
            self._step_groups()
        return loss

    # Which gradients are there decides on the collectives.
    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch's
    def _step_apart(self) -> None:
        self._step_groups()

    def _step_groups(self) -> None:
        stepping = [(group, self._with_gradient(group)) for group in self.param_groups]
        # Options may have been changed by hand.
        self._share_out()
        devices = {param.device.type: param for _, active in stepping for param in active}
        self._step_exactly(stepping, list(devices.values()))

    def _step_exactly(self, stepping: Stepping, devices: list[Tensor]) -> None:
        """Step with neither autocast nor TF32 on the device of each of these parameters."""
        if not devices:
            self._step(stepping)
            return
        with without_autocast(devices[0]), ieee_float32(devices[0]):
            self._step_exactly(stepping, devices[1:])

    def _with_gradient(self, group: dict[str, Any]) -> list[Tensor]:
        """The parameters of a group that a step concerns."""
        found = [param for param in group["params"] if param.grad is not None and param.numel() > 0]
        for param in found:
            if param.grad is not None and param.grad.is_sparse:
                raise RuntimeError(
                    f"{type(self).__name__} does not support sparse gradients, got one of shape "
                    f"{tuple(param.shape)}"
                )
        return found


def gradient_of(param: Tensor) -> Tensor:
    """The gradient of a parameter that a step concerns."""
    assert param.grad is not None
    return param.grad
