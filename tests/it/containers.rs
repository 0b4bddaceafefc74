//! HEIC, AVIF and JPEG XL of every kind against what Pillow and its plugins make of them.

use clipclass::pixels::Picture;
use std::fs;
use std::path::Path;

fn fixtures(folder: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(folder)
}

/// How far a level may be from Pillow's.
fn tolerance(name: &str) -> u8 {
    // libjxl scatters the rounding of what was coded with loss.
    let is_scattered = name.ends_with(".jxl") && (name.starts_with("lossy") || name == "odd.jxl");
    // Sums of floats in another order than libheif's, cut to 8 bits.
    u8::from(is_scattered || name == "10-bit-422.heic")
}

#[test]
fn every_kind_of_container_becomes_pillows_levels() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(fixtures("containers")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let golden = fs::read(fixtures("golden/containers").join(format!("{name}.png"))).unwrap();
        let golden = Picture::decode(&golden).unwrap();
        seen += 1;
        match Picture::decode(&fs::read(fixtures("containers").join(&name)).unwrap()) {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(picture) => {
                let size = (picture.width(), picture.height());
                let expected = (golden.width(), golden.height());
                if size != expected {
                    wrong.push(format!("{name}: {size:?} instead of {expected:?}"));
                    continue;
                }
                let levels = picture.levels().iter().zip(golden.levels());
                let off = levels.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
                if off > tolerance(&name) {
                    wrong.push(format!("{name}: off by {off}"));
                }
            }
        }
    }
    assert!(seen > 50, "{seen} files");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_container_cut_anywhere_is_an_error_or_whole() {
    for name in ["420.heic", "grid.heic", "420.avif", "lossless.jxl", "odd.jxl", "from-jpeg.jxl"] {
        let bytes = fs::read(fixtures("containers").join(name)).unwrap();
        let whole = Picture::decode(&bytes).unwrap();
        for end in (0..bytes.len()).step_by(bytes.len() / 20 + 1) {
            if let Ok(picture) = Picture::decode(&bytes[..end]) {
                assert_eq!(picture, whole, "{name} up to {end}");
            }
        }
    }
}
