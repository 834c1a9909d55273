"""The operators' definitions in NumPy, float64, and a way to call the compiled ones without MindSpore."""

import ctypes

import numpy as np

from src.cpu.library import load

BFLOAT16 = np.uint16
"""NumPy has no bfloat16: arrays of it hold its bits."""


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """Round float32 to nearest, ties to even, as bits."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(BFLOAT16)


def to_float(x: np.ndarray) -> np.ndarray:
    """Widen bits of bfloat16; float32 stays."""
    return (x.astype(np.uint32) << 16).view(np.float32) if x.dtype == BFLOAT16 else x


def call(name: str, *arrays: np.ndarray) -> int:
    """Call an operator with its inputs, then its outputs, and return its status."""
    count = len(arrays)
    types = {BFLOAT16: b"bfloat16", np.float32: b"float32", np.uint8: b"uint8"}
    shapes = [(ctypes.c_int64 * array.ndim)(*array.shape) for array in arrays]
    return getattr(load(), name)(
        ctypes.c_int(count),
        (ctypes.c_void_p * count)(*(array.ctypes.data for array in arrays)),
        (ctypes.c_int * count)(*(array.ndim for array in arrays)),
        (ctypes.c_void_p * count)(*(ctypes.addressof(shape) for shape in shapes)),
        (ctypes.c_char_p * count)(*(types[array.dtype.type] for array in arrays)),
        None,
        None,
    )


def settings(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def conv3d(x: np.ndarray, weight: np.ndarray, frames: int, stride: tuple[int, ...], dilation: int) -> np.ndarray:
    """Convolve folded frames (n * t, h, w, in) with (out, in, kt, kh, kw), padded to keep the size."""
    result = 0.0
    for point, at in _points(x, weight, frames, stride, dilation):
        result = result + at @ weight[(slice(None), slice(None), *point)].T
    return result.reshape(-1, *result.shape[2:])


def conv3d_gradients(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, frames: int, stride: tuple[int, ...], dilation: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of sum(dy * conv3d(x, weight)) by x and weight."""
    padded = np.zeros_like(_pad(x, weight, frames, dilation))
    dweight = np.zeros_like(weight)
    samples = dy.reshape(x.shape[0] // frames, -1, *dy.shape[1:])
    for point, at in _points(x, weight, frames, stride, dilation):
        where = (slice(None), slice(None), *point)
        dweight[where] = np.einsum("nthwo,nthwi->oi", samples, at)
        padded[_window(point, samples.shape, stride, dilation)] += samples @ weight[where]
    margins = _margins(weight, dilation)
    inner = tuple(slice(m, m + size) for m, size in zip(margins, (frames, *x.shape[1:3]), strict=True))
    return padded[(slice(None), *inner)].reshape(x.shape), dweight


def _margins(weight: np.ndarray, dilation: int) -> tuple[int, int, int]:
    return weight.shape[2] // 2, weight.shape[3] // 2 * dilation, weight.shape[4] // 2 * dilation


def _pad(x: np.ndarray, weight: np.ndarray, frames: int, dilation: int) -> np.ndarray:
    volumes = x.reshape(x.shape[0] // frames, frames, *x.shape[1:])
    return np.pad(volumes, [(0, 0), *((m, m) for m in _margins(weight, dilation)), (0, 0)])


def _window(point: tuple[int, ...], shape: tuple[int, ...], stride: tuple[int, ...], dilation: int) -> tuple:
    """Return where a kernel's point reads a padded input for outputs of `shape` (n, t, h, w, c)."""
    starts = (point[0], point[1] * dilation, point[2] * dilation)
    ends = (start + (size - 1) * step + 1 for start, size, step in zip(starts, shape[1:4], stride, strict=True))
    return (slice(None), *(slice(*bounds) for bounds in zip(starts, ends, stride, strict=True)))


def _points(x, weight, frames, stride, dilation):
    """Yield each point of the kernel and what it reads, (n, t', h', w', in)."""
    padded = _pad(x, weight, frames, dilation)
    sizes = (frames, *x.shape[1:3])
    shape = (0, *((size - 1) // step + 1 for size, step in zip(sizes, stride, strict=True)))
    for point in np.ndindex(weight.shape[2:]):
        yield point, padded[_window(point, shape, stride, dilation)]


def max_pool3d(x: np.ndarray, frames: int, kernel, stride, padding) -> tuple[np.ndarray, np.ndarray]:
    """Return the maximum of each window and the number of the first point in it that holds it."""
    volumes = x.reshape(x.shape[0] // frames, frames, *x.shape[1:])
    margins = [(0, 0), *((p, p + k) for p, k in zip(padding, kernel, strict=True)), (0, 0)]
    padded = np.pad(volumes, margins, constant_values=-np.inf)
    sizes = zip((frames, *x.shape[1:3]), kernel, stride, padding, strict=True)
    lengths = [(size + 2 * p - k) // s + 1 for size, k, s, p in sizes]
    points = []
    for point in np.ndindex(*kernel):
        at = (slice(start, start + n * s, s) for start, n, s in zip(point, lengths, stride, strict=True))
        points.append(padded[(slice(None), *at)][:, : lengths[0], : lengths[1], : lengths[2]])
    stacked = np.stack(points)
    shape = (-1, *lengths[1:], x.shape[3])
    return stacked.max(0).reshape(shape), stacked.argmax(0).reshape(shape)


def max_pool3d_gradient(dy, index, x, frames, kernel, stride, padding) -> np.ndarray:
    """Give each window's gradient to the point that holds its maximum."""
    dx = np.zeros((x.shape[0] // frames, frames, *x.shape[1:]))
    shaped = dy.reshape(x.shape[0] // frames, -1, *dy.shape[1:])
    for place in np.ndindex(shaped.shape):
        n, t, h, w, c = place
        point = np.unravel_index(index.reshape(shaped.shape)[place], kernel)
        at = [o * s - p + k for o, s, p, k in zip((t, h, w), stride, padding, point, strict=True)]
        dx[(n, *at, c)] += shaped[place]
    return dx.reshape(x.shape)
