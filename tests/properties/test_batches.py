"""Batch shapes, memory layouts, isolation and reproducibility."""

import pytest
import torch

from ..matrices import F64
from .cases import EACH, FUNCTIONS, WAYS, N, run_short, sample

SOME_DTYPES = pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.complex64], ids=str
)
REAL_AND_COMPLEX = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
# Of four steps of slope below nine at condition 10, whose sums another order may round otherwise.
CLOSE = 1e-11


def assert_close(results, expected) -> None:
    for part, other in zip(results, expected, strict=True):
        assert part.shape == other.shape
        error = torch.linalg.matrix_norm(part - other) / torch.linalg.matrix_norm(other)
        assert (error <= CLOSE).all()


@EACH
def test_each_matrix_of_a_batch_is_as_alone(name, way, device):
    # N is the matrices' size, too: a norm without keepdim would mix the batch into the matrix.
    for batch in ((N,), (2, 3), (1,)):
        # And at scales far apart.
        scales = 10.0 ** (30 * (torch.arange(torch.Size(batch).numel()) % 3 - 1)).to(F64)
        A = (sample(name, *batch, way=way) * scales.reshape(*batch, 1, 1)).to(device)
        results = run_short(name, way, A)
        for index in torch.cartesian_prod(*(torch.arange(b) for b in batch)).reshape(-1, len(batch)).tolist():
            assert_close((part[tuple(index)] for part in results), run_short(name, way, A[tuple(index)]))


@EACH
def test_empty_batches_and_matrices_keep_their_shapes(name, way, device):
    for shape in ((0, 4, 4), (3, 0, 4, 4), (0, 0), (2, 0, 0), (0, 0, 0)):
        for dtype in (torch.float32, torch.complex64, torch.bfloat16):
            for part in run_short(name, way, torch.zeros(shape, dtype=dtype, device=device)):
                assert part.shape == shape
                assert part.dtype == dtype
    if FUNCTIONS[name].kind == "rectangular" and not way.startswith("Newton"):
        assert run_short(name, way, torch.zeros(0, 4, device=device))[0].shape == (0, 4)
        assert run_short(name, way, torch.zeros(2, 4, 0, device=device))[0].shape == (2, 4, 0)


@REAL_AND_COMPLEX
@EACH
def test_memory_layout_does_not_matter(name, way, dtype, device):
    A = sample(name, 3, dtype=dtype, way=way).to(device)
    for view in (
        A.mT.contiguous().mT,
        A.repeat_interleave(2, dim=-1)[..., ::2],
        torch.stack([A, A], dim=-1)[..., 0],
        A[:1].expand(A.shape),
        # A conjugate that is not yet taken, of a complex A.
        A.conj().resolve_conj().conj(),
    ):
        before = view.clone()
        assert_close(run_short(name, way, view), run_short(name, way, view.contiguous()))
        assert torch.equal(view, before)


@SOME_DTYPES
@EACH
def test_the_input_is_never_written_to_and_the_result_is_no_view_of_it(name, way, dtype, device):
    n = N if FUNCTIONS[name].kind != "rectangular" else 3
    for A in (
        sample(name, 2, dtype=dtype, way=way),
        torch.eye(n, dtype=dtype),
        torch.eye(n, dtype=dtype)[None],
    ):
        A = A.to(device)
        before = A.clone()
        for part in run_short(name, way, A):
            part.add_(1)
        assert torch.equal(A, before)


@SOME_DTYPES
@EACH
def test_a_bad_matrix_leaves_the_others_as_they_are_to_the_bit(name, way, dtype, device):
    A = sample(name, 4, dtype=dtype, way=way).to(device)
    clean = run_short(name, way, A)
    for bad in (torch.nan, torch.inf, -torch.inf):
        A[1, 2, 3] = complex(0, bad) if dtype.is_complex else bad
        for part, expected in zip(run_short(name, way, A), clean, strict=True):
            assert torch.equal(part[[0, 2, 3]], expected[[0, 2, 3]])
            assert not part[1].isfinite().any()


@EACH
def test_equal_seeds_give_equal_bits_and_torchs_generator_is_not_used(name, way, device):
    A = sample(name, 2, way=way).to(device)
    state = torch.get_rng_state()
    first, again, other = (run_short(name, way, A, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(state, torch.get_rng_state())
    assert all(map(torch.equal, first, again))
    # Only the fit reads a sketch. After Newton's first steps there is little left for it to choose by.
    if (name, way) != ("signm", "Newton first"):
        assert torch.equal(first[0], other[0]) != (WAYS[way].get("rule") == "prism")


@EACH
def test_meta_tensors_give_shapes(name, way):
    A = sample(name, 2, way=way)
    one = {"steps": 1, **({"newton_steps": 1} if way.startswith("Newton") else {})}
    results = (run_short(name, way, X, **one) for X in (A.to("meta"), A))
    for part, real in zip(*results, strict=True):
        assert part.device.type == "meta"
        assert (part.shape, part.dtype) == (real.shape, real.dtype)
