"""The build writes the types of the functions, `__init__.pyi`, from their signatures into the wheel.

What a function returns depends on `history`, which takes three overloads of one signature to say. They are
made here, so that each signature is written once, in the source.
"""

import ast
from copy import deepcopy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PACKAGE = Path(__file__).resolve().parent / "prism_compile"


def _tree_of(module: str) -> ast.Module:
    """The source of a module of the package, by its dotted name."""
    return ast.parse(PACKAGE.joinpath(*module.split(".")).with_suffix(".py").read_text())


def _imports(tree: ast.Module) -> list[ast.ImportFrom]:
    return [node for node in tree.body if isinstance(node, ast.ImportFrom)]


def _overload(function: ast.FunctionDef, returns: ast.expr, kind: str, default: str | None) -> str:
    """The signature with another result, and another type and default of `history`."""
    copy = deepcopy(function)
    history = [a.arg for a in copy.args.kwonlyargs].index("history")
    copy.args.kwonlyargs[history].annotation = ast.Name(kind)
    copy.args.kw_defaults[history] = None if default is None else ast.Name(default)
    copy.decorator_list, copy.returns, copy.body = (
        [ast.Name("overload")],
        returns,
        [ast.Expr(ast.Constant(...))],
    )
    return ast.unparse(ast.fix_missing_locations(copy))


def _overloads(function: ast.FunctionDef) -> str:
    """Without a history, with one, and with a bool that is known at run time only."""
    both = function.returns
    if not (isinstance(both, ast.BinOp) and isinstance(both.op, ast.BitOr)):
        raise ValueError(f"{function.name} must return R | tuple[R, History]")
    cases = (both.left, "Literal[False]", "False"), (both.right, "Literal[True]", None), (both, "bool", None)
    return "\n".join(_overload(function, *case) for case in cases)


def stub() -> str:
    """The text of `__init__.pyi`."""
    source = _tree_of("__init__")
    lines, functions = (
        {"from typing import Literal, overload": None, "from . import optim as optim": None},
        [],
    )
    for node in _imports(source):
        tree = _tree_of(node.module)
        known = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
        for alias in node.names:
            function = known.get(alias.name)
            if function is None or "history" not in [a.arg for a in function.args.kwonlyargs]:
                lines[f"from .{node.module} import {alias.name}"] = None
                continue
            functions.append(_overloads(function))
            names = {n.id for n in ast.walk(function.args) if isinstance(n, ast.Name)}
            names |= {n.id for n in ast.walk(function.returns) if isinstance(n, ast.Name)}
            for used in _imports(tree):
                for name in names & {a.name for a in used.names}:
                    lines[f"from {'.' * used.level}{used.module} import {name}"] = None
    exported = next(node for node in source.body if ast.unparse(node).startswith("__all__"))
    return "\n".join([*lines, "__version__: str", ast.unparse(exported), *functions, ""])


class BuildWithTypes(build_py):
    """The package's modules, and their types."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            Path(self.build_lib, PACKAGE.name, "__init__.pyi").write_text(stub())


setup(cmdclass={"build_py": BuildWithTypes})
