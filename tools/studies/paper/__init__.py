"""The steps that the paper counts."""
