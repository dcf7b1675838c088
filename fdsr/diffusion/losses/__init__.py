"""Training losses, one a file; see `Loss`. `fdsr.diffusion` has their names."""
