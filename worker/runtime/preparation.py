"""Exporting the backbones that every training compares, before the first training asks for them."""

import os
import subprocess
import sys
from functools import partial

from app.catalog import BACKBONES
from app.catalog.backbones import AUTO_BACKBONES
from app.settings import get_settings
from app.supervisor.parent import prepare_child
from worker.ml.backbones.export import ExportedBackbone, exported, is_exported


def start_where_needed() -> None:
    """Begin `export_all` in a process of its own, which takes torch's memory with it when it ends."""
    if not get_settings().prepare_backbones or not missing():
        return
    command = [sys.executable, "-P", "-m", "worker", "prepare"]
    subprocess.Popen(command, preexec_fn=partial(_prepare_child, os.getpid()))  # noqa: S603, PLW1509 - our own command, and no second thread yet


def missing() -> list[str]:
    """Return the catalog ids of the backbones that are still to be exported."""
    cache = get_settings().cache_dir
    return [
        name
        for name in AUTO_BACKBONES
        if not is_exported(BACKBONES[name], image_size_px=BACKBONES[name].input_px, cache_dir=cache)
    ]


def export_all() -> list[ExportedBackbone]:
    """Export what is missing. A training that comes meanwhile exports for itself."""
    cache = get_settings().cache_dir
    cards = [BACKBONES[name] for name in missing()]
    return [exported(card, image_size_px=card.input_px, cache_dir=cache) for card in cards]


def _prepare_child(parent: int) -> None:
    prepare_child(parent)
    os.nice(15)  # it must not hold up what somebody waits for
