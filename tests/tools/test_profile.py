"""tools/profile: a step is counted, time is told apart by phase and by kernel, and traces are written."""

import json

import pytest
import torch

import prism_compile as pc
from studies.profile.__main__ import main, step_products
from studies.profile.phases import by_phase, is_product, record

from ..matrices import gaussian

PHASES = {"scaling", "residual", "fit", "update"}


def test_a_step_is_the_documented_cost():
    m, n = 48, 32
    # X has m·n·n products twice, R² has one of n·n·n.
    assert step_products(pc.polar, gaussian(m, n).float(), 4, {"rule": "taylor"}) == 2 * m / n + 1


def test_time_is_put_down_to_the_innermost_phase(one_thread):
    A = gaussian(192, 192).float()
    found = by_phase(record(lambda: pc.polar(A, steps=4), A.device), cuda=False)
    assert found.keys() >= PHASES
    # Two of a step's three products are of its residual and update; none are of the fit. What share of the
    # time they take is the machine's.
    assert found["residual"].in_products > 0 < found["update"].in_products
    assert found["fit"].in_products == 0
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
    torch._dynamo.reset()
    main(["polar", "--shape", "24", "16", "--steps", "2", "--rule", "prism"])
    output = capsys.readouterr().out
    for word in (*PHASES, "sketch", "aten::baddbmm", "cpp_fused", "further step", "generated kernels"):
        assert word in output
    for kind in ("eager", "compiled"):
        events = json.loads((folders / "out" / f"profile-{kind}.json").read_text())["traceEvents"]
        names = {event.get("name") for event in events}
        assert kind == "compiled" or {"prism::residual", "prism::step 1"} <= names
