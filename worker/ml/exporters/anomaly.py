"""Composing the graph of an anomaly detector: backbone, patches, nearest remembered patch, score, map.

B is the batch size, C the channels of a patch, G' x G the rows and columns of the grid of cells, M the patches
remembered.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.utils import Extractor

from app.contracts.bundle import Preprocessing
from worker.ml.backbones.export import INPUT_NAME, ExportedBackbone
from worker.ml.backbones.layout import map_names
from worker.ml.exporters.graph import PREFIX, Graph
from worker.ml.heads.patch_memory import TOP_SHARE, PatchMemory

PATCHES_NAME = "patches"
STRIDES = (8, 16)  # finer maps see noise, coarser ones whole objects
_PATCHES_AT_ONCE = 256


class PatchGraph:
    """The part of the graph before the memory, at one input size.

    Args:
        backbone: The exported backbone, of whatever size: the input need not be square.
        preprocessing: How pictures become its input.
        stride: Pixels of the input along a side of one cell.
    """

    def __init__(self, backbone: ExportedBackbone, preprocessing: Preprocessing, *, stride: int) -> None:
        self._preprocessing = preprocessing
        self._stride = stride
        self.grid = [preprocessing.height_px // stride, preprocessing.width_px // stride]
        self.n_cells = self.grid[0] * self.grid[1]
        self.maps = _maps(backbone)
        # Only what leads to the maps: the deepest layers hold most of the weights.
        names = [name for name, _, _ in self.maps]
        self.source = Extractor(onnx.load(backbone.path)).extract_model([INPUT_NAME], names)
        shape = self.source.graph.input[0].type.tensor_type.shape
        shape.dim[2].dim_value, shape.dim[3].dim_value = preprocessing.height_px, preprocessing.width_px
        del self.source.graph.value_info[:]
        self.channels = sum(channels for _, channels, _ in self.maps)

    def add_to(self, graph: Graph) -> tuple[str, str]:
        """Add patches (B, C, G', G) and which cells show the picture, (B, 1, G', G), 0 or 1; return their names."""
        layers = [self._on_grid(graph, name, stride) for name, _, stride in self.maps]
        return graph.add("Concat", *layers, axis=1), self._add_inside(graph)

    def write(self, path: Path) -> None:
        """Write a graph from `image` to `patches` (B, 1 + C, G', G), whose first channel says which cells count."""
        graph = Graph()
        patches, inside = self.add_to(graph)
        graph.add("Concat", inside, patches, name=PATCHES_NAME, axis=1)
        _save(self.source, graph, [(PATCHES_NAME, [1 + self.channels, *self.grid])], path)

    def _on_grid(self, graph: Graph, name: str, stride: int) -> str:
        """Average a map over 3 x 3 cells, so that a shift of a pixel matters little, and bring it to the grid."""
        smooth = graph.add(
            "AveragePool", name, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1], count_include_pad=0
        )
        if stride == self._stride:
            return smooth
        if stride < self._stride:
            share = self._stride // stride
            return graph.add("AveragePool", smooth, kernel_shape=[share] * 2, strides=[share] * 2)
        scale = stride / self._stride
        scales = graph.constant(np.array([1.0, 1.0, scale, scale], dtype=np.float32))
        return graph.add("Resize", smooth, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")

    def _add_inside(self, graph: Graph) -> str:
        """Tell the cells of the picture from a letterbox's borders: whole rows and columns of the pad's grey.

        Where all of a picture is of that grey, all of it counts.
        """
        mean, std = np.array(self._preprocessing.mean), np.array(self._preprocessing.std)
        pad = ((self._preprocessing.pad_value / 255.0 - mean) / std).astype(np.float32)
        # Half a grey level; without a letterbox everything is inside.
        limit = 0.5 / 255.0 / std.max() if self._preprocessing.resize == "letterbox" else -1.0
        off = graph.add("Abs", graph.add("Sub", INPUT_NAME, graph.constant(pad[:, None, None])))
        strongest = graph.add("ReduceMax", off, axes=[1], keepdims=1)
        spans = [self._between_borders(graph, strongest, axis, limit) for axis in (2, 3)]
        pixels = graph.add("Mul", *spans)
        window = [self._stride] * 2
        cells = _as_float(
            graph,
            graph.add(
                "Greater",
                graph.add("AveragePool", pixels, kernel_shape=window, strides=window),
                graph.constant(np.array(0.5, dtype=np.float32)),
            ),
        )
        is_any = graph.add("ReduceMax", cells, axes=[2, 3], keepdims=1)
        return graph.add("Max", cells, graph.add("Sub", graph.constant(np.array(1.0, dtype=np.float32)), is_any))

    def _between_borders(self, graph: Graph, strongest: str, axis: int, limit: float) -> str:
        """Return 1 from the first to the last line along an axis that is not all pad, else 0."""
        line = graph.add("ReduceMax", strongest, axes=[5 - axis], keepdims=1)
        shown = _as_float(graph, graph.add("Greater", line, graph.constant(np.array(limit, dtype=np.float32))))
        place, zero = graph.constant(np.array(axis)), graph.constant(np.array(0.0, dtype=np.float32))
        so_far, to_come = graph.add("CumSum", shown, place), graph.add("CumSum", shown, place, reverse=1)
        return _as_float(graph, graph.add("Greater", graph.add("Mul", so_far, to_come), zero))


def compose(patch_graph: PatchGraph, memory: PatchMemory, threshold: float, path: Path) -> None:
    """Write the graph of a detector: `image` to `features` (B, 1), `scores` (B, 2) and `heat` (B, 2, G', G).

    `features` is the raw score s, the mean distance of the 1 % of the cells that are farthest from all that is
    remembered. With the threshold t, `scores` are t / (s + t) and s / (s + t): in the order of s, whatever its size,
    and 0.5 just at the threshold. `heat` of the second class is d / t - 1 for distances d, averaged over 3 x 3 cells,
    so above 0 where a place is farther than the threshold; that of the first is its negative.

    Args:
        patch_graph: The part before the memory.
        memory: What was remembered of good images.
        threshold: t, above 0.
        path: The file to write.
    """
    graph = Graph()
    patches, inside = patch_graph.add_to(graph)
    distances = graph.add("Mul", _add_distances(graph, patches, memory), inside)
    _add_score(graph, distances, inside, patch_graph.n_cells)
    t = graph.constant(np.array([[threshold]], dtype=np.float32))
    total = graph.add("Add", "features", t)
    graph.add("Concat", graph.add("Div", t, total), graph.add("Div", "features", total), name="scores", axis=1)
    scaled = graph.add(
        "Mul", _smooth(graph, distances, inside), graph.constant(np.array(1.0 / threshold, dtype=np.float32))
    )
    abnormal = graph.add("Sub", scaled, graph.constant(np.array(1.0, dtype=np.float32)))
    graph.add("Concat", graph.add("Neg", abnormal), abnormal, name="heat", axis=1)
    _save(patch_graph.source, graph, [("features", [1]), ("scores", [2]), ("heat", [2, *patch_graph.grid])], path)


def _add_distances(graph: Graph, patches: str, memory: PatchMemory) -> str:
    """Add the distance of each cell to the nearest remembered patch, (B, 1, G', G).

    |x - m|^2 = |x|^2 - 2 x m + |m|^2: for many m at once that is a 1 x 1 convolution. For all at once it would be a
    third as fast, since its answer would not stay in the processor's cache.
    """
    weight = memory.directions.T[:, :, None, None]
    own = graph.add("Conv", patches, graph.constant(weight), graph.constant(-memory.mean @ memory.directions))
    squares = np.einsum("mp,mp->m", memory.patches, memory.patches)
    nearest = []
    for start in range(0, len(squares), _PATCHES_AT_ONCE):
        some = slice(start, start + _PATCHES_AT_ONCE)
        kernel = graph.constant(-2.0 * memory.patches[some, :, None, None])
        away = graph.add("Conv", own, kernel, graph.constant(squares[some]))
        nearest.append(graph.add("ReduceMin", away, axes=[1], keepdims=1))
    least = graph.add("Min", *nearest)
    squared = graph.add("Add", least, graph.add("ReduceSumSquare", own, axes=[1], keepdims=1))
    # Rounding may take a distance of nothing below zero.
    return graph.add("Sqrt", graph.add("Relu", squared))


def _smooth(graph: Graph, distances: str, inside: str) -> str:
    """Average distances over those of 3 x 3 cells that show the picture; 0 outside of it."""
    total, n = (
        graph.add("AveragePool", name, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1], count_include_pad=1)
        for name in (distances, inside)
    )
    least = graph.constant(np.array(1.0 / 9.0, dtype=np.float32))
    return graph.add("Mul", graph.add("Div", total, graph.add("Max", n, least)), inside)


def _add_score(graph: Graph, distances: str, inside: str, n_cells: int) -> None:
    """Add `features`: the mean of the largest 1 % among the cells inside, of one at least."""
    most = max(1, int(np.ceil(TOP_SHARE * n_cells)))
    flat = graph.add("Reshape", distances, graph.constant([-1, n_cells]))
    graph.add_top(flat, most, name=f"{PREFIX}largest")
    n_inside = graph.add("Reshape", graph.add("ReduceMean", inside, axes=[2, 3], keepdims=0), graph.constant([-1, 1]))
    n = graph.add("Ceil", graph.add("Mul", n_inside, graph.constant(np.array(TOP_SHARE * n_cells, np.float32))))
    n = graph.add("Max", n, graph.constant(np.array(1.0, dtype=np.float32)))
    ranks = graph.constant(np.arange(most, dtype=np.float32)[None])
    counted = graph.add("Mul", f"{PREFIX}largest", _as_float(graph, graph.add("Less", ranks, n)))
    total = graph.add("ReduceSum", counted, graph.constant([1]), keepdims=1)
    graph.add("Div", total, n, name="features")


def _maps(backbone: ExportedBackbone) -> list[tuple[str, int, int]]:
    """Return (name, channels, stride) of the last map of each stride that is read, or of the coarsest there is."""
    last = {one.stride: (name, one.channels, one.stride) for name, one in _named(backbone)}
    return [last[stride] for stride in STRIDES if stride in last] or [last[max(last)]]


def _named(backbone: ExportedBackbone):
    return zip(map_names(backbone.card), backbone.card.maps, strict=True)


def _as_float(graph: Graph, tensor: str) -> str:
    return graph.add("Cast", tensor, to=TensorProto.FLOAT)


def _save(source: onnx.ModelProto, graph: Graph, outputs: Sequence[tuple[str, list[int]]], path: Path) -> None:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", *shape]) for name, shape in outputs]
    composed = helper.make_graph(
        [*source.graph.node, *graph.nodes],
        "kizu-anomaly",
        list(source.graph.input),
        infos,
        initializer=[*source.graph.initializer, *graph.constants],
    )
    model = helper.make_model(composed, opset_imports=list(source.opset_import), producer_name="kizu")
    model.ir_version = source.ir_version
    onnx.checker.check_model(model)
    onnx.save(model, path)
