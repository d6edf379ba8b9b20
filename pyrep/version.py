"""The package's version; the build reads it from here without importing the compiled core."""

__version__ = "0.1.0"
