"""Pure functions from decoded frames and normalized boxes to the network's input.

Frames are uint8 (height, width, 3) in OpenCV's BGR order; clips are float32 (3, time, height, width) RGB.
Sizes are (height, width). The test-time rules are PySlowFast's, as its outputs document them.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

# Strength of color augmentation: brightness, contrast and saturation change by up to this fraction; the noise along
# the principal colors has this standard deviation (Krizhevsky et al., 2012).
_COLOR_JITTER = 0.4
_PCA_STD = 0.1
# ITU-R BT.601 luma of RGB.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def short_side_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """Return the size whose short side is `short_side` and whose long side keeps the aspect ratio, rounded down."""
    height, width = size
    if min(size) == short_side:
        return size
    if width < height:
        return math.floor(height / width * short_side), short_side
    return short_side, math.floor(width / height * short_side)


def boxes_to_pixels(boxes_norm: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return boxes in pixels of an image of `size`, clipped to it: float64 (boxes, 4)."""
    height, width = size
    return clip_boxes(boxes_norm * np.array([width, height, width, height], np.float64), size)


def scale_boxes(boxes_px: np.ndarray, size: tuple[int, int], new_size: tuple[int, int]) -> np.ndarray:
    """Scale boxes as `short_side_size` scales their image: both axes by the long side's ratio."""
    long_axis = 0 if size[1] < size[0] else 1
    return boxes_px * (new_size[long_axis] / size[long_axis])


def stretch_boxes(boxes_px: np.ndarray, size: tuple[int, int], new_size: tuple[int, int]) -> np.ndarray:
    """Scale boxes as an image that is brought to `new_size` whatever its aspect ratio: each axis by its own ratio."""
    vertical, horizontal = new_size[0] / size[0], new_size[1] / size[1]
    return boxes_px * np.array([horizontal, vertical, horizontal, vertical])


def crop_boxes(boxes_px: np.ndarray, top: int, left: int) -> np.ndarray:
    """Shift boxes into a crop that starts at `top`, `left`; parts outside remain until `clip_boxes`."""
    return boxes_px - np.array([left, top, left, top])


def flip_boxes(boxes_px: np.ndarray, width: int) -> np.ndarray:
    """Mirror boxes in an image `width` pixels wide, whose last column has x = width - 1."""
    x1, y1, x2, y2 = boxes_px.T
    return np.stack([width - 1 - x2, y1, width - 1 - x1, y2], axis=1)


def clip_boxes(boxes_px: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Clip boxes to the pixel centers of an image: x to 0 .. width - 1, y to 0 .. height - 1."""
    height, width = size
    return np.clip(boxes_px, 0.0, np.array([width - 1, height - 1, width - 1, height - 1], np.float64))


def slow_frames(frames: int, alpha: int) -> np.ndarray:
    """Return which of the Fast pathway's `frames` the Slow pathway takes: int64 (frames // alpha,).

    As PyTorch's linspace(0, frames - 1, frames // alpha).long(), which PySlowFast uses.
    """
    return np.trunc(np.linspace(0, frames - 1, frames // alpha)).astype(np.int64)


def normalization_table(mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Return what each pixel value becomes, (value / 255 - mean) / std: float32 (3, 256), RGB."""
    values = np.arange(256, dtype=np.float32) / np.float32(255)
    return (values - np.float32(mean)[:, None]) / np.float32(std)[:, None]


def fit_frames(
    images: Sequence[np.ndarray],
    size: tuple[int, int],
    crop_size: tuple[int, int],
    corner: tuple[int, int] = (0, 0),
    flip: bool = False,
) -> list[np.ndarray]:
    """Scale frames to `size`, cut out a part, and mirror it.

    Scaling is bilinear on whole pixel values, as PySlowFast's.

    Args:
        images: uint8 (height, width, 3); a repeated object is scaled once, and is a repeated object again.
        size: height and width to scale to.
        crop_size: height and width of the part.
        corner: its top and left in the scaled image.
        flip: mirror horizontally.

    Returns:
        uint8 (crop height, crop width, 3) each.
    """
    (top, left), (height, width) = corner, crop_size
    fitted: list[np.ndarray] = []
    for step, image in enumerate(images):
        if step and image is images[step - 1]:
            fitted.append(fitted[-1])
            continue
        if image.shape[:2] != tuple(size):
            image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        image = image[top : top + height, left : left + width]
        fitted.append(cv2.flip(image, 1) if flip else image)
    return fitted


def write_clip(images: Sequence[np.ndarray], table: np.ndarray, out: np.ndarray) -> None:
    """Write frames through a table: each is one of 256 values, so that normalization is a look-up.

    Args:
        images: one uint8 (height, width, 3) BGR frame for each time step; a repeated object is looked up once.
        table: float32 (3, 256), see `normalization_table`.
        out: float32 (3, time, height, width), RGB, written in place; each image of it contiguous.
    """
    for step, image in enumerate(images):
        if step and image is images[step - 1]:
            out[:, step] = out[:, step - 1]
            continue
        for channel, plane in enumerate(reversed(cv2.split(image))):
            cv2.LUT(plane, table[channel], out[channel, step])


def color_jitter(clip: np.ndarray, rng: np.random.Generator) -> None:
    """Change brightness, contrast and saturation in random order, in place, the same way in every frame.

    Each blends the image with its opposite (black, the frame's mean gray, the gray image) by a weight from
    1 - 0.4 to 1 + 0.4.

    Args:
        clip: float32 (3, time, height, width), RGB in [0, 1]; values may leave that range.
        rng: where order and weights come from.
    """
    order = rng.permutation(3)
    weights = rng.uniform(1 - _COLOR_JITTER, 1 + _COLOR_JITTER, 3).astype(np.float32)
    for kind, weight in zip(order, weights, strict=True):
        if kind == 0:
            opposite = np.float32(0)
        else:
            opposite = np.tensordot(_LUMA, clip, axes=1)
            if kind == 1:
                opposite = opposite.mean(axis=(1, 2), keepdims=True)
        clip *= weight
        clip += (1 - weight) * opposite


def pca_shift(rng: np.random.Generator, eigenvalues: Sequence[float], eigenvectors: Sequence[Sequence]) -> np.ndarray:
    """Draw the noise along the principal colors of one clip: float32 (3,), RGB, to add to pixels in [0, 1].

    Args:
        rng: where the three weights come from.
        eigenvalues: of the colors' covariance.
        eigenvectors: rows for R, G, B; a column for each eigenvalue.
    """
    weights = rng.normal(0.0, _PCA_STD, 3)
    return (np.asarray(eigenvectors) @ (weights * np.asarray(eigenvalues))).astype(np.float32)
