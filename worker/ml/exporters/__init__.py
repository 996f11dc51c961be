"""Bundles: an ONNX graph and its manifest, composed without torch."""
