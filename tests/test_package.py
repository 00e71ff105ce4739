"""What is handed out: the source distribution with its tests, the wheel, and the types that users see."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import prism_compile

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "prism_compile"
NAME = f"prism_compile-{prism_compile.__version__}"
TOP = {"pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"}
FOLDERS = ("prism_compile", "tests", "tools", ".ci")


def run(*command: str | Path, cwd: Path, environment: dict[str, str] | None = None, code: int = 0) -> str:
    # Neither this checkout nor an installation of it is to be found by accident.
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**clean, **(environment or {})},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The unpacked source distribution, built from a copy of the tree: a build leaves its traces there."""
    pytest.importorskip("setuptools", "77", reason="no build backend: setuptools ≥ 77")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("sdist")
    for name in TOP:
        shutil.copy(ROOT / name, source)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name)
    run("-c", f"from setuptools import build_meta; build_meta.build_sdist({str(out)!r})", cwd=source)
    with tarfile.open(out / f"{NAME}.tar.gz") as archive:
        archive.extractall(out, filter="data")
    return out / NAME


@pytest.fixture(scope="module")
def wheel(unpacked, tmp_path_factory):
    """The wheel, built from the source distribution."""
    out = tmp_path_factory.mktemp("wheel")
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
    source = shutil.copytree(unpacked, out / "source")
    run("-m", "pip", "wheel", *offline, "--wheel-dir", out, source, cwd=out)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder that holds the installed wheel and nothing else."""
    target = tmp_path_factory.mktemp("target")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def files(root: Path) -> set[str]:
    """What lies in the folders, without what Python compiled."""
    found = {
        path.relative_to(root) for name in FOLDERS for path in (root / name).rglob("*") if path.is_file()
    }
    return {str(path) for path in found if "__pycache__" not in path.parts}


def test_the_source_distribution_holds_all_that_its_tests_need(unpacked):
    assert {str(path.relative_to(unpacked)) for path in unpacked.rglob("*.pyc")} == set()
    assert files(unpacked) == files(ROOT)
    assert {"tests/conftest.py", ".ci/run"} <= files(unpacked)
    assert {path.name for path in unpacked.iterdir() if path.is_file()} >= TOP
    # The commands are still commands.
    assert os.access(unpacked / "tools" / "test", os.X_OK)


def test_the_source_distribution_runs_its_own_tests(unpacked):
    """Some that import helpers, and some of its own files."""
    chosen = ("tests/test_cost.py", "tests/test_structure.py", "-k", "newton or layer")
    clean = {"PYTHONDONTWRITEBYTECODE": "1"}
    said = run("-m", "pytest", "-p", "no:cacheprovider", *chosen, cwd=unpacked, environment=clean)
    assert re.search(r"^\d+ passed, \d+ deselected", said, flags=re.M), said


def test_the_wheel_holds_the_package_its_types_and_its_licence(wheel):
    version = prism_compile.__version__
    assert wheel.name == f"prism_compile-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"prism_compile-{version}.dist-info"
        metadata = message_from_string(archive.read(f"{info}/METADATA").decode())
    sources = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.py")}
    about = {"METADATA", "WHEEL", "RECORD", "top_level.txt", "licenses/LICENSE"}
    types = {"prism_compile/__init__.pyi", "prism_compile/py.typed"}
    assert names == sources | types | {f"{info}/{name}" for name in about}
    assert metadata["Version"] == version
    assert metadata["License-Expression"] == "Apache-2.0"
    required = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert sorted(re.split(r"\W", line)[0] for line in required) == ["numpy", "torch"]


def test_the_wheel_imports_where_there_is_only_what_it_requires(installed, tmp_path):
    """Without site's paths, that is without editable installations, and without the extras' packages."""
    code = f"""
import sys
sys.path.insert(0, {str(installed)!r})
sys.path.extend({sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})!r})
for name in ("pytest", "mypy", "ruff", "matplotlib", "onnx", "onnxscript"):
    sys.modules[name] = None
import torch, prism_compile
U = prism_compile.polar(torch.diag(torch.tensor([3.0, 1.0])))
torch.testing.assert_close(U, torch.eye(2), atol=1e-5, rtol=0)
print(prism_compile.__version__, prism_compile.__file__, prism_compile.optim.Muon.__name__)
"""
    version, file, name = run("-I", "-S", "-c", code, cwd=tmp_path).split()
    assert version == prism_compile.__version__
    assert Path(file) == installed / "prism_compile" / "__init__.py"
    assert name == "Muon"


def test_optim_is_imported_when_asked_for_and_other_names_are_no_attributes():
    code = """
import sys, prism_compile
assert "optim" in dir(prism_compile)
assert "prism_compile.optim" not in sys.modules
found = prism_compile.optim
assert found is sys.modules["prism_compile.optim"] is prism_compile.optim
print(prism_compile.__version__)
"""
    # A source tree that is not installed has a version too.
    assert run("-c", code, cwd=ROOT).split() == [prism_compile.__version__]
    with pytest.raises(AttributeError, match="module 'prism_compile' has no attribute 'optimizers'"):
        prism_compile.optimizers  # noqa: B018


HISTORY = "tuple[Tensor, Tensor, Tensor, Tensor, fallback=History]"
TYPES = {
    "polar(A)": "Tensor",
    "polar(A, steps=4, history=False)": "Tensor",
    "polar(A, history=True)": f"tuple[Tensor, {HISTORY}]",
    "polar(A, history=True)[1].residual": "Tensor",
    "polar(A, history=bool(A[0, 0] > 0))": f"Tensor | tuple[Tensor, {HISTORY}]",
    "polar_factors(A).U": "Tensor",
    "polar_factors(A, history=True)": f"tuple[tuple[Tensor, Tensor, fallback=PolarFactors], {HISTORY}]",
    "sqrtm_pair(A)": "tuple[Tensor, Tensor, fallback=SqrtPair]",
    "inv_root(A, 4, eps=1e-6)": "Tensor",
    "torch.compile(polar)(A)": "Tensor",
    'prism_compile.steps_for("polar", condition=10.0, tol=1e-3)': "int",
    "prism_compile.__version__": "str",
    "prism_compile.optim.Muon([A])": "Muon",
}
WRONG = {
    **dict.fromkeys(("polar(A, stepz=4)", "polar(A, 4)", "polar(A, rule=3)", "inv_root(A)"), "call-overload"),
    "prism_compile.run_on_batch": "attr-defined",
}


def test_a_type_checker_sees_what_each_call_returns(installed, tmp_path):
    """Of the installed wheel, whose types are only seen where `py.typed` is."""
    pytest.importorskip("mypy", reason="no type checker: the extra `test` has one")
    head = ["import prism_compile, torch", "from prism_compile import *", "A = torch.eye(3)"]
    lines = [*head, *(f"reveal_type({call})" for call in TYPES), *WRONG]
    (tmp_path / "uses.py").write_text("\n".join(lines))
    options = ("--strict", "--no-error-summary", "--config-file=", "--cache-dir", tmp_path / "cache")
    said = run(
        "-m", "mypy", *options, "uses.py", cwd=tmp_path, environment={"PYTHONPATH": str(installed)}, code=1
    )
    types, errors = {}, {}
    for number, kind, text in re.findall(r"^uses\.py:(\d+): (error|note): (.*)$", said, flags=re.M):
        line = lines[int(number) - 1]
        if found := re.fullmatch(r'Revealed type is "(.*)"', text):
            # Without the modules' names.
            types[line.removeprefix("reveal_type(")[:-1]] = re.sub(r"[\w.]+\.(?=\w)", "", found[1])
        elif kind == "error":
            errors[line] = re.search(r"\[([\w-]+)\]$", text)[1]
    assert types == TYPES
    assert errors == WRONG
