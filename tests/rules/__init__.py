"""The rules, each alone."""

# Orders p and degrees that the rules for any p are tested at.
ORDERS = [(p, degree) for p in (1, 2, 3, 4) for degree in (1, 2)]
