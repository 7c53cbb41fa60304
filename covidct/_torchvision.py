"""Let torchvision's Python half import on a CPU-only torch.

The PyPI wheel of torchvision is linked against CUDA. Beside a CPU build of torch its compiled library cannot load, the
load error is swallowed, and the import then dies on ``operator torchvision::nms does not exist``, taking timm,
torchmetrics and pytorch-lightning with it (pytorch/vision#9077). We need none of the compiled operators. So, at the
first import of torchvision and only if its library really cannot load, the two schemas it registers against are
declared; calling one still fails. On a machine where the library loads (any GPU machine) nothing is changed.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[object] = []  # torch.library.Library objects unregister their schemas when collected


class _Guard(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "torchvision":
            return None
        sys.meta_path.remove(self)  # once is enough, and the look-up below must not come back here
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin:
            _declare_missing_operators(Path(spec.origin).parent)
        return spec


def _declare_missing_operators(package: Path) -> None:
    import torch

    compiled = sorted(package.glob("_C*"))
    if not compiled:
        return
    try:
        torch.ops.load_library(str(compiled[0]))
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for schema in _SCHEMAS:
            library.define(schema)
        _libraries.append(library)


def install() -> None:
    """Put the guard in front of every other finder, unless torchvision is imported already."""
    if "torchvision" not in sys.modules and not any(isinstance(f, _Guard) for f in sys.meta_path):
        sys.meta_path.insert(0, _Guard())
