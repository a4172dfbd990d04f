"""medgen: generative models and domain adaptation for 3D medical images (research software)."""

__version__ = "0.1.0"
