"""Image data sets for the GAN study."""
