"""timm, and torchmetrics, which Lightning has, import torchvision."""

from importlib.util import find_spec
from pathlib import Path

import torch

found = find_spec("torchvision")
if found is not None:
    try:
        torch.ops.load_library(Path(found.origin).parent / "_C.so")
    except OSError:
        # The package index has it for CUDA's torch only. Nothing here calls its operators, but its import
        # asks for two of them by name.
        for name in ("nms", "qnms"):
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{name}", schema)
