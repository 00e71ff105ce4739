"""Where a profiled run's time goes: by the library's phases, and by kernel."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from ..common.results import format_table

_PREFIX = "prism::"
_STEP = re.compile(r"step \d+$")
OTHER = "other"


@dataclass
class Share:
    """Milliseconds, those of them in matrix products, and calls."""

    ms: float = 0.0
    in_products: float = 0.0
    calls: int = 0

    def add(self, ms: float, in_products: float, calls: int = 1) -> None:
        self.ms, self.in_products = self.ms + ms, self.in_products + in_products
        self.calls += calls


def record(run: Callable[[], object], device: torch.device, path: Path | None = None) -> list[FunctionEvent]:
    """The events of a run, after three to warm up; its Chrome trace is written to `path`."""
    for _ in range(3):
        run()
    cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as profiler:
        run()
        if cuda:
            torch.cuda.synchronize()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(path))
    return list(profiler.events())


def is_product(name: str) -> bool:
    """By an operator's name, or a library's kernel's."""
    return re.search(r"\b(add|badd)?b?mm\b|gemm|cublas|cutlass|xmma", name) is not None


def _own_ms(event: FunctionEvent, cuda: bool) -> float:
    return (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e3


def _phase(event: FunctionEvent | None) -> str:
    """The innermost range of a phase around an event."""
    while event is not None:
        name = event.name.removeprefix(_PREFIX)
        # A function and a step are ranges, too; their own time is no phase's.
        if name != event.name and (event.cpu_parent is not None and not _STEP.match(name)):
            return name
        event = event.cpu_parent
    return OTHER


def by_phase(events: list[FunctionEvent], cuda: bool) -> dict[str, Share]:
    """An eager run's time; on CUDA that of the kernels which an operator launched."""
    found: dict[str, Share] = {}
    for event in events:
        if event.device_type == DeviceType.CPU:
            inside, product, ms = event, False, _own_ms(event, cuda)
            while inside is not None and not product:
                product, inside = is_product(inside.name), inside.cpu_parent
            found.setdefault(_phase(event), Share()).add(ms, ms * product)
    return found


def by_kernel(events: list[FunctionEvent], cuda: bool) -> dict[str, Share]:
    """A compiled run's time by operator or kernel, the longest first."""
    found: dict[str, Share] = {}
    for event in events:
        if cuda and (event.device_type != DeviceType.CUDA or event.is_user_annotation):
            continue
        ms = event.device_time_total / 1e3 if cuda else _own_ms(event, cuda)
        found.setdefault(event.name, Share()).add(ms, ms * is_product(event.name))
    return dict(sorted(found.items(), key=lambda item: -item[1].ms))


def share_table(title: str, shares: dict[str, Share], most: int = 12) -> str:
    """Those of the largest, and all."""
    everything = Share()
    for share in shares.values():
        everything.add(share.ms, share.in_products, share.calls)
    rows = [
        (name[:60], str(s.calls), f"{s.ms:.3f}", f"{s.ms / (everything.ms or 1):.1%}", f"{s.in_products:.3f}")
        for name, s in [*list(shares.items())[:most], ("all", everything)]
    ]
    return format_table(("", "calls", "ms", "share", "in products"), rows, title, total=True)
