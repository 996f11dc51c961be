"""Splits and frozen dataset versions."""
