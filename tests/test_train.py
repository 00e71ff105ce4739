"""tools/train: what its plot knows of its methods, and how its losses are compared."""


def test_every_method_has_a_style():
    from studies.train.methods import methods
    from studies.train.plot import _STYLES

    assert {method.name for method in methods(compile=False)} == set(_STYLES)


def test_losses_are_compared_seed_by_seed():
    from studies.train.runs import Run, loss_cells

    peers, runs = ([Run(losses=[9.0, final]) for final in finals] for finals in ([1.0, 3.0], [1.5, 3.1]))
    # Differences of .5 and .1: mean .3, standard deviation .4/√2, of the mean .2.
    assert loss_cells(runs, peers) == ("2.3000", "1.6000", "+0.3000 ± 0.2000")
    assert loss_cells(peers, peers)[2] == loss_cells(runs, [])[2] == "-"
