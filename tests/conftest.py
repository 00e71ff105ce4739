"""Fixtures that several files use."""

import pytest
import torch


@pytest.fixture
def one_thread():
    """Small matrices have nothing to share, and threads that wait for a busy core cost seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
