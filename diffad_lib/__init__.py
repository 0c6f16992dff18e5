"""Diffusion- and reconstruction-based visual anomaly detection: the library of the course."""

__version__ = "0.1.0"
