#!/usr/bin/env python3
"""Writes a Homebrew formula and a winget manifest for the archives in a folder, into that folder.

    python3 .ci/manifests.py REPOSITORY FOLDER      # as in: https://github.com/OWNER/clipclass target/packed
"""

import hashlib
import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = tomllib.loads((ROOT / "Cargo.toml").read_text())
PACKAGE = MANIFEST["package"] | MANIFEST["workspace"]["package"]
VERSION = PACKAGE["version"]
WINGET = "1.10.0"

FORMULA = """\
class Clipclass < Formula
  desc {description}
  homepage {homepage}
  version {version}
  license any_of: ["MIT", "Apache-2.0"]

  on_macos do
    on_arm do
      url {aarch64_apple_darwin[url]}
      sha256 {aarch64_apple_darwin[sha256]}
    end
    on_intel do
      url {x86_64_apple_darwin[url]}
      sha256 {x86_64_apple_darwin[sha256]}
    end
  end

  on_linux do
    on_arm do
      url {aarch64_unknown_linux_musl[url]}
      sha256 {aarch64_unknown_linux_musl[sha256]}
    end
    on_intel do
      url {x86_64_unknown_linux_musl[url]}
      sha256 {x86_64_unknown_linux_musl[sha256]}
    end
  end

  def install
    bin.install "clipclass"
    man1.install "clipclass.1"
    bash_completion.install "completions/clipclass.bash" => "clipclass"
    zsh_completion.install "completions/clipclass.zsh" => "_clipclass"
    fish_completion.install "completions/clipclass.fish"
  end

  test do
    assert_match version.to_s, shell_output("#{{bin}}/clipclass --version")
  end
end
"""


def archive(repository, folder, target):
    """Where an archive will be, and its digest; both quoted, as Ruby and YAML read them, too."""
    suffix = "zip" if "windows" in target else "tar.gz"
    path = folder / f"clipclass-v{VERSION}-{target}.{suffix}"
    return {
        "url": json.dumps(f"{repository}/releases/download/v{VERSION}/{path.name}"),
        "sha256": json.dumps(hashlib.sha256(path.read_bytes()).hexdigest()),
    }


def formula(repository, folder):
    targets = [f"{machine}-{system}" for machine in ("aarch64", "x86_64") for system in ("apple-darwin", "unknown-linux-musl")]
    archives = {target.replace("-", "_"): archive(repository, folder, target) for target in targets}
    words = {"description": PACKAGE["description"], "homepage": repository, "version": VERSION}
    (folder / "clipclass.rb").write_text(FORMULA.format(**{key: json.dumps(word) for key, word in words.items()}, **archives))


def winget(repository, folder):
    owner = repository.split("/")[-2]
    identifier = f"{owner}.clipclass"
    installers = []
    for architecture, machine in (("x64", "x86_64"), ("arm64", "aarch64")):
        target = f"{machine}-pc-windows-msvc"
        found = archive(repository, folder, target)
        installers += [
            f"  - Architecture: {architecture}",
            f"    InstallerUrl: {found['url']}",
            f"    InstallerSha256: {found['sha256'].upper()}",
            "    NestedInstallerFiles:",
            f"      - RelativeFilePath: clipclass-v{VERSION}-{target}\\clipclass.exe",
            "        PortableCommandAlias: clipclass",
        ]
    kinds = {
        "": ("version", ["DefaultLocale: en-US"]),
        ".installer": ("installer", ["InstallerType: zip", "NestedInstallerType: portable", "Installers:", *installers]),
        ".locale.en-US": (
            "defaultLocale",
            [
                "PackageLocale: en-US",
                f"Publisher: {json.dumps(owner)}",
                "PackageName: clipclass",
                f"PackageUrl: {json.dumps(repository)}",
                f"License: {json.dumps(PACKAGE['license'])}",
                f"ShortDescription: {json.dumps(PACKAGE['description'])}",
            ],
        ),
    }
    for suffix, (kind, lines) in kinds.items():
        head = [f"PackageIdentifier: {identifier}", f"PackageVersion: {VERSION}"]
        text = [*head, *lines, f"ManifestType: {kind}", f"ManifestVersion: {WINGET}"]
        (folder / f"{identifier}{suffix}.yaml").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    address, where = sys.argv[1], Path(sys.argv[2])
    formula(address, where)
    winget(address, where)
