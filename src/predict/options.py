"""What a run of predict is asked to do, and the parts of the machine that it is built from."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fvcore.common.config import CfgNode
from tqdm import tqdm

from src.ava.label_map import read_label_map
from src.config.custom_config import load_config
from src.cpu import library
from src.deploy.manifest import manifest_config, read_manifest
from src.predict.detector import Detector, OnnxDetector, default_detector, detector_files
from src.predict.model_files import EFFICIENTDET, MOVENET
from src.predict.parts import Sampling
from src.predict.scorer import MindSporeScorer, OpenVinoScorer, Scorer, supports_bfloat16
from src.utils.errors import UserError
from src.utils.files import sha256_of

ENGINES = ("mindspore", "openvino")
PRECISIONS = ("float32", "bfloat16")
# Keys of a recipe that change what eval.py gives, and not what predict.py does.
_OF_EVALUATION = (("TEST", "SCALES"), ("TEST", "FLIP"), ("TEST", "ENSEMBLE_FILE_PATHS"), ("AVA", "TEST_FORCE_FLIP"))


@dataclass(frozen=True)
class Options:
    """The command line, in types; see `command.py` for meanings."""

    out: Path
    cfg: Path | None = None
    overrides: tuple[str, ...] = ()
    model: Path | None = None
    device_target: str | None = None
    engine: str = "mindspore"
    precision: str = "float32"
    labels: Path | None = None
    boxes: Path | None = None
    detector: Path | None = None
    every: float = 1.0
    detections: float = 5.0
    threshold: float = 0.3
    top: int = 5
    start: float = 0.0
    end: float | None = None
    every_part: float = 60.0
    video_out: bool = True

    @property
    def sampling(self) -> Sampling:
        """When persons are looked for and scored."""
        return Sampling(self.every, self.detections)

    def in_bfloat16(self) -> bool:
        """Whether the network computes in bfloat16."""
        if self.engine == "openvino":
            return self.precision == "bfloat16"
        return self.config().TEST.AMP_LEVEL == "bf16"

    def with_absolute_paths(self) -> "Options":
        """Return the same for a process that runs in another folder."""
        paths = {name: value.absolute() for name, value in vars(self).items() if isinstance(value, Path)}
        return replace(self, **paths)

    def config(self) -> CfgNode:
        """Return the network's configuration."""
        if self.model is not None:
            return manifest_config(read_manifest(self.model), ".")
        return load_config(self.cfg, list(self.overrides))

    def recipe(self) -> str:
        """Return where the network comes from, for people."""
        return self.cfg.name if self.cfg is not None else f"described in {self.model.with_suffix('.json').name}"


def build_scorer(options: Options) -> Scorer:
    """Return the network, ready to score.

    Raises:
        UserError: it cannot be run.
    """
    if options.model is not None:
        if options.precision == "bfloat16" and not supports_bfloat16():
            raise UserError("--precision bfloat16: this processor does not compute in bfloat16; leave it out")
        return OpenVinoScorer(options.model, "bf16" if options.precision == "bfloat16" else "f32")
    from src.utils.device import set_up_device

    cfg = options.config()
    if unused := [f"{node}.{key}" for node, key in _OF_EVALUATION if cfg[node][key]]:
        tqdm.write(f"{', '.join(unused)}: of eval.py alone; here one checkpoint scores each clip once, as it is")
    if not cfg.TEST.CHECKPOINT_FILE_PATH:
        raise UserError("TEST.CHECKPOINT_FILE_PATH is empty, expected the checkpoint to score with")
    if options.engine == "openvino":
        library.turn_off()  # as export.py does
    set_up_device(options.device_target, cfg.RNG_SEED)
    if options.engine == "openvino":
        return OpenVinoScorer(_exported(options, cfg), "bf16" if options.precision == "bfloat16" else "f32")
    return MindSporeScorer(cfg)


def _exported(options: Options, cfg: CfgNode) -> Path:
    """Return the ONNX graph of a checkpoint, exported into the output folder unless it is there."""
    from src.deploy.export import export

    checkpoint = Path(cfg.TEST.CHECKPOINT_FILE_PATH)
    key = hashlib.sha256(f"{sha256_of(checkpoint)} {cfg.dump()}".encode()).hexdigest()[:16]
    folder = options.out / ".predict" / "models" / key
    if not (folder / "slowfast.json").is_file():
        settings = ["EXPORT.FORMAT", "ONNX", "EXPORT.DYNAMIC", "True"]
        export(load_config(options.cfg, [*options.overrides, *settings]), checkpoint, folder)
    return folder / "slowfast.onnx"


def build_detector(options: Options) -> Detector | None:
    """Return what finds persons; None: boxes are given.

    Raises:
        UserError: its files cannot be fetched or read.
    """
    if options.boxes is not None:
        return None
    if options.detector is not None:
        return OnnxDetector(options.detector)
    return default_detector("bf16" if options.in_bfloat16() and supports_bfloat16() else "f32")


def read_labels(options: Options, cfg: CfgNode) -> dict[int, str]:
    """Return the class names by id.

    Raises:
        UserError: there is no label map, or it is of another network.
    """
    path = options.labels
    if path is None and options.model is not None and (names := read_manifest(options.model).class_names):
        return dict(names)
    if path is None:
        path = Path(cfg.DATA.PATH_TO_DATA_DIR) / cfg.AVA.ANNOTATION_DIR / cfg.AVA.LABEL_MAP_FILE
        if not path.is_file():
            raise UserError(f"{path}: the recipe's label map is not there; name one with --labels FILE.pbtxt")
    labels = read_label_map(path)
    if max(labels) > cfg.MODEL.NUM_CLASSES:
        raise UserError(
            f"{path}: class id {max(labels)}, but the network has {cfg.MODEL.NUM_CLASSES} classes; "
            "expected the label map that it was trained with"
        )
    return labels


def score_settings(options: Options, scorer_digest: str) -> dict[str, object]:
    """Return all that the scores of a video depend on, beside the video."""
    if options.boxes is not None:
        detector = sha256_of(options.boxes)
    elif options.detector is not None:
        detector = [sha256_of(path) for path in detector_files(options.detector)]
    else:
        detector = [MOVENET.sha256, EFFICIENTDET.sha256]
    kept = ("every", "detections", "start", "end", "every_part")
    content = {name: value for name, value in asdict(options).items() if name in kept}
    content |= {"model": scorer_digest, "engine": options.engine, "precision": options.precision}
    return content | {"detector": detector, "version": 2}


def scores_digest(settings: dict[str, object], video: Path) -> str:
    """Return a text that changes with whatever changes the scores of a video; `settings` as `score_settings` gives."""
    status = video.stat()
    content = settings | {"video": [video.name, status.st_size, status.st_mtime_ns]}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
