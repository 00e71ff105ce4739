"""What is compared: the matrices, the methods on each, and how far a result is from the exact one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

import prism_compile

from ..common import peers
from ..common.timing import (
    Budget,
    Clock,
    Spread,
    compiled,
    counted_products,
    product_floor,
    ratio,
    recorded_products,
    time_in_turns,
)
from ..demo.measure import orthogonality_error

RULES = ("adaptive", "prism", "taylor", "polar_express", "jordan", "you")
_MOST_STEPS = 30


@dataclass(frozen=True)
class Method:
    """One way to compute a function.

    compile: whether as a graph; counted: whether its matrix products are its work, as a decomposition's
    are not; function: None where the method is not to be had, for the reason in `note`.
    """

    name: str
    function: Callable[..., object] | None
    options: dict = field(default_factory=dict)
    compile: bool = True
    counted: bool = True
    note: str = ""

    @property
    def steps(self) -> int | None:
        return self.options.get("steps")

    def eager(self, A: Tensor) -> object:
        """One call without a graph."""
        return self.function(A, **self.options)


@dataclass(frozen=True)
class Problem:
    """A matrix, what is asked of it and the measure of a result."""

    function: str
    name: str
    spectrum: str
    A: Tensor
    quality: Callable[[object], float]
    methods: tuple[Method, ...]
    panel: bool = False


@dataclass(frozen=True)
class Row:
    """One method on one problem; times in milliseconds, `over_products` the ratio to the floor."""

    function: str
    matrix: str
    dtype: str
    spectrum: str
    method: str
    steps: int | None
    products: float | None = None
    quality: float | None = None
    ms: Spread | None = None
    over_products: Spread | None = None
    note: str = ""


def relative_error(result: object, exact: object) -> float:
    """‖result - exact‖_F/‖exact‖_F in float64; the worst of a batch and of a pair."""
    if not isinstance(exact, Tensor):
        return max(relative_error(a, b) for a, b in zip(result, exact))
    gap = torch.linalg.matrix_norm(result.cpu().double() - exact) / torch.linalg.matrix_norm(exact)
    return gap.max().item()


def gaussian(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Independent standard normal entries."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)


def _orthogonal(n: int, generator: torch.Generator, batch: tuple[int, ...] = ()) -> Tensor:
    return torch.linalg.qr(torch.randn(*batch, n, n, dtype=torch.float64, generator=generator))[0]


def long_tailed(n: int, least: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Singular values log-spaced from 1 to `least`."""
    generator = torch.Generator().manual_seed(0)
    values = least ** torch.linspace(0, 1, n, dtype=torch.float64)
    A = (_orthogonal(n, generator) * values) @ _orthogonal(n, generator)
    return A.to(device, dtype)


def definite(
    n: int,
    condition: float,
    batch: tuple[int, ...],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Symmetric, eigenvalues log-spaced from 1 to 1/condition."""
    values = condition ** -torch.linspace(0, 1, n, dtype=torch.float64)
    Q = _orthogonal(n, torch.Generator().manual_seed(0), batch)
    A = (Q * values) @ Q.mT
    return ((A + A.mT) / 2).to(device, dtype)


def fewest_steps(
    function: Callable, A: Tensor, quality: Callable[[object], float], target: float, **options
) -> int | None:
    """Fewest steps whose result is within the target, run eagerly."""
    for steps in range(max(1, options.get("newton_steps", 0)), _MOST_STEPS + 1):
        if quality(function(A, steps=steps, **options)) <= target:
            return steps
    return None


def _shape(A: Tensor) -> str:
    return "x".join(map(str, A.shape))


def polar_methods(A: Tensor, rules: tuple[str, ...], counts: tuple[int, ...], half: bool) -> tuple:
    """The library's rules, the peers, and the decomposition; `counts` are the step counts of a sweep."""
    polar, direct = prism_compile.polar, peers.newton_schulz
    swept = {"adaptive", "prism", "taylor", "Polar Express"}
    chosen = []
    for rule in rules:
        for steps in counts if rule in swept else (5,):
            chosen.append(Method(rule, polar, {"rule": rule, "steps": steps}))
    for table in peers.TABLES:
        for steps in counts if table in swept else (5,):
            chosen.append(Method(f"peer {table}", direct, {"table": table, "steps": steps}))
    if A.shape[-1] != A.shape[-2]:
        options = {"table": "Polar Express", "steps": 5}
        chosen.append(Method("peer Polar Express, Gram form", peers.gram_newton_schulz, options))
    if half:
        batched = A.dim() > 2
        note = "2-D only" if batched else ""
        muon = None if batched else peers.torch_muon
        chosen.append(Method("torch.optim.Muon", muon, {"steps": 5}, note=note))
        package = peers.installed_gram_newton_schulz() if A.is_cuda else None
        note = "" if package else "not installed" if A.is_cuda else "CUDA only"
        chosen.append(Method("gram-newton-schulz", package, compile=False, counted=False, note=note))
    chosen.append(Method("linalg.svd", peers.svd_polar, compile=False, counted=False))
    return tuple(chosen)


_SQUARES = tuple((n, n) for n in (128, 256, 512, 1024, 2048))
_RECTANGLES = ((4096, 512), (512, 4096))
_BATCHES = ((64, 64, 64), (16, 256, 1024))
_SWEEP = (3, 4, 5, 6, 8)


def polar_problems(device: torch.device, extent: str) -> list[Callable[[], Problem]]:
    """The polar factors; extent: "quick", "default" or "full". Matrices are made when it is their turn."""
    f32, bf16 = torch.float32, torch.bfloat16
    everything = [(shape, dtype) for dtype in (f32, bf16) for shape in (*_SQUARES, *_RECTANGLES, *_BATCHES)]
    panels = {((1024, 1024), f32)}
    if extent == "quick":
        chosen, panels, sweep = [((128, 128), f32)], {((128, 128), f32)}, (3, 5)
    elif extent == "default":
        halves = ((512, 512), (1024, 1024), (512, 4096))
        chosen = [(s, d) for s, d in everything if (s in halves if d == bf16 else s != (512, 4096))]
        sweep = _SWEEP
    else:
        chosen, sweep = everything, tuple(range(3, 9))
        panels |= {((512, 512), f32), ((512, 512), bf16)}

    def problem(A: Tensor, spectrum: str, panel: bool) -> Problem:
        # At every shape the rules that are fitted and the best fixed one; all of them where there is a panel.
        few = ("adaptive", "prism", "polar_express")
        rules = RULES if extent == "full" or (panel and extent != "quick") else few
        counts = sweep if panel else (5,)
        methods = polar_methods(A, rules, counts, A.dtype == bf16)
        return Problem("polar", _shape(A), spectrum, A, orthogonality_error, methods, panel)

    makers = [
        (lambda s=s, d=d: problem(gaussian(s, d, device), "Gaussian", (s, d) in panels)) for s, d in chosen
    ]
    if extent != "quick":
        makers.insert(3, lambda: problem(long_tailed(512, 1e-3, f32, device), "log to 1e-3", True))
    return makers


def root_problems(device: torch.device, extent: str) -> list[Callable[[], Problem]]:
    """Square roots and inverse roots at condition 1e4, each rule at the fewest steps within the target."""
    power = peers.eigh_power
    pair = (prism_compile.sqrtm_pair, peers.eigh_sqrt_pair)
    root = (prism_compile.inv_root, partial(power, exponent=-0.25))
    whiten = (prism_compile.inv_sqrtm, partial(power, exponent=-0.5))

    def problem(
        name, functions, n, batch, target, newton=None, rules=("adaptive", "prism", "taylor"), **bound
    ) -> Problem:
        function, decomposed = functions
        A = definite(n, 1e4, batch, device)
        exact = decomposed(A.cpu().double())
        quality = partial(relative_error, exact=exact)
        methods = []
        for rule, degree in (*((rule, 2) for rule in rules), ("taylor", 1)):
            options = {**bound, "rule": rule, "degree": degree}
            steps = fewest_steps(function, A, quality, target, **options)
            label = rule if degree == 2 else f"{rule}, cubic"
            note = "" if steps else f"misses {target:.0e}"
            methods.append(Method(label, function if steps else None, {**options, "steps": steps}, note=note))
        methods.append(Method("linalg.eigh", decomposed, compile=False, counted=False))
        if newton:
            each = partial(peers.coupled_newton_each, p=newton)
            methods.append(Method("coupled Newton to 1e-6", each, compile=False))
        return Problem(name, _shape(A), f"1e4, to {target:.0e}", A, quality, tuple(methods))

    four = ("adaptive", "prism", "taylor", "polar_express")
    if extent == "quick":
        fitted = ("adaptive", "prism")
        return [lambda: problem("inv_root, p=4", root, 64, (4,), 1e-3, newton=4, rules=fitted, p=4)]
    return [
        lambda: problem("sqrtm_pair", pair, 512, (), 1e-4, rules=four),
        lambda: problem("inv_root, p=4", root, 128, (32,), 1e-3, newton=4, p=4),
        lambda: problem("inv_sqrtm", whiten, 256, (), 1e-3, newton=2, rules=four),
    ]


def _kept(result: object) -> object:
    """Copies that a further run of a CUDA graph cannot overwrite."""
    return result.clone() if isinstance(result, Tensor) else tuple(part.clone() for part in result)


def compare(problem: Problem, modes: tuple[str, ...], clock: Clock, budget: Budget) -> list[Row]:
    """Compile, check and time the methods of a problem and, once for each list of products, the products."""
    A = problem.A
    runs, rows, keys = {}, {}, {}
    for method in problem.methods:
        for mode in modes if method.compile else ("default",):
            label = method.name if mode == "default" else f"{method.name} [{mode}]"
            given = (problem.function, problem.name, str(A.dtype).split(".")[1], problem.spectrum, label)
            key = (label, method.steps)
            rows[key] = {"fixed": (*given, method.steps), "note": method.note}
            if method.function is None:
                continue
            call = compiled(method.function, mode, **method.options) if method.compile else method.eager
            rows[key]["quality"] = problem.quality(_kept(call(A)))
            runs[key] = partial(call, A)
            if method.counted:
                rows[key]["products"] = counted_products(partial(method.eager, A), A)
                keys[key] = recorded_products(partial(method.eager, A), A)
                runs.setdefault(keys[key], product_floor(keys[key], A))
    times = time_in_turns(runs, clock, budget)
    result = []
    for key, columns in rows.items():
        fixed = columns.pop("fixed")
        if key in runs:
            columns["ms"] = Spread.of([1e3 * t for t in times[key]])
        if key in keys:
            columns["over_products"] = ratio(times, key, keys[key])
        result.append(Row(*fixed, **columns))
    # The next problem's graphs are not to be held beside this one's.
    torch._dynamo.reset()
    return result
