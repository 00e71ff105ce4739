"""The package's types, from its signatures."""
