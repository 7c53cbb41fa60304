"""What the benchmark works on: an index and a split of ours, and the same slices as a plain list for the peer."""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import covidct  # noqa: F401  (first: it lets torchvision import beside a CPU torch)

# isort: split
import timm
import torch
from safetensors.torch import save_file

from covidct.commands.cli import main as covidct_main
from covidct.ct.phantom.network import PhantomSpec, write_network
from covidct.data.splits import Split
from covidct.data.table import SliceTable, read_table


@dataclass(frozen=True)
class Material:
    """One data set, ready for both sides.

    Args:
        name: For people.
        table: The slice table.
        index: Its folder.
        words: What `covidct train` must be told to use it.
        slices: csv for the peer: file,label,part.
        counts: Slices by part.
    """

    name: str
    table: SliceTable
    index: Path
    words: tuple[str, ...]
    slices: Path
    counts: dict[str, int]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in column order."""
        assert self.table.classes is not None  # indexed with labels
        return self.table.classes.names

    def weights_of(self, model: str) -> Path:
        """A file that both sides start from, in place of published weights: they need a network, and time is the same.

        Weights from a file also let every repeat of ours share one set of features, as published ones do.
        """
        file = self.slices.with_name(f"{model}.safetensors")
        if not file.is_file():
            torch.manual_seed(0)
            network = timm.create_model(model, pretrained=False, zero_init_last=False)
            save_file(network.state_dict(), str(file))
        return file


def real_material(root: Path, folder: Path) -> Material:
    """COVID-CT-MD: 433 slices of three patients, 512 x 512, JPEG lossless, three classes.

    With one patient a class only slices can be drawn, so validation leaks by design: right for measuring time, and
    for nothing else.
    """
    words = ("data=covid_ct_md", "split=paper_image_level")
    return _prepared("COVID-CT-MD (512 x 512, JPEG lossless)", root, folder, words)


def phantom_material(folder: Path, *, patients: int, slices_per_patient: int, size: int, lossless: bool) -> Material:
    """A phantom of five classes at one site, its files encoded as an archive would keep them.

    Args:
        folder: Where everything is written.
        patients: Patients of each class.
        slices_per_patient: Slices of each patient.
        size: Rows and columns.
        lossless: JPEG lossless (1.2.840.10008.1.2.4.70), the usual archive syntax of CT; False leaves them raw.
    """
    root = folder / "phantom"
    at = {"site_a": patients, "site_b": 0, "site_c": 0}
    write_network(root, PhantomSpec(patients=at, slices_per_patient=slices_per_patient, size=size), workers=2)
    if lossless:
        for file in root.rglob("*.dcm"):
            _encode_lossless(file)
    said = f"phantom ({size} x {size}, {'JPEG lossless' if lossless else 'uncompressed'})"
    return _prepared(said, root, folder, ("data=phantom", "split=patient"))


def _prepared(name: str, root: Path, folder: Path, words: tuple[str, ...]) -> Material:
    index = folder / "index"
    told = (*words, f"data.index={index}")
    data_words = [word for word in told if word.startswith("data")]
    key = f"key={folder / 'pseudonym.key'}"
    for verb, given in (("index", [*data_words, f"data.root={root}", key]), ("split", list(told))):
        if code := covidct_main([verb, *given]):
            sys.exit(f"covidct {verb} ended with {code}")
    table = read_table(index)
    [frozen] = (index / "splits").glob("*.json")
    rows = Split.read(frozen).rows(table)
    slices = folder / "slices.csv"
    assert table.classes is not None  # indexed with labels
    with slices.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "label", "part"])
        for part in ("train", "val"):
            for row in rows[part]:
                label = table.classes.names.index(table.accepted["label"].iloc[row])
                writer.writerow([table.file(row), label, part])
    counts = {part: len(rows[part]) for part in ("train", "val")}
    return Material(name, table, index, told, slices, counts)


def _encode_lossless(file: Path) -> None:
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(file))
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    if not reader.Read():
        sys.exit(f"gdcm cannot read {file.name}")
    change.SetInput(reader.GetImage())
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(file))
    if not change.Change():
        sys.exit(f"gdcm cannot encode {file.name}")
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    if not writer.Write():
        sys.exit(f"gdcm cannot write {file.name}")
