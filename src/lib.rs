//! Zero-shot image classification with CLIP.
//!
//! ```text
//!                main.rs ── cli.rs ── commands/  (classify · eval · models · doctor · fetch · cache)
//!                                        │
//! labels.rs ─────────────────────────────┤──▶ model/ (text) ────┐
//! hub/   a model's name ──▶ its files ──▶ model/                ▼
//! input/ ──▶ pixels/ ────────────────────┴──▶ model/ (vision) ─▶ score.rs ──▶ report/  sinks, pages
//!         └──────── pipeline/: a job → an iterator of records ─────────────────┘  └──▶ eval/  truth → metrics
//!                   cache/ keeps embeddings between runs     kernels/ slices → slices, for model/ and score.rs
//!                   net/ the one HTTP client                 messages.rs the one voice on standard error
//!                   pixels/formats.rs a name or first bytes → what a file is     pixels/bug.rs a panic → words
//!                   terminal.rs how wide it is, and what it can show
//!                   doctor/ hub, cache, kernels and model on this machine → what is wrong with them
//! ```
//!
//! Data flows to the right. A room uses the words of the rooms to its left and never the reverse;
//! `commands` and `pipeline` join them. [`kernels`] and [`pixels`] are packages of their own, for they are
//! where time is spent: tests have those two optimised, and the rest compiled quickly.
//!
//! Shapes are written with these letters: `N` images, `P` prompts, `L` labels, `T` tokens (at most
//! the context length), `D` embedding width, `E` width of a token within a tower, `H` = `W` = image
//! size.
//!
//! # Where does the probability in a record come from?
//!
//! A walk through one run of `clipclass photo.jpg --labels "a cat,a dog" --json`, a file at a time:
//!
//! 1. `cli.rs` makes a [`commands::Classify`] of the arguments; `labels.rs` makes the [`labels::LabelSet`].
//! 2. `commands/classify.rs` finds the model's files (`hub/mod.rs`), opens them as a
//!    [`model::Checkpoint`] (`model/mod.rs`), opens the sink (`report/mod.rs`) and asks
//!    [`pipeline::records`] for the records.
//! 3. `pipeline/prompts.rs` has every prompt embedded: ids from `model/tokenizer/mod.rs`, the text tower of
//!    `model/tower/text.rs`; the mean of a label's prompts is its embedding (`score.rs`, `ensemble`).
//! 4. `pipeline/reader.rs` takes the sources that `input/named.rs` finds; `pipeline/prepare.rs` has each
//!    read, decoded (`pixels/decode/`) and resized (`pixels/resample.rs`).
//! 5. `pipeline/network.rs` has a batch embedded by the vision tower of `model/tower/vision.rs`, whose
//!    steps are in `model/layers/` and on a CPU in `kernels/`.
//! 6. `score.rs` multiplies the embeddings to cosines, scales them to logits and takes their softmax, or
//!    in the family of SigLIP the sigmoid of each: the probability.
//! 7. `report/json.rs` writes it.
//!
//! # An example
//!
//! ```
//! use clipclass::cache::ModelEmbeddings;
//! use clipclass::hub::{self, HubOptions};
//! use clipclass::input::Inputs;
//! use clipclass::labels::{self, LabelSet};
//! use clipclass::messages::Messages;
//! use clipclass::model::{Checkpoint, device::DeviceChoice, precision::Precision};
//! use clipclass::pipeline::{self, Job};
//!
//! # fn main() -> anyhow::Result<()> {
//! let messages = Messages::new(false);
//! let files = hub::locate("fixtures/tiny-clip", &HubOptions::default(), &messages)?;
//! let checkpoint = Checkpoint::open(&files, &DeviceChoice::Auto.open()?, Precision::F32)?;
//! let labels = LabelSet::new(labels::parse_list("a cat,a dog,a tree")?, &[])?;
//! let job = Job {
//!     inputs: Inputs { paths: vec!["fixtures/images/tree.jpg".into()], ..Default::default() },
//!     skip: Box::new(|_| false),
//!     labels: &labels,
//!     checkpoint: &checkpoint,
//!     judgement: Default::default(),
//!     known: ModelEmbeddings::off(),
//!     batch_size: 8,
//!     threads: None,
//!     thumbnail_px: None,
//!     keep_embeddings: false,
//! };
//! for record in pipeline::records(job, &messages)? {
//!     let verdict = record?.outcome.expect("the picture is whole");
//!     assert_eq!(verdict.prediction.map(|label| labels.names()[label]), Some("a tree"));
//! }
//! # Ok(())
//! # }
//! ```

#![cfg_attr(not(test), warn(clippy::exit, clippy::print_stdout, clippy::unwrap_used))]

pub mod cache;
pub mod cli;
pub mod commands;
pub mod doctor;
pub mod eval;
pub mod hub;
pub mod input;
pub mod labels;
pub mod messages;
pub mod model;
pub mod net;
pub mod pipeline;
pub mod report;
pub mod score;
pub mod terminal;
#[cfg(test)]
mod world;

pub use clipclass_kernels as kernels;
pub use clipclass_pixels as pixels;
pub use clipclass_pixels::{bug, formats};
