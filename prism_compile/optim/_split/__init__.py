"""Which of a model's parameters Muon is for."""
