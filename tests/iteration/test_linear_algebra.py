"""Products, norms and the identity."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from prism_compile._iteration.linear_algebra import (
    adjoint,
    frobenius_norm,
    identity_like,
    identity_minus,
    inverse,
    plus_product,
    quotient,
    real_entries,
    resolved,
    rms_norm,
)
from prism_compile._torch import parts_of, unbound

from ..matrices import F64, gaussian


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex64]
)
def test_the_identity_is_the_same_in_a_graph(dtype):
    A = gaussian(2, 7, 5, dtype=dtype)
    expected = torch.eye(5, dtype=dtype)
    compiled = torch.compile(identity_like, fullgraph=True, backend="eager")
    for made in (identity_like(A), compiled(A)):
        assert made.dtype == dtype
        assert torch.equal(made, expected)


def test_identity_minus_a_product():
    X, Y = gaussian(3, 4, 6), gaussian(3, 6, 4, seed=1)
    torch.testing.assert_close(identity_minus(torch.eye(4, dtype=F64), X, Y), torch.eye(4, dtype=F64) - X @ Y)
    torch.testing.assert_close(adjoint(X), X.mT)


def test_norms_of_half_precision_do_not_overflow_and_have_no_derivative():
    A = torch.full((2, 30, 20), 100.0, dtype=torch.float16, requires_grad=True)
    # Its square, 6e6, is beyond float16.
    norm = frobenius_norm(A)
    assert norm.dtype == torch.float32
    assert norm.shape == (2, 1, 1)
    assert norm[1].item() == pytest.approx(100 * 600**0.5)
    assert not norm.requires_grad
    assert rms_norm(A[:, :20])[0].item() == pytest.approx(100 * 20**0.5)
    assert torch.equal(rms_norm(torch.zeros(2, 0, 0)), torch.zeros(2))


def test_a_real_matrix_is_its_own_entries_and_transposes_without_a_conjugate():
    A = gaussian(2, 3, 4)
    assert real_entries(A) is A
    assert resolved(A) is A
    assert torch.equal(quotient(A, torch.full((2, 1, 1), 3.0, dtype=F64)), A / 3)
    assert not adjoint(A).is_conj()


def test_complex_matrices_by_their_parts():
    A, B = (torch.complex(gaussian(2, 3, 4, seed=s), gaussian(2, 3, 4, seed=s + 1)) for s in (0, 2))
    torch.testing.assert_close(adjoint(A).resolve_conj(), A.conj().mT.resolve_conj())
    # Also of a conjugate not yet taken, whose parts torch refuses to show.
    inner = (real_entries(A.conj()) * real_entries(B)).sum(dim=(-2, -1))
    torch.testing.assert_close(inner, (A * B).sum(dim=(-2, -1)).real)
    assert not resolved(adjoint(A)).is_conj()
    norm = frobenius_norm(A)
    assert norm.dtype == F64
    torch.testing.assert_close(norm[:, 0, 0], torch.linalg.matrix_norm(A))
    # By the smallest number, whose reciprocal is infinite.
    tiny = torch.full((2, 1, 1), 5e-324, dtype=F64)
    torch.testing.assert_close(
        quotient(A.conj() * tiny, tiny), torch.complex(A.real.round(), -A.imag.round())
    )


def test_parts_are_views():
    A = gaussian(3, 5, 2)
    first, second = parts_of(A, (2, 3), 1)
    assert torch.equal(first, A[:, :2])
    assert torch.equal(second, A[:, 2:])
    assert second.untyped_storage().data_ptr() == A.untyped_storage().data_ptr()
    assert all(map(torch.equal, unbound(A), A))


class Recorder(TorchDispatchMode):
    """The operations of a call, and the shapes of their results."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        shapes = [tuple(part.shape) for part in tree_leaves(result) if isinstance(part, torch.Tensor)]
        self.calls.append((function.overloadpacket.__name__, *shapes))
        return result


def on_cuda(function, *shape: int, dtype: torch.dtype) -> list:
    """What a function does with fake matrices on a GPU, which need be nowhere."""
    with FakeTensorMode(), Recorder() as recorder:
        function(torch.empty(*shape, device="cuda", dtype=dtype))
    return recorder.calls


def test_one_matrix_on_a_gpu_is_multiplied_without_a_copy():
    def step(X):
        R = identity_minus(identity_like(X), adjoint(X), X)
        return plus_product(X, X, R, 1.5, 0.5)

    products = [call for call in on_cuda(step, 1, 6, 6, dtype=torch.bfloat16) if "mm" in call[0]]
    assert products == [("addmm", (6, 6))] * 2
    products = [call for call in on_cuda(step, 2, 6, 6, dtype=torch.bfloat16) if "mm" in call[0]]
    assert products == [("baddbmm", (2, 6, 6))] * 2


@pytest.mark.parametrize(
    ("shape", "batches"), [((99, 16, 16), [99]), ((40, 17, 17), [16, 16, 8]), ((2, 129, 129), [1, 1])]
)
def test_batches_on_a_gpu_are_inverted_in_parts(shape, batches):
    calls = on_cuda(inverse, *shape, dtype=torch.float32)
    assert [call[1][0] for call in calls if call[0] == "linalg_inv_ex"] == batches
    assert calls[-1][1] == shape
