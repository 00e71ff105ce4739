"""What the optimizers of this package have in common: param groups, closures, copies and refusals."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from .checks import check_compile, check_parameter
from .layout import Layout, check_process_group, layout_of

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class MatrixOptimizer(Optimizer):
    """An optimizer whose matrices are solved in batches by graphs of its own.

    A subclass has `_check_group`, which refuses a param group and makes its numbers Python's, `_share_out`
    and `_step`.
    """

    def __init__(
        self, params: ParamsT, defaults: dict[str, Any], compile: bool | dict[str, Any], process_group: Any
    ):
        self._process_group: ProcessGroup | None = check_process_group(process_group)
        self._set_compile(compile)
        super().__init__(params, defaults)

    def _set_compile(self, compile: bool | dict[str, Any]) -> None:
        """Begin anew with graphs: they are neither copied nor pickled."""
        self._layouts: dict[Tensor, Layout] = {}
        # Whether other processes take part; of the layouts themselves a trace would make guards.
        self._is_shared = False
        self._compile_options = check_compile(compile)
        self._compile = compile

    def _check_group(self, group: dict[str, Any]) -> None:
        raise NotImplementedError

    def _share_out(self) -> None:
        """Give the work of all param groups to processes, those that were known before as they were."""
        raise NotImplementedError

    def _step(self) -> None:
        raise NotImplementedError

    def _layout(self, param: Tensor) -> Layout:
        """How a parameter lies over processes, which does not change."""
        if param not in self._layouts:
            self._layouts[param] = layout_of(param, self._process_group)
            self._is_shared |= self._layouts[param] != Layout()
        return self._layouts[param]

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
            self._set_compile(state["_compile"])
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
                check_parameter(param)
                self._layout(param)
            self._check_group(group)
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise
        self._share_out()

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
            self._step()
        return loss

    # Which gradients are there decides on the collectives.
    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch's
    def _step_apart(self) -> None:
        self._step()

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
