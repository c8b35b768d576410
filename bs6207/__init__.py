"""Three questions every deep-learning course asks, each answered by one command."""

from importlib.metadata import version

from bs6207 import bump, deblur, latent

__all__ = ["bump", "deblur", "latent"]

__version__ = version("bs6207")
