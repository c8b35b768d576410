"""Three questions every deep-learning course asks, each answered by one command."""

from importlib.metadata import version

__version__ = version("bs6207")
