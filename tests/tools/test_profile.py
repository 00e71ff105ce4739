"""tools/profile: work is counted, time is told apart by phase and by kernel, and traces are written."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import prism_compile as pc
from studies.profile import __main__ as command
from studies.profile.count import work_of, work_per_step
from studies.profile.phases import by_phase, is_product, record

from ..functions import FUNCTIONS, sample

PHASES = {"scaling", "residual", "fit", "update"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_counted_work_agrees_with_the_flop_counter(name):
    A = sample(name)
    with FlopCounterMode(display=False) as counter:
        FUNCTIONS[name](A, steps=3)
    work = work_of(lambda: FUNCTIONS[name](A, steps=3), A.shape[-1])
    assert work.product_flops + work.skinny_flops == counter.get_total_flops()


def test_work_of_a_step_is_the_documented_cost():
    m, n = 48, 32
    A = torch.randn(m, n, generator=torch.Generator().manual_seed(0))
    step = work_per_step(lambda steps: pc.polar(A, steps=steps), 4, n)
    assert step.products == 3
    assert step.product_flops == 4 * m * n**2 + 2 * n**3


def test_time_is_put_down_to_the_innermost_phase(one_thread):
    A = torch.randn(192, 192, generator=torch.Generator().manual_seed(0))
    found = by_phase(record(lambda: pc.polar(A, steps=4), A.device), cuda=False)
    assert found.keys() >= PHASES
    # Two of a step's three products are of its residual and update; none are of the fit.
    assert found["residual"].in_products > 0.5 * found["residual"].ms
    assert all(0 <= share.in_products <= share.ms for share in found.values())


@pytest.mark.parametrize(
    ("name", "product"),
    [
        *(("aten::baddbmm", True), ("aten::mm", True), ("extern_kernels.addmm", True)),
        *(("sm90_xmma_gemm_f32f32", True), ("void cutlass::Kernel2<...>", True)),
        *(("aten::mul", False), ("triton_poi_fused_add_mm_0", False), ("aten::summary", False)),
    ],
)
def test_products_are_known_by_name(name, product):
    assert is_product(name) == product


def test_the_command_prints_phases_and_writes_traces(one_thread, folders, capsys):
    command.main(["polar", "--shape", "24", "16", "--steps", "3", "--rule", "prism"])
    output = capsys.readouterr().out
    for word in (*PHASES, "sketch", "aten::baddbmm", "cpp_fused", "further step", "generated kernels"):
        assert word in output
    for kind in ("eager", "compiled"):
        events = json.loads((folders / "out" / f"profile-{kind}.json").read_text())["traceEvents"]
        names = {event.get("name") for event in events}
        assert kind == "compiled" or {"prism::residual", "prism::step 2"} <= names
