"""Counting the bytes that a process sends and the products that it computes.

Bytes sent, of tensors of s bytes: by an all-to-all what goes to others; by an all-gather of s from each of W
processes (W - 1)·s, as in a ring; by an all-reduce 2·(W - 1)/W·s.
"""

from torch import Tensor
from torch.distributed import ProcessGroup
from torch.utils._python_dispatch import TorchDispatchMode

from ..common.counting import operator_flops


def all_gather_bytes(processes: int, size: int) -> int:
    """Sent by a process that brings `size` bytes, padding included."""
    return (processes - 1) * size


def all_reduce_bytes(processes: int, size: int) -> float:
    return 2 * (processes - 1) / processes * size


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.itemsize


def _sent(name: str, args: tuple) -> float:
    """Of a collective, by its arguments."""
    if name == "alltoall_base_":
        _, given, group, _, counts, *_ = args
        entries = given.numel()
        own = counts[ProcessGroup.unbox(group).rank()] if counts else 0
        return (entries - own) * given.itemsize
    if name == "_allgather_base_":
        received, given, *_ = args
        return all_gather_bytes(received.numel() // max(given.numel(), 1), _size(given))
    if name == "allreduce_":
        tensors, group, *_ = args
        return all_reduce_bytes(ProcessGroup.unbox(group).size(), sum(map(_size, tensors)))
    raise NotImplementedError(f"no rule for the bytes that c10d's {name} sends")


class Counter(TorchDispatchMode):
    """Adds up the bytes sent and the flops of products, of eager operators."""

    def __init__(self):
        super().__init__()
        self.sent = 0.0
        self.flops = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function.namespace == "c10d":
            self.sent += _sent(function._overloadpacket.__name__, args)
        self.flops += operator_flops(function, args, kwargs, result) or 0
        return result
