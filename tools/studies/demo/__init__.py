"""The functions on matrices of a text model in training, by several rules."""
