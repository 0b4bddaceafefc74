//! What `--precision bf16` costs on a CPU, and where it is refused. The portable arithmetic, which any
//! machine has, stands for the processors that have instructions for it.

use crate::world::{LABELS, classifier, clipclass, records_of, refusal, stdout_of};
use clipclass::kernels::require_bf16;
use serde_json::Value;

const IMAGES: [&str; 6] = ["bird.bmp", "boat.png", "car.jpg", "cat.png", "dog.webp", "tree.jpg"];

/// The records of the images with these arguments, and this limit of the instructions if it is not empty.
fn records(limit: &str, arguments: &[&str]) -> Vec<Value> {
    let images = IMAGES.map(|image| format!("fixtures/images/{image}"));
    let mut command = classifier();
    command.env("CLIPCLASS_SIMD", limit).args(images).arg("--json").args(arguments);
    records_of(&command.output().unwrap(), 0)
}

/// The cosines of a record.
fn cosines(record: &Value) -> Vec<f64> {
    let scores = record["scores"].as_array().unwrap();
    scores.iter().map(|score| score["cosine"].as_f64().unwrap()).collect()
}

/// The largest difference of two cosines of records that are otherwise the same.
fn largest_difference(some: &[Value], others: &[Value]) -> f64 {
    assert_eq!(some.len(), IMAGES.len());
    let differences = some.iter().zip(others).flat_map(|(record, other)| {
        assert_eq!((&record["image"], &record["prediction"]), (&other["image"], &other["prediction"]));
        let (some, others) = (cosines(record), cosines(other));
        assert_eq!(some.len(), LABELS.split(',').count());
        some.into_iter().zip(others).map(|(a, b)| (a - b).abs())
    });
    differences.fold(0.0, f64::max)
}

#[test]
fn bf16_stays_close_to_f32_and_gives_every_image_the_same_label() {
    let exact = records("portable", &[]);
    let rounded = records("portable", &["--precision", "bf16"]);
    let apart = largest_difference(&rounded, &exact);
    assert!(apart > 0.0, "bf16 was not computed in bf16");
    assert!(apart < 0.01, "bf16 moved a cosine by {apart}");
}

#[test]
fn image_in_bf16_has_the_same_record_alone_as_in_a_batch() {
    let alone = records("portable", &["--precision", "bf16", "--batch-size", "1"]);
    assert_eq!(records("portable", &["--precision", "bf16", "--batch-size", "6"]), alone);
}

#[test]
fn instructions_for_bf16_agree_with_the_portable_arithmetic() {
    if require_bf16().is_err() {
        return eprintln!("this machine has no instructions for bf16");
    }
    let portable = records("portable", &["--precision", "bf16"]);
    for limit in ["avx512-bf16", "amx"] {
        let apart = largest_difference(&records(limit, &["--precision", "bf16"]), &portable);
        // Another order of sums rounds some element to another bf16: less than bf16 is from f32.
        assert!(apart < 0.005, "{limit} moved a cosine by {apart}");
    }
}

#[test]
fn bf16_without_instructions_for_it_is_refused_and_told_what_helps() {
    let mut command = classifier();
    command.env("CLIPCLASS_SIMD", "avx512-vnni").args(["fixtures/images/cat.png", "--precision", "bf16"]);
    let told = refusal(&command.output().unwrap());
    for part in ["AVX512-BF16 or AMX-BF16", "f32 and int8", "CLIPCLASS_SIMD=portable"] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn the_version_names_the_instructions_for_bf16() {
    let version =
        |limit| stdout_of(&clipclass().env("CLIPCLASS_SIMD", limit).arg("--version").output().unwrap(), 0);
    assert!(version("portable").contains("instructions: portable)"), "{}", version("portable"));
    assert!(version("avx512-vnni").contains(", no bf16)"), "{}", version("avx512-vnni"));
}
