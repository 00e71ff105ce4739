"""What is computed in which type."""

import pytest
import torch

from prism_compile._iteration.precision import measured


@pytest.mark.parametrize(
    ("device", "dtype", "expected"),
    [
        ("cpu", torch.float32, torch.float64),
        ("cpu", torch.complex64, torch.complex128),
        ("meta", torch.float32, torch.float32),
        ("meta", torch.float64, torch.float64),
    ],
)
def test_residuals_of_roots_are_measured_in_float64_on_the_cpu_alone(device, dtype, expected):
    assert measured(torch.empty(2, 2, device=device, dtype=dtype)).dtype == expected
