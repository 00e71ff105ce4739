"""Batch shapes, memory layouts, reproducibility and isolation, for every function."""

import pytest
import torch

from .functions import FUNCTIONS, sample, tensors

EACH = pytest.mark.parametrize("name", FUNCTIONS)


@EACH
@pytest.mark.parametrize("history", [False, True])
def test_batches_equal_single_matrices(name, history):
    # 12 is also n: a norm without keepdim would mix the batch into the matrix.
    for batch in ((12,), (2, 3), (1,)):
        A = sample(name, *batch)
        result = FUNCTIONS[name](A, history=history)
        if history:
            result, log = result
            assert log.residual.shape == (*batch, 11)
            assert log.coefficient.shape == (*batch, 10)
        for index in torch.cartesian_prod(*(torch.arange(b) for b in batch)).reshape(-1, len(batch)).tolist():
            alone = tensors(FUNCTIONS[name](A[tuple(index)]))
            for part, expected in zip(tensors(result), alone):
                torch.testing.assert_close(part[tuple(index)], expected, rtol=0, atol=1e-12)


@EACH
def test_empty_batches_and_matrices_keep_their_shapes(name):
    for shape in ((0, 4, 4), (3, 0, 4, 4), (0, 0), (2, 0, 0), (0, 0, 0)):
        A = torch.zeros(shape)
        result, log = FUNCTIONS[name](A, history=True, steps=2)
        for part in tensors(result):
            assert part.shape == shape
        assert log.residual.shape == (*shape[:-2], 3)
    if name.startswith("polar"):
        assert tensors(FUNCTIONS[name](torch.zeros(0, 4)))[0].shape == (0, 4)
        assert tensors(FUNCTIONS[name](torch.zeros(2, 4, 0)))[0].shape == (2, 4, 0)


@EACH
def test_memory_layout_does_not_matter(name):
    A = sample(name, 3)
    for view in (
        A.mT.contiguous().mT,
        A.repeat_interleave(2, dim=-1)[..., ::2],
        torch.stack([A, A], dim=-1)[..., 0],
        A[:1].expand(A.shape),
    ):
        expected = FUNCTIONS[name](view.contiguous())
        for part, reference in zip(tensors(FUNCTIONS[name](view)), tensors(expected)):
            torch.testing.assert_close(part, reference, rtol=0, atol=1e-12)


@EACH
def test_input_is_never_written_to_and_result_is_no_view_of_it(name):
    for A in (sample(name, 2), torch.eye(12, dtype=torch.float64)):
        before = A.clone()
        for part in tensors(FUNCTIONS[name](A)):
            part.add_(1)
        assert torch.equal(A, before)


@EACH
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_bad_matrix_leaves_the_others_untouched(name, bad):
    A = sample(name, 4)
    clean = tensors(FUNCTIONS[name](A))
    A = A.clone()
    A[1, 2, 3] = bad
    result, log = FUNCTIONS[name](A, history=True)
    others = torch.tensor([0, 2, 3])
    for part, expected in zip(tensors(result), clean):
        assert torch.equal(part[others], expected[others])
        assert not part[1].isfinite().any()
    assert log.residual[1, -1].isnan()
    assert log.residual[others].isfinite().all()


@EACH
def test_equal_seeds_give_equal_bits_and_torchs_generator_is_not_used(name):
    A = sample(name, 2)
    state = torch.get_rng_state()
    first, again = (tensors(FUNCTIONS[name](A, seed=7, steps=4)) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(map(torch.equal, first, again))
    other = tensors(FUNCTIONS[name](A, seed=8, steps=4))
    assert not torch.equal(first[0], other[0])


@EACH
@pytest.mark.parametrize("rule", ["prism", "taylor"])
@pytest.mark.parametrize("degree", [1, 2])
def test_history_reports_what_happened(name, rule, degree):
    A = sample(name)
    result, log = FUNCTIONS[name](A, rule=rule, degree=degree, steps=18, history=True)
    plain = FUNCTIONS[name](A, rule=rule, degree=degree, steps=18)
    for part, expected in zip(tensors(result), tensors(plain)):
        torch.testing.assert_close(part, expected, rtol=0, atol=1e-13)
    assert log.residual[0] > 0.1
    assert log.residual[-1] < 1e-12
    # The history of a shorter run is the beginning of a longer one's, but for what is measured at its end.
    _, short = FUNCTIONS[name](A, rule=rule, degree=degree, steps=3, history=True)
    assert torch.equal(short.residual[:3], log.residual[:3])
    torch.testing.assert_close(short.residual[3], log.residual[3], rtol=1e-9, atol=0)
    assert torch.equal(short.coefficient, log.coefficient[:3])
    if rule == "taylor":
        assert log.coefficient.unique().numel() == 1
    else:
        assert log.coefficient[0] > log.coefficient[-1]


@EACH
def test_meta_tensors_give_shapes(name):
    A = sample(name, 2).to("meta")
    for part, real in zip(tensors(FUNCTIONS[name](A)), tensors(FUNCTIONS[name](sample(name, 2)))):
        assert part.device.type == "meta"
        assert part.shape == real.shape
