//! This installation → what it is, whether it computes what it should, and what is wrong with it.
//!
//! What keeps a run from being right, or from running, is a problem and has a remedy; what may surprise is
//! a note. Nothing is downloaded, and nothing that is secret is told: of proxies their host and port, of an
//! access token whether there is one.

mod known;
mod model;
mod places;
mod speed;
mod text;

pub use model::{ModelFindings, ModelState};

use crate::cache;
use crate::hub::{self, HubAnswer, HubLook, HubOptions, ModelPlace};
use crate::kernels;
use crate::model::device::{BUILT_FOR, DeviceChoice};
use crate::model::formula::uniform;
use crate::model::precision::Precision;
use crate::pipeline;
use anyhow::Result;
use serde::Serialize;
use std::env::{self, consts};
use std::fs;
use std::io::Write;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// How long an answer of the hub may take.
const HUB_TIME: Duration = Duration::from_secs(5);

/// What is looked at: what a run would use.
pub struct Installation {
    /// A repository or a folder.
    pub model: String,
    pub hub: HubOptions,
    pub device: DeviceChoice,
    pub precision: Precision,
    /// Threads of the whole process; one a core when absent.
    pub threads: Option<usize>,
    /// The folder of the embedding cache; absent where the system has none for caches.
    pub cache: Option<PathBuf>,
}

/// What was found. Its fields are the keys of `--json`.
#[derive(Debug, Serialize)]
pub struct Examination {
    /// Whether there are no problems.
    pub sound: bool,
    pub version: &'static str,
    /// `release` or `debug`.
    pub build: &'static str,
    pub system: SystemFindings,
    pub instructions: InstructionFindings,
    pub threads: usize,
    pub devices: Vec<DeviceFindings>,
    pub embedding_cache: Option<EmbeddingCacheFindings>,
    pub hub_cache: Option<HubCacheFindings>,
    pub hub: Option<HubFindings>,
    pub model: ModelFindings,
    pub self_test: Vec<SelfTest>,
    pub speed: KernelSpeed,
    pub notes: Vec<String>,
    pub problems: Vec<Problem>,
}

/// The machine.
#[derive(Debug, Serialize)]
pub struct SystemFindings {
    pub os: &'static str,
    pub arch: &'static str,
    /// What the processor calls itself.
    pub cpu: Option<String>,
    pub cores: Option<usize>,
}

/// The instructions of the kernels.
#[derive(Debug, Serialize)]
pub struct InstructionFindings {
    /// Absent when the limit is not one.
    pub in_use: Option<String>,
    pub machine: Vec<&'static str>,
    /// What `CLIPCLASS_SIMD` says.
    pub limit: Option<String>,
}

/// A kind of device.
#[derive(Debug, Serialize)]
pub struct DeviceFindings {
    pub name: &'static str,
    pub built_in: bool,
    pub usable: bool,
    /// Why it is not usable.
    pub reason: Option<String>,
}

/// The embedding cache.
#[derive(Debug, Serialize)]
pub struct EmbeddingCacheFindings {
    pub folder: PathBuf,
    pub usable: bool,
    pub bytes: u64,
    pub images: u64,
    pub prompts: u64,
    pub free_bytes: Option<u64>,
}

/// The hub cache.
#[derive(Debug, Serialize)]
pub struct HubCacheFindings {
    pub folder: PathBuf,
    pub writable: bool,
    pub bytes: u64,
    pub models: usize,
    pub free_bytes: Option<u64>,
}

/// The hub.
#[derive(Debug, Serialize)]
pub struct HubFindings {
    pub endpoint: String,
    /// `reached`, `refused`, `unreachable` or `not asked`.
    pub answer: &'static str,
    pub ms: Option<f64>,
    /// Host and port of a proxy.
    pub proxy: Option<String>,
    /// Whether there is an access token.
    pub token: bool,
    /// Why it was not reached, or what it refused.
    pub reason: Option<String>,
}

/// A comparison with what should be.
#[derive(Debug, Serialize)]
pub struct SelfTest {
    pub name: &'static str,
    pub passed: bool,
    /// What was off; absent where equal bytes are asked for.
    pub error: Option<f64>,
    /// The largest error that rounding explains.
    pub bound: Option<f64>,
}

/// Operations a second in the largest product of ViT-B/32: 10⁹ additions and multiplications.
#[derive(Debug, Serialize)]
pub struct KernelSpeed {
    pub f32_gflops: f64,
    pub int8_gops: Option<f64>,
    /// Where it may be used.
    pub bf16_gflops: Option<f64>,
}

/// What keeps a run from being right or from running, and what helps.
#[derive(Debug, Serialize)]
pub struct Problem {
    pub problem: String,
    pub remedy: String,
}

impl SelfTest {
    fn measured(name: &'static str, error: f64, bound: f64) -> Self {
        // What is not a number is not within any bound.
        Self { name, passed: error <= bound, error: Some(error), bound: Some(bound) }
    }
}

/// What is told of an installation beside facts.
#[derive(Default)]
struct Findings {
    notes: Vec<String>,
    problems: Vec<Problem>,
}

impl Findings {
    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    fn problem(&mut self, problem: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem { problem: problem.into(), remedy: remedy.into() });
    }
}

/// Looks at everything that a run depends on.
///
/// *Errors* when the system gives no threads to do it with.
pub fn examine(installation: &Installation) -> Result<Examination> {
    let mut findings = Findings::default();
    let repository = match hub::place(&installation.model) {
        Ok(ModelPlace::Repository(id)) => Some(id),
        Ok(ModelPlace::Folder(_)) | Err(_) => None,
    };
    let pool = pipeline::pool(installation.threads)?;
    let instructions = instructions(&mut findings);
    // While the hub is waited for, the rest is done.
    let (hub, self_test, speed) = thread::scope(|scope| {
        let look = scope.spawn(|| hub::look(repository.as_deref(), &installation.hub, HUB_TIME));
        let run = || (self_test(instructions.in_use.is_some(), &mut findings), speed::of_kernels());
        let (self_test, speed) = pool.install(run);
        (look.join().unwrap_or_else(|panic| resume_unwind(panic)), self_test, speed)
    });
    let hub = hub.map_err(|error| {
        findings.problem(format!("{error:#}"), "give the variable another value, or none");
    });
    let hub = hub.ok();
    if cfg!(debug_assertions) {
        findings.note("this is a debug build, several times slower than cargo build --release");
    }
    let devices = devices(&mut findings);
    let embedding_cache = embedding_cache(installation, &mut findings);
    let hub_cache = hub.as_ref().map(hub_cache);
    let model = {
        let run = || {
            model::find(
                installation,
                hub.as_ref(),
                hub_cache.as_ref(),
                instructions.in_use.is_some(),
                &mut findings,
            )
        };
        pool.install(run)
    };
    Ok(Examination {
        sound: findings.problems.is_empty(),
        version: env!("CARGO_PKG_VERSION"),
        build: if cfg!(debug_assertions) { "debug" } else { "release" },
        system: SystemFindings {
            os: consts::OS,
            arch: consts::ARCH,
            cpu: cpu(),
            cores: thread::available_parallelism().ok().map(Into::into),
        },
        instructions,
        threads: pool.current_num_threads(),
        devices,
        embedding_cache,
        hub_cache,
        hub: hub.map(hub_findings),
        model,
        self_test,
        speed,
        notes: findings.notes,
        problems: findings.problems,
    })
}

impl Examination {
    /// Writes what was found for reading, as wide as 80 columns allow.
    ///
    /// *Errors* when it cannot be written.
    pub fn write_text(&self, out: &mut dyn Write) -> Result<()> {
        text::write(self, out)
    }

    /// Writes what was found as one JSON object.
    ///
    /// *Errors* when it cannot be written.
    pub fn write_json(&self, out: &mut dyn Write) -> Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        Ok(writeln!(out)?)
    }
}

fn instructions(findings: &mut Findings) -> InstructionFindings {
    let in_use = kernels::instructions();
    if let Err(error) = &in_use {
        findings.problem(
            error.to_string(),
            format!("give {} one of these values, or none", kernels::LIMIT_VARIABLE),
        );
    }
    InstructionFindings {
        in_use: in_use.ok().map(|in_use| in_use.to_string()),
        machine: kernels::machine_instructions(),
        limit: env::var_os(kernels::LIMIT_VARIABLE).map(|limit| limit.to_string_lossy().into_owned()),
    }
}

fn self_test(kernels_run: bool, findings: &mut Findings) -> Vec<SelfTest> {
    const REPORT: &str = "do not trust this machine's results; please report it with all of this, and try \
                          CLIPCLASS_SIMD=portable";
    let of_kernel = |check: kernels::KernelCheck| SelfTest::measured(check.name, check.error, check.bound);
    let mut checks: Vec<_> =
        kernels::check(|name, count| uniform(name, count, 0)).into_iter().map(of_kernel).collect();
    // Without valid instructions no network is loaded.
    match kernels_run.then(known::checks) {
        None => {}
        Some(Ok(known)) => checks.extend(known),
        Some(Err(error)) => findings.problem(
            format!("the known picture and network could not be run: {error:#}"),
            "if it is the folder of temporary files, let TMPDIR name one that can be written to",
        ),
    }
    let failed: Vec<_> = checks.iter().filter(|check| !check.passed).map(|check| check.name).collect();
    if !failed.is_empty() {
        findings.problem(format!("the self-test failed: {}", failed.join(", ")), REPORT);
    }
    checks
}

fn devices(findings: &mut Findings) -> Vec<DeviceFindings> {
    let kinds = [("cpu", DeviceChoice::Cpu), ("cuda", DeviceChoice::Cuda(0)), ("metal", DeviceChoice::Metal)];
    let look = |(name, choice): (&'static str, DeviceChoice)| {
        let (built_in, opened) = (BUILT_FOR.contains(&name), choice.open());
        let reason = opened.as_ref().err().map(|error| format!("{error:#}"));
        if let Some(reason) = reason.as_ref().filter(|_| built_in) {
            findings.note(format!("--device auto takes the CPU: {reason}"));
        }
        DeviceFindings { name, built_in, usable: opened.is_ok(), reason }
    };
    kinds.map(look).into()
}

fn embedding_cache(installation: &Installation, findings: &mut Findings) -> Option<EmbeddingCacheFindings> {
    const ELSEWHERE: &str = "name another folder with --cache or CLIPCLASS_CACHE, or do without: --no-cache";
    let Some(folder) = installation.cache.clone() else {
        findings.note("there is no folder for caches: embeddings are not kept between runs");
        return None;
    };
    let mut found = EmbeddingCacheFindings {
        free_bytes: places::free_bytes(&folder),
        usable: false,
        bytes: 0,
        images: 0,
        prompts: 0,
        folder,
    };
    let folder = &found.folder;
    match (places::try_to_write(folder), cache::holdings(folder)) {
        (Err(error), _) => {
            findings.problem(
                format!("the embedding cache in {} cannot be written to: {error}", folder.display()),
                ELSEWHERE,
            );
        }
        (Ok(()), Err(error)) => {
            findings.problem(format!("{error:#}"), format!("clipclass cache clear; or {ELSEWHERE}"));
        }
        (Ok(()), Ok(holdings)) => {
            found.usable = true;
            (found.bytes, found.images, found.prompts) = (holdings.bytes, holdings.images, holdings.prompts);
        }
    }
    Some(found)
}

fn hub_cache(hub: &HubLook) -> HubCacheFindings {
    HubCacheFindings {
        folder: hub.cache.clone(),
        writable: places::try_to_write(&hub.cache).is_ok(),
        bytes: hub.cached_bytes,
        models: hub.cached_models,
        free_bytes: places::free_bytes(&hub.cache),
    }
}

fn hub_findings(hub: HubLook) -> HubFindings {
    let (answer, ms, reason) = match hub.answer {
        HubAnswer::NotAsked => ("not asked", None, None),
        HubAnswer::Reached { ms } => ("reached", Some(ms.round()), None),
        HubAnswer::Refused(reason) => ("refused", None, Some(reason)),
        HubAnswer::Unreachable(reason) => ("unreachable", None, Some(reason)),
    };
    HubFindings { endpoint: hub.endpoint, answer, ms, proxy: hub.proxy, token: hub.has_token, reason }
}

/// What the processor calls itself, where the system writes it down.
fn cpu() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'))?.1;
    Some(name.split_whitespace().collect::<Vec<_>>().join(" "))
}
