"""Tables that are made once a process: within a capture, on two streams, on two devices."""

import pytest
import torch

from prism_compile._torch import kept_tensor

from .device import STAND_IN, needs_cuda, without_waits

pytestmark = needs_cuda


@kept_tensor
def squares(count: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.arange(count, dtype=dtype, device=device) ** 2


def table(A: torch.Tensor, count: int) -> torch.Tensor:
    return squares(A, count, A.dtype, A.device)


def test_a_capture_keeps_nothing_and_is_right():
    A, graph = torch.ones(5, device="cuda"), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        within = table(A, 5)
    first = table(A, 5)
    assert first is not within
    graph.replay()
    assert STAND_IN or within.tolist() == [0, 1, 4, 9, 16]
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        assert table(A, 5) is first
        torch.ones(1, device="cuda")


def test_it_is_finished_when_kept():
    """The second of two streams waits for nothing, and need not."""
    A = torch.ones(7, device="cuda")
    streams = torch.cuda.Stream(), torch.cuda.Stream()
    with torch.cuda.stream(streams[0]):
        first = table(A, 7)
        assert streams[0].query()
    with torch.cuda.stream(streams[1]), without_waits():
        assert table(A, 7) is first


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one device")
def test_each_device_has_its_own():
    found = [table(torch.ones(8, device=f"cuda:{k}"), 8) for k in (0, 1)]
    assert [one.device.index for one in found] == [0, 1]
