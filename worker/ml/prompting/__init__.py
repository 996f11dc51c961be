"""Masks from strokes: a classifier of places on frozen maps of a backbone, fitted in seconds."""
