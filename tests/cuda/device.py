"""What a call does to the device: its operations, its waits, and whether a CUDA graph may hold it."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

# A stand-in for a driver that counts and computes nothing, where there is one.
STAND_IN = "NULLGPU" in os.environ

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
needs_values = pytest.mark.skipif(STAND_IN, reason="the stand-in computes nothing")


def operations(call: Callable[[], Any]) -> int:
    """Kernels, copies and fills that a call gives the device; the second call of two."""
    call()
    torch.cuda.synchronize()
    if STAND_IN:
        from null import events, work

        return work(events(call)[1])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        torch.cuda.synchronize()
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events())


@contextmanager
def without_waits() -> Iterator[None]:
    """An error where torch waits for the device or copies from it."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def captured(call: Callable[[], Any]) -> Any:
    """A call's result by the replay of a CUDA graph, which may hold no wait and no copy from the host."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        # What is made once, and compiled, is not part of a warm call.
        call()
        with without_waits():
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()
    graph.replay()
    torch.cuda.synchronize()
    return result
