"""The library's rules of quintic steps."""

import prism_compile


def _has(rule: str) -> bool:
    try:
        prism_compile.steps_for("polar", condition=2.0, tol=0.5, rule=rule)
    except ValueError:
        return False
    return True


# The first three are fitted, or made for the number of steps; the others are fixed.
RULES = tuple(
    rule
    for rule in ("adaptive", "minimax", "prism", "polar_express", "taylor", "jordan", "you")
    if rule != "minimax" or _has(rule)
)
