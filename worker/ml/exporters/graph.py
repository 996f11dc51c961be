"""Writing ONNX graphs node by node."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from app.catalog import View

PREFIX = "kizu/"  # of every tensor that a composer adds to a backbone's own
_BEGINNING = -(2**31)


class Graph:
    """A list of nodes under construction; every helper returns the name of the tensor that it made."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._n_made = 0

    def add(self, op: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        self._n_made += 1
        output = name or f"{PREFIX}{op}_{self._n_made}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=f"{output}#{self._n_made}", **attributes))
        return output

    def add_top(self, tensor: str, n: int, *, name: str) -> None:
        """Add the `n` largest values of each row of (B, N), the largest first, as (B, n)."""
        self.nodes.append(
            helper.make_node("TopK", [tensor, self.constant([n])], [name, f"{name}_places"], name=f"{name}#", axis=1)
        )

    def constant(self, values: np.ndarray | Sequence[int]) -> str:
        array = np.asarray(values)
        array = array.astype(np.int64 if np.issubdtype(array.dtype, np.integer) else np.float32)
        name = f"{PREFIX}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def reversed(self, tensor: str, *, axis: int) -> str:
        starts, ends = self.constant([-1]), self.constant([_BEGINNING])
        return self.add("Slice", tensor, starts, ends, self.constant([axis]), self.constant([-1]))

    def transposed(self, tensor: str) -> str:
        return self.add("Transpose", tensor, perm=[0, 1, 3, 2])

    def turned(self, tensor: str, quarter_turns: int) -> str:
        """Turn (B, C, H, W) counter-clockwise, as `numpy.rot90` does."""
        match quarter_turns % 4:
            case 1:
                return self.reversed(self.transposed(tensor), axis=2)
            case 2:
                return self.reversed(self.reversed(tensor, axis=2), axis=3)
            case 3:
                return self.reversed(self.transposed(tensor), axis=3)
        return tensor

    def seen_from(self, tensor: str, view: View) -> str:
        turned = self.turned(tensor, view.quarter_turns)
        return self.reversed(turned, axis=3) if view.is_mirrored else turned

    def seen_back(self, tensor: str, view: View) -> str:
        """Undo `seen_from`."""
        straight = self.reversed(tensor, axis=3) if view.is_mirrored else tensor
        return self.turned(straight, -view.quarter_turns)
