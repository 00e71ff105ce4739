"""tools/train: what its plot knows of its methods."""

from pathlib import Path


def test_every_method_has_a_style(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent.parent / "tools"))
    from train_methods import methods
    from train_plot import _STYLES

    assert {method.name for method in methods(compile=False)} == set(_STYLES)
