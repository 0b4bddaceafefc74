#!/usr/bin/env python3
"""Measures what long streams need: memory that does not grow, and the rate of images that are known.

    cargo build --release
    python3 benches/streams.py memory      # a tar on standard input: peak memory of many images and of few
    python3 benches/streams.py cache       # a list of files seen before: images a second

Images are the drawings of fixtures/images, each with its number appended, which decoders pass over
and the cache does not: no two have the same content.
"""

import argparse
import hashlib
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = ["cat.png", "tree.jpg", "boat.png", "dog.webp", "person.png"]
DRAWINGS = [ROOT / "fixtures/images" / name for name in NAMES]
FEW = 1_000


def images(count):
    """Names and contents."""
    contents = [path.read_bytes() for path in DRAWINGS]
    for i in range(count):
        of = i % len(DRAWINGS)
        yield f"{i:06}{DRAWINGS[of].suffix}", contents[of] + str(i).encode()


class Run:
    """clipclass at work; its records go to `stdout`."""

    def __init__(self, options, arguments, stdin, stdout=subprocess.DEVNULL):
        command = [options.binary, "--labels", options.labels, "--model", options.model, "--json"]
        self.start = time.perf_counter()
        self.process = subprocess.Popen([*command, *arguments], stdin=stdin, stdout=stdout)

    def end(self):
        """Seconds of the whole process, and the most memory it had, in MiB."""
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        if self.process.returncode != 0:
            sys.exit(f"clipclass ended with {self.process.returncode}")
        return time.perf_counter() - self.start, usage.ru_maxrss / 1024


def memory(options):
    peaks = {FEW: [], options.count: []}
    # What the allocator holds back differs from run to run, and most in short ones.
    for count in [FEW] * 5 + [options.count]:
        run = Run(options, ["-", "--no-cache"], subprocess.PIPE)
        with run.process.stdin as stdin, tarfile.open(fileobj=stdin, mode="w|") as tar:
            for name, content in images(count):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        seconds, mib = run.end()
        peaks[count].append(mib)
        print(f"{count} images through a tar: {mib:.1f} MiB at most, {count / seconds:.0f} images/s", flush=True)
    few, many = (statistics.median(runs) for runs in peaks.values())
    print(f"memory of many images / median of few: {many / few:.3f}")


def cache(options):
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        folder = Path(folder)
        # A file changed just now is not known by its times.
        then = time.time() - 60
        with open(folder / "list", "w") as listing:
            for i, (name, content) in enumerate(images(options.count)):
                path = folder / str(i // 1000) / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
                os.utime(path, (then, then))
                print(path, file=listing)
        digests = set()
        for run in ("unknown", "known", "known", "known"):
            with open(folder / "list") as listing, open(folder / "records", "w+b") as records:
                arguments = ["--files-from", "-", "--cache", folder / "cache"]
                seconds, mib = Run(options, arguments, listing, records).end()
                records.seek(0)
                digests.add(hashlib.file_digest(records, "sha256").hexdigest())
            rate = options.count / seconds
            print(f"{options.count} {run} files: {rate:.0f} images/s, {mib:.1f} MiB at most", flush=True)
        print("records: " + ("identical" if len(digests) == 1 else "DIFFERENT"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", choices=["memory", "cache"])
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/clipclass")
    parser.add_argument("--model", type=Path, default=ROOT / "fixtures/tiny-clip")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--labels", default="a cat,a dog,a car,a tree,a person")
    parser.add_argument("--folder", type=Path, help="where files and cache are kept meanwhile")
    options = parser.parse_args()
    {"memory": memory, "cache": cache}[options.measure](options)


if __name__ == "__main__":
    main()
