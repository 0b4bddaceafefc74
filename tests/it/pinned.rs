//! Embeddings to the last digit: whoever changes one raises the embedding cache's `ARITHMETIC`, or it
//! would go on giving the old ones.
//!
//! The last digits differ between instruction sets, which the embedding cache tells apart. So there is
//! a pin for each that was at hand, under what [`arithmetic`] calls it; on others the numbers are held to
//! those of the first within what rounding explains. Where `CLIPCLASS_SIMD` can be obeyed, every x86-64
//! machine has the portable ones.
//!
//! `CLIPCLASS_PIN=1 cargo test --test it pinned -- --test-threads=1` pins what is computed now, here.

use crate::world::MODEL;
use anyhow::Result;
use candle_core::Device;
use clipclass::cache::ARITHMETIC;
use clipclass::hub::{HubOptions, locate};
use clipclass::kernels::{arithmetic, require_bf16};
use clipclass::messages::Messages;
use clipclass::model::Checkpoint;
use clipclass::model::precision::Precision;
use clipclass::pixels::Picture;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

const PINS: &str = "fixtures/golden/pinned.json";

/// Asks for new pins.
const PIN: &str = "CLIPCLASS_PIN";

/// Decoding with and without loss, resizing up and down.
const IMAGES: [&str; 4] = ["cat.png", "panorama.png", "small.png", "tree.jpg"];
const PROMPTS: [&str; 3] = ["a cat", "a photo of a tree, isn't it?", "Ein Häuschen im 21. Jh."];

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Pins {
    /// The version whose digits these are.
    arithmetic: u32,
    /// For each arithmetic the digest of every embedding.
    digests: BTreeMap<String, BTreeMap<String, String>>,
    /// Every embedding in f32, rounded.
    values: BTreeMap<String, Vec<f32>>,
}

/// Embeddings by what was embedded, and in which precision.
fn embeddings() -> Result<BTreeMap<String, Vec<f32>>> {
    let files = locate(MODEL, &HubOptions::default(), &Messages::new(true))?;
    let mut embeddings = BTreeMap::new();
    let bf16 = require_bf16().is_ok().then_some(Precision::Bf16);
    for precision in [Precision::F32, Precision::Int8].into_iter().chain(bf16) {
        let checkpoint = Checkpoint::open(&files, &Device::Cpu, precision)?;
        let pixels = |image: &str| {
            let picture = Picture::decode(&fs::read(format!("fixtures/images/{image}"))?)?;
            Ok(checkpoint.transform().apply(&picture)?)
        };
        let pixels = IMAGES.into_iter().map(pixels).collect::<Result<Vec<_>>>()?;
        let images = checkpoint.image_encoder()?.encode(&pixels)?;
        let prompts = checkpoint.text_encoder()?.encode(&PROMPTS)?.embeddings;
        let named = IMAGES.iter().zip(images.rows()).chain(PROMPTS.iter().zip(prompts.rows()));
        embeddings.extend(named.map(|(name, row)| (format!("{precision} {name}"), row.to_vec())));
    }
    Ok(embeddings)
}

fn digest(embedding: &[f32]) -> String {
    let bytes: Vec<u8> = embedding.iter().flat_map(|value| value.to_le_bytes()).collect();
    blake3::hash(&bytes).to_hex()[..16].to_owned()
}

#[test]
fn embeddings_that_change_in_any_digit_have_a_new_version_of_the_arithmetic() -> Result<()> {
    let embeddings = embeddings()?;
    let digests: BTreeMap<_, _> = embeddings.iter().map(|(name, row)| (name.clone(), digest(row))).collect();
    let mut pins: Pins = serde_json::from_slice(&fs::read(PINS)?)?;
    let here = arithmetic();
    if std::env::var_os(PIN).is_some() {
        if pins.arithmetic != ARITHMETIC {
            pins = Pins { arithmetic: ARITHMETIC, digests: BTreeMap::new(), values: BTreeMap::new() };
        }
        if pins.values.is_empty() {
            let rounded = |row: &Vec<f32>| row.iter().map(|value| (value * 1e6).round() / 1e6).collect();
            let floats = embeddings.iter().filter(|(name, _)| name.starts_with("f32"));
            pins.values = floats.map(|(name, row)| (name.clone(), rounded(row))).collect();
        }
        pins.digests.insert(here, digests);
        fs::write(PINS, serde_json::to_string_pretty(&pins)? + "\n")?;
        return Ok(());
    }

    let remedy = format!("pin it with: {PIN}=1 cargo test --test it pinned -- --test-threads=1");
    assert_eq!(pins.arithmetic, ARITHMETIC, "ARITHMETIC in src/cache/key.rs was raised; {remedy}");
    match pins.digests.get(&here) {
        Some(pinned) => assert_eq!(
            &digests, pinned,
            "embeddings changed: raise ARITHMETIC in src/cache/key.rs, or the embedding cache goes on giving \
             the old ones; then {remedy}"
        ),
        None => {
            assert!(here != "x86_64 portable portable portable", "{here} is not pinned; {remedy}");
            eprintln!("{here} is not pinned, rounded values have to do; {remedy}");
        }
    }
    for (name, pinned) in pins.values {
        let apart = embeddings[&name].iter().zip(&pinned).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // Another order of sums moves an element by 1e-6, another rounding of a JPEG by 3e-4.
        let bound = if name.ends_with(".jpg") { 1e-3 } else { 1e-5 };
        assert!(apart <= bound, "{name} is {apart} off: raise ARITHMETIC; then {remedy}");
    }
    Ok(())
}

#[test]
fn portable_embeddings_are_pinned_on_every_machine() {
    let test = "pinned::embeddings_that_change_in_any_digit_have_a_new_version_of_the_arithmetic";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env("CLIPCLASS_SIMD", "portable")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
