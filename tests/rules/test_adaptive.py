"""The rule "adaptive": what it promises beside accuracy, and where it is ahead of "prism"."""

import pytest
import torch

import prism_compile as pc

from ..matrices import F64, gaussian, log_spaced, orthogonal, rms_orthogonality, spd, with_singular_values

pytestmark = pytest.mark.usefixtures("one_thread")
N = 48


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("steps", [3, 5, 8, 12])
def test_singular_values_stay_within_the_cap(dtype, steps):
    made = [
        gaussian(N, N),
        gaussian(N, 4) @ gaussian(4, N) + 0.05 * gaussian(N, N, seed=2),
        with_singular_values(log_spaced(N, 1e4), N, N),
        with_singular_values(torch.where(torch.arange(N) < 2, 50.0, 1.0).to(F64), N, N),
    ]
    U = pc.polar(torch.stack(made).to(dtype), steps=steps)
    # √1.5625, and half precision's rounding.
    assert torch.linalg.svdvals(U.double()).max() <= 1.25 * (1.02 if dtype is torch.bfloat16 else 1 + 1e-4)


def test_no_singular_value_changes_its_sign():
    values = log_spaced(N, 1e3)
    Q, P = orthogonal(N), orthogonal(N, 1)
    for steps in (3, 5, 8):
        U = pc.polar((Q * values) @ P.T, steps=steps)
        assert (Q.T @ U @ P).diagonal().min() > 0


@pytest.mark.parametrize("steps", [4, 5, 6])
def test_ends_nearer_than_prism_on_long_tails(steps):
    A = with_singular_values(log_spaced(96, 1e3), 96, 96).float()
    ours, prism = (rms_orthogonality(pc.polar(A, rule=rule, steps=steps)) for rule in ("adaptive", "prism"))
    assert ours < 0.7 * prism


@pytest.mark.parametrize(
    ("p", "condition", "steps"),
    [(1, 1e2, 5), (2, 1e4, 5), (2, 1e6, 7), (3, 1e2, 3), (3, 1e4, 5), (4, 1e2, 3), (4, 1e4, 5), (8, 1e6, 6)],
)
def test_every_order_converges_in_fewer_steps(p, condition, steps):
    # Two seeds of a sketch of eight rows: half more than the tolerance of the published counts, 1e-3.
    for seed in (0, 1):
        A = spd(64, condition, seed)
        assert pc.inv_root(A, p, steps=steps, history=True)[1].residual[-1] < 1.5e-3
