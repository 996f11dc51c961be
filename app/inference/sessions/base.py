"""What every runtime shows.

B is the batch size, H and W the input's sides in pixels, D the length of the features, K the number of classes.
"""

from typing import Protocol

import numpy as np


class InferenceSession(Protocol):
    """A bundle's graph, ready to run. All methods may be called from several threads at once."""

    @property
    def engine(self) -> str:
        """Runtime, version, device and precision, for people."""
        ...

    @property
    def n_parallel(self) -> int:
        """Calls that run at the same time without slowing each other down."""
        ...

    @property
    def max_batch(self) -> int:
        """Images of one call beyond which larger batches bring nothing."""
        ...

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Return features (B, D) of images (B, H, W, 3) uint8 RGB, averaged over the bundle's views."""
        ...

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return calibrated scores (B, K) of features (B, D), always in float32."""
        ...

    def heat(self, pixels: np.ndarray) -> np.ndarray:
        """Return class activations (B, K, H', W') of images (B, H, W, 3) uint8 RGB.

        Raises:
            LookupError: The bundle has no heat output.
        """
        ...
