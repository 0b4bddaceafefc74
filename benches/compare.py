#!/usr/bin/env python3
"""Measures clipclass against its peers, side by side on this machine, and prints the README's table.

    python3 benches/compare.py --folder target/compare              # set up once, then every row
    python3 benches/compare.py --folder target/compare --rows vision-f32,text
    python3 benches/compare.py --folder target/compare --rows vision-f32 --simd avx2
    python3 benches/compare.py --here --rows pixels                 # needs numpy and Pillow, and no model

The folder gets a virtual environment with `requirements.txt`, and what the rows need: networks of
random weights, their ONNX exports and some photos, about 6 GB for the usual rows. `--here` uses the
Python that runs this script instead: peers whose packages it lacks are left out, and told of. The
words are those of CLIP's vocabulary, from `fixtures/clip-vocab` or open_clip's package. `--simd` limits the instructions
of clipclass, and those of oneDNN and PyTorch where they have that limit; ONNX Runtime has none.

Every side is a process of its own that loads once and then answers requests; the sides take turns,
each with a warm-up, a median of several runs and a pause in which the other side's threads fall
asleep, so that a machine whose speed drifts is equally unfair to all. Compare ratios, not milliseconds.
"""

import argparse
import functools
import importlib.util
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, NamedTuple

HERE = Path(__file__).resolve()
FIXTURES = HERE.parent.parent / "fixtures"
LABELS = ["a cat", "a dog", "a car", "a tree", "a person"]
# Seconds until the threads of the side before have stopped spinning.
PAUSE = 0.4


# ---- set-up -------------------------------------------------------------------------------------


# What differs from the default of transformers, which is ViT-B/32, or for SigLIP B/16.
MODELS = {
    "siglip": {"model_type": "siglip"},
    "b16": {"vision_config": {"patch_size": 16}},
    "l14": {
        "projection_dim": 768,
        "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
        "vision_config": {
            "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
            "patch_size": 14,
        },
    },
}  # fmt: skip
# What the exported towers call their input.
ARGUMENTS = {"vision": "pixel_values", "text": "input_ids"}


def set_up(folder, rows):
    """Makes whatever of the folder is missing for the rows."""
    exported = not missing("torch", "transformers", "onnx", "onnxruntime")
    for row in rows:
        of_model = folder / row.model
        if row.network and not (of_model / "labels.json").exists():
            make_model(of_model / "model", MODELS.get(row.model))
            make_labels(of_model / "model", of_model / "labels.json")
        for tower in row.towers if exported else []:
            # What is written last.
            if not (of_model / f"{tower}.int8.onnx").exists():
                export(of_model / "model", of_model, tower)
        if row.photos:
            set_up_photos(folder / "photos")


def set_up_inputs(folder):
    """Makes whatever is missing of ViT-B/32, the photos and the labels."""
    set_up(folder, [Row(None, towers=[], photos=True)])


def missing(*packages):
    """Those of the packages that this Python does not have."""
    return [package for package in packages if not importlib.util.find_spec(package)]


def leave_out(what, packages):
    print(f"{what} is left out: {sys.executable} has no {', '.join(packages)}", file=sys.stderr, flush=True)


def make_model(model, config=None):
    """A network with random weights, ViT-B/32 if no other, and the real vocabulary."""
    if absent := missing("torch", "transformers"):
        sys.exit(f"making {model} takes {' and '.join(absent)}, which {sys.executable} does not have")
    import torch
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    torch.manual_seed(0)
    config = dict(config or {})
    if config.pop("model_type", "clip") == "siglip":
        # The rows are of images: any tokenizer's files will do.
        SiglipModel(SiglipConfig(**config)).save_pretrained(model)
    else:
        CLIPModel(CLIPConfig(**config)).save_pretrained(model)
    make_vocabulary(model)


def make_vocabulary(model):
    """CLIP's own vocabulary, as `fixtures/vocab.py` has written it or else writes it now."""
    written = FIXTURES / "clip-vocab"
    if (written / "merges.txt").exists():
        for name in ["vocab.json", "merges.txt"]:
            shutil.copy(written / name, model)
        return
    sys.path.append(str(FIXTURES))
    import vocab

    try:
        vocab.write_bpe(vocab.clip_merges(), model)
    except subprocess.CalledProcessError:
        sys.exit(f"CLIP's vocabulary is neither in {written} nor in an installed open_clip, and PyPI does not answer")


def projections(model):
    """What makes embeddings of pooled states; SigLIP's towers end in what pools."""
    import torch

    return [getattr(model, name, torch.nn.Identity()) for name in ("visual_projection", "text_projection")]


def export(model, folder, tower):
    """The tower, `vision` or `text`, as ONNX, and as ONNX with weights quantised for dynamic int8."""
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import AutoModel

    clip = AutoModel.from_pretrained(model, attn_implementation="eager").eval()
    image_projection, text_projection = projections(clip)

    class Vision(torch.nn.Module):
        def forward(self, pixel_values):
            return image_projection(clip.vision_model(pixel_values).pooler_output)

    class Text(torch.nn.Module):
        def forward(self, input_ids):
            return text_projection(clip.text_model(input_ids).pooler_output)

    network, example, dynamic = {
        "vision": (Vision(), torch.zeros(2, 3, 224, 224), {0: "n"}),
        "text": (Text(), torch.full((2, 9), clip.config.text_config.vocab_size - 1), {0: "n", 1: "t"}),
    }[tower]
    network.model = clip
    path, argument = folder / f"{tower}.onnx", ARGUMENTS[tower]
    torch.onnx.export(
        network, (example,), str(path), input_names=[argument], output_names=["embedding"],
        dynamic_axes={argument: dynamic}, dynamo=False, opset_version=17,
    )  # fmt: skip
    # Only matrix products: a quantised convolution is slower than the one it replaces.
    quantize_dynamic(
        path, folder / f"{tower}.int8.onnx", weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
    )  # fmt: skip


def set_up_photos(photos):
    """Makes the photos if they are missing."""
    if not (photos / "12mpx.jpg").exists():
        make_photos(photos)
    if not (photos / "12mpx-progressive.jpg").exists():
        from PIL import Image

        Image.open(photos / "12mpx.jpg").save(photos / "12mpx-progressive.jpg", quality=90, progressive=True)


def make_photos(photos):
    """JPEGs with the spectrum of photographs: noise summed over scales."""
    import numpy
    from PIL import Image

    photos.mkdir(parents=True, exist_ok=True)
    rng = numpy.random.default_rng(0)

    def draw(path, width, height):
        sum_ = numpy.zeros((height, width, 3), numpy.float32)
        side = 2
        while side < max(width, height):
            noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), numpy.uint8))
            sum_ += numpy.asarray(noise.resize((width, height), Image.BICUBIC), numpy.float32) / side**0.7
            side *= 2
        sum_ = (sum_ - sum_.min()) / (sum_.max() - sum_.min()) * 255
        Image.fromarray(sum_.astype(numpy.uint8)).save(path, quality=90)

    for i in range(96):
        draw(photos / f"{i:02}.jpg", 500, 375)
    draw(photos / "12mpx.jpg", 4000, 3000)


def make_labels(model, path):
    """1,000 labels of one to three words."""
    vocabulary = json.loads((model / "vocab.json").read_text())
    words = [w[:-4] for w in vocabulary if w.endswith("</w>") and w[:-4].isascii() and w[:-4].isalpha() and len(w) > 7]
    pick = random.Random(0)
    labels = ["a photo of a " + " ".join(pick.sample(words, pick.choice([1, 1, 2, 3]))) for _ in range(1000)]
    path.write_text(json.dumps(labels))


# ---- the peers, each in a process of its own ----------------------------------------------------


def tokenizer(model, pad):
    """CLIP's tokenizer as its users build it; `pad` is a length or None for the longest."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    word = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    bpe = models.BPE.from_file(str(model / "vocab.json"), str(model / "merges.txt"), end_of_word_suffix="</w>")
    made = Tokenizer(bpe)
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(word), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.add_special_tokens([AddedToken("<|startoftext|>"), AddedToken("<|endoftext|>")])
    ends = [("<|startoftext|>", 49406), ("<|endoftext|>", 49407)]
    made.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>", special_tokens=ends
    )
    made.enable_truncation(77)
    made.enable_padding(pad_id=49407, pad_token="<|endoftext|>", length=pad)
    return made


def torch_side(folder, threads, _):
    import torch
    from transformers import AutoModel

    torch.set_num_threads(threads)
    clip = AutoModel.from_pretrained(folder / "model").eval()
    image_projection, text_projection = projections(clip)

    def vision(pixels):
        with torch.inference_mode():
            return image_projection(clip.vision_model(torch.from_numpy(pixels)).pooler_output).numpy()

    def text(ids):
        with torch.inference_mode():
            return text_projection(clip.text_model(torch.from_numpy(ids)).pooler_output).numpy()

    return {"vision": vision, "text": text}.get


def onnxruntime_side(folder, threads, precision):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    kind = ".int8" if precision == "int8" else ""

    def load(tower):
        session = onnxruntime.InferenceSession(folder / f"{tower}{kind}.onnx", options)
        return lambda x: session.run(None, {ARGUMENTS[tower]: x})[0]

    return load


def openvino_side(folder, threads, precision):
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}

    def load(tower):
        compiled = core.compile_model(folder / f"{tower}.onnx", "CPU", settings)
        return lambda x: compiled([x])[0]

    return load


# Of each peer what makes it, its precision, and the packages that it and its set-up take. What is made gives the
# function of a tower by the tower's name.
EXPORTED = ["torch", "transformers", "onnx", "onnxruntime"]
SIDES = {
    "PyTorch f32": (torch_side, None, ["torch", "transformers"]),
    "ONNX Runtime f32": (onnxruntime_side, "f32", EXPORTED),
    "ONNX Runtime int8": (onnxruntime_side, "int8", EXPORTED),
    "OpenVINO f32": (openvino_side, "f32", [*EXPORTED, "openvino"]),
    "OpenVINO bf16": (openvino_side, "bf16", [*EXPORTED, "openvino"]),
}


def serve(folder, name, threads):
    """Answers `vision BATCH` or `text COUNT BATCH PAD` with milliseconds, one line each."""
    import numpy

    make, precision, _ = SIDES[name]
    tower = functools.cache(make(folder, threads, precision))
    labels = json.loads((folder / "labels.json").read_text())
    images = numpy.random.default_rng(1).standard_normal((32, 3, 224, 224), numpy.float32)
    ready()
    for line in sys.stdin:
        what, *numbers = line.split()
        numbers = [int(n) for n in numbers]
        run = tower(what)
        if what == "vision":
            batch = images[: numbers[0]]
            start = time.perf_counter()
            run(batch)
        else:
            count, size, pad = numbers
            encoded = tokenizer(folder / "model", pad or None).encode_batch(labels[:count])
            ids = numpy.array([e.ids for e in encoded], numpy.int64)
            start = time.perf_counter()
            for first in range(0, count, size):
                run(ids[first : first + size])
        print((time.perf_counter() - start) * 1e3, flush=True)


def ready():
    print("ready", flush=True)


def classify(folder, threads, paths):
    """What a careful script does: ONNX Runtime, Pillow, nothing imported that is not used."""
    import numpy
    import onnxruntime
    from PIL import Image

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    encoded = tokenizer(folder / "model", None).encode_batch(LABELS)
    text = onnxruntime.InferenceSession(folder / "text.onnx", options)
    texts = text.run(None, {"input_ids": numpy.array([e.ids for e in encoded], numpy.int64)})[0]
    texts /= numpy.linalg.norm(texts, axis=1, keepdims=True)
    vision = onnxruntime.InferenceSession(folder / "vision.onnx", options)
    for path in paths:
        pixels = pillow(Image.open(path)).transpose(2, 0, 1)[None]
        image = vision.run(None, {"pixel_values": pixels})[0]
        image /= numpy.linalg.norm(image, axis=1, keepdims=True)
        logits = 100 * image @ texts.T
        odds = numpy.exp(logits - logits.max())
        print(path, (odds / odds.sum()).round(4).tolist())


def pillow(image):
    """OpenAI's transform."""
    import numpy
    from PIL import Image

    image = image.convert("RGB")
    scale = 224 / min(image.size)
    size = [224 if side == min(image.size) else int(224 * side / min(image.size)) for side in image.size]
    image = image.resize(size, Image.BICUBIC) if scale != 1 else image
    left, top = (round((side - 224) / 2) for side in image.size)
    values = numpy.asarray(image.crop((left, top, left + 224, top + 224)), numpy.float32) / 255
    mean = numpy.array([0.48145466, 0.4578275, 0.40821073], numpy.float32)
    std = numpy.array([0.26862954, 0.26130258, 0.27577711], numpy.float32)
    return numpy.ascontiguousarray((values - mean) / std)


def serve_pillow():
    from PIL import Image

    ready()
    for line in sys.stdin:
        start = time.perf_counter()
        pillow(Image.open(line.split(maxsplit=1)[1].strip()))
        print((time.perf_counter() - start) * 1e3, flush=True)


# ---- taking turns -------------------------------------------------------------------------------


class Side:
    """A process that answers requests with milliseconds."""

    def __init__(self, name, command):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise ChildProcessError(f"{self.name} ended with {self.process.wait()}")
        return line

    def ask(self, request):
        print(request, file=self.process.stdin, flush=True)
        return float(self.answer())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def take_turns(sides, requests, rounds, runs):
    """The median of each side's answers; `requests` gives each side its own."""
    found = {side.name: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            time.sleep(PAUSE)
            if runs > 1:
                side.ask(requests[side.name])
            found[side.name] += [side.ask(requests[side.name]) for _ in range(runs)]
    return {name: statistics.median(times) for name, times in found.items()}


class Bench:
    """The rows, measured and printed."""

    def __init__(self, arguments):
        self.folder = arguments.folder
        self.threads = arguments.threads
        self.rounds = arguments.rounds
        self.binary = arguments.binary
        self.side_binary = arguments.side
        self.told = set()

    def peers(self, names, folder=None):
        """The sides of these names whose packages are here; of the others it is told, once."""
        absent = {name: missing(*SIDES[name][2]) for name in names}
        for name, packages in absent.items():
            if packages and name not in self.told:
                self.told.add(name)
                leave_out(name, packages)
        return [self.peer(name, folder) for name in names if not absent[name]]

    def peer(self, name, folder=None):
        folder = folder or self.folder
        return Side(name, [sys.executable, HERE, "--folder", folder, "--threads", str(self.threads), "--serve", name])

    def ours(self, precision, folder=None):
        folder = folder or self.folder
        return Side(
            f"clipclass {precision}",
            [self.side_binary, folder / "model", folder / "labels.json", precision, str(self.threads)],
        )

    def row(self, what, unit, ours, peers, goal):
        """Prints one row: our side against the best peer, if there is any."""
        if not peers:
            print(f"| {what} | {ours:.4g} {unit} | – | – | {goal} | – | – |", flush=True)
            return
        best = min(peers, key=peers.get)
        everyone = ", ".join(f"{name} {value:.4g}" for name, value in peers.items())
        ratio = ours / peers[best]
        met = "yes" if ratio <= goal else "no"
        print(f"| {what} | {ours:.4g} {unit} | {best} {peers[best]:.4g} | {ratio:.2f} | {goal} | {met} | {everyone} |", flush=True)

    def vision(self, precision, peers, goal, model):
        """The tower of ViT-B/32, or of another of `MODELS`, at some batch sizes."""
        folder = self.folder / model if model else self.folder
        sides = [self.ours(precision, folder), *self.peers(peers, folder)]
        batches = [(1, 5), (8, 2)] if model else [(1, 15), (8, 4), (32, 2)]
        for batch, runs in batches:
            ours, times = self.tower(sides, batch, runs)
            what = f"vision tower{f' {model}' if model else ''}, {precision}, batch {batch}"
            self.row(what, "ms/image", ours, times, goal)
        for side in sides:
            side.close()

    def tower(self, sides, batch, runs):
        """Milliseconds an image of the first side, and of the others by name."""
        times = take_turns(sides, {s.name: f"vision {batch}" for s in sides}, self.rounds, runs)
        times = {name: ms / batch for name, ms in times.items()}
        return times.pop(sides[0].name), times

    def busy(self):
        """The ratio to ONNX Runtime while something else takes one core: a goal of what it is when idle, + 10 %."""
        peer = "ONNX Runtime f32"
        sides = [self.ours("f32"), self.peer(peer)]
        for batch, runs in [(1, 15), (8, 4)]:
            ours, times = self.tower(sides, batch, runs)
            idle = ours / times[peer]
            with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
                ours, times = self.tower(sides, batch, runs)
                other.kill()
            self.row(f"vision tower, f32, batch {batch}, one core busy", "ms/image", ours, times, round(1.1 * idle, 2))
        for side in sides:
            side.close()

    def text(self):
        sides = [self.ours("f32"), *self.peers(F32)]
        for what, count, pad in [("padded to 77", 64, 77), ("padded to the longest", 1000, 0)]:
            requests = {s.name: f"text {count} 64 {pad}" for s in sides}
            times = take_turns(sides, requests, max(1, self.rounds // 2), 1)
            times = {name: ms / count for name, ms in times.items()}
            ours = times.pop(sides[0].name)
            self.row(f"text tower, {count} labels, peers {what}", "ms/label", ours, times, 0.8)
        for side in sides:
            side.close()

    def pixels(self):
        ours = Side("clipclass", [self.side_binary, "pixels", str(self.threads)])
        sides = [ours, Side("Pillow", [sys.executable, HERE, "--serve", "pillow"])]
        for what, name, goal in [
            ("12-megapixel JPEG", "12mpx.jpg", 0.3),
            ("500 × 375 JPEG", "00.jpg", 0.6),
            ("12-megapixel progressive JPEG", "12mpx-progressive.jpg", 0.6),
        ]:
            photo = self.folder / "photos" / name
            runs = 3 if name.startswith("12mpx") else 30
            times = take_turns(sides, {s.name: f"pixels {photo}" for s in sides}, self.rounds, runs)
            peers = {"Pillow": times["Pillow"]}
            self.row(f"{what}, decoded and resized", "ms", times["clipclass"], peers, goal)
        for side in sides:
            side.close()

    def process(self, precision, one, further_one):
        """Whole processes: start to exit, files in the page cache; goals for one photo and each further one."""
        photos = [str(self.folder / "photos" / f"{i:02}.jpg") for i in range(96)]
        ours = [self.binary, "--model", self.folder / "model", "--json", "--threads", str(self.threads), "--labels", ",".join(LABELS)]
        ours += ["--precision", precision]
        # What is measured is the network, not what an earlier run left.
        environment = {**os.environ, "XDG_CACHE_HOME": tempfile.mkdtemp(), "HF_HUB_OFFLINE": "1"}
        if "--no-cache" in subprocess.run([self.binary, "--help"], capture_output=True, text=True).stdout:
            ours.append("--no-cache")
        theirs = [sys.executable, HERE, "--folder", self.folder, "--threads", str(self.threads), "--classify"]
        commands = {"clipclass": ours, "ONNX Runtime script": theirs}
        times = {(name, count): [] for name in commands for count in [1, 96]}
        memory = {name: [] for name in commands}
        for _ in range(self.rounds):
            for name, command in commands.items():
                for count in [1, 96]:
                    if count == 1 or len(times[name, 96]) < 2:
                        seconds, bytes_ = run_once(command + photos[:count], environment)
                        times[name, count].append(seconds)
                        if count == 1:
                            memory[name].append(bytes_)
        median = {key: statistics.median(found) for key, found in times.items()}
        further = {name: (median[name, 96] - median[name, 1]) / 95 * 1e3 for name in commands}
        memory = {name: max(found) / 2**20 for name, found in memory.items()}
        script = "ONNX Runtime script"
        self.row(f"process, {precision}, one photo, five labels", "s", median["clipclass", 1], {script: median[script, 1]}, one)
        self.row(f"process, {precision}, each further photo", "ms", further["clipclass"], {script: further[script]}, further_one)
        self.row(f"process, {precision}, one photo, peak memory", "MiB", memory["clipclass"], {script: memory[script]}, 1.0)

    def labels(self):
        """20,000 labels against three, whole processes over 5,000 images whose embeddings are known."""
        from PIL import Image

        work = self.folder / "labels"
        images = work / "images"
        if not (images / "4999.png").exists():
            images.mkdir(parents=True, exist_ok=True)
            pick = random.Random(0)
            for i in range(5000):
                Image.new("RGB", (32, 32), tuple(pick.randrange(256) for _ in range(3))).save(images / f"{i:04}.png")
        counts = {"20,000 labels": 20_000, "3 labels": 3}
        for name, count in counts.items():
            (work / f"{name}.txt").write_text("".join(f"thing number {i}\n" for i in range(count)))
        environment = {**os.environ, "XDG_CACHE_HOME": str(work / "cache"), "HF_HUB_OFFLINE": "1"}
        model = HERE.parent.parent / "fixtures" / "tiny-clip"
        times = {name: [] for name in counts}
        for turn in range(self.rounds + 1):
            for name in counts:
                labels = ["--labels-file", work / f"{name}.txt", "--top", "3", "--json"]
                seconds, _ = run_once([self.binary, images, "--model", model, *labels], environment)
                # The first run makes what is known.
                times[name] += [seconds] if turn else []
        median = {name: statistics.median(found) for name, found in times.items()}
        self.row("process, 5,000 known images, 20,000 labels", "s", median.pop("20,000 labels"), median, 2.0)


def run_once(command, environment):
    """Seconds and peak bytes of a process that must succeed."""
    start = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        raise ChildProcessError(f"{command[0]} ended with {os.waitstatus_to_exitcode(status)}")
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# ---- the command line ---------------------------------------------------------------------------

F32 = ["PyTorch f32", "ONNX Runtime f32", "OpenVINO f32"]
REDUCED = ["ONNX Runtime int8", "OpenVINO bf16"]
PEERS = {"f32": F32, "bf16": ["OpenVINO bf16"], "int8": REDUCED}


class Row(NamedTuple):
    """What prints a row, and what it takes: a network, whose folder is named; towers for the peers, photos, packages
    without which there is no row, and the program itself."""

    run: Callable
    model: str = ""
    network: bool = True
    towers: list = ["vision"]
    photos: bool = False
    packages: list = []
    binary: bool = False


def vision_row(precision, goal, model=""):
    return Row(lambda b: b.vision(precision, PEERS[precision], goal, model), model)


def process_row(precision, one, further_one):
    packages = [*EXPORTED, "tokenizers", "PIL"]
    run = lambda b: b.process(precision, one, further_one)
    return Row(run, towers=["vision", "text"], photos=True, packages=packages, binary=True)


ROWS = {
    "vision-f32": vision_row("f32", 0.9),
    "vision-int8": vision_row("int8", 0.8),
    # On processors with AVX512-BF16 or AMX-BF16 alone, as all of bf16: clipclass refuses it on others.
    "vision-bf16": vision_row("bf16", 0.85),
    "text": Row(Bench.text, towers=["text"]),
    "pixels": Row(Bench.pixels, network=False, towers=[], photos=True, packages=["PIL"]),
    "process": process_row("f32", 0.12, 0.6),
    "process-int8": process_row("int8", 0.1, 0.3),
    "labels": Row(Bench.labels, network=False, towers=[], packages=["PIL"], binary=True),
    "busy": Row(Bench.busy, packages=EXPORTED),
    "b16-f32": vision_row("f32", 0.95, "b16"),
    "b16-int8": vision_row("int8", 0.85, "b16"),
    "b16-bf16": vision_row("bf16", 0.85, "b16"),
    "l14-f32": vision_row("f32", 0.95, "l14"),
    "l14-int8": vision_row("int8", 0.85, "l14"),
    "l14-bf16": vision_row("bf16", 0.85, "l14"),
    "siglip-f32": vision_row("f32", 0.95, "siglip"),
    "siglip-int8": vision_row("int8", 0.85, "siglip"),
    "siglip-bf16": vision_row("bf16", 0.85, "siglip"),
}
DEFAULT_ROWS = ["vision-f32", "vision-int8", "text", "pixels", "process"]


def limit_instructions(simd):
    """Sets what every process that is started from here reads."""
    os.environ["CLIPCLASS_SIMD"] = simd
    if simd == "avx2":
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
        os.environ["ATEN_CPU_CAPABILITY"] = "avx2"
        # Which has no bf16 without AVX-512, and ends.
        for peers in PEERS.values():
            peers[:] = [name for name in peers if name != "OpenVINO bf16"]


def cargo(*arguments):
    """Builds in release mode and returns the path of the executable."""
    command = ["cargo", "build", "--release", *arguments, "--message-format=json-render-diagnostics"]
    lines = subprocess.run(command, cwd=HERE.parent.parent, stdout=subprocess.PIPE, text=True, check=True).stdout
    made = [json.loads(line).get("executable") for line in lines.splitlines()]
    return next(path for path in made if path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=HERE.parent.parent / "target" / "compare", help="everything it makes")
    parser.add_argument("--here", action="store_true", help="use this Python, and only the peers whose packages it has")
    parser.add_argument("--rows", default=",".join(DEFAULT_ROWS), help=f"some of {','.join(ROWS)} (default: %(default)s)")
    parser.add_argument("--simd", help="limit of the instructions: a value of CLIPCLASS_SIMD")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--set-up", action="store_true", help="only prepare the folder")
    parser.add_argument("--binary", help="clipclass, built already")
    parser.add_argument("--side", help="the `side` benchmark, built already")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--classify", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.folder = arguments.folder.resolve()
    if arguments.serve == "pillow":
        return serve_pillow()
    if arguments.serve:
        return serve(arguments.folder, arguments.serve, arguments.threads)
    if arguments.classify:
        return classify(arguments.folder, arguments.threads, arguments.classify)
    if not arguments.here:
        python = arguments.folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", arguments.folder / "venv"], check=True)
            requirements = HERE.with_name("requirements.txt")
            subprocess.run([python, "-m", "pip", "install", "-q", "-r", requirements], check=True)
        return sys.exit(subprocess.run([python, HERE, "--here", *sys.argv[1:]]).returncode)
    names = arguments.rows.split(",")
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"there is no row {unknown[0]}; there are {', '.join(ROWS)}")
    for name in names:
        if absent := missing(*ROWS[name].packages):
            leave_out(f"row {name}", absent)
    rows = [ROWS[name] for name in names if not missing(*ROWS[name].packages)]
    set_up(arguments.folder, rows)
    if arguments.set_up:
        return
    if arguments.simd:
        limit_instructions(arguments.simd)
    if any(row.binary for row in rows):
        arguments.binary = arguments.binary or cargo("--bin", "clipclass")
    arguments.side = arguments.side or cargo("--bench", "side")
    bench = Bench(arguments)
    print("| what | clipclass | best peer | ratio | goal | met | every peer |\n|---|---|---|---|---|---|---|")
    for row in rows:
        row.run(bench)


if __name__ == "__main__":
    main()
