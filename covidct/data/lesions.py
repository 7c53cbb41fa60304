"""Lesion masks that lie beside a data set, in the layout `covidct phantom` writes them in."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidct.ct.multiframe import is_multiframe
from covidct.ct.read import kind_of, open_dicom
from covidct.data.table import SliceTable
from covidct.errors import DataRefused


class LesionMasks:
    """The masks of one table's data set: `masks/<site>/<patient>.npz` below its root.

    Each file holds `mask`, uint8 [slices, rows, cols], 1 in a lesion, and `sop_instance_uid`, str [slices]. A mask
    belongs to the slice with its SOP Instance UID and to no other, whatever the order of the files; to a frame of a
    multi-frame file with `#` and the number of the frame behind it.

    Args:
        table: The slice table.
    """

    def __init__(self, table: SliceTable) -> None:
        self._table = table
        self._folder = table.root / "masks"
        self._open: tuple[PurePosixPath, dict[str, NDArray[np.bool_]]] | None = None

    @property
    def exist(self) -> bool:
        """Whether the data set has masks at all."""
        return self._folder.is_dir()

    def of(self, row: int) -> NDArray[np.bool_] | None:
        """The mask of a slice, [rows, cols]; None where there is none.

        Args:
            row: In `table.accepted`.

        Raises:
            DataRefused: The file of masks is damaged.
        """
        path = PurePosixPath(str(self._table.accepted["path"].iloc[row]))
        if not self.exist or len(path.parts) < 3:
            return None
        masks = self._of_patient(PurePosixPath(path.parts[0], f"{path.parts[1]}.npz"))
        if not masks:
            return None
        file = self._table.file(row)
        if kind_of(file) != "dicom":  # a mask is found by its slice's UID
            return None
        with open_dicom(file) as dataset:
            uid = str(dataset.get("SOPInstanceUID"))
            if is_multiframe(dataset):
                uid += f"#{int(self._table.accepted['frame'].iloc[row])}"
        return masks.get(uid)

    def _of_patient(self, name: PurePosixPath) -> dict[str, NDArray[np.bool_]]:
        if self._open is None or self._open[0] != name:  # slices of one patient are asked for together
            self._open = name, self._read(name)
        return self._open[1]

    def _read(self, name: PurePosixPath) -> dict[str, NDArray[np.bool_]]:
        file = self._folder / name
        if not file.is_file():
            return {}
        try:
            with np.load(file, allow_pickle=False) as stored:
                masks: Any = stored["mask"]
                uids = [str(uid) for uid in stored["sop_instance_uid"]]
        except (OSError, ValueError, KeyError) as error:
            raise DataRefused(
                f"a file of lesion masks cannot be read ({type(error).__name__})", where="masks"
            ) from None
        return {uid: mask.astype(bool) for uid, mask in zip(uids, masks, strict=True)}
