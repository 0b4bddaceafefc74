//! Arguments → a [`Command`] made of the other rooms' words.

use crate::cache;
use crate::commands::{Classify, Command, Fetch, OutputChoice};
use crate::hub::HubOptions;
use crate::input::{FilesFrom, Inputs, Part};
use crate::kernels;
use crate::labels::{self, GivenLabel, LabelSet, Template};
use crate::model::device::{BUILT_FOR, DeviceChoice};
use crate::model::precision::Precision;
use crate::pipeline::KeptPictures;
use crate::report::{EarlierFailures, Format};
use crate::score::Judgement;
use anyhow::{Context, Result, ensure};
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Args, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint, value_parser};
use clap_complete::Shell;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Read};
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
    let cli = Cli::parse();
    kernels::instructions()?;
    cli.into_command()
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
  find . -name '*.jpg' | clipclass --files-from - --labels-file labels.txt --json | jq -r .prediction

Exit code:
  0  every image was classified, or nobody reads the output any more (| head -1)
  1  some image failed; all others were printed
  2  wrong usage, or the run could not go on: no model, no labels, output not writable
  Ctrl-C and SIGTERM end the process as that signal does (130 and 143 in a shell), after whole lines

Environment:
  CLIPCLASS_SIMD limits the instructions used: portable, avx2, avx-vnni, avx512, avx512-vnni or amx";

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
    model: ModelArgs,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Subcommand)]
enum Verb {
    /// Download a model and print where it is: a folder, or two where its weights have their own
    Fetch {
        /// Model: a Hugging Face repository or a folder
        #[arg(default_value = DEFAULT_MODEL)]
        model: String,
        #[command(flatten)]
        hub: HubArgs,
        /// Show no progress
        #[arg(short, long)]
        quiet: bool,
    },
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
        required_unless_present = "labels_file",
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
}

#[derive(Args)]
#[command(next_help_heading = "Model")]
struct ModelArgs {
    /// Hugging Face repository of a CLIP model, or a folder with its files
    #[arg(short, long, value_name = "ID|DIR", default_value = DEFAULT_MODEL, value_hint = ValueHint::DirPath)]
    model: String,
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
    /// Predict nothing when the best label is less probable than P, 0 to 1
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = probability, hide_default_value = true)]
    threshold: f32,
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

impl ValueEnum for Precision {
    fn value_variants<'a>() -> &'a [Self] {
        Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(match self {
            Self::F32 => "32-bit floats: the original's numbers",
            Self::F16 => "16-bit floats, on a GPU: half the memory",
            Self::Bf16 => "16-bit floats with the range of f32, on a GPU: half the memory",
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
            Some(Verb::Fetch { model, hub, quiet }) => {
                Command::Fetch(Fetch { model, hub: hub.options(), quiet })
            }
            Some(Verb::Cache { verb: CacheVerb::Info(cache) }) => Command::CacheInfo(cache.some_folder()?),
            Some(Verb::Cache { verb: CacheVerb::Clear(cache) }) => Command::CacheClear(cache.some_folder()?),
            Some(Verb::Completions { shell }) => Command::Print(completions(shell)),
            Some(Verb::Man) => Command::Print(manual()?),
            None => Command::Classify(Box::new(self.into_classify()?)),
        })
    }

    fn into_classify(self) -> Result<Classify> {
        let Self { input, labels, model, run, output, .. } = self;
        let format = if output.json || output.resume.is_some() { Format::Json } else { output.format };
        let show = output.show;
        let written = output.output.clone().or(output.resume.clone());
        for read in [&labels.labels_file, &labels.template_file].into_iter().flatten() {
            let place = |path: &Path| path.canonicalize().ok();
            let is_written = written.as_deref().and_then(place).is_some_and(|to| Some(to) == place(read));
            ensure!(!is_written, "{} is both read and the output; write to another file", read.display());
        }
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
        let pictures = match (show, format) {
            (true, _) => KeptPictures::Whole,
            (false, Format::Html) if output.thumbnails > 0 => KeptPictures::Thumbnails(output.thumbnails),
            (false, _) => KeptPictures::None,
        };
        let stdin_is_input = input.inputs.iter().any(|path| path == "-") || input.reads_list_from_stdin();
        let is_stdin = |file: &Option<PathBuf>| file.as_deref() == Some(Path::new("-"));
        let readers = [
            (stdin_is_input, "images"),
            (is_stdin(&labels.labels_file), "labels"),
            (is_stdin(&labels.template_file), "templates"),
        ];
        let readers: Vec<_> = readers.into_iter().filter(|(reads, _)| *reads).map(|(_, what)| what).collect();
        ensure!(readers.len() < 2, "standard input cannot give both {}", readers.join(" and "));
        Ok(Classify {
            inputs: input.inputs(written),
            labels: labels.set()?,
            model: model.model,
            hub: model.hub.options(),
            device: run.device,
            precision: run.precision,
            batch_size: run.batch_size.get(),
            threads: run.threads.map(NonZeroUsize::get),
            cache: if run.no_cache { None } else { run.cache.folder() },
            judgement: Judgement {
                top: output.top.map(NonZeroUsize::get),
                threshold: output.threshold,
                ..Default::default()
            },
            format,
            output: output_choice,
            pictures,
            quiet: output.quiet,
        })
    }
}

impl InputArgs {
    fn reads_list_from_stdin(&self) -> bool {
        self.files_from.as_ref().is_some_and(|file| file == "-")
    }

    fn inputs(self, output: Option<PathBuf>) -> Inputs {
        let null = self.null;
        let files_from = self.files_from.map(|file| FilesFrom { file, null });
        Inputs { paths: self.inputs, files_from, part: self.part, output }
    }
}

impl LabelArgs {
    fn set(self) -> Result<LabelSet> {
        let mut given: Vec<GivenLabel> = Vec::new();
        for list in &self.labels {
            given.extend(labels::parse_list(list).context("--labels")?);
        }
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
        LabelSet::new(given, &templates)
    }
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
        for values in ["auto, cpu, cuda, metal", "f32, f16, bf16, int8", "text, json, csv, markdown"] {
            assert!(help.contains(&format!("[possible values: {values}]")), "{help}");
        }
        let completions = String::from_utf8(completions(Shell::Bash)).unwrap();
        assert!(completions.contains("auto cpu cuda metal"), "{completions}");
        assert!(completions.contains("f32 f16 bf16 int8"), "{completions}");
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
