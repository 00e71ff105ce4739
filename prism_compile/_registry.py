"""`torch.ops.prism.*`: the functions as operators, one row each.

The ops are CompositeImplicitAutograd: an export keeps each as one node, while Inductor and AOTInductor
compile through its body, every derivative is that of the body, and nothing needs a fake kernel.
"""

import hashlib
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from . import _inverse, _polar, _roots, _sign
from ._results import History, PolarFactors, SqrtPair

_COUNTS = "int steps=10, int degree=2"
_RULE = "str rule='prism', str? scaling=None"
_RUN = "int sketch_size=8, int seed=0, str gradient='unrolled'"
_OPTIONS = f"{_COUNTS}, {_RULE}, {_RUN}"
_POLAR_OPTIONS = f"{_COUNTS}, str? rule=None, str? scaling=None, str form='auto', {_RUN}"
_FACTOR_OPTIONS = f"{_COUNTS}, {_RULE}, str form='direct', {_RUN}"


class Row(NamedTuple):
    """One op: the function it runs, its schema's arguments and returns."""

    function: Callable
    arguments: str
    returns: str = "Tensor"
    square: bool = True
    options: str = _OPTIONS


ROWS = (
    Row(_polar.polar, "Tensor A, *", square=False, options=_POLAR_OPTIONS),
    Row(_polar.polar_factors, "Tensor A, *", "(Tensor U, Tensor H)", square=False, options=_FACTOR_OPTIONS),
    Row(_sign.signm, "Tensor A, *"),
    Row(_roots.sqrtm, "Tensor A, *, float eps=0.0"),
    Row(_roots.inv_sqrtm, "Tensor A, *, float eps=0.0"),
    Row(_roots.sqrtm_pair, "Tensor A, *, float eps=0.0", "(Tensor sqrt, Tensor inv_sqrt)"),
    Row(_roots.inv_root, "Tensor A, int p, *, float eps=0.0"),
    Row(_inverse.inv, "Tensor A, *"),
)

# The registrations last as long as this object does.
LIBRARY = torch.library.Library("prism", "DEF")


def _vmap_rule(op: Callable, outputs: int) -> Callable:
    """The ops are batched: a mapped dimension is one more leading dimension."""

    def rule(info, in_dims, A: Tensor, *arguments, **options):
        result = op(A.movedim(in_dims[0], 0), *arguments, **options)
        return result, (0 if outputs == 1 else (0,) * outputs)

    return rule


def _pin_orientation(A: Tensor) -> None:
    """Assert at run time that a rectangle is as wide or tall as the one that was traced.

    The polar iteration works on the smaller side, which a graph of symbolic sizes has fixed; torch.compile
    guards it, but AOTInductor drops the guards of its inputs and would iterate on the wrong side.
    """
    m, n = A.shape[-2:]
    if isinstance(m, torch.SymInt) or isinstance(n, torch.SymInt):
        wide = m < n
        margin = torch.scalar_tensor(n - m if wide else m - n, dtype=torch.int64)
        traced, lowest = ("m < n", 1) if wide else ("m ≥ n", 0)
        torch._assert_async(margin >= lowest, f"A: this graph is for matrices [..., m, n] with {traced}")


def _implementation(row: Row) -> Callable:
    """The function behind its front, which would only call the op again."""
    body, name = row.function.__wrapped__, row.function.__name__

    @wraps(body)
    def run(*arguments, **options):
        # Inside an op torch.func finds no kernel for a custom autograd function.
        if options.get("gradient") == "dual" and torch._C._are_functorch_transforms_active():
            raise RuntimeError(
                f"torch.ops.prism.{name} with gradient='dual' has no torch.func transforms: "
                f"call prism_compile.{name}, or gradient='unrolled'"
            )
        if not row.square:
            _pin_orientation(arguments[0])
        return body(*arguments, **options)

    return run


def _register(row: Row) -> None:
    name = row.function.__name__
    LIBRARY.define(f"{name}({row.arguments}, {row.options}) -> {row.returns}")
    LIBRARY.impl(name, _implementation(row), "CompositeImplicitAutograd")
    op = getattr(torch.ops.prism, name)
    torch.library.register_vmap(f"prism::{name}", _vmap_rule(op, row.returns.count("Tensor")), lib=LIBRARY)


def _source_digest() -> str:
    """A hash of this package's source."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _key_compile_cache() -> None:
    """Make the source part of the compile cache's key.

    A compiled graph that calls an op holds only its name, so that Inductor's cache on disk would serve
    code of an older body after an upgrade.
    """
    tag = torch.compiler.config.cache_key_tag
    torch.compiler.config.cache_key_tag = f"{tag} prism_compile={_source_digest()}".strip()


def _register_results() -> None:
    """Let exported programs that return the named tuples be saved."""
    for result in (History, PolarFactors, SqrtPair):
        pytree._register_namedtuple(result, serialized_type_name=f"prism_compile.{result.__name__}")


for _row in ROWS:
    _register(_row)
_register_results()
_key_compile_cache()


def keep_ops(*names: str) -> dict:
    """A decomposition table that keeps `prism` ops whole: for `ExportedProgram.run_decompositions`.

    Args:
        names: the ops to keep, all by default.

    Returns:
        torch's default export decompositions without those ops.

    Raises:
        ValueError: a name is no op of this library.

    Example:
        >>> import torch, prism_compile
        >>> class Whiten(torch.nn.Module):
        ...     def forward(self, A):
        ...         return prism_compile.inv_sqrtm(A)
        >>> program = torch.export.export(Whiten(), (torch.eye(3),))
        >>> kept = program.run_decompositions(prism_compile.keep_ops("inv_sqrtm"))
        >>> [str(n.target) for n in kept.graph.nodes if n.op == "call_function"]
        ['prism.inv_sqrtm.default']
    """
    known = tuple(row.function.__name__ for row in ROWS)
    for name in names:
        if name not in known:
            raise ValueError(f"names must be among {', '.join(map(repr, known))}, got {name!r}")
    table = torch.export.default_decompositions()
    for name in names or known:
        table.pop(getattr(torch.ops.prism, name).default, None)
    return table
