"""Which kind of dataset a configuration describes: here a kind other than AVA's comes in. Needs no MindSpore."""

from fvcore.common.config import CfgNode

from src.datasets.ava_dataset import AvaDataset


def dataset_class(cfg: CfgNode) -> type[AvaDataset]:
    """Return the class whose splits are trained on and scored."""
    return AvaDataset


def build_dataset(cfg: CfgNode, split: str) -> AvaDataset:
    """Return a split of the dataset; arguments and errors are those of `AvaDataset`."""
    return dataset_class(cfg)(cfg, split)
