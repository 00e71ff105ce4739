"""Who does what: shares of equal cost, found alike by every process."""

from itertools import pairwise
from math import prod

import pytest
import torch

from prism_compile.optim._shampoo.blocks import block_grid
from prism_compile.optim._shampoo.blocks import member_of as blocks_of
from prism_compile.optim._shared.boxes import chunk_spans, shape_of
from prism_compile.optim._shared.matrices import matrices_of, member_of
from prism_compile.optim._shared.shares import Place, Plan

GRIDS = [(1, 1), (2, 1), (1, 2), (2, 3), (7, 1), (1, 9)]
# (shape, flatten, heads)
WEIGHTS = [
    ((12, 8), True, 1),
    ((8, 12), True, 1),
    ((12, 8), True, 3),
    ((5, 4, 6), False, 1),
    ((1, 9), True, 1),
]


def muon_members(grid, dim, weights=WEIGHTS):
    return [member_of(matrices_of(shape, *how), dim, grid, how[0]) for shape, *how in weights]


@pytest.mark.parametrize("length", [1, 5, 8, 9])
@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_spans_are_the_chunks_of_torch(length, count):
    spans = chunk_spans(length, count)
    chunks = torch.arange(length).chunk(count)
    assert [high - low for low, high in spans if high > low] == [len(chunk) for chunk in chunks]
    assert len(spans) == count
    assert all(a[1] == b[0] for a, b in pairwise(spans))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("dim", [0, 1])
def test_units_cover_each_member_once_and_cut_no_matrix(grid, dim):
    plan = Plan(*grid)
    members = muon_members(grid, dim)
    plan.add(members)
    for number, (member, (shape, *how)) in enumerate(zip(members, WEIGHTS)):
        m, n = matrices_of(shape, *how)[2:]
        units = plan.units[number]
        covered = torch.zeros(member.shape)
        for unit in units:
            covered[tuple(slice(*span) for span in unit.box)] += 1
            assert prod(shape_of(unit.box)) % (m * n) == 0
            assert unit.box[-1] == (0, n)
        assert (covered == 1).all()
        assert prod(member.shape) == prod(shape)


def test_a_unit_that_a_shard_holds_stays_there_and_its_replicas_share():
    plan = Plan(2, 3)
    # Six experts over three shards: two each, one for each replica.
    (units,) = plan.add([member_of(matrices_of((6, 4, 4), False, 1), 0, (2, 3), False)])
    assert all(unit.is_local for unit in units)
    assert sorted(unit.owner for unit in units) == [Place(r, s) for r in range(2) for s in range(3)]
    for unit in units:
        low, high = chunk_spans(6, 3)[unit.owner.shard]
        assert 4 * low <= unit.box[0][0] < unit.box[0][1] <= 4 * high


@pytest.mark.parametrize("processes", [2, 3, 8])
def test_shares_are_of_equal_cost_not_count(processes):
    # One matrix that costs as much as 512 others.
    weights = [((16, 16), True, 1)] * 600 + [((128, 128), True, 1)]
    plan = Plan(processes, 1)
    plan.add(muon_members((processes, 1), 0, weights))
    cost, largest = 3 * (600 * 16**3 + 128**3), 3 * 128**3
    # The largest first to the least loaded: at most 4/3 of the best, which is no less than either of these.
    assert sum(plan.loads) == cost
    assert max(plan.loads) <= 4 / 3 * max(cost / processes, largest)


def test_members_that_are_added_later_leave_the_shares_of_others():
    first, second = muon_members((4, 1), 0), muon_members((4, 1), 0, WEIGHTS[::-1])
    plan, other = Plan(4, 1), Plan(4, 1)
    plan.add(first)
    before = list(plan.units)
    plan.add(second)
    assert plan.units[: len(before)] == before
    other.add(first)
    other.add(second)
    assert other.units == plan.units
    assert max(plan.loads) <= sum(plan.loads) / 4 + max(max(member.costs) for member in first + second)


def test_blocks_are_even_and_cover_the_matrix():
    blocks = block_grid((7, 3, 4), 5)
    assert [shape_of(block) for block in blocks] == [(3, 4)] * 3 + [(4, 4)] * 3
    member = blocks_of((7, 3, 4), 0, 2, 5, 10)
    assert member.shape == (7, 12)
    assert member.spans == ((0, 4), (4, 7))
    # A root taken ten times as seldom costs a tenth, so that the products of every step weigh more.
    assert member.costs == tuple(
        30 * (m**3 + n**3) // 10 + 2 * m * n * (m + n) for m, n in map(shape_of, blocks)
    )
