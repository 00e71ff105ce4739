"""The fitted numbers of the rule "adaptive"."""
