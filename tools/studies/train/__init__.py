"""A text model trained by AdamW, Muon and Shampoo, each with several solvers."""
