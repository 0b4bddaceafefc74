//! Records from files to numbers, of small models of several kinds, beside the packages that they were written for.
//!
//! `fixtures/records.py` made the goldens.

use crate::golden::json;
use crate::world::{TREE, clipclass, records_of};
use clipclass::model::formula::{weight, write_checkpoint};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

#[derive(Deserialize)]
struct Golden {
    images: Vec<String>,
    labels: Vec<String>,
    template: String,
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    name: String,
    /// `open_clip` or `hugging_face`.
    layout: String,
    /// The content of its configuration file, and of the preprocessor's.
    config: Value,
    preprocessor: Option<Value>,
    /// The tokenizer's files in `fixtures`.
    tokenizer: Vec<String>,
    /// The shapes of tensors of the formula, or else the file of its weights in `fixtures`.
    tensors: Option<BTreeMap<String, Vec<usize>>>,
    weights: Option<String>,
    /// Of each image and label.
    cosines: Vec<Vec<f64>>,
    probabilities: Vec<Vec<f64>>,
}

/// Writes the model's folder.
fn write_folder(model: &Model, folder: &Path) {
    let (config, weights) = match &*model.layout {
        "open_clip" => ("open_clip_config.json", "open_clip_model.safetensors"),
        _ => ("config.json", "model.safetensors"),
    };
    fs::write(folder.join(config), model.config.to_string()).unwrap();
    if let Some(preprocessor) = &model.preprocessor {
        fs::write(folder.join("preprocessor_config.json"), preprocessor.to_string()).unwrap();
    }
    let copy =
        |file: &str, name: &str| fs::copy(Path::new("fixtures").join(file), folder.join(name)).unwrap();
    for file in &model.tokenizer {
        copy(file, file.rsplit('/').next().unwrap());
    }
    match (&model.tensors, &model.weights) {
        (Some(tensors), _) => write_checkpoint(&folder.join(weights), tensors).unwrap(),
        (None, Some(file)) => _ = copy(file, weights),
        (None, None) => panic!("{} has no weights", model.name),
    }
}

#[test]
fn records_are_those_of_open_clip_and_transformers_from_files_to_numbers() {
    let golden: Golden = serde_json::from_value(json("fixtures/golden/records.json")).unwrap();
    assert_eq!((golden.images.len(), golden.models.len()), (20, 5));
    for model in &golden.models {
        let folder = tempfile::tempdir().unwrap();
        write_folder(model, folder.path());
        let mut command = clipclass();
        command.args(["--json", "--no-cache", "--offline", "--template", &golden.template, "--model"]);
        command.arg(folder.path()).args(golden.labels.iter().flat_map(|label| ["--labels", label]));
        command.args(golden.images.iter().map(|image| format!("fixtures/images/{image}")));
        let records = records_of(&command.output().unwrap(), 0);
        assert_eq!(records.len(), golden.images.len(), "{}", model.name);
        for ((record, cosines), probabilities) in records.iter().zip(&model.cosines).zip(&model.probabilities)
        {
            let scores = record["scores"].as_array().unwrap();
            assert_eq!(scores.len(), golden.labels.len());
            for ((score, cosine), probability) in scores.iter().zip(cosines).zip(probabilities) {
                let off = |field: &str, golden: &f64| (score[field].as_f64().unwrap() - golden).abs();
                // Two packages sum in two orders; a logit is a hundred cosines.
                assert!(off("cosine", cosine) <= 1e-6, "{}: {record}, cosine {cosine}", model.name);
                assert!(off("probability", probability) <= 1e-5, "{}: {record}, {probability}", model.name);
            }
        }
    }
}

/// A tensor: its name, its shape and its values, or nothing for zeros.
type Stored = (String, Vec<usize>, Option<Vec<f32>>);

/// Writes a checkpoint in which zeros take no space.
fn write_sparse(file: &Path, tensors: &[Stored]) {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    let mut places = Vec::new();
    for (name, shape, values) in tensors {
        let bytes = 4 * shape.iter().product::<usize>();
        let place = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [end, end + bytes]});
        header.insert(name.clone(), place);
        places.extend(values.as_ref().map(|values| (end, values)));
        end += bytes;
    }
    let header = Value::Object(header).to_string();
    let header = format!("{header:width$}", width = header.len().next_multiple_of(8));
    let start = 8 + header.len();
    let mut out = fs::File::create(file).unwrap();
    out.set_len((start + end) as u64).unwrap();
    out.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    out.write_all(header.as_bytes()).unwrap();
    for (at, values) in places {
        out.seek(SeekFrom::Start((start + at) as u64)).unwrap();
        out.write_all(bytemuck::cast_slice(values)).unwrap();
    }
}

/// A SigLIP whose vision tower is timm's of size B: all blocks but the first are zeros, which add nothing.
struct Base {
    patches: usize,
    patch_size: usize,
}

impl Base {
    /// Its tensors by open_clip's and timm's names.
    fn tensors(&self) -> BTreeMap<String, (Vec<usize>, bool)> {
        let mut tensors = BTreeMap::new();
        let mut add = |name: String, shape: &[usize], zero| _ = tensors.insert(name, (shape.to_vec(), zero));
        let mut linear = |name: &str, outputs: usize, inputs: &[usize], zero| {
            add(format!("{name}.weight"), &[&[outputs], inputs].concat(), zero);
            add(format!("{name}.bias"), &[outputs], zero);
        };
        let patch = [3, self.patch_size, self.patch_size];
        linear("visual.trunk.patch_embed.proj", 768, &patch, false);
        for block in 0..12 {
            let name = |part: &str| format!("visual.trunk.blocks.{block}.{part}");
            let zero = block > 0;
            for (part, outputs, inputs) in [
                ("attn.qkv", 3 * 768, 768),
                ("attn.proj", 768, 768),
                ("mlp.fc1", 3072, 768),
                ("mlp.fc2", 768, 3072),
            ] {
                linear(&name(part), outputs, &[inputs], zero);
            }
            ["norm1", "norm2"].iter().for_each(|part| linear(&name(part), 768, &[], zero));
        }
        linear("visual.trunk.norm", 768, &[], false);
        for (part, outputs, inputs) in [
            ("q", 768, 768),
            ("kv", 2 * 768, 768),
            ("proj", 768, 768),
            ("mlp.fc1", 3072, 768),
            ("mlp.fc2", 768, 3072),
        ] {
            linear(&format!("visual.trunk.attn_pool.{part}"), outputs, &[inputs], false);
        }
        linear("visual.trunk.attn_pool.norm", 768, &[], false);
        for block in 0..2 {
            let name = |part: &str| format!("text.transformer.resblocks.{block}.{part}");
            for (part, outputs, inputs) in
                [("attn.out_proj", 48, 48), ("mlp.c_fc", 192, 48), ("mlp.c_proj", 48, 192)]
            {
                linear(&name(part), outputs, &[inputs], false);
            }
            ["ln_1", "ln_2"].iter().for_each(|part| linear(&name(part), 48, &[], false));
        }
        linear("text.ln_final", 48, &[], false);
        linear("text.text_projection", 768, &[48], false);
        for block in 0..2 {
            let name = |part: &str| format!("text.transformer.resblocks.{block}.attn.in_proj_{part}");
            add(name("weight"), &[3 * 48, 48], false);
            add(name("bias"), &[3 * 48], false);
        }
        add("visual.trunk.pos_embed".into(), &[1, self.patches, 768], false);
        add("visual.trunk.attn_pool.latent".into(), &[1, 1, 768], false);
        add("text.token_embedding.weight".into(), &[1000, 48], false);
        add("text.positional_embedding".into(), &[20, 48], false);
        add("logit_scale".into(), &[], false);
        add("logit_bias".into(), &[], false);
        tensors
    }

    fn open_clip(&self) -> Vec<Stored> {
        let stored = self.tensors().into_iter().map(|(name, (shape, zero))| {
            let values = (!zero).then(|| weight(&name, &shape));
            (name, shape, values)
        });
        stored.collect()
    }

    /// The same weights by transformers' names: what is one matrix there may be three here, and the reverse.
    fn hugging_face(&self) -> Vec<Stored> {
        let mut found = Vec::new();
        let mut in_proj = BTreeMap::<_, (usize, Vec<f32>)>::new();
        for (name, shape, values) in self.open_clip() {
            let renamed = HUGGING_FACE.iter().fold(name, |name, (from, to)| name.replace(from, to));
            if let Some((block, kind)) = renamed.split_once("qkv.") {
                let third = shape[0] / 3;
                let len = shape.iter().product::<usize>() / 3;
                for (i, part) in ["q", "k", "v"].into_iter().enumerate() {
                    let shape = [&[third], &shape[1..]].concat();
                    let values = values.as_ref().map(|values| values[i * len..(i + 1) * len].to_vec());
                    found.push((format!("{block}self_attn.{part}_proj.{kind}"), shape, values));
                }
            } else if let Some((_, kind)) = renamed.rsplit_once("head.kv.").or(renamed.rsplit_once("head.q."))
            {
                // Names are in order: keys and values come before the query.
                let (rows, all) = in_proj.entry(kind.to_owned()).or_default();
                *rows += shape[0];
                all.splice(..0, values.unwrap());
            } else {
                found.push((renamed, shape, values));
            }
        }
        found.extend(in_proj.into_iter().map(|(kind, (rows, all))| {
            let shape = if kind == "weight" { vec![rows, 768] } else { vec![rows] };
            (format!("vision_model.head.attention.in_proj_{kind}"), shape, Some(all))
        }));
        let position = found
            .iter_mut()
            .find(|(name, ..)| name.ends_with("position_embedding.weight") && name.starts_with("vision"));
        position.unwrap().1.remove(0);
        found
    }
}

/// What open_clip and timm call a thing, and what transformers does.
const HUGGING_FACE: &[(&str, &str)] = &[
    ("visual.trunk.pos_embed", "vision_model.embeddings.position_embedding.weight"),
    ("visual.trunk.patch_embed.proj", "vision_model.embeddings.patch_embedding"),
    ("visual.trunk.blocks", "vision_model.encoder.layers"),
    ("visual.trunk.norm", "vision_model.post_layernorm"),
    ("visual.trunk.attn_pool.latent", "vision_model.head.probe"),
    ("visual.trunk.attn_pool.proj", "vision_model.head.attention.out_proj"),
    ("visual.trunk.attn_pool.norm", "vision_model.head.layernorm"),
    ("visual.trunk.attn_pool", "vision_model.head"),
    ("text.token_embedding", "text_model.embeddings.token_embedding"),
    ("text.positional_embedding", "text_model.embeddings.position_embedding.weight"),
    ("text.transformer.resblocks", "text_model.encoder.layers"),
    ("text.ln_final", "text_model.final_layer_norm"),
    ("text.text_projection", "text_model.head"),
    ("attn.qkv", "qkv"),
    ("attn.in_proj_", "qkv."),
    ("attn.proj", "self_attn.out_proj"),
    (".attn.out_proj", ".self_attn.out_proj"),
    ("norm1", "layer_norm1"),
    ("norm2", "layer_norm2"),
    ("ln_1", "layer_norm1"),
    ("ln_2", "layer_norm2"),
    ("c_fc", "fc1"),
    ("c_proj", "fc2"),
];

/// The records of one SigLIP in timm's layout and in that of transformers.
fn records_in_both_layouts(timm_name: &str, image_size: usize, patch_size: usize) -> [Vec<Value>; 2] {
    let base = Base { patches: (image_size / patch_size).pow(2), patch_size };
    let open_clip = serde_json::json!({
        "model_cfg": {
            "embed_dim": 768, "custom_text": true, "init_logit_bias": -10,
            "vision_cfg": {"image_size": image_size, "timm_model_name": timm_name, "timm_pool": "map", "timm_proj": "none"},
            "text_cfg": {
                "context_length": 20, "vocab_size": 1000, "width": 48, "heads": 3, "layers": 2, "no_causal_mask": true,
                "pool_type": "last", "proj_bias": true, "norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"},
                "hf_tokenizer_name": "timm/ViT-B-16-SigLIP2", "tokenizer_kwargs": {"clean": "canonicalize"},
            },
        },
        "preprocess_cfg": {"mean": 0.5, "std": 0.5, "interpolation": "bicubic", "resize_mode": "squash"},
    });
    let hugging_face = serde_json::json!({
        "model_type": "siglip",
        "vision_config": {"image_size": image_size, "patch_size": patch_size},
        "text_config": {
            "vocab_size": 1000, "hidden_size": 48, "intermediate_size": 192, "num_hidden_layers": 2,
            "num_attention_heads": 3, "max_position_embeddings": 20, "projection_size": 768,
        },
    });
    let preprocessor = serde_json::json!({
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 3, "rescale_factor": 1.0 / 255.0,
        "do_resize": true, "do_rescale": true, "do_normalize": true, "size": {"height": image_size, "width": image_size},
    });
    let classify = |config: (&str, Value), weights: (&str, Vec<Stored>)| {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::write(file(config.0), config.1.to_string()).unwrap();
        fs::write(file("preprocessor_config.json"), preprocessor.to_string()).unwrap();
        fs::copy("fixtures/siglip2-tokenizer/tokenizer.json", file("tokenizer.json")).unwrap();
        write_sparse(&file(weights.0), &weights.1);
        let mut command = clipclass();
        command.args(["--json", "--no-cache", "-l", "a cat,a tree", TREE, "-m"]).arg(folder.path());
        records_of(&command.output().unwrap(), 0)
    };
    [
        classify(("open_clip_config.json", open_clip), ("open_clip_model.safetensors", base.open_clip())),
        classify(("config.json", hugging_face), ("model.safetensors", base.hugging_face())),
    ]
}

/// timm has the same approximation of GELU in this tower as transformers has in every SigLIP.
#[test]
fn same_weights_of_a_siglip_in_two_layouts_give_the_same_records_to_the_digit() {
    let [open_clip, hugging_face] = records_in_both_layouts("vit_base_patch32_siglip_256", 256, 32);
    assert_eq!(open_clip, hugging_face);
}

/// In this one it has the exact function, so records differ a little, as those of both packages do.
#[test]
fn same_weights_of_a_siglip_differ_by_the_activation_where_timms_is_exact() {
    let [open_clip, hugging_face] = records_in_both_layouts("vit_base_patch16_siglip_224", 224, 16);
    for label in 0..2 {
        let cosine = |records: &[Value]| records[0]["scores"][label]["cosine"].as_f64().unwrap();
        let apart = (cosine(&open_clip) - cosine(&hugging_face)).abs();
        assert!(apart > 0.0 && apart < 1e-3, "{apart}");
    }
}
