"""Write the types of what the package exports, `__init__.pyi`, from the signatures of the functions.

What a function returns depends on `history`, which takes three overloads of one signature to say. They are
made here, so that each signature is written once, in the source, and lost in no decorator.
"""

import argparse
import ast
import builtins
import sys
from collections.abc import Iterator

from ..common.processes import ROOT

PACKAGE = ROOT / "prism_compile"
FILE = PACKAGE / "__init__.pyi"
_WIDTH = 110
# What of a package's modules is imported by name: the names of each, by the module's name as it is written.
Imports = dict[str, set[str]]


def _written(node: ast.ImportFrom) -> str:
    return "." * node.level + (node.module or "")


def _imports(tree: ast.Module) -> dict[str, str]:
    """The module, as written, of each name that a module imports by `from … import`."""
    return {
        alias.asname or alias.name: _written(node)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _tree_of(module: str) -> ast.Module:
    """The source of a module of the package, `._polar` say."""
    path = PACKAGE.joinpath(*module[1:].split("."))
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())


def _text(node: ast.expr) -> str:
    """An expression as ruff formats it."""
    text = ast.unparse(node)
    return text if '"' in text else text.replace("'", '"')


def _default(value: ast.expr) -> str:
    """A default as it is written, where that needs no name of its module."""
    return "..." if any(isinstance(node, ast.Name) for node in ast.walk(value)) else _text(value)


def _parameters(arguments: ast.arguments) -> Iterator[tuple[str, str, str | None]]:
    """Name, type and default of each parameter; "*" goes before those by keyword only."""
    if arguments.posonlyargs or arguments.vararg or arguments.kwarg:
        raise ValueError(f"the parameters must be ordinary or by keyword only, got {ast.unparse(arguments)}")
    missing = len(arguments.args) - len(arguments.defaults)
    defaults = [*[None] * missing, *arguments.defaults, *arguments.kw_defaults]
    for i, (argument, default) in enumerate(zip([*arguments.args, *arguments.kwonlyargs], defaults)):
        if i == len(arguments.args):
            yield "*", "", None
        if argument.annotation is None:
            raise ValueError(f"every parameter must have a type, {argument.arg} has none")
        yield argument.arg, _text(argument.annotation), None if default is None else _default(default)


def _declaration(function: ast.FunctionDef, returns: ast.expr, history: tuple[str, str | None]) -> str:
    """The signature with another type and default of `history`, one parameter a line."""
    lines = [f"def {function.name}("]
    for name, annotation, default in _parameters(function.args):
        if name == "history":
            annotation, default = history
        words = f"{name}: {annotation}" if annotation else name
        lines.append(f"    {words}{'' if default is None else f' = {default}'},")
    return "\n".join([*lines, f") -> {_text(returns)}: ..."])


def _overloads(function: ast.FunctionDef) -> str:
    """Without a history, with one, and with a bool that is known at run time only."""
    both = function.returns
    if not (isinstance(both, ast.BinOp) and isinstance(both.op, ast.BitOr)):
        raise ValueError(f"{function.name} must return R | tuple[R, History]")
    cases = (
        (both.left, "Literal[False]", "False"),
        (both.right, "Literal[True]", None),
        (both, "bool", None),
    )
    return "".join(
        f"@overload\n{_declaration(function, returns, (annotation, default))}\n"
        for returns, annotation, default in cases
    )


def _names(function: ast.FunctionDef) -> set[str]:
    """The names in a signature's types."""
    types = [function.returns, *(a.annotation for a in ast.walk(function.args) if isinstance(a, ast.arg))]
    return {node.id for t in types if t for node in ast.walk(t) if isinstance(node, ast.Name)}


def _has_history(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and any(a.arg == "history" for a in node.args.kwonlyargs)


def _import_block(imports: Imports) -> str:
    """The imports as ruff sorts them: the standard library, others, this package."""
    groups: list[list[str]] = [[], [], []]
    for module, names in sorted(imports.items()):
        kind = 2 if module.startswith(".") else 0 if module.split(".")[0] in sys.stdlib_module_names else 1
        ordered = sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
        line = f"from {module} import {', '.join(ordered)}\n"
        if len(line) > _WIDTH:
            lines = [f"from {module} import (", *(f"    {name}," for name in ordered), ")\n"]
            line = "\n".join(lines)
        groups[kind].append(line)
    return "\n".join("".join(group) for group in groups if group)


def stub() -> str:
    """The text of the stub."""
    source = _tree_of(".")
    # A stub exports what is in `__all__` or renamed to itself.
    imports: Imports = {"typing": {"Literal", "overload"}, ".": {"optim as optim"}}
    functions = []
    for name, module in _imports(source).items():
        tree = _tree_of(module)
        found = next((node for node in tree.body if _has_history(node) and node.name == name), None)
        if found is None:
            imports.setdefault(module, set()).add(name)
            continue
        functions.append(_overloads(found))
        known = _imports(tree)
        for used in _names(found) - set(dir(builtins)):
            imports.setdefault(known.get(used, module), set()).add(used)
    exported = next(
        node.value
        for node in source.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    names = "".join(f'    "{name}",\n' for name in ast.literal_eval(exported))
    return (
        "# Made by `tools/stub`; do not edit.\n"
        f"{_import_block(imports)}\n"
        f"__version__: str\n__all__ = [\n{names}]\n\n"
        f"{''.join(functions)}"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    check = "write nothing; fail where the file is not what would be written"
    parser.add_argument("--check", action="store_true", help=check)
    if parser.parse_args(arguments).check:
        if FILE.exists() and FILE.read_text() == stub():
            return 0
        print(f"{FILE.relative_to(PACKAGE.parent)} is not what the signatures make it: run tools/stub")
        return 1
    FILE.write_text(stub())
    return 0


if __name__ == "__main__":
    sys.exit(main())
