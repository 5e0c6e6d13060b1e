"""Skyrelay: finds what changed in the sky, one stage after another."""

__version__ = "0.1.0"
