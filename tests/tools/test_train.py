"""tools/train: its solvers solve, losses are compared seed by seed, and the command runs."""

import pytest
import torch

from studies.common.matrices import eigh_power, gaussian, orthogonality_error
from studies.train.__main__ import main
from studies.train.methods import EPS, PEERS, P, methods
from studies.train.runs import Run, loss_cells

from ..matrices import spd


def test_methods_have_names_of_their_own():
    names = [method.name for method in methods()]
    assert len(set(names)) == len(names)
    assert {*PEERS.values()} <= {*names}


TRIED = [method for method in methods() if method.solver and method.name[-1] not in "457"]


@pytest.mark.parametrize("method", TRIED, ids=lambda m: m.name)
def test_a_solver_gives_one_result_for_each_matrix_in_order(method, one_thread):
    if method.kind == "muon":
        shapes = ((24, 12), (12, 12), (24, 12), (12, 24))
        matrices = [gaussian(shape, seed=seed) for seed, shape in enumerate(shapes)]
        results = method.solver(False)(matrices)
        assert [result.shape for result in results] == [matrix.shape for matrix in matrices]
        # ⟨U, A⟩ is the sum of the singular values for A's own polar factor, and about 0 for another's.
        for A, U in zip(matrices, results):
            assert (U * A).sum() > 0.6 * torch.linalg.svdvals(A).sum()
        assert orthogonality_error(*results) < 0.6
    else:
        factors = [spd(n, 10.0 * n).float() for n in (6, 9, 6)]
        for factor, root in zip(factors, method.solver(False)(factors)):
            exact = eigh_power(factor.double(), -1 / P, EPS)
            # In three steps a condition of 90 comes within some tenths.
            assert (root - exact).norm() < 0.3 * exact.norm()


def test_losses_are_compared_seed_by_seed():
    peers, runs = ([Run(final) for final in finals] for finals in ([1.0, 3.0], [1.5, 3.1]))
    # Differences of .5 and .1: mean .3, standard deviation .4/√2, of the mean .2.
    assert loss_cells(runs, peers) == ("2.3000", "1.6000", "+0.3000 ± 0.2000")
    assert loss_cells(peers, peers)[2] == loss_cells(runs, [])[2] == "-"


def test_the_command_compares(one_thread, folders, capsys):
    only = "torch.optim.Muon,Muon adaptive 3,Shampoo eigh,Shampoo 3"
    main(["--quick", "--threads", "1", "--width", "32", "--only", only])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    # Orthogonalised, and timed.
    deviation = next(float(row[-1]) for row in rows if row[:3] == ["Muon", "adaptive", "3"])
    assert 0 < deviation < 0.9
    assert sum(row[:1] == ["Shampoo"] for row in rows) == 2
    assert (folders / "out" / "train.txt").exists()
