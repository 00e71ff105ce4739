"""What is compared: the matrices, and the methods on each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

import prism_compile

from ..common import peers
from ..common.matrices import definite, gaussian, log_spaced, with_singular_values
from ..common.oracles import eigh_power, eigh_sqrt_pair, orthogonality_error, relative_error, svd_polar
from ..common.tables import shape_of

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


def fewest_steps(
    function: Callable, A: Tensor, quality: Callable[[object], float], target: float, **options
) -> int | None:
    """Fewest steps whose result is within the target, run eagerly."""
    for steps in range(max(1, options.get("newton_steps", 0)), _MOST_STEPS + 1):
        if quality(function(A, steps=steps, **options)) <= target:
            return steps
    return None


def _half_peers(A: Tensor) -> list[Method]:
    """Those that compute in bfloat16, or why they are not to be had."""
    batched = A.dim() > 2
    note = "2-D only" if batched else ""
    muon = Method("torch.optim.Muon", None if batched else peers.torch_muon, {"steps": 5}, note=note)
    package = peers.installed_gram_newton_schulz() if A.is_cuda else None
    note = "" if package else "not installed" if A.is_cuda else "CUDA only"
    return [muon, Method("gram-newton-schulz", package, compile=False, counted=False, note=note)]


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
        chosen += _half_peers(A)
    chosen.append(Method("linalg.svd", svd_polar, compile=False, counted=False))
    return tuple(chosen)


_SQUARES = tuple((n, n) for n in (128, 256, 512, 1024, 2048))
_RECTANGLES = ((4096, 512), (512, 4096))
_BATCHES = ((64, 64, 64), (16, 256, 1024))
_SWEEP = (3, 4, 5, 6, 8)


def _polar_problem(A: Tensor, spectrum: str, panel: bool, sweep: tuple[int, ...], extent: str) -> Problem:
    # At every shape the rules that are fitted and the best fixed one; all of them where there is a panel.
    few = ("adaptive", "prism", "polar_express")
    rules = RULES if extent == "full" or (panel and extent != "quick") else few
    methods = polar_methods(A, rules, sweep if panel else (5,), A.dtype == torch.bfloat16)
    return Problem("polar", shape_of(A.shape), spectrum, A, orthogonality_error, methods, panel)


def polar_problems(device: torch.device, extent: str) -> list[Callable[[], Problem]]:
    """The polar factors; extent: "quick", "default" or "full". Matrices are made when it is their turn."""
    f32, bf16 = torch.float32, torch.bfloat16
    everything = [(shape, dtype) for dtype in (f32, bf16) for shape in (*_SQUARES, *_RECTANGLES, *_BATCHES)]
    panels, sweep = {((1024, 1024), f32)}, _SWEEP
    if extent == "quick":
        chosen, panels, sweep = [((128, 128), f32)], {((128, 128), f32)}, (3, 5)
    elif extent == "default":
        halves = ((512, 512), (1024, 1024), (512, 4096))
        chosen = [(s, d) for s, d in everything if (s in halves if d == bf16 else s != (512, 4096))]
    else:
        chosen, sweep = everything, tuple(range(3, 9))
        panels |= {((512, 512), f32), ((512, 512), bf16)}

    def gaussian_problem(shape: tuple[int, ...], dtype: torch.dtype) -> Problem:
        A = gaussian(shape, dtype).to(device)
        return _polar_problem(A, "Gaussian", (shape, dtype) in panels, sweep, extent)

    def long_tailed_problem() -> Problem:
        A = with_singular_values(log_spaced(512, 1e3)).to(device, f32)
        return _polar_problem(A, "log to 1e-3", True, sweep, extent)

    makers = [partial(gaussian_problem, *case) for case in chosen]
    if extent != "quick":
        makers.insert(3, long_tailed_problem)
    return makers


@dataclass(frozen=True)
class _Root:
    """What is asked of a root: of which matrices, how exactly, and by which rules."""

    name: str
    function: Callable[..., object]
    decomposed: Callable[[Tensor], object]
    n: int
    batch: tuple[int, ...]
    target: float
    newton: int | None = None
    rules: tuple[str, ...] = ("adaptive", "prism", "taylor")
    bound: dict = field(default_factory=dict)

    def problem(self, device: torch.device) -> Problem:
        """Each rule at the fewest steps within the target, at condition 1e4."""
        A = definite(self.n, 1e4, self.batch).to(device, torch.float32)
        quality = partial(relative_error, exact=self.decomposed(A.cpu().double()))
        methods = []
        for rule, degree in (*((rule, 2) for rule in self.rules), ("taylor", 1)):
            options = {**self.bound, "rule": rule, "degree": degree}
            steps = fewest_steps(self.function, A, quality, self.target, **options)
            label = rule if degree == 2 else f"{rule}, cubic"
            note = "" if steps else f"misses {self.target:.0e}"
            function = self.function if steps else None
            methods.append(Method(label, function, {**options, "steps": steps}, note=note))
        methods.append(Method("linalg.eigh", self.decomposed, compile=False, counted=False))
        if self.newton:
            each = partial(peers.coupled_newton_each, p=self.newton)
            methods.append(Method("coupled Newton to 1e-6", each, compile=False))
        spectrum = f"1e4, to {self.target:.0e}"
        return Problem(self.name, shape_of(A.shape), spectrum, A, quality, tuple(methods))


def root_problems(device: torch.device, extent: str) -> list[Callable[[], Problem]]:
    """Square roots and inverse roots."""
    pair = (prism_compile.sqrtm_pair, eigh_sqrt_pair)
    root = ("inv_root, p=4", prism_compile.inv_root, partial(eigh_power, exponent=-0.25))
    whiten = (prism_compile.inv_sqrtm, partial(eigh_power, exponent=-0.5))
    four = ("adaptive", "prism", "taylor", "polar_express")
    if extent == "quick":
        roots = [_Root(*root, 64, (4,), 1e-3, newton=4, rules=four[:2], bound={"p": 4})]
    else:
        roots = [
            _Root("sqrtm_pair", *pair, 512, (), 1e-4, rules=four),
            _Root(*root, 128, (32,), 1e-3, newton=4, bound={"p": 4}),
            _Root("inv_sqrtm", *whiten, 256, (), 1e-3, newton=2, rules=four),
        ]
    return [partial(one.problem, device) for one in roots]
