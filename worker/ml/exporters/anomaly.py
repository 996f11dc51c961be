"""Composing the graph of an anomaly detector: backbone, patches of several scales, nearest remembered ones, score, map.

B is the batch size, C the channels of a patch, G' x G the rows and columns of a grid of cells, M the patches
remembered of a scale. The finest grid comes first, and is that of the score and the map.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.utils import Extractor

from app.contracts.bundle import Preprocessing
from worker.ml.backbones.export import INPUT_NAME, ExportedBackbone
from worker.ml.backbones.layout import map_names
from worker.ml.exporters.graph import PREFIX, Graph
from worker.ml.heads.patch_levels import LEAST_COVERED, Level, PatchLevels
from worker.ml.heads.patch_memory import TOP_SHARE, PatchMemory

# What each scale counts, by its stride. Finer maps see noise, and the coarsest whole objects.
WEIGHTS = {8: 0.5, 16: 1.0, 32: 0.5}
_PATCHES_AT_ONCE = 256
_BLUR_CELLS, _BLUR_REACH = 1.0, 4


@dataclass(frozen=True)
class Scale:
    """One map of the backbone: its name, channels and stride, and the rows and columns of its grid."""

    name: str
    channels: int
    stride: int
    grid: tuple[int, int]

    @property
    def output(self) -> str:
        return f"patches_{self.stride}"

    @property
    def n_cells(self) -> int:
        return self.grid[0] * self.grid[1]


class PatchGraph:
    """The part of the graph before the memories, at one input size.

    Args:
        backbone: The exported backbone, of whatever size: the input need not be square.
        preprocessing: How pictures become its input.
    """

    def __init__(self, backbone: ExportedBackbone, preprocessing: Preprocessing) -> None:
        self._preprocessing = preprocessing
        height, width = preprocessing.height_px, preprocessing.width_px
        self.scales = [
            Scale(name, channels, stride, (height // stride, width // stride))
            for name, channels, stride in _maps(backbone)
        ]
        # Only what leads to the maps.
        names = [scale.name for scale in self.scales]
        self.source = Extractor(onnx.load(backbone.path)).extract_model([INPUT_NAME], names)
        shape = self.source.graph.input[0].type.tensor_type.shape
        shape.dim[2].dim_value, shape.dim[3].dim_value = height, width
        del self.source.graph.value_info[:]

    @property
    def weights(self) -> list[float]:
        return [WEIGHTS.get(scale.stride, 1.0) for scale in self.scales]

    def add_to(self, graph: Graph) -> list[tuple[str, str]]:
        """Add, for each scale, patches (B, C, G', G) and which cells show the picture, (B, 1, G', G), 0 or 1."""
        shown = self._add_shown(graph)
        return [(_smooth(graph, scale.name), self._add_inside(graph, shown, scale.stride)) for scale in self.scales]

    def write(self, path: Path) -> None:
        """Write a graph from `image` to each scale's `output` (B, 1 + C, G', G); channel 0 says which cells count."""
        graph = Graph()
        outputs = []
        for scale, (patches, inside) in zip(self.scales, self.add_to(graph), strict=True):
            graph.add("Concat", inside, patches, name=scale.output, axis=1)
            outputs.append((scale.output, [1 + scale.channels, *scale.grid]))
        _save(self.source, graph, outputs, path)

    def _add_shown(self, graph: Graph) -> str:
        """Tell the picture from a letterbox's borders, pixel by pixel: those are whole lines of the pad's grey."""
        mean, std = np.array(self._preprocessing.mean), np.array(self._preprocessing.std)
        pad = ((self._preprocessing.pad_value / 255.0 - mean) / std).astype(np.float32)
        # Half a grey level; without a letterbox everything is inside.
        limit = 0.5 / 255.0 / std.max() if self._preprocessing.resize == "letterbox" else -1.0
        off = graph.add("Abs", graph.add("Sub", INPUT_NAME, graph.constant(pad[:, None, None])))
        strongest = graph.add("ReduceMax", off, axes=[1], keepdims=1)
        spans = [self._between_borders(graph, strongest, axis, limit) for axis in (2, 3)]
        return graph.add("Mul", *spans)

    def _add_inside(self, graph: Graph, shown: str, stride: int) -> str:
        """Add which cells show the picture by half at least. Where all of a picture is pad's grey, all of it counts."""
        window = [stride] * 2
        cells = _as_float(
            graph,
            graph.add(
                "Greater",
                graph.add("AveragePool", shown, kernel_shape=window, strides=window),
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


def compose(patch_graph: PatchGraph, memory: PatchLevels, threshold: float, path: Path) -> None:
    """Write the graph of a detector: `image` to `features` (B, 1), `scores` (B, 2) and `heat` (B, 2, G', G).

    `features` is the raw score s, the mean distance of the 1 % of the cells that are farthest from all that is
    remembered. With the threshold t, `scores` are t / (s + t) and s / (s + t): in the order of s, whatever its size,
    and 0.5 just at the threshold. `heat` of the second class is d / t - 1 for distances d, blurred,
    so above 0 where a place is farther than the threshold; that of the first is its negative.

    Args:
        patch_graph: The part before the memory.
        memory: What was remembered of good images.
        threshold: t, above 0.
        path: The file to write.
    """
    graph = Graph()
    seen = patch_graph.add_to(graph)
    finest, inside = patch_graph.scales[0], seen[0][1]
    levels = [
        _enlarged(graph, _add_distances(graph, patches, level), own, finest.grid, scale)
        for scale, (patches, own), level in zip(patch_graph.scales, seen, memory.levels, strict=True)
    ]
    distances = graph.add("Mul", graph.add("Sum", *levels), inside)
    _add_score(graph, distances, inside, finest.n_cells)
    t = graph.constant(np.array([[threshold]], dtype=np.float32))
    total = graph.add("Add", "features", t)
    graph.add("Concat", graph.add("Div", t, total), graph.add("Div", "features", total), name="scores", axis=1)
    scaled = graph.add(
        "Mul", _blurred(graph, distances, inside), graph.constant(np.array(1.0 / threshold, dtype=np.float32))
    )
    abnormal = graph.add("Sub", scaled, graph.constant(np.array(1.0, dtype=np.float32)))
    graph.add("Concat", graph.add("Neg", abnormal), abnormal, name="heat", axis=1)
    _save(patch_graph.source, graph, [("features", [1]), ("scores", [2]), ("heat", [2, *finest.grid])], path)


def _add_distances(graph: Graph, patches: str, level: Level) -> str:
    """Add the distance of each cell to the nearest remembered patch, in the level's share, (B, 1, G', G).

    |x - m|^2 = |x|^2 - 2 x m + |m|^2: for many m at once that is a 1 x 1 convolution. For all at once it would be a
    third as fast, since its answer would not stay in the processor's cache.
    """
    memory: PatchMemory = level.memory
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
    away = graph.add("Sqrt", graph.add("Relu", squared))
    return graph.add("Mul", away, graph.constant(np.array(level.share, dtype=np.float32)))


def _enlarged(graph: Graph, distances: str, inside: str, grid: tuple[int, int], scale: Scale) -> str:
    """Bring a scale's distances to the finest grid, from the cells alone that show the picture."""
    if scale.grid == grid:
        return distances
    factors = [1.0, 1.0, grid[0] / scale.grid[0], grid[1] / scale.grid[1]]
    scales = graph.constant(np.array(factors, dtype=np.float32))
    total, covered = (
        graph.add("Resize", one, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
        for one in (graph.add("Mul", distances, inside), inside)
    )
    least = graph.constant(np.array(LEAST_COVERED, dtype=np.float32))
    return graph.add("Div", total, graph.add("Max", covered, least))


def _smooth(graph: Graph, name: str) -> str:
    """Average a map over 3 x 3 cells, so that a shift of a pixel matters little."""
    return graph.add("AveragePool", name, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1], count_include_pad=0)


def _blurred(graph: Graph, distances: str, inside: str) -> str:
    """Blur distances, a Gaussian over the cells that show the picture.

    What lies just outside of it gets the distance of the nearest cells: the picture's last pixels may share a cell
    with its surroundings, and defects sit at edges.
    """
    places = np.arange(-_BLUR_REACH, _BLUR_REACH + 1, dtype=np.float32)
    line = np.exp(-0.5 * (places / _BLUR_CELLS) ** 2)
    line = (line / line.sum()).astype(np.float32)
    sums = []
    for one in (distances, inside):
        for kernel, pads in ((line[None, None, :, None], [1, 0, 1, 0]), (line[None, None, None, :], [0, 1, 0, 1])):
            one = graph.add("Conv", one, graph.constant(kernel), pads=[_BLUR_REACH * pad for pad in pads])  # noqa: PLW2901
        sums.append(one)
    return graph.add("Div", sums[0], graph.add("Max", sums[1], graph.constant(np.array(1e-6, dtype=np.float32))))


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
    return [last[stride] for stride in WEIGHTS if stride in last] or [last[max(last)]]


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
