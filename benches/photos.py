"""Classifies photographs with clipclass and with Pillow, torchvision and transformers, by a ViT-B/32 at full size with
random weights, and compares every probability. Fails where one is more than 1e-5 off.

    cargo build --release
    python benches/photos.py [--folder target/compare] [--program target/release/clipclass] [PHOTO...]

Without photos, those are taken that scikit-learn and scikit-image bring along, each as JPEGs of several kinds. Needs
`requirements.txt`, torchvision and, for their photos, those two. The folder keeps the model.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from compare import make_model
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parent.parent
PROMPTS = ["a photo of a temple", "a flower", "a rocket", "an eye", "many galaxies", "a cat", "a cup of coffee"]
BOUND = 1e-5
# Ways of writing a JPEG, with Pillow's options.
KINDS = {
    "420": dict(quality=85),
    "422": dict(quality=75, subsampling="4:2:2"),
    "444": dict(quality=95, subsampling="4:4:4"),
    "progressive": dict(quality=80, progressive=True),
    "restarts": dict(quality=60, restart_marker_rows=1),
    "turned": dict(quality=85, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
}


def write_photos(folder):
    """Every photo of the two packages in every kind, and in grey and CMYK."""
    packages = [Path(find_spec(name).origin).parent for name in ("sklearn", "skimage")]
    found = [path for package in packages for path in sorted(package.rglob("*")) if path.suffix in (".jpg", ".jpeg", ".png")]
    for path in found:
        photo = Image.open(path).convert("RGB")
        if min(photo.size) < 200:
            continue
        for kind, options in KINDS.items():
            photo.save(folder / f"{path.stem}-{kind}.jpg", **options)
        photo.convert("L").save(folder / f"{path.stem}-grey.jpg", quality=85)
        photo.convert("CMYK").save(folder / f"{path.stem}-cmyk.jpg", quality=85)
    return sorted(folder.iterdir())


def probabilities_of_originals(model, photos):
    """[N, L], and the cosines."""
    import torch
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor
    from transformers import CLIPModel, CLIPTokenizer

    # What CLIP's image processor does, with Pillow.
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    resized = Compose([Resize(224, InterpolationMode.BICUBIC), CenterCrop(224), ToTensor(), Normalize(mean, deviation)])
    clip = CLIPModel.from_pretrained(model).eval()
    ids = CLIPTokenizer(str(model / "vocab.json"), str(model / "merges.txt"))(PROMPTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        text = unit(clip.text_projection(clip.text_model(**ids).pooler_output))
        images = []
        for photo in photos:
            pixels = resized(ImageOps.exif_transpose(Image.open(photo)).convert("RGB"))
            images.append(clip.visual_projection(clip.vision_model(pixels[None]).pooler_output)[0])
        cosines = unit(torch.stack(images)) @ text.T
        return (cosines * clip.logit_scale.exp()).softmax(-1), cosines


def unit(embeddings):
    return embeddings / embeddings.norm(dim=-1, keepdim=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", nargs="*", type=Path)
    parser.add_argument("--folder", type=Path, default=ROOT / "target" / "compare")
    parser.add_argument("--program", default=ROOT / "target" / "release" / "clipclass")
    options = parser.parse_args()
    model = options.folder / "model"
    if not (model / "merges.txt").exists():
        make_model(model)
    with tempfile.TemporaryDirectory() as folder:
        photos = options.photos or write_photos(Path(folder))
        command = [options.program, "--json", "--no-cache", "--quiet", "--offline", "-m", model, "-t", "{}"]
        command += [argument for prompt in PROMPTS for argument in ("-l", prompt)]
        printed = subprocess.run([*command, *photos], stdout=subprocess.PIPE, check=True).stdout
        records = [json.loads(line) for line in printed.splitlines()]
        probabilities, cosines = probabilities_of_originals(model, photos)
    far, furthest, furthest_cosine = 0, 0, 0
    for photo, record, *golden in zip(photos, records, probabilities.tolist(), cosines.tolist(), strict=True):
        off, cosine_off = (
            max(abs(score[field] - value) for score, value in zip(record["scores"], values, strict=True))
            for field, values in zip(("probability", "cosine"), golden)
        )
        furthest, furthest_cosine = max(furthest, off), max(furthest_cosine, cosine_off)
        if off > BOUND:
            far += 1
            print(f"{photo.name}: a probability is {off:.1e} off")
    print(f"{len(photos)} photos: probabilities within {furthest:.1e}, cosines within {furthest_cosine:.1e}")
    sys.exit(far > 0)


if __name__ == "__main__":
    main()
