"""Whether a diffusion ends in noise, for the data at hand."""

from __future__ import annotations

import warnings

from fdsr.diffusion import GaussianDiffusion

# a sampler starts from pure noise: what is left of the signal at t = T should be invisible in it
MAX_TERMINAL_SNR = 0.01


def warn_of_signal(process: GaussianDiffusion) -> None:
    """One line where the data's strongest coefficient does not drown in the noise at t = T; none where no power is known."""
    if process.spectrum.known and (ratio := process.terminal_snr()) > MAX_TERMINAL_SNR:
        warnings.warn(
            f"at t = T the strongest coefficient of these data still has a signal-to-noise ratio of {ratio:.2g} (more than "
            f"{MAX_TERMINAL_SNR}): samples will miss its variance; use target residual, or coloured noise",
            stacklevel=2,
        )
