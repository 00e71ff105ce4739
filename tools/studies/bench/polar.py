"""The polar factor: each rule over its products alone, and its error at the time of the others."""

from collections.abc import Iterator

import torch
from torch import Tensor

from prism_compile import polar

from ..common import peers
from ..common.matrices import gaussian, log_spaced, orthogonality_error, svd_polar, with_singular_values
from ..common.results import format_table, note, shape_of
from ..common.timing import ratio
from .core import CELLS, Bench, Method, compare

_F32, _BF16 = torch.float32, torch.bfloat16
_REFERENCE = "polar_express"
_TIMED = ("adaptive", "minimax", _REFERENCE)
_PRODUCT_CASES = (((1024, 1024), _F32), ((256, 256), _F32), ((64, 64, 64), _F32), ((512, 512), _BF16))
# The last two are Muon's: the matrices of a small transformer, those of equal or transposed shape together.
_SWEEP_CASES = (
    *(((64, 64, 64), _F32), ((256, 256), _F32), ((512, 512), _F32), ((1024, 1024), _F32)),
    *(((2048, 2048), _F32), ((4, 512, 128), _BF16), ((2, 384, 128), _BF16)),
)
_COUNTS = (3, 4, 5, 6, 8)
_NOTES = (
    "error       mean rms(1-σ) of three matrices: Gaussian, log-spaced to 1e-3, rank n/10 with 1 % of noise"
)


def _name(shape: tuple[int, ...], dtype: torch.dtype) -> str:
    return f"{shape_of(shape)} {str(dtype).removeprefix('torch.')}"


def _methods(rules: tuple[str, ...], counts: tuple[int, ...]) -> list[Method]:
    return [Method(rule, polar, {"rule": rule, "steps": steps}) for rule in rules for steps in counts]


def products_table(bench: Bench) -> str:
    """Compiled calls of 5 and 10 steps over the same products."""
    rows = []
    for shape, dtype in _PRODUCT_CASES[1:2] if bench.quick else _PRODUCT_CASES:
        note(f"over products: {_name(shape, dtype)}")
        for steps in (5, 10):
            found = compare(bench, gaussian(shape, dtype).to(bench.device), _methods(_TIMED, (steps,)))
            cells = (f"{ratio(timed.seconds, timed.floor):.2f}" for timed in found)
            rows.append((_name(shape, dtype), str(steps), *cells, f"{found[-1].ms.median:.2f}"))
    header = ("matrix", "steps", *_TIMED, f"ms of {_REFERENCE}")
    return format_table(header, rows, "polar, compiled: time over that of its products alone")


def _low_rank(m: int, n: int) -> Tensor:
    rank = max(min(m, n) // 10, 1)
    signal = gaussian((m, rank), seed=1) @ gaussian((rank, n), seed=2)
    noise = gaussian((m, n), seed=3)
    return signal / torch.linalg.matrix_norm(signal, 2) + 0.01 * noise / torch.linalg.matrix_norm(noise, 2)


def _inputs(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Iterator[Tensor]:
    m, n = shape[-2:]
    tail = with_singular_values(log_spaced(min(m, n), 1e3), rows=max(m, n))
    for A in (gaussian((m, n)), tail if m >= n else tail.mT, _low_rank(m, n)):
        yield A.to(device, dtype)


def _error(method: Method, inputs: list[Tensor]) -> float:
    return sum(orthogonality_error(method.function(A, **method.options)) for A in inputs) / len(inputs)


def _others(A: Tensor) -> list[Method]:
    """What would be used instead."""
    table = {"table": "Polar Express", "steps": 5}
    found = [Method("peer Polar Express", peers.newton_schulz, table)]
    if A.shape[-1] != A.shape[-2]:
        found.append(Method("peer Polar Express, Gram form", peers.gram_newton_schulz, table))
    if A.dtype == _BF16 and A.dim() == 2:
        found.append(Method("torch.optim.Muon", peers.torch_muon, {"steps": 5}))
    return [*found, Method("linalg.svd", svd_polar, compile=False, counted=False)]


def sweep_tables(bench: Bench) -> list[str]:
    """The rules at several numbers of steps, and the peers at five."""
    rows = []
    for shape, dtype in _SWEEP_CASES[1:2] if bench.quick else _SWEEP_CASES:
        name = _name(shape, dtype)
        note(f"time and error: {name}")
        A = gaussian(shape, dtype).to(bench.device)
        methods = _methods((*_TIMED, "prism"), _COUNTS[:2] if bench.quick else _COUNTS) + _others(A)
        inputs = list(_inputs(shape, dtype, bench.device))
        for i, timed in enumerate(compare(bench, A, methods)):
            rows.append(("" if i else name, *timed.cells(), f"{_error(timed.method, inputs):.2e}"))
    return [format_table(("matrix", *CELLS, "error"), rows, "polar: time and error", left=(0, 1)), _NOTES]
