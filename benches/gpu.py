#!/usr/bin/env python3
"""Checks and measures clipclass on a GPU, beside PyTorch on the same card, in one command:

    python3 benches/gpu.py --folder target/gpu

It takes a card, its driver, the CUDA toolkit, torch and transformers; what was built with `.ci/cuda` instead of
a toolkit (`.ci/cuda`, `.ci/cuda build --release --bench side`) is named with `--binary` and `--side`. The folder gets a ViT-B/32 of random weights and
photos, about 1 GB. The steps: the same records as on the CPU; images a second of the vision tower; images a second of
whole processes; a full card. `--device cpu --photos 20 --batches 1` tries the script itself where there is no card.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from compare import LABELS, Side, cargo, ready, set_up_inputs, take_turns

HERE = Path(__file__).resolve()
FIXTURES = HERE.parent.parent / "fixtures"
TORCH = ["PyTorch eager f32", "PyTorch eager bf16", "PyTorch compiled f32", "PyTorch compiled bf16"]


def serve(folder, device, name):
    """Answers `vision BATCH` with milliseconds, the way from host memory and back included, as ours is."""
    import torch
    from transformers import CLIPModel

    _, how, precision = name.split()
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[precision]
    clip = CLIPModel.from_pretrained(folder / "model").eval().to(device, dtype)

    def tower(pixels):
        return clip.visual_projection(clip.vision_model(pixels).pooler_output)

    run = torch.compile(tower) if how == "compiled" else tower
    ready()
    for line in sys.stdin:
        images = torch.randn(int(line.split()[1]), 3, 224, 224)
        start = time.perf_counter()
        with torch.inference_mode():
            run(images.to(device, dtype)).float().cpu()
        print((time.perf_counter() - start) * 1e3, flush=True)


def command(binary, device, model, images, *more):
    """A run of clipclass that gives JSON."""
    parts = [binary, *images, "--labels", ",".join(LABELS), "--model", model, "--device", device, "--json", "--no-cache", *more]
    return [str(part) for part in parts]


def classify(*run):
    """Records by the name of their image; the arguments are those of `command`."""
    done = subprocess.run(command(*run), check=True, capture_output=True, text=True)
    return {record["image"]: record for record in map(json.loads, done.stdout.splitlines())}


def check_records(binary, device):
    """The same probabilities on the card as on the CPU."""
    images = sorted((FIXTURES / "images").glob("*.*"))
    model = FIXTURES / "tiny-clip"
    exact = classify(binary, "cpu", model, images)
    for precision, goal in [("f32", 1e-3), ("f16", None), ("bf16", None)][: 1 if device == "cpu" else 3]:
        close = classify(binary, device, model, images, "--precision", precision)
        worst = max(
            abs(a["probability"] - b["probability"])
            for name in exact
            for a, b in zip(*(sorted(found[name]["scores"], key=lambda s: s["label"]) for found in (exact, close)))
        )
        agree = sum(exact[name]["prediction"] == close[name]["prediction"] for name in exact)
        print(f"records, {precision}: {len(exact)} images, largest change {worst:.2g}, {agree} predictions agree", flush=True)
        assert goal is None or worst <= goal, f"{worst} is more than {goal}"
    auto = classify(binary, "auto", model, images)
    same = auto == classify(binary, device, model, images)
    print(f"--device auto gives the records of {device}: {same}", flush=True)


def vision(arguments):
    """Milliseconds an image of the vision tower."""
    precisions = ["f32"] if arguments.device == "cpu" else ["f32", "bf16"]
    binary = arguments.side or cargo("--bench", "side", *arguments.features)
    model, labels = arguments.folder / "model", arguments.folder / "labels.json"
    threads = str(os.cpu_count())
    sides = [Side(f"clipclass {p}", [binary, model, labels, p, threads, arguments.device]) for p in precisions]
    this = [sys.executable, HERE, "--folder", arguments.folder, "--device", arguments.device, "--serve"]
    sides += [Side(name, [*this, name]) for name in TORCH]
    for batch in arguments.batches:
        times = take_turns(sides, {s.name: f"vision {batch}" for s in sides}, 3, 5)
        line = ", ".join(f"{name} {batch / ms * 1e3:.0f}" for name, ms in times.items())
        print(f"vision tower, batch {batch}, images/s: {line}", flush=True)
    for side in sides:
        side.close()


def process(arguments):
    """Images a second of whole processes, and how busy the cores and the card were."""
    photos = arguments.folder / "many"
    photos.mkdir(exist_ok=True)
    drawn = sorted((arguments.folder / "photos").glob("[0-9][0-9].jpg"))
    for i in range(arguments.photos):
        if not (photos / f"{i:04}.jpg").exists():
            os.link(drawn[i % len(drawn)], photos / f"{i:04}.jpg")
    for batch in arguments.batches:
        run = command(arguments.binary, arguments.device, arguments.folder / "model", [photos], "--batch-size", batch, "--quiet")
        card = watch_card(arguments.device)
        start, before = time.perf_counter(), os.times()
        done = subprocess.run(run, check=True, stdout=subprocess.PIPE)
        seconds, after = time.perf_counter() - start, os.times()
        count = done.stdout.count(b"\n")
        assert count >= arguments.photos, f"{count} records"
        busy = after.children_user + after.children_system - before.children_user - before.children_system
        cores = f"{busy / seconds:.1f} of {os.cpu_count()} cores busy"
        print(f"process, batch {batch}: {count} photos in {seconds:.2f} s, {count / seconds:.0f} images/s, {cores}{card()}", flush=True)


def watch_card(device):
    """Starts to sample the card's use; the result ends it and says the mean."""
    if device == "cpu":
        return lambda: ""
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100"]
    sampler = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)

    def mean():
        sampler.terminate()
        samples = [int(line) for line in sampler.communicate()[0].split()]
        return f", card {sum(samples) / max(1, len(samples)):.0f} % busy"

    return mean


def full_card(arguments):
    """What a run says when another program has taken the card's memory."""
    import torch

    free, _ = torch.cuda.mem_get_info()
    # Room for the context and the weights, not for a large batch.
    taken = torch.empty(free - (1200 << 20), dtype=torch.uint8, device="cuda")
    folder = arguments.folder
    run = command(arguments.binary, arguments.device, folder / "model", [folder / "many"], "--batch-size", 256)
    done = subprocess.run(run, capture_output=True, text=True)
    del taken
    print(f"full card: exit {done.returncode}: {done.stderr.strip().splitlines()[-1:]}", flush=True)
    assert done.returncode != 0 and "--batch-size 128" in done.stderr, done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--binary", type=Path, help="clipclass built with --features cuda")
    parser.add_argument("--side", type=Path, help="the bench `side`, built so; default: built now")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--batches", type=lambda text: [int(n) for n in text.split(",")], default=[1, 32, 256])
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.features = [] if arguments.device == "cpu" else ["--features", "cuda"]
    if arguments.serve:
        return serve(arguments.folder, arguments.device, arguments.serve)
    arguments.binary = arguments.binary or cargo("--bin", "clipclass", *arguments.features)
    set_up_inputs(arguments.folder)
    check_records(arguments.binary, arguments.device)
    vision(arguments)
    process(arguments)
    if arguments.device != "cpu":
        full_card(arguments)


if __name__ == "__main__":
    main()
