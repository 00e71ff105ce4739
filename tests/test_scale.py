"""`tools/scale`: its model of what processes send and compute is what they do."""

from functools import partial
from math import prod

import numpy as np
import pytest
import torch
import torch.distributed as dist

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without distributed")


def test_two_processes_do_what_the_model_says(capsys):
    from studies.scale.agreement import compare

    assert compare([2])
    rows = [row for row in capsys.readouterr().out.splitlines() if "%" in row]
    assert len(rows) == 8
    assert all(row.count("0.00%") == 2 for row in rows)


@pytest.mark.parametrize(("key", "allowed"), [("sent", 0.01), ("flops", 0.05)])
def test_a_model_that_is_off_is_found_out(key, allowed, monkeypatch):
    """Numbers of one process of two that differ from the model's by less and by more than is allowed."""
    from studies.scale import agreement
    from studies.scale.lists import LISTS, SCHEMES
    from studies.scale.model import work_of

    def measured(world, name, steps, options, factor=1.0):
        found = [{}, {}]
        for scheme in SCHEMES:
            _, work = work_of(scheme, LISTS[name], scheme.grid(world, agreement.SHARDS), options)
            for rank, process in enumerate(found):
                process[scheme.name] = {"sent": work.sent.flat[rank], "flops": work.flops.flat[rank]}
        found[1]["Muon, FSDP2"][key] *= factor
        return found

    for factor, agree in ((1 + 0.9 * allowed, True), (1 + 1.1 * allowed, False)):
        monkeypatch.setattr(agreement, "measured", partial(measured, factor=factor))
        assert agreement.compare([2]) == agree


class FakeLayout:
    """The layout of one process of a grid of which no other is there."""

    replicas, shards = "replicas", "shards"

    def __init__(self, grid, place):
        self.sizes, self.place = lambda: grid, lambda: place


def sent_by_exchange(plan, grid, place, monkeypatch) -> int:
    """Bytes that the library's own exchange hands to its collectives, for a plan's units in bfloat16."""
    from prism_compile.optim._exchange import Exchange
    from prism_compile.optim._plan import shape_of
    from prism_compile.optim._round import Direction, Request, Round

    sent = []

    def rank(group):
        return place[["replicas", "shards"].index(group)]

    def all_to_all(received, given, received_sizes, sizes, group):
        assert (given.numel(), received.numel()) == (sum(sizes), sum(received_sizes))
        sent.append(given.numel() - sizes[rank(group)])

    def all_gather(received, given, group):
        assert group == "replicas"
        sent.append((grid[0] - 1) * given.numel())

    monkeypatch.setattr(dist, "get_rank", rank)
    monkeypatch.setattr(dist, "all_to_all_single", all_to_all)
    monkeypatch.setattr(dist, "all_gather_single", all_gather)
    exchange = Exchange(FakeLayout(grid, place))
    exchange.plan.add(plan.parameters)
    like = torch.empty(0, dtype=torch.bfloat16, device="meta")
    held = {i: shape_of(exchange.held(i)) for i in range(len(plan.parameters))}
    found = {}
    own = Round(exchange, like, like)
    for number, shape in held.items():
        direction = Direction(torch.empty(shape, device="meta"))
        own.requests[number] = Request(
            None, direction, lambda update, number=number: found.update({number: update.shape}), None
        )
    updates = {block: like.new_empty(shape_of(block.box)) for block, _ in own.collect()}
    own.distribute(own.requests, updates)
    # A shard that is empty takes nothing.
    assert found == {parameter: shape for parameter, shape in held.items() if prod(shape)}
    return 2 * sum(sent)


@pytest.mark.parametrize(
    ("grid", "made_even"), [((2, 1), False), ((4, 3), True), ((16, 1), True), ((1, 16), False)]
)
def test_a_grid_sends_what_the_model_says(grid, made_even, monkeypatch):
    """More processes than may be run here: each of them in turn, its collectives replaced."""
    from studies.scale.lists import LISTS
    from studies.scale.model import muon_work

    plan, work = muon_work(LISTS["small"], grid)
    found = [sent_by_exchange(plan, grid, place, monkeypatch) for place in np.ndindex(*grid)]
    assert found == list(work.sent.flat)
    assert min(found) > 0
    assert made_even == any(part.sent.any() for part in work.traffic if part.name.endswith("made even"))


def test_more_processes_than_matrices_idle():
    """Two matrices `[8, 8]` among four replicas, of which two send half of theirs before all gather."""
    from studies.scale.lists import SCHEMES
    from studies.scale.model import muon_work
    from studies.scale.verdict import Machine, scaling

    _, work = muon_work([(8, 8), (8, 8)], (4, 1))
    size = 8 * 8 * 2
    # Of four even halves the first matrix makes the first two, the second the others.
    assert sorted(work.sent.flat) == [1.5 * size, 1.5 * size, 2 * size, 2.5 * size]
    assert work.buffer == 2 * size
    assert sorted(work.flops.flat)[:2] == [0, 0]
    assert work.flops.max() == work.flops.sum() / 2

    # Where sending costs nothing two processes are twice as fast as one, and four no faster.
    machine = Machine({"Muon": 1e12}, float("inf"))
    own = scaling(SCHEMES[0], [(8, 8), (8, 8)], [1, 2, 4], 1, {"Muon": {}}, machine)
    assert own.scheme.name == "Muon, DDP"
    assert own.seconds(1) == 2 * own.seconds(2) == 2 * own.seconds(4)
    assert (own.stop, own.limit, own.loss) == (2, "idle", None)
