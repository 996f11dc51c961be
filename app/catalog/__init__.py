"""What a person can choose from, as plain data: backbones, adaptation methods, heads, symmetries, changes.

Forms, validation, documentation and the worker all read the same dictionaries. Nothing here imports an ML library.
"""

from app.catalog.augmentations import AUGMENTATIONS, DEFAULT_AUGMENTATIONS, AugmentationCard
from app.catalog.backbones import BACKBONES, BackboneCard
from app.catalog.check import IncompatibleChoice, NotTrainable, UnknownChoice, check, head_of
from app.catalog.heads import HEADS, HeadCard
from app.catalog.methods import METHODS, MethodCard
from app.catalog.symmetries import SYMMETRIES, SymmetryCard, View

__all__ = [
    "AUGMENTATIONS",
    "BACKBONES",
    "DEFAULT_AUGMENTATIONS",
    "HEADS",
    "METHODS",
    "SYMMETRIES",
    "AugmentationCard",
    "BackboneCard",
    "HeadCard",
    "IncompatibleChoice",
    "MethodCard",
    "NotTrainable",
    "SymmetryCard",
    "UnknownChoice",
    "View",
    "check",
    "head_of",
]
