//! Arguments → a [`Command`] made of the other rooms' words.

use crate::cache;
use crate::commands::{
    Classify, Command, Doctor, DoctorFormat, Eval, Fetch, Models, ModelsFormat, OutputChoice, Rules, Setup,
    WrongUsage,
};
use crate::doctor::Installation;
use crate::eval::fit::{ChosenFor, FitChoice};
use crate::eval::report::EvalFormat;
use crate::hub::HubOptions;
use crate::input::{Annotations, FilesFrom, ImageName, Inputs, Part};
use crate::kernels;
use crate::labels::{self, ClassifierFile, GivenLabel, LabelSet, Template};
use crate::model::device::{BUILT_FOR, DeviceChoice};
use crate::model::precision::Precision;
use crate::model::tokenizer::cleaning::TextCleaning;
use crate::report::{EarlierFailures, Format, SHOWN_PX};
use crate::score::Answer;
use anyhow::{Context, Result, bail, ensure};
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Args, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint, value_parser};
use clap_complete::Shell;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Read};
use std::mem;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The model of OpenAI's own example.
pub const DEFAULT_MODEL: &str = "openai/clip-vit-base-patch32";

/// Images in a batch: more hardly help a CPU and make the first wait.
const DEFAULT_BATCH_SIZE: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");

/// Reads the process's arguments; ends the process where clap answers by itself.
///
/// *Errors* when labels or inputs are not usable.
pub fn parse() -> Result<Command> {
    let arguments: Vec<_> = env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => match not_unicode(&arguments, &error) {
            Some(argument) => {
                bail!("{argument} is not UTF-8, which labels, prompts and the names of models must be")
            }
            None if error.use_stderr() => return Err(WrongUsage(error.render().ansi().to_string()).into()),
            // What was asked for: help or the version.
            None => error.exit(),
        },
    };
    // The doctor tells of a wrong limit among everything else.
    if !matches!(cli.command, Some(Verb::Doctor(_))) {
        kernels::instructions()?;
    }
    cli.into_command()
}

/// The argument that clap will not have because it is not Unicode; it does not say which.
fn not_unicode(arguments: &[OsString], error: &clap::Error) -> Option<ImageName> {
    let is_refused = |error: &clap::Error| error.kind() == ErrorKind::InvalidUtf8;
    if !is_refused(error) {
        return None;
    }
    let mut arguments = arguments.to_vec();
    (0..arguments.len()).find_map(|at| {
        let lossy = arguments[at].to_string_lossy().into_owned();
        let argument = mem::replace(&mut arguments[at], lossy.into());
        // Paths may be anything, and are no reason to refuse.
        let error = Cli::try_parse_from(&arguments).err();
        (!error.is_some_and(|error| is_refused(&error))).then(|| ImageName::new(argument))
    })
}

fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "clipclass", &mut script);
    script
}

fn manual() -> Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    Ok(page)
}

fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let instructions =
            kernels::instructions().map_or_else(|error| error.to_string(), |all| all.to_string());
        let devices = BUILT_FOR.join(", ");
        format!("{} (devices: {devices}; instructions: {instructions})", env!("CARGO_PKG_VERSION"))
    });
    &VERSION
}

const AFTER_HELP: &str = "\
Examples:
  clipclass photo.jpg --labels \"a cat,a dog,a tree\"
  clipclass *.jpg -l \"a cat,a dog\" --template \"a photo of {}\" --top 1
  clipclass *.jpg -l \"a cat,a dog\" --model datacomp-b32     (clipclass models lists more)
  find . -name '*.jpg' | clipclass --files-from - --labels-file labels.txt --json | jq -r .prediction

Exit code:
  0  every image was classified, or nobody reads the output any more (| head -1)
  1  some image failed; all others were printed
  2  wrong usage, or the run could not go on: no model, no labels, output not writable
  Ctrl-C and SIGTERM end the process as that signal does (130 and 143 in a shell), after whole lines

Environment:
  CLIPCLASS_SIMD limits the instructions used: portable, neon, neon-dot, avx2, avx-vnni, avx512,
  avx512-vnni, avx512-bf16 or amx";

/// Tells which of your labels fits a picture best, with CLIP.
#[derive(Parser)]
#[command(
    name = "clipclass",
    version = version(),
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true,
    after_help = AFTER_HELP,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Verb>,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    labels: LabelArgs,
    #[command(flatten)]
    verdict: VerdictArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Subcommand)]
enum Verb {
    /// Tell how right the labels are on images whose truth is known, and learn what to trust
    #[command(after_help = AFTER_EVAL_HELP)]
    Eval(Box<EvalArgs>),
    /// Download a model and print where it is: a folder, or two where its weights have their own
    Fetch {
        /// Model: a short name of `clipclass models`, a Hugging Face repository or a folder
        #[arg(default_value = DEFAULT_MODEL)]
        model: String,
        #[command(flatten)]
        hub: HubArgs,
        /// Show no progress
        #[arg(short, long)]
        quiet: bool,
    },
    /// List models worth knowing: their short names, size, accuracy, speed here, and whether they are
    /// here
    Models {
        /// JSON Lines, one object a model
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        cache: CacheArgs,
    },
    /// Tell whether this installation is sound and fast, and what helps where it is not
    #[command(after_help = AFTER_DOCTOR_HELP)]
    Doctor(DoctorArgs),
    /// Look at or empty the embedding cache
    Cache {
        #[command(subcommand)]
        verb: CacheVerb,
    },
    /// Print a shell completion script
    Completions { shell: Shell },
    /// Print the manual page, as in: clipclass man | man -l -
    Man,
}

const AFTER_EVAL_HELP: &str = "\
The truth of an image is the folder that it is in, as in photos/a cat/1.jpg, or a .cls, .json or .txt member
beside it in a tar shard (WebDataset), or stands in a file (--truth). A folder called none has images that
are none of the labels. Images whose truth is no label are left out, and told.

Examples:
  clipclass eval photos --labels-file labels.txt --template \"a photo of {}\"
  clipclass eval val --labels-file names.json --template-file templates.txt --classes classes.json --json
  clipclass eval photos -l \"a cat,a dog\" --fit pets.json && clipclass new.jpg --classifier pets.json";

const AFTER_DOCTOR_HELP: &str = "\
Nothing is downloaded; the hub is asked for one small file. What is printed is what a report of a
problem needs: paths are in it, passwords and access tokens are not.

Keys of --json:
  sound, version, build, system {os, arch, cpu, cores}, threads,
  instructions {in_use, machine, limit},
  devices [{name, built_in, usable, reason}],
  embedding_cache {folder, usable, bytes, images, prompts, free_bytes},
  hub_cache {folder, writable, bytes, models, free_bytes},
  hub {endpoint, answer, ms, proxy, token, reason}: reached, refused, unreachable or not asked,
  model {name, state, folders, digest, files_checked, device, precision, ms_per_image}:
    ready, part, absent or unusable,
  self_test [{name, passed, error, bound}], speed {f32_gflops, int8_gops, bf16_gflops},
  notes [], problems [{problem, remedy}]

Exit code:
  0  no problems
  1  problems, each with its remedy
  2  wrong usage";

#[derive(Args)]
struct DoctorArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Where the network is to run
    #[arg(long, value_name = "DEVICE", default_value_t, value_parser = DeviceParser)]
    device: DeviceChoice,
    /// How the network is to compute
    #[arg(long, value_enum, value_name = "PRECISION", default_value_t)]
    precision: Precision,
    /// Threads of the whole process [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    #[command(flatten)]
    cache: CacheArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl DoctorArgs {
    fn into_doctor(self) -> Doctor {
        Doctor {
            installation: Installation {
                model: self.model.model.unwrap_or_else(|| DEFAULT_MODEL.to_owned()),
                hub: self.model.hub.options(),
                device: self.device,
                precision: self.precision,
                threads: self.threads.map(NonZeroUsize::get),
                cache: self.cache.folder(),
            },
            format: if self.json { DoctorFormat::Json } else { DoctorFormat::Text },
        }
    }
}

#[derive(Args)]
struct EvalArgs {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    labels: LabelArgs,
    #[command(flatten)]
    truth: TruthArgs,
    #[command(flatten)]
    verdict: VerdictArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    output: EvalOutputArgs,
}

#[derive(Args)]
#[command(next_help_heading = "Truth")]
struct TruthArgs {
    /// Read what images show from FILE: CSV with the columns image and label, or JSON Lines with these
    /// keys. Images are named as in records, or as below an input; several labels stand between bars,
    /// a|b, or in a list
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    truth: Option<PathBuf>,
    /// Read from FILE which labels folders and other words stand for: a JSON object,
    /// {"n02084071": "a dog"}; where labels have one name, its words stand for them in order, or each
    /// for the number of its label, from 0
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    classes: Option<PathBuf>,
}

#[derive(Args)]
#[command(next_help_heading = "Output")]
struct EvalOutputArgs {
    /// How the report is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = EvalFormat::Text)]
    format: EvalFormat,
    /// One JSON object; the same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Write to FILE, which appears when it is complete
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// With --format html: pictures of mistakes of at most PX pixels a side, 0 for none. With pictures
    /// every image is decoded, known or not
    #[arg(long, value_name = "PX", default_value_t = 96, value_parser = value_parser!(u32).range(..=1024))]
    thumbnails: u32,
    /// Learn a temperature, a threshold for each label and, where images are called none, a rule for
    /// them, and write all that to FILE for --classifier
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "classifier")]
    fit: Option<PathBuf>,
    /// With --fit: choose thresholds for this precision, 0 to 1, instead of the best F1
    #[arg(long, value_name = "P", requires = "fit", value_parser = probability)]
    precision_at: Option<f32>,
    /// With --fit: learn prediction sets that have the label of this share of images, as in 0.9
    #[arg(long, value_name = "SHARE", requires = "fit", value_parser = coverage)]
    coverage: Option<f32>,
    /// Print no warnings and no progress on standard error
    #[arg(short, long)]
    quiet: bool,
}

impl EvalArgs {
    fn into_eval(self) -> Result<Eval> {
        let Self { input, labels, truth, verdict, model, run, output } = self;
        let read =
            [&labels.labels_file, &labels.template_file, &labels.classifier, &truth.truth, &truth.classes];
        ensure_not_read(&read, [&output.output, &output.fit].into_iter().flatten())?;
        input.ensure_one_reads_stdin(&labels)?;
        let inputs = Inputs { annotations: Annotations::Read, ..input.inputs(output.output.clone()) };
        let format = if output.json { EvalFormat::Json } else { output.format };
        let chosen_for = output.precision_at.map_or(ChosenFor::F1, ChosenFor::Precision);
        let choice = FitChoice { chosen_for, coverage: output.coverage };
        Ok(Eval {
            setup: setup(inputs, labels, model, run, output.quiet)?,
            rules: verdict.rules(None),
            truth: truth.truth,
            classes: truth.classes,
            format,
            thumbnail_px: thumbnail_px(format == EvalFormat::Html, output.thumbnails),
            output: output.output,
            fit: output.fit.map(|file| (file, choice)),
        })
    }
}

impl ValueEnum for EvalFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Text, Self::Json, Self::Html]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Text => PossibleValue::new("text").help("For reading"),
            Self::Json => PossibleValue::new("json").help("One JSON object"),
            Self::Html => PossibleValue::new("html").help(
                "A page for a browser: the figures with drawings, every class, and the worst mistakes with \
                 their pictures",
            ),
        })
    }
}

#[derive(Subcommand)]
enum CacheVerb {
    /// Print where the embedding cache is and what it holds
    Info(CacheArgs),
    /// Remove all embeddings that are kept
    Clear(CacheArgs),
}

#[derive(Args)]
#[command(next_help_heading = "Input")]
struct InputArgs {
    /// Images: files, folders (searched recursively), .tar[.gz|.zst] shards, http(s)://, data: and file:
    /// addresses, or - for standard input
    #[arg(value_name = "INPUT", required_unless_present = "files_from", value_hint = ValueHint::AnyPath)]
    inputs: Vec<OsString>,
    /// Read paths from FILE, one a line; - is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    files_from: Option<OsString>,
    /// The paths of --files-from end with NUL instead of a line break
    #[arg(short = '0', long, requires = "files_from")]
    null: bool,
    /// Take only the I-th of N equal parts of the images, as in 1/8, dealt out by position
    #[arg(long, value_name = "I/N", alias = "shard")]
    part: Option<Part>,
}

#[derive(Args)]
#[command(next_help_heading = "Labels")]
struct LabelArgs {
    /// Labels, separated by commas, or a JSON list; may be repeated
    #[arg(
        short,
        long,
        value_name = "LABELS",
        required_unless_present_any = ["labels_file", "classifier"],
        allow_hyphen_values = true
    )]
    labels: Vec<String>,
    /// Read labels from FILE, - is standard input: one a line, where # begins a comment line; a JSON
    /// list, ["a cat", "a dog"]; or JSON that gives each class its prompts,
    /// {"cat": ["a photo of a cat", "a kitten"]}
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    labels_file: Option<PathBuf>,
    /// Sentence that a label is put into at {}, as in "a photo of {}"; may be repeated, then the
    /// embeddings are averaged. Prompts from a JSON labels file stay as they are
    #[arg(
        short,
        long = "template",
        value_name = "TEMPLATE",
        value_parser = Template::parse,
        allow_hyphen_values = true
    )]
    templates: Vec<Template>,
    /// Read more templates from FILE, - is standard input: one a line, where # begins a comment
    /// line, or a JSON list
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    template_file: Option<PathBuf>,
    /// Labels that compete with the others and are never predicted: a picture that one of them fits best
    /// is none of the labels. Separated by commas, or a JSON list; may be repeated
    #[arg(long, value_name = "LABELS", allow_hyphen_values = true)]
    decoys: Vec<String>,
    /// Use FILE, which `clipclass eval --fit` wrote, instead of labels and templates: its labels, its
    /// model unless --model is given, its temperature, thresholds, rule for none and prediction sets
    #[arg(
        long,
        value_name = "FILE",
        value_hint = ValueHint::FilePath,
        conflicts_with_all = ["labels", "labels_file", "templates", "template_file", "decoys"]
    )]
    classifier: Option<PathBuf>,
    /// How prompts are cleaned before they are tokenized [default: as the model's family was trained].
    /// SigLIP and SigLIP 2 know lower-case text without punctuation: their default is canonical, and
    /// without it SigLIP 2 was reported to lose 12 points of accuracy
    #[arg(long, value_enum, value_name = "HOW")]
    text_cleaning: Option<TextCleaning>,
}

#[derive(Args)]
#[command(next_help_heading = "Verdict")]
struct VerdictArgs {
    /// Predict nothing when the best label is less probable than P, 0 to 1
    #[arg(long, value_name = "P", value_parser = probability)]
    threshold: Option<f32>,
    /// Predict nothing when the best label's cosine is less than C, -1 to 1
    #[arg(long, value_name = "C", value_parser = cosine, allow_negative_numbers = true)]
    min_cosine: Option<f32>,
    /// Predict nothing when the best label is less than M, 0 to 1, more probable than the next. Of several
    /// rules that apply the first is named: decoy, threshold, cosine, margin
    #[arg(long, value_name = "M", value_parser = probability, conflicts_with = "multi")]
    min_margin: Option<f32>,
    /// Give every label that passes instead of the best one: with SigLIP models those of --threshold, 0.5
    /// unless given; others need --min-cosine, or a --classifier with fitted thresholds
    #[arg(long)]
    multi: bool,
}

impl VerdictArgs {
    fn rules(&self, top: Option<NonZeroUsize>) -> Rules {
        Rules {
            top: top.map(NonZeroUsize::get),
            threshold: self.threshold,
            min_cosine: self.min_cosine,
            min_margin: self.min_margin,
            answer: if self.multi { Answer::Several } else { Answer::One },
        }
    }
}

#[derive(Args)]
#[command(next_help_heading = "Model")]
struct ModelArgs {
    /// A short name that `clipclass models` lists, as datacomp-b32, a Hugging Face repository, or a
    /// folder with a model's files [default: openai/clip-vit-base-patch32]
    #[arg(short, long, value_name = "ID|DIR", value_hint = ValueHint::DirPath)]
    model: Option<String>,
    #[command(flatten)]
    hub: HubArgs,
}

#[derive(Args)]
struct HubArgs {
    /// Branch, tag or commit of the repository [default: main]
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Use only what the hub cache has; HF_HUB_OFFLINE=1 does the same
    #[arg(long)]
    offline: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Running")]
struct RunArgs {
    /// Where the network runs
    #[arg(long, value_name = "DEVICE", default_value_t, value_parser = DeviceParser)]
    device: DeviceChoice,
    /// How the network computes
    #[arg(long, value_enum, value_name = "PRECISION", default_value_t)]
    precision: Precision,
    /// Most images that pass through the network at a time
    #[arg(long, value_name = "N", default_value_t = DEFAULT_BATCH_SIZE)]
    batch_size: NonZeroUsize,
    /// Threads of the whole process [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    #[command(flatten)]
    cache: CacheArgs,
    /// Neither use nor keep embeddings between runs
    #[arg(long)]
    no_cache: bool,
}

#[derive(Args)]
struct CacheArgs {
    /// Folder of the embeddings kept between runs [default: clipclass in the user's cache folder]
    #[arg(long, value_name = "DIR", env = "CLIPCLASS_CACHE", hide_env_values = true, value_hint = ValueHint::DirPath)]
    cache: Option<PathBuf>,
}

impl CacheArgs {
    fn folder(self) -> Option<PathBuf> {
        self.cache.or_else(cache::default_folder)
    }

    fn some_folder(self) -> Result<PathBuf> {
        self.folder().context("there is no cache folder; name one with --cache")
    }
}

#[derive(Args)]
#[command(next_help_heading = "Output")]
struct OutputArgs {
    /// How records are printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    format: Format,
    /// JSON Lines, one object an image; the same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Write to FILE, which appears when it is complete
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Go on with FILE, JSON Lines that an earlier run began with the same model, labels and options:
    /// images with a record there are skipped, the others are added
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["output", "format"])]
    resume: Option<PathBuf>,
    /// With --resume: try images that failed again; their old records are removed
    #[arg(long, requires = "resume")]
    retry_failed: bool,
    /// Give only the N best labels, best first
    #[arg(short = 'k', long, value_name = "N")]
    top: Option<NonZeroUsize>,
    /// With --format html: pictures of at most PX pixels a side, 0 for none
    #[arg(long, value_name = "PX", default_value_t = 96, value_parser = value_parser!(u32).range(..=1024))]
    thumbnails: u32,
    /// Draw each picture in the terminal above its result
    #[arg(long)]
    show: bool,
    /// Print no warnings and no progress on standard error
    #[arg(short, long)]
    quiet: bool,
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Text, Self::Json, Self::Csv, Self::Markdown, Self::Html]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Text => PossibleValue::new("text").help("For reading"),
            Self::Json => PossibleValue::new("json").help("JSON Lines, one object an image"),
            Self::Csv => PossibleValue::new("csv").help("A table for programs, one row an image"),
            Self::Markdown => PossibleValue::new("markdown").help("A table for documents, one row an image"),
            Self::Html => {
                PossibleValue::new("html").help("A page for a browser, which filters and sorts its pictures")
            }
        })
    }
}

impl ValueEnum for TextCleaning {
    fn value_variants<'a>() -> &'a [Self] {
        Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(match self {
            Self::Canonical => "Lower case, no punctuation, _ for a space, spaces squeezed",
            Self::Folder => "As the library does that the model's folder was written for",
            Self::None => "Not at all: the tokenizer's own file may still do something",
        }))
    }
}

impl ValueEnum for Precision {
    fn value_variants<'a>() -> &'a [Self] {
        Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(match self {
            Self::F32 => "32-bit floats: the original's numbers",
            Self::F16 => "16-bit floats, on a GPU: half the memory",
            Self::Bf16 => {
                "16-bit floats with the range of f32, on a GPU, where they take half the memory, or a CPU \
                 with AVX512-BF16 or AMX-BF16"
            }
            Self::Int8 => {
                "8-bit integers, on a CPU: several times as fast once loaded; on the drawings of the \
                 test model, probabilities are off by 0.003 on average, seldom by more than 0.03, and \
                 one image in a thousand has another prediction"
            }
        }))
    }
}

/// Reads `--device`: the values that it lists, and any card's number after `cuda:`.
#[derive(Clone)]
struct DeviceParser;

impl TypedValueParser for DeviceParser {
    type Value = DeviceChoice;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<DeviceChoice, clap::Error> {
        let text = StringValueParser::new().parse_ref(command, argument, value)?;
        text.parse().map_err(|_| {
            let mut error = clap::Error::new(ErrorKind::InvalidValue).with_cmd(command);
            if let Some(argument) = argument {
                error.insert(ContextKind::InvalidArg, ContextValue::String(argument.to_string()));
            }
            error.insert(ContextKind::InvalidValue, ContextValue::String(text));
            let names = ["auto", "cpu", "cuda", "cuda:N", "metal"].map(str::to_owned).into();
            error.insert(ContextKind::ValidValue, ContextValue::Strings(names));
            error
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let values = [
            ("auto", "The GPU that this clipclass was built for, or else the CPU"),
            ("cpu", "The CPU"),
            ("cuda", "The first NVIDIA card; cuda:1 is the second, and so on"),
            ("metal", "The GPU of a Mac"),
        ];
        Some(Box::new(values.into_iter().map(|(name, help)| PossibleValue::new(name).help(help))))
    }
}

impl Cli {
    fn into_command(self) -> Result<Command> {
        Ok(match self.command {
            Some(Verb::Eval(eval)) => Command::Eval(Box::new(eval.into_eval()?)),
            Some(Verb::Fetch { model, hub, quiet }) => {
                Command::Fetch(Fetch { model, hub: hub.options(), quiet })
            }
            Some(Verb::Models { json, cache }) => Command::Models(Models {
                format: if json { ModelsFormat::Json } else { ModelsFormat::Table },
                cache: cache.folder(),
            }),
            Some(Verb::Doctor(doctor)) => Command::Doctor(doctor.into_doctor()),
            Some(Verb::Cache { verb: CacheVerb::Info(cache) }) => Command::CacheInfo(cache.some_folder()?),
            Some(Verb::Cache { verb: CacheVerb::Clear(cache) }) => Command::CacheClear(cache.some_folder()?),
            Some(Verb::Completions { shell }) => Command::Print(completions(shell)),
            Some(Verb::Man) => Command::Print(manual()?),
            None => Command::Classify(Box::new(self.into_classify()?)),
        })
    }

    fn into_classify(self) -> Result<Classify> {
        let Self { input, labels, verdict, model, run, output, .. } = self;
        let format = if output.json || output.resume.is_some() { Format::Json } else { output.format };
        let show = output.show;
        let written = output.output.clone().or(output.resume.clone());
        ensure_not_read(&[&labels.labels_file, &labels.template_file, &labels.classifier], written.iter())?;
        let output_choice = match (output.output, output.resume) {
            (_, Some(path)) if output.retry_failed => OutputChoice::Resume(path, EarlierFailures::Retry),
            (_, Some(path)) => OutputChoice::Resume(path, EarlierFailures::Keep),
            (Some(path), None) => OutputChoice::File(path),
            (None, None) => OutputChoice::Stdout,
        };
        ensure!(
            !show || (format == Format::Text && output_choice == OutputChoice::Stdout),
            "--show draws in the terminal; it does not go with other formats or --output"
        );
        ensure!(
            !show || io::stdout().is_terminal(),
            "--show draws in the terminal, and standard output is none"
        );
        let thumbnail_px = match show {
            true => Some(SHOWN_PX),
            false => thumbnail_px(format == Format::Html, output.thumbnails),
        };
        input.ensure_one_reads_stdin(&labels)?;
        Ok(Classify {
            setup: setup(input.inputs(written), labels, model, run, output.quiet)?,
            rules: verdict.rules(output.top),
            format,
            output: output_choice,
            thumbnail_px,
        })
    }
}

/// The longest side of the pictures of a page, if it has any.
fn thumbnail_px(is_page: bool, longest_px: u32) -> Option<u32> {
    (is_page && longest_px > 0).then_some(longest_px)
}

/// What verbs that judge images have in common.
fn setup(inputs: Inputs, labels: LabelArgs, model: ModelArgs, run: RunArgs, quiet: bool) -> Result<Setup> {
    let classifier = labels.classifier()?;
    let text_cleaning = labels.text_cleaning;
    let own_model = classifier.as_ref().map(|classifier| classifier.model.clone());
    Ok(Setup {
        inputs,
        labels: match &classifier {
            Some(classifier) => classifier.label_set()?,
            None => labels.set()?,
        },
        classifier,
        model: model.model.or(own_model).unwrap_or_else(|| DEFAULT_MODEL.to_owned()),
        hub: model.hub.options(),
        device: run.device,
        precision: run.precision,
        text_cleaning,
        batch_size: run.batch_size.get(),
        threads: run.threads.map(NonZeroUsize::get),
        cache: if run.no_cache { None } else { run.cache.folder() },
        quiet,
    })
}

impl InputArgs {
    fn reads_list_from_stdin(&self) -> bool {
        self.files_from.as_ref().is_some_and(|file| file == "-")
    }

    /// *Errors* when images and labels are both to come from standard input.
    fn ensure_one_reads_stdin(&self, labels: &LabelArgs) -> Result<()> {
        let stdin_is_input = self.inputs.iter().any(|path| path == "-") || self.reads_list_from_stdin();
        let is_stdin = |file: &Option<PathBuf>| file.as_deref() == Some(Path::new("-"));
        let readers = [
            (stdin_is_input, "images"),
            (is_stdin(&labels.labels_file), "labels"),
            (is_stdin(&labels.template_file), "templates"),
            (is_stdin(&labels.classifier), "a classifier"),
        ];
        let readers: Vec<_> = readers.into_iter().filter(|(reads, _)| *reads).map(|(_, what)| what).collect();
        ensure!(readers.len() < 2, "standard input cannot give both {}", readers.join(" and "));
        Ok(())
    }

    fn inputs(self, output: Option<PathBuf>) -> Inputs {
        let null = self.null;
        let files_from = self.files_from.map(|file| FilesFrom { file, null });
        Inputs {
            paths: self.inputs,
            files_from,
            part: self.part,
            output,
            annotations: Annotations::default(),
        }
    }
}

impl LabelArgs {
    fn set(self) -> Result<LabelSet> {
        let mut given = parse_lists("--labels", &self.labels)?;
        let decoys = parse_lists("--decoys", &self.decoys)?;
        if let Some(path) = &self.labels_file {
            let read = || labels::parse_file(&read_file_or_stdin(path)?);
            given.extend(read().with_context(|| format!("cannot use the labels file {}", path.display()))?);
        }
        let mut templates = self.templates;
        if let Some(path) = &self.template_file {
            let read = || labels::parse_template_file(&read_file_or_stdin(path)?);
            let cannot = || format!("cannot use the template file {}", path.display());
            templates.extend(read().with_context(cannot)?);
        }
        Ok(LabelSet::new(given, &templates)?.with_decoys(decoys, &templates))
    }

    fn classifier(&self) -> Result<Option<ClassifierFile>> {
        let Some(path) = &self.classifier else { return Ok(None) };
        let read = || ClassifierFile::parse(&read_file_or_stdin(path)?);
        read().map(Some).with_context(|| format!("cannot use the classifier file {}", path.display()))
    }
}

fn parse_lists(option: &'static str, lists: &[String]) -> Result<Vec<GivenLabel>> {
    let mut given = Vec::new();
    for list in lists {
        given.extend(labels::parse_list(list).context(option)?);
    }
    Ok(given)
}

/// *Errors* when a file that is read is one that is written.
fn ensure_not_read<'a>(read: &[&Option<PathBuf>], written: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
    let place = |path: &Path| path.canonicalize().ok();
    for written in written.filter_map(|path| place(path)) {
        let both = read.iter().copied().flatten().find(|read| place(read).as_ref() == Some(&written));
        if let Some(both) = both {
            bail!("{} is both read and the output; write to another file", both.display());
        }
    }
    Ok(())
}

fn read_file_or_stdin(path: &Path) -> io::Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(path)
}

impl HubArgs {
    fn options(self) -> HubOptions {
        HubOptions { revision: self.revision, offline: self.offline }
    }
}

fn probability(text: &str) -> Result<f32> {
    let p: f32 = text.parse()?;
    ensure!((0.0..=1.0).contains(&p), "a probability is between 0 and 1");
    Ok(p)
}

fn coverage(text: &str) -> Result<f32> {
    let share: f32 = text.parse()?;
    ensure!(share > 0.0 && share < 1.0, "a share of images is above 0 and below 1");
    Ok(share)
}

fn cosine(text: &str) -> Result<f32> {
    let cosine: f32 = text.parse()?;
    ensure!((-1.0..=1.0).contains(&cosine), "a cosine is between -1 and 1");
    Ok(cosine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn parse(more: &[&str]) -> Result<Cli, String> {
        let arguments = ["clipclass", "photo.jpg"].iter().chain(more);
        Cli::try_parse_from(arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn device_and_precision_list_their_values_in_errors_and_help() {
        let error = parse(&["-l", "a", "--device", "gpu"]).err().unwrap();
        assert!(error.contains("invalid value 'gpu' for '--device <DEVICE>'"), "{error}");
        assert!(error.contains("auto, cpu, cuda, cuda:N, metal"), "{error}");
        assert!(parse(&["-l", "a", "--device", "cuda:x"]).err().unwrap().contains("cuda:N"));
        let error = parse(&["-l", "a", "--precision", "int4"]).err().unwrap();
        assert!(error.contains("f32, f16, bf16, int8"), "{error}");
        let help = Cli::command().render_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for values in ["auto, cpu, cuda, metal", "f32, f16, bf16, int8", "text, json, csv, markdown, html"] {
            assert!(help.contains(&format!("[possible values: {values}]")), "{help}");
        }
        let completions = String::from_utf8(completions(Shell::Bash)).unwrap();
        assert!(completions.contains("auto cpu cuda metal"), "{completions}");
        assert!(completions.contains("f32 f16 bf16 int8"), "{completions}");
    }

    #[test]
    fn help_says_why_prompts_are_cleaned_and_what_short_names_are() {
        let help = Cli::command().render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "lose 12 points of accuracy",
            "short name that `clipclass models` lists",
            "canonical:",
            "folder:",
        ] {
            assert!(help.contains(part), "{part}: {help}");
        }
        assert_eq!(parse(&["-l", "a"]).unwrap().labels.text_cleaning, None);
        let chosen = parse(&["-l", "a", "--text-cleaning", "folder"]).unwrap().labels.text_cleaning;
        assert_eq!(chosen, Some(TextCleaning::Folder));
        assert!(
            parse(&["-l", "a", "--text-cleaning", "all"]).err().unwrap().contains("canonical, folder, none")
        );
    }

    #[test]
    fn any_card_can_be_named() {
        for (name, device) in
            [("cuda", DeviceChoice::Cuda(0)), ("cuda:3", DeviceChoice::Cuda(3)), ("auto", DeviceChoice::Auto)]
        {
            assert_eq!(parse(&["-l", "a", "--device", name]).unwrap().run.device, device);
        }
    }

    #[test]
    fn labels_and_templates_may_begin_with_a_dash() {
        let cli = parse(&["-l", "-x,a", "--labels", "--b", "-t", "- {}", "--template", "-{}"]).unwrap();
        assert_eq!(cli.labels.labels, ["-x,a", "--b"]);
        assert_eq!(cli.labels.templates.len(), 2);
    }
}
