#!/usr/bin/env python3
"""Checks the example: a worker is killed, Spark repeats its task, and the table is that of one plain run.

    python examples/spark/check.py [CLIPCLASS]     # else the one on PATH
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from array import array
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SUBMIT = Path(sys.executable).parent / "spark-submit"
ASK = ["--labels", "a cat,a dog,a car,a tree,a person", "--model", "fixtures/tiny-clip"]
PARTITIONS = 4

# Notes each start. The first process to make the folder prints one and a half records, then dies.
KILLED_ONCE = """#!/bin/sh
echo >> {folder}/starts
if mkdir {folder}/killed 2> {folder}/second; then
    {clipclass} "$@" | head -c 900
    kill -KILL $$
fi
exec {clipclass} "$@"
"""


def classify(binary, inputs, output):
    """Runs the example with two attempts a task."""
    # A short job is over sooner without the second compiler.
    run = [SUBMIT, "--master", "local[2,2]", "--driver-java-options", "-XX:TieredStopAtLevel=1"]
    run += [HERE / "classify.py", *inputs, *ASK, "--binary", binary]
    run += ["--partitions", str(PARTITIONS), "--output", output]
    environment = os.environ | {"PYSPARK_PYTHON": sys.executable}
    return subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True)


def f32(value):
    return value if value is None else array("f", [value])[0]


def plain_row(record):
    """A record of a plain run as the table has it."""
    scores = record.get("scores")
    if scores is not None:
        scores = [score | {key: f32(score[key]) for key in ("probability", "cosine", "logit")} for score in scores]
    error = record.get("error", {})
    return {
        "image": record["image"],
        "image_bytes": record.get("image_bytes"),
        "prediction": record.get("prediction"),
        "probability": f32(record.get("probability")),
        "error_kind": error.get("kind"),
        "error_message": error.get("message"),
        "scores": scores,
    }


def main():
    clipclass = shutil.which(sys.argv[1] if len(sys.argv) > 1 else "clipclass")
    if clipclass is None:
        sys.exit("no clipclass: install it or give its path")
    clipclass = Path(clipclass).resolve()
    with TemporaryDirectory() as folder:
        folder = Path(folder)
        shard = folder / "shard.tar"
        subprocess.run(["tar", "cf", shard, "-C", ROOT / "fixtures/images", "cat.png", "tree.jpg"], check=True)
        inputs = ["fixtures/images/*", "fixtures/broken", str(shard), "nowhere.jpg"]

        wrapper = folder / "clipclass"
        wrapper.write_text(KILLED_ONCE.format(folder=shlex.quote(str(folder)), clipclass=shlex.quote(str(clipclass))))
        wrapper.chmod(0o755)
        spark = classify(wrapper, inputs, folder / "table")
        assert spark.returncode == 0, spark.stderr
        assert "clipclass ended with exit status -9" in spark.stderr, spark.stderr
        starts = len((folder / "starts").read_text().splitlines())
        assert starts == PARTITIONS + 1, f"{starts} starts for {PARTITIONS} partitions and one repetition"

        alone = [clipclass, "fixtures/images", *inputs[1:], *ASK, "--json", "--no-cache"]
        plain = subprocess.run(alone, cwd=ROOT, capture_output=True, text=True)
        assert plain.returncode == 1, plain.stderr
        expected = sorted((plain_row(json.loads(line)) for line in plain.stdout.splitlines()), key=image)
        table = sorted(pyarrow.parquet.read_table(folder / "table").to_pylist(), key=image)
        assert [image(row) for row in table] == [image(row) for row in expected]
        for found, row in zip(table, expected):
            assert found == row, f"Spark: {found}\nplain: {row}"
        assert spark.stdout.startswith(f"{len(table)} images, "), spark.stdout

        refused = classify(clipclass, [*inputs, "--options=--batch-size 0"], folder / "refused")
        assert refused.returncode != 0, "clipclass refuses a batch of none, which must fail the job"
        assert "clipclass ended with exit status 2" in refused.stderr, refused.stderr
        assert not (folder / "refused" / "_SUCCESS").exists()
    print(f"{len(table)} records as in one plain run, after {starts - PARTITIONS} killed worker")


def image(row):
    return row["image"]


if __name__ == "__main__":
    main()
