"""Fixtures that several files use."""

import os

# Before torch is imported, and for the processes that tests start: small matrices have nothing to share, and
# threads that wait for a busy core cost minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch


@pytest.fixture
def one_thread():
    """One thread whatever the environment says, for what counts kernels or sums in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def fresh_dynamo():
    """Nothing compiled before; and nothing left, for what is kept takes memory."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=DEVICES)
def device(request) -> torch.device:
    """Each kind of device that there is."""
    return torch.device(request.param)
