"""steps_for against the golden trajectories' step counts and its own refusals."""

import pytest

from prism_compile import steps_for


# Steps to 1e-3 that the exact fit takes on 200 log-spaced eigenvalues (golden/trajectories.json).
@pytest.mark.parametrize(
    ("condition", "degree", "rule", "expected"),
    [(1e4, 2, "prism", 6), (1e4, 1, "prism", 9), (1e4, 2, "taylor", 10)],
)
def test_matches_the_exact_fit(condition, degree, rule, expected):
    assert steps_for(condition, tol=1e-3, degree=degree, rule=rule) == expected


def test_grows_with_condition_and_accuracy():
    counts = [steps_for(10.0**k, tol=1e-3) for k in range(1, 10)]
    assert counts == sorted(counts)
    # The default plans for the tolerance that is near; what is left the classical step cubes.
    for rule in (None, "prism"):
        further = steps_for(1e4, tol=1e-12, rule=rule) - steps_for(1e4, tol=1e-3, rule=rule)
        assert further == (3 if rule is None else 2)
    assert steps_for(1e4, tol=1e-12) == steps_for(1e4, tol=1e-12, rule="prism")
    assert steps_for(1.0, tol=0.99) == 1


@pytest.mark.parametrize("p", [1, 2, 3, 4, 8])
def test_prism_needs_no_more_steps_than_taylor(p):
    for condition in (3.0, 1e3, 1e6):
        assert steps_for(condition, tol=1e-3, p=p) <= steps_for(condition, tol=1e-3, p=p, rule="taylor")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"condition": 0.5, "tol": 0.1}, ValueError, "condition must be finite and ≥ 1, got 0.5"),
        ({"condition": float("inf"), "tol": 0.1}, ValueError, "condition must be finite"),
        (
            {"condition": "big", "tol": 0.1},
            TypeError,
            "condition must be a number ≥ 1, got 'big' of type",
        ),
        ({"condition": 10, "tol": 0.0}, ValueError, r"tol must be in \(0, 1\), got 0.0"),
        ({"condition": 10, "tol": 0.1, "p": 0}, ValueError, "p must be ≥ 1, got 0"),
        ({"condition": 10, "tol": 0.1, "degree": 3}, ValueError, "degree must be 1 or 2, got 3"),
        ({"condition": 10, "tol": 0.1, "rule": "x"}, ValueError, "rule must be one of 'prism', 'taylor'"),
        ({"condition": 10, "tol": 1e-6, "rule": "jordan"}, ValueError, "does not reach tol = 1e-06"),
        ({"condition": 10, "tol": 0.1, "p": 4, "rule": "you"}, ValueError, "'you', which is for p in"),
    ],
)
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        steps_for(**arguments)
