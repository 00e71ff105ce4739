"""The package's own shape: which module may import which, and what importing it costs."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "prism_compile"
# From the ground up; a module may import its own layer and those below it.
FUNCTIONS = ("_polar", "_sign", "_square_root", "_inverse_root", "_inverse")
LAYERS = {
    **{"_torch": 0, "_iteration": 1, "_rules": 2, "_interface": 3},
    **dict.fromkeys(FUNCTIONS, 4),
    # What is made of functions, and what a module gets by importing the package itself.
    **{"_pseudo_inverse_root": 5, "_planning": 5, "__init__": 6, "optim": 7},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def parts(path: Path) -> tuple[str, ...]:
    """The dotted name of a module in the package, `__init__` included."""
    return path.relative_to(PACKAGE).with_suffix("").parts


def exists(name: tuple[str, ...]) -> bool:
    there = PACKAGE.joinpath(*name)
    return there.is_dir() or there.with_suffix(".py").exists()


def imported(path: Path) -> list[tuple[str, ...]]:
    """What a module imports of this package, as dotted names within it; `__init__` for the package itself."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
            found += [name[1:] for name in names if name[0] == PACKAGE.name]
        elif isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                base = (*parts(path)[: -node.level], *module)
            elif module[:1] == (PACKAGE.name,):
                base = module[1:]
            else:
                continue
            for alias in node.names:
                target = (*base, alias.name)
                found.append(target if exists(target) else base)
    return [name or ("__init__",) for name in found]


def test_every_module_has_a_layer():
    assert {parts(path)[0] for path in MODULES} == LAYERS.keys()
    assert all((path.parent / "__init__.py").exists() for path in MODULES)
    # The parser sees what is there.
    assert all(exists(name) for path in MODULES for name in imported(path))
    assert ("_rules",) in imported(PACKAGE / "_interface" / "options.py")
    assert ("_iteration", "labels") in imported(PACKAGE / "_iteration" / "loop.py")
    assert ("__init__",) in imported(PACKAGE / "optim" / "_options.py")


def test_imports_point_down():
    for path in MODULES:
        own, *_ = parts(path)
        for name in imported(path):
            assert LAYERS[name[0]] <= LAYERS[own], f"{'.'.join(parts(path))} imports {'.'.join(name)}"
            if own in FUNCTIONS:
                assert name[0] not in FUNCTIONS, "a function is a file that needs no other"


def test_no_module_imports_itself_by_way_of_others():
    graph = {}
    for path in MODULES:
        name = parts(path)
        graph[name[:-1] if name[-1] == "__init__" and len(name) > 1 else name] = imported(path)
    # An error where there is a cycle.
    assert set(TopologicalSorter(graph).static_order()) == graph.keys()


def test_the_import_leaves_torch_as_it_was():
    """Neither Dynamo nor distributed tensors, which cost seconds, nor a compile cache of other keys."""
    code = (
        "import sys, time, torch\n"
        "before, tag = set(sys.modules), torch.compiler.config.cache_key_tag\n"
        "start = time.process_time()\n"
        "import prism_compile\n"
        # The processor's time, which does not count what else runs on the machine: 0.1 s measured.
        "assert time.process_time() - start < 1\n"
        "assert torch.compiler.config.cache_key_tag == tag\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    loaded = subprocess.check_output([sys.executable, "-c", code], cwd=PACKAGE.parent, text=True).split()
    assert "prism_compile._polar" in loaded
    for heavy in ("torch._dynamo", "torch._inductor", "torch.distributed.tensor", "prism_compile.optim"):
        assert not [name for name in loaded if name == heavy or name.startswith(f"{heavy}.")], heavy
