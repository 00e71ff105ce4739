"""Profiling a run, and telling the phases apart in its Chrome trace.

Eager operators lie inside the ranges `prism::<phase>`. A compiled graph has no ranges: its kernels run in
the order in which Inductor wrote them, and Inductor tells from which nodes it made each; the nodes carry
the labels. From these, ranges are added to the trace.
"""

import json
import logging
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch._inductor import compile_fx, metrics
from torch._inductor.custom_graph_pass import CustomGraphPass
from torch.profiler import ProfilerActivity, profile

from prism_compile._iteration.labels import PHASES

OTHER = "other"
OUTSIDE = "outside the kernels"
_PRODUCTS = ("mm", "bmm", "addmm", "baddbmm")


@dataclass(frozen=True)
class Label:
    """The phases that a piece of work belongs to, several if Inductor fused them, and its step."""

    phases: tuple[str, ...] = ()
    step: int | None = None

    def __str__(self) -> str:
        return " + ".join(self.phases) or OTHER


@dataclass
class Piece:
    """Time that belongs to one label; `product`: spent in a matrix product."""

    name: str
    label: Label
    microseconds: float
    product: bool


@dataclass
class Slice:
    """A complete event of a trace, and those directly inside it."""

    event: dict
    children: list["Slice"] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.event["name"]

    @property
    def own_time(self) -> float:
        return self.event["dur"] - sum(child.event["dur"] for child in self.children)


def merge_labels(labels: Iterable[Label]) -> Label:
    """One label for a kernel: its latest step; nodes of earlier steps are only computed again in it."""
    labels = list(labels)
    step = max((label.step for label in labels if label.step is not None), default=None)
    found = {phase for label in labels if label.step in (step, None) for phase in label.phases}
    return Label(tuple(phase for phase in PHASES if phase in found), step)


def record(run: Callable[[], object], repeats: int) -> dict:
    """The Chrome trace of the run with the median duration, after three to warm up."""
    for _ in range(3):
        run()
    traces = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        for _ in range(repeats):
            with profile(activities=[ProfilerActivity.CPU]) as profiler:
                run()
            profiler.export_chrome_trace(str(path))
            traces.append(json.loads(path.read_text()))
    traces.sort(key=lambda trace: sum(root.event["dur"] for root in roots(trace)))
    return traces[len(traces) // 2]


def roots(trace: dict) -> list[Slice]:
    """The outermost operators and ranges of the thread that ran the function, with what lies inside."""
    kinds = ("cpu_op", "user_annotation")
    events = [e for e in trace["traceEvents"] if e.get("ph") == "X" and e.get("cat") in kinds]
    found: list[Slice] = []
    open_slices: list[Slice] = []
    for event in sorted(events, key=lambda e: (e["ts"], -e["dur"])):
        while open_slices and event["ts"] >= open_slices[-1].event["ts"] + open_slices[-1].event["dur"]:
            open_slices.pop()
        piece = Slice(event)
        (open_slices[-1].children if open_slices else found).append(piece)
        open_slices.append(piece)
    return [root for root in found if not root.name.startswith("PyTorch Profiler")]


def _is_product(name: str) -> bool:
    return re.split(r"::|\.", name)[-1] in _PRODUCTS


def eager_pieces(trace: dict) -> list[Piece]:
    """The time of an eager run, each operator's put down to the innermost phase around it."""
    pieces = []

    def visit(piece: Slice, label: Label, product: bool) -> None:
        name = piece.name.removeprefix("prism::")
        if name in PHASES:
            label = Label((name,), label.step)
        elif piece.name.startswith("prism::step "):
            label = Label(label.phases, int(name.removeprefix("step ")))
        product = product or _is_product(piece.name)
        pieces.append(Piece(piece.name, label, piece.own_time, product))
        for child in piece.children:
            visit(child, label, product)

    for root in roots(trace):
        visit(root, Label(), False)
    return pieces


@dataclass
class Kernel:
    """One call in the compiled code, in the order of execution."""

    name: str
    label: Label

    def runs_as(self, name: str) -> bool:
        """Is this its name in a profile? Products appear as the operator, C++ kernels by their own name."""
        if self.name.startswith("cpp_"):
            return name.endswith(self.name)
        return name.rsplit("::", 1)[-1] == self.name.removesuffix(".default").rsplit(".", 1)[-1]


def _node_label(node: torch.fx.Node) -> Label:
    custom = node.meta.get("custom") or {}
    phase = custom.get("prism_phase")
    return Label((phase,) if phase else (), custom.get("prism_step"))


class _NodeLabels(CustomGraphPass):
    """Inductor's last pass over the graph: notes the label of each node by name."""

    def __init__(self) -> None:
        self.labels: dict[str, Label] = {}

    def __call__(self, graph: torch.fx.Graph) -> None:
        self.labels.update((node.name, _node_label(node)) for node in graph.nodes)

    def uuid(self) -> None:
        # Without an id the graph bypasses the compile cache, and the pass is sure to run.
        return None


@dataclass
class Compiled:
    """A compiled call, its kernels in order, and the bytes that those of each step read and write."""

    run: Callable[[], object]
    kernels: list[Kernel]
    bytes_by_step: dict[int | None, int]


@contextmanager
def _counting_bytes() -> Iterator[None]:
    """Inductor counts bytes only where it may log them; and it announces every trace folder."""
    log, announcer = compile_fx.inductor_metrics_log, logging.getLogger("torch._inductor.debug")
    saved = log.level, log.propagate, log.handlers, announcer.level
    metrics.reset()
    log.setLevel(logging.INFO)
    announcer.setLevel(logging.ERROR)
    log.propagate, log.handlers = False, [logging.NullHandler()]
    try:
        yield
    finally:
        log.setLevel(saved[0])
        announcer.setLevel(saved[3])
        log.propagate, log.handlers = saved[1:3]


def compile_labelled(function: Callable, *arguments, **options) -> Compiled:
    """Compile a call so that a profile names its kernels, and label the kernels."""
    notes = _NodeLabels()
    with tempfile.TemporaryDirectory() as folder, _counting_bytes():
        settings = {
            "cpp.enable_kernel_profile": True,
            "post_grad_custom_post_pass": notes,
            "trace.enabled": True,
            "trace.debug_dir": folder,
            "trace.provenance_tracking_level": 1,
        }
        compiled = torch.compile(function, fullgraph=True, options=settings)
        compiled(*arguments, **options)
        (path,) = Path(folder).rglob("inductor_provenance_tracking_node_mappings.json")
        sources = json.loads(path.read_text())["cppCodeToPost"]
    kernels = []
    for name, nodes in sorted(sources.items(), key=lambda item: int(item[0].rsplit(":", 1)[1])):
        label = merge_labels(notes.labels.get(node, Label()) for node in nodes)
        kernels.append(Kernel(name.rsplit(":", 1)[0], label))
    return Compiled(lambda: compiled(*arguments, **options), kernels, _bytes_by_step())


def _bytes_by_step() -> dict[int | None, int]:
    """What Inductor counted for the last compiled graph."""
    counted: dict[int | None, int] = {}
    for group, words in metrics.nodes_num_elem:
        origins = [origin for node in group.get_nodes() if node.node for origin in node.node.origins]
        step = merge_labels(map(_node_label, origins)).step
        counted[step] = counted.get(step, 0) + 4 * words
    return counted


def compiled_pieces(trace: dict, kernels: list[Kernel]) -> list[Piece]:
    """The time of a compiled run by kernel; ranges for the phases are added to the trace."""
    pieces, ranges = [], []
    waiting = list(kernels)

    def visit(piece: Slice) -> None:
        if waiting and waiting[0].runs_as(piece.name):
            label = waiting.pop(0).label
            pieces.append(Piece(piece.name, label, piece.event["dur"], _is_product(piece.name)))
            _extend(ranges, piece.event, label)
            return
        pieces.append(Piece(piece.name, Label((OUTSIDE,)), piece.own_time, False))
        for child in piece.children:
            visit(child)

    for root in roots(trace):
        visit(root)
    if waiting:
        raise RuntimeError(f"{len(waiting)} kernels are not in the profile, the first is {waiting[0].name}")
    trace["traceEvents"] += [event for event, _ in ranges]
    return pieces


def _extend(ranges: list[tuple[dict, Label]], event: dict, label: Label) -> None:
    """Add a kernel to the last range if that has its label, else begin a new one."""
    if ranges and ranges[-1][1] == label:
        last = ranges[-1][0]
        last["dur"] = event["ts"] + event["dur"] - last["ts"]
        return
    step = "" if label.step is None else f"step {label.step} "
    shared = {key: event[key] for key in ("ph", "cat", "pid", "tid", "ts", "dur")}
    ranges.append(({**shared, "name": f"prism::{step}{label}", "args": {"step": label.step}}, label))
