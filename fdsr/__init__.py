"""fdsr: probabilistic weather super-resolution by Fourier diffusion, and few-step denoising diffusion GANs."""

__version__ = "0.1.0"
