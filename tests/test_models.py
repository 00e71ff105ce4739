"""A model of three kinds of use: trained compiled, exported, loaded in a new process, in C++ and by ONNX."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.utils import parametrize

import prism_compile as pc

from .matrices import generator

ROOT = Path(__file__).parent.parent
STEPS = 2


class Orthogonal(nn.Module):
    """A weight with orthonormal rows, whatever the optimizer makes of it."""

    def forward(self, W: Tensor) -> Tensor:
        return pc.polar(W, steps=8)


class Whitening(nn.Module):
    """Decorrelated batch norm: features of no covariance."""

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(0)
        return x @ pc.inv_sqrtm(x.mT @ x / x.shape[0], eps=1e-3, ridge=1e-6, steps=STEPS)


class CovariancePooling(nn.Module):
    """Each sample's tokens `[b, t, d]` as the root of their covariance."""

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(-2, keepdim=True)
        return pc.sqrtm(x.mT @ x / x.shape[-2], eps=1e-3, steps=STEPS, rule="minimax").flatten(-2)


def model() -> nn.Module:
    torch.manual_seed(0)
    project = parametrize.register_parametrization(nn.Linear(8, 4, bias=False), "weight", Orthogonal())
    return nn.Sequential(project, CovariancePooling(), nn.Linear(16, 6), Whitening(), nn.Linear(6, 3))


def batch(size: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(size, 10, 8, generator=generator(size))
    return x, x.std((1, 2)).argsort().remainder(3)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    net = model()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    run = torch.compile(net, fullgraph=True, backend="aot_eager")
    losses = []
    for _ in range(30):
        x, labels = batch(32)
        loss = nn.functional.cross_entropy(run(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    W = net[0].weight
    torch.testing.assert_close(W @ W.mT, torch.eye(4), atol=1e-5, rtol=0)
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def program(trained):
    return torch.export.export(trained, (batch(12)[0],), dynamic_shapes=({0: Dim("batch", min=4)},))


@pytest.fixture(scope="module")
def packaged(program, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("package") / "compiled.pt2"
    return torch._inductor.aoti_compile_and_package(program, package_path=str(path))


def test_is_saved_and_loaded_in_a_fresh_process(trained, program, packaged, tmp_path):
    torch.export.save(program, tmp_path / "model.pt2")
    x, _ = batch(20)
    torch.save((x, trained(x)), tmp_path / "expected.pt")
    script = (
        "import torch\n"
        "x, expected = torch.load('expected.pt')\n"
        f"result = torch._inductor.aoti_load_package({packaged!r})(x)\n"
        "torch.testing.assert_close(result, expected, atol=2e-3, rtol=2e-3)\n"
        "import sys\n"
        "assert 'prism_compile' not in sys.modules\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import prism_compile\n"
        "result = torch.export.load('model.pt2').module()(x)\n"
        "torch.testing.assert_close(result, expected)\n"
    )
    subprocess.check_call([sys.executable, "-c", script], cwd=tmp_path)


def test_runs_in_a_program_without_python(trained, packaged, tmp_path):
    x, _ = batch(20)
    torch.save(x, tmp_path / "x.pt")
    torch_at = Path(torch.__file__).parent
    headers = [f"-isystem{torch_at / 'include'}", f"-isystem{torch_at / 'include/torch/csrc/api/include'}"]
    libraries = [f"-L{torch_at / 'lib'}", f"-Wl,-rpath,{torch_at / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"]
    source = Path(__file__).with_name("run_package.cpp")
    compiler = [os.environ.get("CXX", "g++"), "-std=c++20", "-O0", *headers, str(source), *libraries]
    for command in ([*compiler, "-o", "run_package"], ["./run_package", packaged, "x.pt", "result.pt"]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    torch.testing.assert_close(torch.load(tmp_path / "result.pt"), trained(x), atol=1e-4, rtol=1e-4)


def test_onnx(trained, program, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    x, _ = batch(20)
    inlined = program.run_decompositions()
    torch.onnx.export(inlined, (batch(12)[0],), dynamo=True, verbose=False).save(tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    (result,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    # Products round otherwise, and the choice of a last step follows: 2 of A and 1.1 A differ by 1e-4.
    torch.testing.assert_close(torch.from_numpy(result), trained(x), atol=2e-3, rtol=2e-3)
