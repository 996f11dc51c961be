"""Backbones: pretrained networks as torch modules (`base`, `sources`) and as exported graphs (`export`)."""
