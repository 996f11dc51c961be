"""Where the exported graph of a backbone lies, and what its outputs are called.

The worker writes graphs; who only runs them needs no more than this.
"""

from pathlib import Path

from app.catalog.backbones import BackboneCard

# Raise when the exported graph changes: kept graphs and kept features of the old one are not used any more.
EXPORT_VERSION = 3


def graph_path(card: BackboneCard, *, image_size_px: int, cache_dir: Path) -> Path:
    """Return where the graph of a backbone for images of a size is kept."""
    return cache_dir / "backbones" / f"{card.id}-{image_size_px}-{_version(card)}.onnx"


def find_graph(card: BackboneCard, *, cache_dir: Path) -> Path | None:
    """Return a kept graph of a backbone, of whichever size: the maps of a convolutional network can be had at any."""
    usual = graph_path(card, image_size_px=card.input_px, cache_dir=cache_dir)
    if usual.is_file():
        return usual
    return next(iter(sorted((cache_dir / "backbones").glob(f"{card.id}-*-{_version(card)}.onnx"))), None)


def map_name(index: int) -> str:
    """Return the name of a block's map in a graph, counted from 0 and finest first."""
    return f"map_{index}"


def _version(card: BackboneCard) -> str:
    return f"{card.weights_sha256[:12]}-v{EXPORT_VERSION}"
