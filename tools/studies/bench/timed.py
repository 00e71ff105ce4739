"""Figures of time: the functions against their products, their peers and decompositions."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import prism_compile

from ..common import peers
from ..common.matrices import definite, gaussian
from ..common.oracles import eigh_power, eigh_sqrt_pair, orthogonality_error, relative_error
from ..common.tables import shape_of
from .figure import Bench, Figure, compared, floor_of
from .floor import Product, product_floor
from .problems import fewest_steps


def over_products(bench: Bench, shape: tuple[int, ...], dtype: torch.dtype) -> Figure:
    """Five quintic steps over the same products."""
    A = gaussian(shape, dtype).to(bench.device)
    call = bench.compile(prism_compile.polar, steps=5)
    runs = {"polar": partial(call, A), "products": floor_of(prism_compile.polar, A, steps=5)}
    name = f"polar 5 steps, {shape_of(shape)} {str(dtype).split('.')[1]} / its products alone"
    return compared(name, bench.time(runs), "polar", "products")


def over_direct_form(bench: Bench) -> Figure:
    """A tall matrix against the products of the iteration that is written on X itself."""
    A, steps = gaussian((4096, 512), torch.float32).to(bench.device), 5
    tall, wide, square = (1, 4096, 512), (1, 512, 4096), (1, 512, 512)
    direct = (
        Product(wide, tall, (True, False), True),
        Product(square, square, (False, False), True),
        Product(tall, square, (False, False), False),
    )
    call = bench.compile(prism_compile.polar, steps=steps)
    runs = {"polar": partial(call, A), "direct": product_floor(direct * steps, A)}
    what = "polar 5 steps, 4096x512 float32 / the direct form's products alone: 5 (XᵀX, R², XW)"
    return compared(what, bench.time(runs), "polar", "direct")


def to_orthogonality(bench: Bench, target: float = 0.1) -> Figure:
    """Equal quality: each at its fewest steps."""
    A = gaussian((1024, 1024), torch.float32).to(bench.device)
    direct = partial(peers.newton_schulz, table="Polar Express")
    ours = fewest_steps(prism_compile.polar, A, orthogonality_error, target)
    theirs = fewest_steps(direct, A, orthogonality_error, target)
    what = f"polar to rms(1-σ) ≤ {target}, Gaussian 1024x1024 float32 / Polar Express compiled"
    if ours is None or theirs is None:
        return Figure(what, "not reached", {"steps": ours, "peer_steps": theirs})
    what = f"{what} ({ours} steps / {theirs})"
    runs = {
        "polar": partial(bench.compile(prism_compile.polar, steps=ours), A),
        "peer": partial(bench.compile(peers.newton_schulz, table="Polar Express", steps=theirs), A),
    }
    return compared(what, bench.time(runs), "polar", "peer", steps=ours, peer_steps=theirs)


def _root(bench: Bench, what: str, function: Callable, exact: Callable, A: Tensor, target: float, **bound):
    """A root at its fewest steps against eigh, and against its own products."""
    quality = partial(relative_error, exact=exact(A.cpu().double()))
    steps = fewest_steps(function, A, quality, target, **bound)
    if steps is None:
        return [Figure(f"{what} / eigh", "not reached")]
    runs = {
        "root": partial(bench.compile(function, steps=steps, **bound), A),
        "eigh": partial(exact, A),
        "products": floor_of(function, A, steps=steps, **bound),
    }
    times = bench.time(runs)
    error, eigh_error = quality(runs["root"]()), quality(exact(A))
    what = f"{what}, {steps} steps"
    errors = f"(errors {error:.0e}, {eigh_error:.0e})"
    against = {"steps": steps, "error": error, "eigh_error": eigh_error}
    return [
        compared(f"{what} / linalg.eigh {errors}", times, "root", "eigh", **against),
        compared(f"{what} / its products alone", times, "root", "products"),
    ]


def square_root(bench: Bench) -> list[Figure]:
    """Both square roots of one matrix."""
    A = definite(512, 1e4).to(bench.device, torch.float32)
    what = "sqrtm_pair to 1e-4, condition 1e4, 512x512 float32"
    return _root(bench, what, prism_compile.sqrtm_pair, eigh_sqrt_pair, A, 1e-4)


def inverse_root(bench: Bench) -> list[Figure]:
    """Shampoo's inverse fourth roots of a batch."""
    A = definite(128, 1e4, (32,)).to(bench.device, torch.float32)
    what = "inv_root p=4 to 1e-3, condition 1e4, 32x128x128 float32"
    exact = partial(eigh_power, exponent=-0.25)
    return _root(bench, what, prism_compile.inv_root, exact, A, 1e-3, p=4)


def eager_over_compiled(bench: Bench, n: int) -> Figure:
    """What the graph is worth."""
    A = gaussian((n, n), torch.float32).to(bench.device)
    call = bench.compile(prism_compile.polar, steps=5)
    runs = {"eager": partial(prism_compile.polar, A, steps=5), "compiled": partial(call, A)}
    return compared(f"polar 5 steps, {n}x{n} float32, eager / compiled", bench.time(runs), *runs)
