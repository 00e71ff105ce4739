"""Who does what: shares of equal cost, found alike by every process."""

from itertools import pairwise
from math import prod

import pytest
import torch

from prism_compile.optim._plan import Plan, Rank, chunk_spans, shape_of
from prism_compile.optim._polar import matrix_cut
from prism_compile.optim.shampoo import BlockCut

GRIDS = [(1, 1), (2, 1), (1, 2), (2, 3), (7, 1), (1, 9)]
# (shape, flatten, heads)
WEIGHTS = [
    ((12, 8), True, 1),
    ((8, 12), True, 1),
    ((12, 8), True, 3),
    ((5, 4, 6), False, 1),
    ((1, 9), True, 1),
]


def cut_of(shape, flatten, heads):
    return matrix_cut(shape, flatten=flatten, heads=heads)


def muon_plans(grid, dim, weights=WEIGHTS):
    return [cut_of(*weight).plan(dim, grid) for weight in weights]


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
def test_blocks_cover_each_parameter_once_and_cut_no_matrix(grid, dim):
    plan = Plan(*grid)
    plan.add(muon_plans(grid, dim))
    for own, blocks, weight in zip(plan.parameters, plan.blocks, WEIGHTS):
        cut = cut_of(*weight)
        covered = torch.zeros(own.shape)
        for block in blocks:
            covered[tuple(slice(*span) for span in block.box)] += 1
            assert prod(shape_of(block.box)) % prod(cut.matrix) == 0
            assert block.box[-1] == (0, own.shape[-1])
        assert (covered == 1).all()
        assert prod(own.shape) == prod(cut.shape)


def test_a_block_that_a_shard_holds_stays_there_and_its_replicas_share():
    plan = Plan(2, 3)
    # Six experts over three shards: two each, one for each replica.
    plan.add(muon_plans((2, 3), 0, [((6, 4, 4), False, 1)]))
    (blocks,) = plan.blocks
    assert all(block.is_local for block in blocks)
    assert sorted(block.owner for block in blocks) == [Rank(r, s) for r in range(2) for s in range(3)]
    for block in blocks:
        low, high = chunk_spans(6, 3)[block.owner.shard]
        assert low <= block.box[0][0] < block.box[0][1] <= high


@pytest.mark.parametrize("processes", [2, 3, 8])
def test_shares_are_of_equal_cost_not_count(processes):
    # One matrix that costs as much as 512 others.
    plan = Plan(processes, 1)
    plan.add(muon_plans((processes, 1), 0, [((16, 16), True, 1)] * 600 + [((128, 128), True, 1)]))
    costs = [cost for own in plan.parameters for cost in own.costs]
    # The largest first to the least loaded: at most 4/3 of the best, which is no less than either of these.
    assert sum(plan.loads) == sum(costs)
    assert max(plan.loads) <= 4 / 3 * max(sum(costs) / processes, max(costs))
    assert max(costs) == 512 * min(costs)


def test_parameters_that_are_added_later_leave_the_owners_of_others():
    first, second = muon_plans((4, 1), 0), muon_plans((4, 1), 0, WEIGHTS[::-1])
    plan = Plan(4, 1)
    plan.add(first)
    before = list(plan.blocks)
    plan.add(second)
    assert plan.blocks[: len(before)] == before
    assert max(plan.loads) <= sum(plan.loads) / 4 + max(max(own.costs) for own in first + second)


def test_blocks_of_shampoo_are_even_and_cover_the_matrix():
    plan = BlockCut((7, 3, 4), largest=5, frequency=10).plan(0, (1, 2))
    assert plan.shape == (7, 12)
    assert plan.spans == ((0, 4), (4, 7))
    assert [shape_of(box) for box in plan.boxes] == [(3, 4)] * 3 + [(4, 4)] * 3
    # Roots that are taken more seldom cost less.
    often = BlockCut((7, 3, 4), largest=5, frequency=1).plan(0, (1, 2))
    assert all(seldom < cost for seldom, cost in zip(plan.costs, often.costs))
