"""Writes a TIFF in every mode and compression that Pillow writes, and compares what clipclass reads with what Pillow does.

    cargo build --release --example levels
    python benches/pictures.py [FOLDER]

With a folder, its files are compared instead. Needs numpy and Pillow.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "fixtures"))

from formula import fnv1a  # noqa: E402
from kinds import picture, pillows, saved  # noqa: E402

MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"]
# Pillow writes tiff_raw_16 too, but reads it wrongly.
COMPRESSIONS = [
    *["raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "jpeg", "tiff_jpeg", "lzma", "zstd", "webp"],
    *["group3", "group4", "tiff_ccitt"],
]


def write_tiffs(folder):
    for mode in MODES:
        for compression in COMPRESSIONS:
            try:
                file = saved(picture(mode), compression=compression)
            except Exception:  # Not every mode goes with every compression.
                continue
            (folder / f"{mode.replace(';', '')}-{compression}.tif").write_bytes(file)


def compare(folder):
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    program = ROOT / "target" / "release" / "examples" / "levels"
    listed = "".join(f"{path}\n" for path in paths)
    printed = subprocess.run([program], input=listed, text=True, stdout=subprocess.PIPE, check=True).stdout
    equal = 0
    for line in printed.splitlines():
        path, ours = line.split("\t")
        try:
            image = pillows(path)
            theirs = f"{image.width} {image.height} {fnv1a(image.tobytes()):016x}"
        except Exception as error:
            theirs = f"refused: {error}"
        if ours == theirs:
            equal += 1
        else:
            print(f"{path}\n    clipclass: {ours}\n    Pillow: {theirs}")
    print(f"{equal} of {len(paths)} are equal")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        compare(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            write_tiffs(Path(folder))
            compare(Path(folder))
