"""Three questions every deep-learning course asks, each answered by one command."""

from bs6207 import bump, deblur, latent

__all__ = ["bump", "deblur", "latent"]

__version__ = "0.1.0"
