"""A tiny dataset on disk."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from fvcore.common.config import CfgNode

from src.config.custom_config import load_config

HEADER = "original_vido_id video_id frame_id path labels\n"


@pytest.fixture
def write_data(tmp_path: Path) -> Callable[..., CfgNode]:
    """Return a function that writes frames and lists below tmp_path and returns the configuration for them.

    Videos are name: (frames, (height, width)), at 10 frames a second from second 0; frame f of a video is gray,
    of value 20 + f mod 200, but for a gradient from left to right. All clips have four frames, at every second one.
    """

    def write(videos: Mapping[str, tuple[int, tuple[int, int]]], rows: Sequence[str], *overrides: object) -> CfgNode:
        lines = [HEADER]
        for number, (name, (count, (height, width))) in enumerate(videos.items()):
            folder = tmp_path / "frames" / name
            folder.mkdir(parents=True)
            ramp = np.linspace(0, 30, width).astype(np.uint8)[None, :, None]
            for frame in range(count):
                path = f"{name}/{name}_{frame + 1:06d}.jpg"
                image = np.broadcast_to(np.uint8(20 + frame % 200) + ramp, (height, width, 3))
                assert cv2.imwrite(str(tmp_path / "frames" / path), image)
                lines.append(f'{name} {number} {frame} {path} ""\n')
        annotations = tmp_path / "ava_annotations"
        annotations.mkdir()
        for split in ("train", "val"):
            (annotations / f"{split}.csv").write_text("".join(lines))
        (annotations / "boxes.csv").write_text("".join(f"{row}\n" for row in rows))
        settings = {
            "DATA.PATH_TO_DATA_DIR": str(tmp_path),
            "DATA.NUM_FRAMES": 4,
            "DATA.TRAIN_JITTER_SCALES": [32, 40],
            "DATA.TRAIN_CROP_SIZE": 32,
            "DATA.TEST_CROP_SIZE": 32,
            "SLOWFAST.ALPHA": 2,
            "AVA.FPS": 10,
            "AVA.FIRST_SECOND": 0,
            "AVA.VALID_SECONDS": [0, 100],
            "AVA.TRAIN_GT_BOX_LISTS": ["boxes.csv"],
            "AVA.TEST_PREDICT_BOX_LISTS": ["boxes.csv"],
            "TRAIN.BATCH_SIZE": 2,
            "TEST.BATCH_SIZE": 2,
            "DATA_LOADER.NUM_WORKERS": 0,
        }
        settings.update(zip(overrides[::2], overrides[1::2], strict=True))
        return load_config(None, [item for pair in settings.items() for item in pair])

    return write
