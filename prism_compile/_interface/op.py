"""`torch.ops.prism.*`: one decorator makes a function an operator too.

The ops are CompositeImplicitAutograd: an export keeps each as one node, while Inductor and AOTInductor
compile through its body, every derivative is that of the body, and nothing needs a fake kernel.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast, get_args

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from .._torch import is_transformed, key_compile_cache
from .distributed import by_process
from .numbers import plain_call
from .options import RuleLike, check_table
from .results import History, PolarFactors, SqrtPair

# The registrations last as long as this object does.
LIBRARY = torch.library.Library("prism", "DEF")
NAMES: list[str] = []

_TYPES: dict[object, str] = {Tensor: "Tensor", bool: "bool", int: "int", float: "float", str: "str"}
_TYPES |= {int | None: "int?", float | None: "float?", str | None: "str?", RuleLike: "str?"}
Function = TypeVar("Function", bound=Callable[..., Any])


def _schema_argument(parameter: inspect.Parameter) -> str:
    default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
    # A rule that is a table goes by another argument, for a schema has no unions.
    table = ", float[]? table=None" if parameter.annotation == RuleLike else ""
    return f"{_TYPES[parameter.annotation]} {parameter.name}{default}{table}"


def schema_of(function: Callable[..., Any]) -> tuple[str, type[Any]]:
    """The op's schema from a function's signature, without `history`, and the type of its result."""
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.name != "history"]
    keyword_only = [p.kind is p.KEYWORD_ONLY for p in parameters].index(True)
    words = [_schema_argument(p) for p in parameters]
    words.insert(keyword_only, "*")
    # Tensor | tuple[Tensor, History]: the second is with a history, which the op does not have.
    result = get_args(signature.return_annotation)[0]
    returns = "Tensor" if result is Tensor else f"({', '.join(f'Tensor {name}' for name in result._fields)})"
    return f"{function.__name__}({', '.join(words)}) -> {returns}", result


def _with_table(options: dict[str, Any], default: str | None) -> dict[str, Any]:
    """An op's options as the function's: the numbers of `table` are the rows of a rule."""
    table = options.pop("table", None)
    if table is None:
        return options
    if options.get("rule", default) != default:
        raise ValueError(f"rule must be left out where table is given, got {options['rule']!r}")
    if len(table) % 3:
        raise ValueError(f"table must hold rows of three numbers, end to end, got {len(table)} numbers")
    return {**options, "rule": [table[k : k + 3] for k in range(0, len(table), 3)]}


def _for_op(options: dict[str, Any]) -> dict[str, Any]:
    """A function's options as its op's: the rows of a rule are the numbers of `table`."""
    if isinstance(options.get("rule"), (str, type(None))):
        return options
    rest = {name: value for name, value in options.items() if name != "rule"}
    return {**rest, "table": [number for row in check_table(options["rule"]) for number in row]}


def _vmap_rule(name: str, result: type[Any]) -> Callable[..., Any]:
    """The ops are batched: a mapped dimension is one more leading dimension."""

    def rule(info: Any, in_dims: tuple[int, ...], A: Tensor, *arguments: Any, **options: Any) -> Any:
        mapped = getattr(torch.ops.prism, name)(A.movedim(in_dims[0], 0), *arguments, **options)
        return mapped, 0 if result is Tensor else (0,) * len(result._fields)

    return rule


def _implementation(function: Function, symbolic: Callable[..., Any] | None) -> Callable[..., Any]:
    """The function behind its front, which would only call the op again."""
    name = function.__name__
    rule = inspect.signature(function).parameters.get("rule")
    default = None if rule is None else rule.default

    @wraps(function)
    def run(A: Tensor, *arguments: Any, **options: Any) -> Any:
        key_compile_cache()
        options = _with_table(options, default)
        # Inside an op torch.func finds no kernel for a custom autograd function.
        if options.get("gradient") == "dual" and is_transformed():
            raise RuntimeError(
                f"torch.ops.prism.{name} with gradient='dual' has no torch.func transforms: "
                f"call prism_compile.{name}, or gradient='unrolled'"
            )
        if symbolic is not None and any(isinstance(size, torch.SymInt) for size in A.shape[-2:]):
            options = symbolic(A, options)
        return function(A, *arguments, **options)

    return run


def exported_as_op(symbolic: Callable[..., Any] | None = None) -> Callable[[Function], Function]:
    """Register a function of a matrix A as the op of its name, and have `torch.export` record calls as that.

    Everything else, `torch.compile` included, runs the function itself: traced through, its real body is
    part of the compile cache's key. A history is no output of the op, so such a call is inlined.

    symbolic: what to make of the options where the op is traced for matrices of symbolic size,
        `(A, options) -> options`.
    """

    def decorate(function: Function) -> Function:
        function = by_process(function)
        name = function.__name__
        schema, result_type = schema_of(function)
        LIBRARY.define(schema)
        LIBRARY.impl(name, _implementation(function, symbolic), "CompositeImplicitAutograd")
        torch.library.register_vmap(f"prism::{name}", _vmap_rule(name, result_type), lib=LIBRARY)
        NAMES.append(name)

        @wraps(function)
        def front(*arguments: Any, **options: Any) -> Any:
            arguments, options = plain_call(arguments, options)
            if torch.compiler.is_exporting() and not options.get("history", False):
                options.pop("history", None)
                result = getattr(torch.ops.prism, name)(*arguments, **_for_op(options))
                return result if result_type is Tensor else result_type(*result)
            return function(*arguments, **options)

        return cast(Function, front)

    return decorate


# Let exported programs that return the named tuples be saved.
for _result in (History, PolarFactors, SqrtPair):
    pytree._register_namedtuple(_result, serialized_type_name=f"prism_compile.{_result.__name__}")


def keep_ops(*names: str) -> dict[torch._ops.OperatorBase, Callable[..., Any]]:
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
    for name in names:
        if name not in NAMES:
            raise ValueError(f"names must be among {', '.join(map(repr, NAMES))}, got {name!r}")
    table = torch.export.default_decompositions()
    for name in names or NAMES:
        table.pop(getattr(torch.ops.prism, name).default, None)
    return table
