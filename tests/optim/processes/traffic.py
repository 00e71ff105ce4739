"""What a process sends, as its collectives show it."""

from math import prod

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Traffic(TorchDispatchMode):
    """Counts the bytes that this process gives to each collective, by its name."""

    def __init__(self):
        super().__init__()
        self.sent: dict[str, list[int]] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.namespace == "c10d":
            given = args[1] if isinstance(args[1], torch.Tensor) else args[0][0]
            size = prod(given.shape) * given.element_size()
            self.sent.setdefault(function.overloadpacket.__name__, []).append(size)
        return function(*args, **(kwargs or {}))
