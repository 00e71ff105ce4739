"""What the optimizers of this package have in common: param groups, closures, copies and refusals."""

from collections.abc import Callable
from operator import is_
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from .._iteration.precision import ieee_float32, without_autocast
from ._options import OF_ALL_GROUPS, Check, check_compile, check_names, check_options, check_tensor, rate
from ._processes import Layout, check_process_group, layout_of, local, shard_of
from ._round import Cut, Shares

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

# A param group, with those of its parameters that a step concerns.
Stepping = list[tuple[dict[str, Any], list[Tensor]]]


class MatrixOptimizer(Optimizer):
    """An optimizer whose matrices are solved in batches by graphs of its own."""

    # The options of param groups, and those by which a saved group is known as one of this optimizer's.
    _checks: ClassVar[dict[str, Check]] = {}
    _saved_options: tuple[str, ...] = ()
    # See `Shares`.
    _keeps_shares = False
    _shares_replicas = True

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
        # Whether other processes take part; a trace would make guards of the layouts themselves.
        self._is_shared = False
        self._begin_shares()
        # What the last step has seen of its groups.
        self._seen: list[Any] = []

    def _begin_shares(self) -> None:
        self._shares = Shares(self._keeps_shares, self._shares_replicas)

    def _check_group(self, group: dict[str, Any]) -> None:
        """Refuse options that are not allowed, and make numbers Python's."""
        check_options(group, self._checks)

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
        for group in state["param_groups"]:
            missing = [name for name in self._saved_options if name not in group]
            if missing:
                own = type(self).__name__
                raise ValueError(f"state_dict must be of {own}, got a param group without {missing}")
        super().__setstate__(state)
        # `load_state_dict` ends here too, with groups and state alone.
        if "_compile" in state:
            self._process_group = None
            self._begin(state["_compile"])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, each tensor to its parameter's device in the precision that it is kept in."""
        final = load_as_torch(self, state_dict)
        # Blocks may be cut in another way now.
        self._begin_shares()
        self._share_out()
        # torch casts state to the parameter's dtype and, where nothing changes, shares it with its source.
        for group, saved in zip(self.param_groups, final["param_groups"]):
            for param, number in zip(group["params"], saved["params"]):
                if number in final["state"]:
                    self._restore(group, param, final["state"][number])

    def _restore(self, group: dict[str, Any], param: Tensor, saved: dict[str, Any]) -> None:
        """Give a parameter its saved state, which torch has cast to the dtype of the parameter."""
        raise NotImplementedError

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, its options checked; see `torch.optim.Optimizer.add_param_group`."""
        if isinstance(param_group, dict):
            # The caller's own dict stays as it is.
            param_group = dict(param_group)
            for name in OF_ALL_GROUPS:
                if name in param_group and hasattr(self, f"_{name}"):
                    given, own = param_group.pop(name), getattr(self, f"_{name}")
                    # Wrappers repeat the arguments of the optimizer in each group.
                    if (check_process_group(given) if name == "process_group" else given) != own:
                        raise ValueError(
                            f"{name} must be the optimizer's, {own!r}, got {given!r} for a group"
                        )
        super().add_param_group(param_group)
        try:
            self._take_up(self.param_groups[-1])
            self._share_out()
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    def _take_up(self, group: dict[str, Any]) -> None:
        """Check a group that is new or was edited by hand."""
        check_names(group, self.defaults)
        for param in group["params"]:
            check_tensor(param)
            self._layout(param)
        self._check_group(group)

    def _watched(self) -> list[Any]:
        """What a step needs to have checked."""
        names = [name for name in self.defaults if name not in ("lr", "count")]
        return [
            each for group in self.param_groups for each in (*group, *map(group.get, names), *group["params"])
        ]

    def _take_up_edits(self) -> None:
        """Check what was edited since the last step: options by schedulers, parameters by wrappers."""
        for group in self.param_groups:
            # Schedulers set the rate in every step.
            group["lr"] = rate("lr", group["lr"])
        watched = self._watched()
        # By identity, for a comparison of tensors would wait for the device.
        if len(watched) != len(self._seen) or not all(map(is_, watched, self._seen)):
            for group in self.param_groups:
                self._take_up(group)
            self._share_out()
            # Parameters that were replaced are let go.
            present = {param for group in self.param_groups for param in group["params"]}
            self._layouts = {param: self._layouts[param] for param in self._layouts.keys() & present}
            self._seen = self._watched()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; returns the loss of a closure. Raises RuntimeError for a sparse gradient."""
        loss = evaluated(closure)
        if self._is_shared and torch.compiler.is_compiling():
            self._step_apart()
        else:
            self._step_groups()
        return loss

    # A trace would be of the collectives for the gradients of one step; others may lack some.
    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch's
    def _step_apart(self) -> None:
        self._step_groups()

    def _step_groups(self) -> None:
        if torch.compiler.is_compiling():
            self._share_out()
        else:
            self._take_up_edits()
        stepping = [(group, self._with_gradient(group)) for group in self.param_groups]
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
                own, shape = type(self).__name__, tuple(param.shape)
                raise RuntimeError(f"{own} does not support sparse gradients, got one of shape {shape}")
        return found


def apply_update(group: dict[str, Any], param: Tensor, layout: Layout, factor: float, update: Tensor) -> None:
    """Step by the rate times a factor along an update of what this process works on."""
    lr, target, update = group["lr"], local(param), shard_of(update, param, layout)
    # Reading a rate from the host waits for nothing; one on a device is not read.
    if isinstance(lr, Tensor) and lr.device.type == "cpu" and not torch.compiler.is_compiling():
        lr = lr.item()
    decay = lr * group["weight_decay"]
    if group.get("cautious"):
        target.sub_(torch.where(update.sign() == target.sign(), target, 0) * decay)
    else:
        target.mul_(1 - decay)
    if isinstance(lr, Tensor) or torch.compiler.is_compiling():
        # An alpha is a number, and a caller's graph would make a guard of its value.
        target.sub_((update * (lr * factor)).to(target.dtype))
    else:
        target.add_(update, alpha=-lr * factor)


def evaluated(closure: Callable[[], Any] | None) -> Any:
    """The closure's loss, evaluated with gradients, or None."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def load_as_torch(optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Load a state as torch does; returns what the hooks of the optimizer have made of it."""
    final: dict[str, Any] = {}
    # The last hook sees what the others have made.
    handle = optimizer.register_load_state_dict_pre_hook(lambda _, state: final.update(state))
    try:
        Optimizer.load_state_dict(optimizer, state_dict)
    finally:
        handle.remove()
    return final
