//! The fixture images, resized and cropped, against what Pillow and torchvision make of them.

use clipclass::model::config::read_transform;
use clipclass::model::family::Family;
use clipclass::pixels::{Picture, PixelsError, Transform};
use std::fs;
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn resized_and_cropped(path: &Path, transform: &Transform) -> Result<Vec<u8>, PixelsError> {
    let picture = Picture::decode(&fs::read(path).unwrap())?;
    Ok(transform.resize_and_crop(&picture)?.into_raw())
}

#[test]
fn fixture_images_become_pillows_pixels() {
    let mut wrong = Vec::new();
    for size in [64, 224] {
        let transform = read_transform(None, Family::Clip, size).unwrap();
        let goldens = fs::read_dir(fixtures().join(format!("golden/pixels-{size}"))).unwrap();
        for golden in goldens.map(|entry| entry.unwrap().path()) {
            let expected = Picture::decode(&fs::read(&golden).unwrap()).unwrap();
            let image = golden.file_stem().unwrap().to_str().unwrap();
            let levels = match resized_and_cropped(&fixtures().join("images").join(image), &transform) {
                Ok(levels) => levels,
                Err(error) => {
                    wrong.push(format!("{image}: {error}"));
                    continue;
                }
            };
            if levels != expected.levels() {
                let differences = || levels.iter().zip(expected.levels()).map(|(a, b)| a.abs_diff(*b));
                let mean = differences().map(f64::from).sum::<f64>() / levels.len() as f64;
                let max = differences().max().unwrap();
                wrong.push(format!("{image} at {size}: mean {mean:.3}, max {max}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// FNV-1a, 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn every_kind_of_file_becomes_pillows_bytes() {
    let golden = fs::read(fixtures().join("golden/kinds.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_slice(&golden).unwrap();
    let files = golden["files"].as_array().unwrap();
    assert_eq!(files.len(), fs::read_dir(fixtures().join("kinds")).unwrap().count());
    let mut wrong = Vec::new();
    for file in files {
        let name = file["file"].as_str().unwrap();
        match Picture::decode(&fs::read(fixtures().join("kinds").join(name)).unwrap()) {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(picture) => {
                let hash = format!("{:016x}", fnv1a(picture.levels()));
                let size = (u64::from(picture.width()), u64::from(picture.height()));
                let expected = (file["width"].as_u64().unwrap(), file["height"].as_u64().unwrap());
                if size != expected {
                    wrong.push(format!("{name}: {size:?} instead of {expected:?}"));
                } else if hash != file["fnv1a"] {
                    wrong.push(format!("{name}: other levels"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn broken_fixtures_fail_with_their_kind() {
    for entry in fs::read_dir(fixtures().join("broken")).unwrap() {
        let path = entry.unwrap().path();
        let expected = match path.file_stem().unwrap().to_str().unwrap() {
            "bomb" => "limit",
            "empty" => "empty",
            "text" => "format",
            _ => "decode",
        };
        let error = Picture::decode(&fs::read(&path).unwrap()).expect_err(&path.display().to_string());
        assert_eq!(error.kind(), expected, "{}: {error}", path.display());
    }
}
