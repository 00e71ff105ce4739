"""Time and memory of the two gradient modes."""
