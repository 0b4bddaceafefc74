#!/usr/bin/env python3
"""Classifies images with clipclass as Spark's worker process, and writes the records as Parquet.

    spark-submit --master 'local[*,4]' classify.py 'photos/*.jpg' --labels "a cat,a dog" --output records.parquet

Each partition of the paths is one task, and each task one clipclass process. Spark deals the paths
out, repeats a task whose process died, and keeps the output of successful attempts only.
"""

import argparse
import shlex
from glob import glob
from subprocess import DEVNULL, PIPE, Popen
from tempfile import NamedTemporaryFile, TemporaryFile

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, count

RECORD = """
    image STRING, image_bytes STRING, prediction STRING, probability FLOAT,
    error STRUCT<kind: STRING, message: STRING>,
    scores ARRAY<STRUCT<label: STRING, probability: FLOAT, cosine: FLOAT, logit: FLOAT>>"""


def arguments():
    parser = argparse.ArgumentParser(description="Classifies images with clipclass on Spark.")
    inputs = parser.add_mutually_exclusive_group(required=True)
    inputs.add_argument("inputs", nargs="*", default=[], metavar="INPUT",
                        help="image, folder or tar shard, or a pattern of them, as the workers see it")
    inputs.add_argument("--files-from", metavar="FILE", help="text file that Spark can read, one input a line")
    labels = parser.add_mutually_exclusive_group(required=True)
    labels.add_argument("--labels", help="labels, separated by commas")
    labels.add_argument("--labels-file", help="file of labels, as the workers see it")
    parser.add_argument("--output", required=True, help="Parquet table to write; must not exist")
    parser.add_argument("--model", help="model folder that every worker sees, or a Hugging Face name")
    parser.add_argument("--partitions", type=int, help="clipclass processes in all [default: as run at once]")
    parser.add_argument("--threads", type=int, default=1, help="cores of a process, and of its Spark task [default: 1]")
    parser.add_argument("--cache", help="folder of embeddings, on the worker's own disk [default: keep none]")
    parser.add_argument("--binary", default="clipclass", help="clipclass on the workers [default: from their PATH]")
    parser.add_argument("--options", default="", help='more for clipclass, as in --options="--top 3"')
    return parser.parse_args()


def command(args):
    """The clipclass command line that every task runs, but for its paths."""
    given = {"--labels": args.labels, "--labels-file": args.labels_file, "--model": args.model, "--cache": args.cache}
    pairs = [word for flag, value in given.items() if value is not None for word in (flag, value)]
    no_cache = [] if args.cache else ["--no-cache"]
    return [args.binary, "--json", "--threads", str(args.threads), *pairs, *no_cache, *shlex.split(args.options)]


def worker(command):
    """A function from a partition of paths to JSON lines, by way of one clipclass process."""

    def classify(rows):
        with NamedTemporaryFile() as paths, TemporaryFile() as messages:
            paths.writelines(row.value.encode() + b"\0" for row in rows)
            paths.flush()
            read_paths = ["--null", "--files-from", paths.name]
            with Popen([*command, *read_paths], stdin=DEVNULL, stdout=PIPE, stderr=messages) as process:
                # A killed process leaves half a line; its exit status tells below.
                yield from (line.decode() for line in process.stdout if line.endswith(b"\n"))
            # 1: some image failed, and its record says so. 2, or a signal (negative): the task failed.
            if process.returncode not in (0, 1):
                messages.seek(0)
                said = messages.read().decode(errors="replace").strip()
                raise RuntimeError(f"clipclass ended with exit status {process.returncode}: {said}")

    return classify


def main():
    args = arguments()
    spark = SparkSession.builder.appName("clipclass").config("spark.task.cpus", args.threads).getOrCreate()
    if args.files_from:
        paths = spark.read.text(args.files_from)
    else:
        found = [path for given in args.inputs for path in sorted(glob(given)) or [given]]
        paths = spark.createDataFrame([(path,) for path in found], "value STRING")
    parallel = max(1, spark.sparkContext.defaultParallelism // args.threads)
    lines = paths.repartition(args.partitions or parallel).rdd.mapPartitions(worker(command(args)))
    records = spark.read.json(lines, schema=RECORD, mode="FAILFAST")
    records.select(
        "image", "image_bytes", "prediction", "probability",
        col("error.kind").alias("error_kind"), col("error.message").alias("error_message"), "scores",
    ).write.parquet(args.output)
    images, failed = spark.read.parquet(args.output).select(count("*"), count("error_kind")).first()
    print(f"{images} images, {failed} failed: {args.output}")


if __name__ == "__main__":
    main()
