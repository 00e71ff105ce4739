"""What the studies share."""

# The library's rules of quintic steps: the studies' columns, in order.
RULES = ("adaptive", "minimax", "prism", "polar_express", "taylor", "jordan", "you")
