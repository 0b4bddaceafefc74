//! Families and layouts beside open_clip, timm and transformers: the same embeddings for weights of a
//! formula, of every variant and of the configurations of well-known models.
//!
//! `fixtures/families.py` made the goldens.

use crate::golden::{assert_same_embeddings, json, rows, rows_of};
use crate::world::{LABELS, MODEL, clipclass, records_of, refusal, stdout_of};
use anyhow::Result;
use clipclass::hub::{FileRole, OpenFile, WeightFiles};
use clipclass::model::backend::{Backend, Products};
use clipclass::model::config::ModelConfig;
use clipclass::model::formula::{uniform, write_checkpoint};
use clipclass::model::layout::Layout;
use clipclass::model::tower::{TextTower, TextWeights, VisionTower, VisionWeights};
use clipclass::model::weights::Weights;
use clipclass::pixels::{Filter, Picture, Pixels, Resize, Transform};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// `tiny-clip` in open_clip's layout.
const TINY_OPEN_CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny-open-clip");

/// A network of the goldens.
#[derive(Deserialize)]
struct Network {
    name: String,
    layout: LayoutName,
    /// The content of its configuration file.
    config: Value,
    /// What was left out of that.
    vision_layers: Option<usize>,
    text_layers: Option<usize>,
    vocabulary: Option<usize>,
    pad_id: u32,
    token_ids: Vec<Vec<u32>>,
    /// How many images of the formula there are.
    images: usize,
    /// The shapes of the checkpoint's tensors.
    tensors: BTreeMap<String, Vec<usize>>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum LayoutName {
    OpenClip,
    HuggingFace,
}

impl LayoutName {
    fn layout(self) -> Layout {
        match self {
            Self::OpenClip => Layout::OpenClip,
            Self::HuggingFace => Layout::HuggingFace,
        }
    }
}

/// The networks of a golden file.
fn networks(file: &str) -> Vec<Network> {
    let golden = json(&format!("fixtures/golden/{file}.json"));
    serde_json::from_value(golden["networks"].clone()).unwrap()
}

fn config_of(network: &Network) -> Result<ModelConfig> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("config.json");
    fs::write(&file, network.config.to_string())?;
    let (mut config, _) =
        ModelConfig::read(network.layout.layout(), &OpenFile::open(FileRole::Config, &file)?, None)?;
    let vision = &mut config.vision.tower.num_hidden_layers;
    *vision = network.vision_layers.unwrap_or(*vision);
    let text = &mut config.text.tower.num_hidden_layers;
    *text = network.text_layers.unwrap_or(*text);
    config.text.vocab_size = network.vocabulary.unwrap_or(config.text.vocab_size);
    Ok(config)
}

fn images_of(config: &ModelConfig, count: usize) -> Vec<Pixels> {
    let size = config.vision.image_size;
    let image = |i: usize| uniform(&format!("pixels.{i}"), 3 * size * size, 1 - 3 * i as i32);
    (0..count).map(|i| Pixels { height: size, width: size, values: image(i) }).collect()
}

struct Towers {
    vision: VisionWeights,
    text: TextWeights,
}

fn towers_of(network: &Network, config: &ModelConfig) -> Towers {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    write_checkpoint(&file, &network.tensors).unwrap();
    let weights = Weights::open(&WeightFiles::Safetensors(vec![file]), network.layout.layout()).unwrap();
    let towers = Towers {
        vision: VisionWeights::find(&weights, config).unwrap(),
        text: TextWeights::find(&weights, config).unwrap(),
    };
    config.family.scoring(&weights).unwrap();
    // Else the network would be another one than the checkpoint's.
    weights.check_all_used().unwrap();
    towers
}

/// Embeddings of the images, and of the prompts.
fn embed(network: &Network, config: &ModelConfig, towers: &Towers, backend: &Backend) -> [Vec<Vec<f32>>; 2] {
    let tower = VisionTower::load(&towers.vision, backend).unwrap();
    let images = rows_of(&tower.forward(&images_of(config, network.images)).unwrap());
    let tower = TextTower::load(&towers.text, backend).unwrap();
    let padded: Vec<_> = network.token_ids.iter().map(|ids| tower.pad(ids.clone(), network.pad_id)).collect();
    let prompts: Vec<_> = padded.iter().map(Vec::as_slice).collect();
    [images, rows_of(&tower.forward(&prompts).unwrap())]
}

fn assert_same_networks(file: &str, backend: &Backend, only: impl Fn(&Network) -> bool) -> usize {
    let tensors = format!("fixtures/golden/{file}.safetensors");
    let networks: Vec<_> = networks(file).into_iter().filter(only).collect();
    for network in &networks {
        println!("{}", network.name);
        let config = config_of(network).unwrap();
        let towers = towers_of(network, &config);
        let [images, prompts] = embed(network, &config, &towers, backend);
        assert_same_embeddings(&images, &rows(&tensors, &format!("{}.image_embeddings", network.name)), 1e-5);
        assert_same_embeddings(&prompts, &rows(&tensors, &format!("{}.text_embeddings", network.name)), 1e-5);
    }
    networks.len()
}

#[test]
fn every_variant_has_the_embeddings_of_its_original() {
    let compared = assert_same_networks("families", &Backend::Kernels(Products::F32), |_| true);
    assert_eq!(compared, 18);
}

/// On a GPU the towers run in candle's operations, which a CPU has as well.
#[test]
fn every_variant_has_them_in_candles_operations_too() {
    let operations = Backend::Operations { device: candle_core::Device::Cpu, dtype: candle_core::DType::F32 };
    let small = |network: &Network| !network.name.starts_with("trunk-") || network.name == "trunk-mean";
    assert!(assert_same_networks("families", &operations, small) >= 12);
}

#[test]
fn every_variant_points_the_same_way_in_int8() {
    let tensors = "fixtures/golden/families.safetensors";
    for network in networks("families") {
        let config = config_of(&network).unwrap();
        let towers = towers_of(&network, &config);
        let [images, prompts] = embed(&network, &config, &towers, &Backend::Kernels(Products::Int8));
        for (ours, kind) in [(images, "image"), (prompts, "text")] {
            for (ours, golden) in
                ours.iter().zip(rows(tensors, &format!("{}.{kind}_embeddings", network.name)))
            {
                let cosine: f32 = ours.iter().zip(&golden).map(|(a, b)| a * b).sum();
                // Random weights forgive less than trained ones.
                assert!(cosine > 0.99, "{} {kind}: {cosine}", network.name);
            }
        }
    }
}

#[test]
fn well_known_models_have_the_embeddings_of_their_originals_by_their_own_configurations() {
    let compared = assert_same_networks("models", &Backend::Kernels(Products::F32), |_| true);
    assert!(compared >= 50, "{compared}");
}

/// A row of the table in docs/models.md, and of each of its models the networks that prove it.
type Section = (&'static str, &'static [(&'static str, &'static [&'static str])]);

/// What the table in docs/models.md says that runs, line by line, and the networks that prove it by their own
/// configurations. What is in brackets there is a remark.
const RUNS: &[Section] = &[
    (
        "Hugging Face `CLIPModel`",
        &[
            ("OpenAI B/32", &["openai/clip-vit-base-patch32"]),
            ("B/16", &["openai/clip-vit-base-patch16"]),
            ("L/14", &["openai/clip-vit-large-patch14"]),
            ("L/14-336", &["openai/clip-vit-large-patch14-336"]),
            ("LAION H/14", &["laion/CLIP-ViT-H-14-laion2B-s32B-b79K"]),
        ],
    ),
    (
        "Hugging Face `SiglipModel`",
        &[
            (
                "SigLIP and SigLIP 2 of fixed sizes: B",
                &["google/siglip-base-patch16-224", "google/siglip2-base-patch16-224"],
            ),
            ("L", &["google/siglip-large-patch16-384", "google/siglip2-large-patch16-256"]),
            ("so400m", &["google/siglip-so400m-patch14-384", "google/siglip2-so400m-patch14-384"]),
            ("giant-opt", &["google/siglip2-giant-opt-patch16-256"]),
            ("multilingual", &["google/siglip-base-patch16-256-multilingual"]),
        ],
    ),
    (
        "Hugging Face `MetaClip2Model`",
        &[("MetaCLIP 2 worldwide", &["facebook/metaclip-2-worldwide-huge-quickgelu"])],
    ),
    (
        "open_clip, plain ViT",
        &[
            ("B/32", &["ViT-B-32", "ViT-B-32-quickgelu"]),
            ("B/32-256", &["ViT-B-32-256"]),
            ("B/16", &["ViT-B-16", "ViT-B-16-quickgelu"]),
            ("B/16-plus", &["ViT-B-16-plus-240"]),
            ("L/14", &["ViT-L-14", "ViT-L-14-quickgelu"]),
            ("H/14", &["ViT-H-14", "ViT-H-14-quickgelu"]),
            ("g/14", &["ViT-g-14"]),
            ("bigG/14", &["ViT-bigG-14"]),
            ("CLIPA", &["ViT-L-14-CLIPA", "ViT-H-14-CLIPA"]),
            ("worldwide", &["ViT-L-14-worldwide", "ViT-H-14-worldwide-quickgelu"]),
        ],
    ),
    (
        "open_clip, timm ViT",
        &[
            ("SigLIP", &["ViT-B-16-SigLIP", "ViT-L-16-SigLIP-256", "ViT-SO400M-14-SigLIP"]),
            ("SigLIP 2", &["ViT-B-16-SigLIP2", "ViT-SO400M-14-SigLIP2", "ViT-gopt-16-SigLIP2-256"]),
            ("MobileCLIP2-L/14", &["MobileCLIP2-L-14"]),
        ],
    ),
];

#[test]
fn every_line_of_the_table_of_what_runs_is_proved_by_a_network() {
    let page = fs::read_to_string("docs/models.md").unwrap();
    let table = page.lines().skip_while(|line| !line.starts_with("| layout | models |")).skip(2);
    let lines: Vec<_> = table.take_while(|line| line.starts_with('|')).collect();
    assert_eq!(lines.len(), RUNS.len(), "{lines:?}");
    let proved: Vec<_> = networks("models").into_iter().map(|network| network.name).collect();
    for (line, (layout, models)) in lines.iter().zip(RUNS) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        assert_eq!(cells.next(), Some(*layout));
        let mut plain = String::new();
        let mut depth = 0;
        for c in cells.next().unwrap().chars() {
            depth += i32::from(c == '(') - i32::from(c == ')');
            plain.extend((depth == 0 && c != ')').then_some(c));
        }
        let said: Vec<_> = plain.split([',', ';']).map(str::trim).collect();
        assert_eq!(said, models.iter().map(|(model, _)| *model).collect::<Vec<_>>(), "{line}");
        for network in models.iter().flat_map(|(_, networks)| *networks) {
            assert!(proved.iter().any(|name| name == network), "{network}");
        }
    }
}

/// `python fixtures/families.py large` makes the goldens; weights take 6 GB of disk and of memory.
#[test]
#[ignore = "minutes, and gigabytes"]
fn large_models_have_the_embeddings_of_their_originals_at_full_size() {
    assert_eq!(assert_same_networks("large", &Backend::Kernels(Products::F32), |_| true), 6);
}

#[test]
fn same_weights_in_two_layouts_give_the_same_records_to_the_digit() {
    let classify = |model: &str| {
        let images = ["tree.jpg", "cat.png", "panorama.png", "orientation-6.webp", "small.png", "grey.png"];
        let images = images.map(|name| format!("fixtures/images/{name}"));
        let output = clipclass()
            .args([
                "--json",
                "--no-cache",
                "--labels",
                LABELS,
                "-t",
                "a photo of {}",
                "-t",
                "it's {}!",
                "--model",
                model,
            ])
            .args(images)
            .output()
            .unwrap();
        stdout_of(&output, 0)
    };
    let records = classify(MODEL);
    assert_eq!(records.lines().count(), 6);
    assert_eq!(classify(TINY_OPEN_CLIP), records);
    assert_eq!(classify(&format!("local-dir:{TINY_OPEN_CLIP}")), records);
}

#[test]
fn model_without_a_tokenizer_has_that_of_clips_own_vocabulary_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(
        Path::new(TINY_OPEN_CLIP).join("open_clip_model.safetensors"),
        folder.path().join("open_clip_model.safetensors"),
    )
    .unwrap();
    let mut config = json(&format!("{TINY_OPEN_CLIP}/open_clip_config.json"));
    config["model_cfg"]["text_cfg"].as_object_mut().unwrap().remove("hf_tokenizer_name");
    fs::write(folder.path().join("open_clip_config.json"), config.to_string()).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let classify = |model: &Path| {
        clipclass()
            .args([
                "--json",
                "--no-cache",
                "--offline",
                "--labels",
                LABELS,
                "fixtures/images/tree.jpg",
                "--model",
            ])
            .arg(model)
            .env("HF_HUB_CACHE", cache.path())
            .output()
            .unwrap()
    };
    let told = refusal(&classify(folder.path()));
    assert!(
        told.contains(
            "it has no tokenizer, and that of openai/clip-vit-base-patch32 is not in the hub cache"
        ),
        "{told}"
    );

    let repository = cache.path().join("models--openai--clip-vit-base-patch32");
    let commit = "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268";
    let snapshot = repository.join("snapshots").join(commit);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), commit).unwrap();
    fs::copy(Path::new(MODEL).join("tokenizer.json"), snapshot.join("tokenizer.json")).unwrap();
    let output = classify(folder.path());
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(
        told.contains("has no tokenizer of its own: that of openai/clip-vit-base-patch32 is used"),
        "{told}"
    );
    assert_eq!(stdout_of(&output, 0), stdout_of(&classify(Path::new(MODEL)), 0));
}

#[test]
fn records_of_a_siglip_are_those_of_transformers_and_pillow() {
    let golden = json("fixtures/golden/tiny-siglip.json");
    let strings = |value: &Value| serde_json::from_value::<Vec<String>>(value.clone()).unwrap();
    let images: Vec<_> =
        golden["images"].as_array().unwrap().iter().map(|image| image["image"].as_str().unwrap()).collect();
    assert!(images.len() > 40);
    let mut command = clipclass();
    command.args(["--json", "--no-cache", "--model", "fixtures/tiny-siglip", "--template", "A photo of {}!"]);
    for label in strings(&golden["labels"]) {
        command.args(["--labels", &label]);
    }
    command.args(images.iter().map(|image| format!("fixtures/images/{image}")));
    let records = records_of(&command.output().unwrap(), 0);
    let file = "fixtures/golden/tiny-siglip.safetensors";
    let (cosines, probabilities) = (rows(file, "cosines"), rows(file, "probabilities"));
    let mut right = 0;
    for ((record, cosines), probabilities) in records.iter().zip(&cosines).zip(&probabilities) {
        let scores = record["scores"].as_array().unwrap();
        for ((score, cosine), probability) in scores.iter().zip(cosines).zip(probabilities) {
            let off = |field: &str, golden: f32| (score[field].as_f64().unwrap() - f64::from(golden)).abs();
            assert!(off("cosine", *cosine) <= 2e-6, "{record}: cosine {cosine}");
            assert!(off("probability", *probability) <= 1e-5, "{record}: probability {probability}");
        }
        let name = record["image"].as_str().unwrap();
        let shown = ["tree.jpg", "cat.png", "car.jpg", "dog.webp", "boat.png", "star.jpg"];
        let shown = shown.iter().find(|shown| name.ends_with(&format!("/{shown}")));
        right += usize::from(shown.is_some_and(|shown| {
            let thing = shown.split('.').next().unwrap();
            record["prediction"].as_str().is_some_and(|label| label.ends_with(thing))
        }));
    }
    assert!(right >= 5, "{right} of six");
}

#[test]
fn checkpoint_of_a_training_run_is_read_as_it_is() {
    let weights =
        Weights::open(&WeightFiles::Pickle("fixtures/golden/training.pt".into()), Layout::OpenClip).unwrap();
    // Written as `arange`: [2, 3], applied from the other side, and the second of three matrices [2, 2].
    let projection = weights.view("vision.projection.weight", &[3, 2]).unwrap().values().unwrap();
    assert_eq!(*projection, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    let key = weights.view("text.blocks.0.key.weight", &[2, 2]).unwrap().values().unwrap();
    assert_eq!(*key, [4.0, 5.0, 6.0, 7.0]);
    assert_eq!(*weights.view("logit_scale", &[]).unwrap().values().unwrap(), [2.5]);
    weights.check_all_used().unwrap();
}

/// What is said of tiny-open-clip's files with another configuration.
#[track_caller]
fn refusal_with(config: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("open_clip_config.json"), config).unwrap();
    for file in ["tokenizer.json", "open_clip_model.safetensors"] {
        fs::copy(Path::new(TINY_OPEN_CLIP).join(file), folder.path().join(file)).unwrap();
    }
    let mut command = clipclass();
    command.args(["-l", "a tree,a cat", "fixtures/images/tree.jpg", "-m"]).arg(folder.path());
    refusal(&command.output().unwrap())
}

#[test]
fn tensor_that_the_configuration_does_not_ask_for_is_refused() {
    let mut config = json(&format!("{TINY_OPEN_CLIP}/open_clip_config.json"));
    config["model_cfg"]["vision_cfg"]["layers"] = 2.into();
    let told = refusal_with(&config.to_string());
    assert!(
        told.contains("does not ask for 12 of the tensors, as visual.transformer.resblocks.2."),
        "{told}"
    );
}

#[test]
fn position_embeddings_of_another_image_size_are_refused_as_such() {
    let mut config = json(&format!("{TINY_OPEN_CLIP}/open_clip_config.json"));
    config["model_cfg"]["vision_cfg"]["image_size"] = 96.into();
    let told = refusal_with(&config.to_string());
    assert!(told.contains("position embeddings are not resized, and images have 96 × 96 pixels"), "{told}");
    assert!(told.contains("visual.positional_embedding has shape [17, 88]"), "{told}");
}

#[test]
fn model_that_is_not_supported_says_what_it_is_and_what_is_near() {
    let told = refusal_with(
        r#"{"model_cfg": {"embed_dim": 512, "custom_text": true, "vision_cfg": {"image_size": 224,
        "timm_model_name": "eva02_base_patch16_clip_224", "timm_pool": "token", "timm_proj": null},
        "text_cfg": {}}, "preprocess_cfg": {}}"#,
    );
    assert!(
        told.contains(
            "it has an EVA02 tower in open_clip's layout, which clipclass does not run; near ones: \
             apple/DFN2B-CLIP-ViT-B-16, timm/ViT-B-16-SigLIP2"
        ),
        "{told}"
    );
}

#[test]
fn images_are_prepared_to_the_byte_as_open_clip_prepares_them() {
    let golden = json("fixtures/golden/transforms.json");
    let cases = golden["cases"].as_array().unwrap();
    let mut refused = 0;
    for case in cases {
        let name = case["image"].as_str().unwrap();
        let size = 64;
        let fill = case["fill_color"].as_u64().unwrap() as u8;
        let (resize, crop) = match case["resize_mode"].as_str().unwrap() {
            "squash" => (Resize::Exact { height: size, width: size }, None),
            "longest" => (Resize::LongestEdge { long: size, fill }, None),
            _ => (Resize::ShortestEdge(size), Some((size, size))),
        };
        let filter = match case["interpolation"].as_str().unwrap() {
            "bilinear" => Filter::Bilinear,
            _ => Filter::Bicubic,
        };
        let transform = Transform {
            resize: Some(resize),
            filter,
            crop,
            rescale: 1.0 / 255.0,
            mean: [0.0; 3],
            std: [1.0; 3],
            image_size: size,
        };
        let picture = Picture::decode(&fs::read(format!("fixtures/images/{name}")).unwrap()).unwrap();
        match (transform.resize_and_crop(&picture), case["fnv1a"].as_str()) {
            (Ok(prepared), Some(hash)) => {
                let found = prepared.as_raw().iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, byte| {
                    (h ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
                });
                assert_eq!(format!("{found:016x}"), hash, "{case}");
            }
            (Err(error), None) => {
                assert!(error.to_string().contains("too thin"), "{error}");
                refused += 1;
            }
            (found, _) => panic!("{case}: {found:?}"),
        }
    }
    assert!(cases.len() > 200 && refused > 0, "{} {refused}", cases.len());
}
