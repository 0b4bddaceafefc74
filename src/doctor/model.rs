//! The model that a run would take → whether it is here, whole, and how fast.

use super::{Findings, HubCacheFindings, Installation, speed};
use crate::cache::EmbeddingCache;
use crate::hub::{self, HubAnswer, HubLook, HubOptions, ModelFiles, ModelPlace, Presence};
use crate::messages::{ByteCount, Messages};
use crate::model::Checkpoint;
use crate::model::backend::Backend;
use crate::pipeline;
use anyhow::Error;
use serde::Serialize;
use std::path::PathBuf;

/// What is here of a model.
#[derive(Debug, Default, Serialize)]
pub struct ModelFindings {
    pub name: String,
    pub state: ModelState,
    pub folders: Vec<PathBuf>,
    /// The SHA-256 of all its files' digests and roles, as classifier files have it.
    pub digest: Option<String>,
    /// How many of its files were compared with the digests that the hub gave them.
    pub files_checked: usize,
    pub device: Option<String>,
    pub precision: Option<&'static str>,
    /// What the vision tower takes for an image.
    pub ms_per_image: Option<f64>,
}

/// How much of a model is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelState {
    /// All of it, and it runs.
    Ready,
    /// Some of it.
    Part,
    /// Nothing.
    #[default]
    Absent,
    /// It is here, and cannot be used.
    Unusable,
}

impl ModelState {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Part => "part",
            Self::Absent => "absent",
            Self::Unusable => "unusable",
        }
    }
}

/// Finds the model without a network, and tries it unless the kernels cannot run.
pub(super) fn find(
    installation: &Installation,
    hub: Option<&HubLook>,
    hub_cache: Option<&HubCacheFindings>,
    kernels_run: bool,
    findings: &mut Findings,
) -> ModelFindings {
    let name = &installation.model;
    let mut model = ModelFindings { name: name.clone(), ..Default::default() };
    let place = match hub::place(name) {
        Ok(place) => place,
        Err(error) => {
            findings.problem(format!("{error:#}"), "give --model one of these");
            return model;
        }
    };
    let options = HubOptions { offline: true, ..installation.hub.clone() };
    match (hub::locate(name, &options, &Messages::new(true)), &place) {
        (Ok(files), _) => {
            model.folders = files.folders().into_iter().map(Into::into).collect();
            match check(&files, installation, kernels_run, &mut model) {
                Ok(()) => model.state = ModelState::Ready,
                Err(ModelTrouble { error, remedy }) => {
                    model.state = ModelState::Unusable;
                    let remedy = remedy.map_or_else(|| get_again(&place, name), str::to_owned);
                    findings.problem(format!("{error:#}"), remedy);
                }
            }
            if let (ModelPlace::Repository(_), Some(HubAnswer::Unreachable(reason))) =
                (&place, hub.map(|hub| &hub.answer))
            {
                findings.note(format!("the hub was not reached, which {name} does not need: {reason}"));
            }
        }
        (Err(error), ModelPlace::Folder(_)) => {
            model.state = ModelState::Unusable;
            findings.problem(
                format!("{error:#}"),
                "give --model a folder with a model's files, or a model that clipclass models lists",
            );
        }
        (Err(_), ModelPlace::Repository(id)) => {
            let presence = hub::presence(id).unwrap_or(Presence::Absent);
            model.state = if presence == Presence::Absent { ModelState::Absent } else { ModelState::Part };
            if let Some(hub) = hub {
                tell_absent(name, id, model.state, hub, hub_cache, findings);
            }
        }
    }
    model
}

/// What is wrong with a model that is here; without a remedy of its own its files are to be got again.
struct ModelTrouble {
    error: Error,
    remedy: Option<&'static str>,
}

impl From<Error> for ModelTrouble {
    fn from(error: Error) -> Self {
        Self { error, remedy: None }
    }
}

fn check(
    files: &ModelFiles,
    installation: &Installation,
    kernels_run: bool,
    model: &mut ModelFindings,
) -> Result<(), ModelTrouble> {
    let chosen = |remedy| move |error| ModelTrouble { error, remedy: Some(remedy) };
    let device = installation.device.open().map_err(chosen("leave out --device, or give --device cpu"))?;
    Backend::of(&device, installation.precision)
        .map_err(chosen("leave out --precision, or give one that the device has"))?;
    let checkpoint = Checkpoint::open(files, &device, installation.precision)?;
    model.device = Some(checkpoint.device_name());
    model.precision = Some(checkpoint.precision().name());
    model.files_checked = checkpoint.check_contents()?;
    model.digest = Some(pipeline::digest(&checkpoint, &EmbeddingCache::off())?.to_string());
    if kernels_run {
        checkpoint.text_encoder()?;
        model.ms_per_image = Some((speed::of_model(&checkpoint)? * 100.0).round() / 100.0);
    }
    Ok(())
}

fn get_again(place: &ModelPlace, name: &str) -> String {
    match place {
        ModelPlace::Folder(_) => "get its files again, from where they came".to_owned(),
        ModelPlace::Repository(id) => match hub::cached_folder(id) {
            Ok(folder) => format!("remove {} and get it again: clipclass fetch {name}", folder.display()),
            Err(_) => format!("get it again: clipclass fetch {name}"),
        },
    }
}

/// Tells what stands in the way of a model that is to be downloaded, if something does.
fn tell_absent(
    name: &str,
    id: &str,
    state: ModelState,
    hub: &HubLook,
    hub_cache: Option<&HubCacheFindings>,
    findings: &mut Findings,
) {
    let missing = match state {
        ModelState::Part => format!("the hub cache has only a part of {name}"),
        _ => format!("{name} is not in the hub cache"),
    };
    match &hub.answer {
        HubAnswer::Reached { .. } => {}
        HubAnswer::Refused(reason) => {
            let remedy = "check the name and --revision; a private model needs an access token in HF_TOKEN";
            return findings.problem(format!("{missing}, and the hub refuses it: {reason}"), remedy);
        }
        HubAnswer::Unreachable(reason) => {
            let remedy = "connect this machine, name a proxy in HTTPS_PROXY or a mirror in HF_ENDPOINT, or copy a \
                          model's folder here and give it to --model";
            return findings.problem(format!("{missing}, and the hub was not reached: {reason}"), remedy);
        }
        HubAnswer::NotAsked => {
            let remedy = format!("without --offline and HF_HUB_OFFLINE: clipclass fetch {name}");
            return findings.problem(format!("{missing}, and no network is to be used"), remedy);
        }
    }
    let size = hub::KNOWN_MODELS.iter().find(|model| model.repository == id).map(|model| model.size_bytes());
    if let Some(cache) = hub_cache {
        let folder = cache.folder.display();
        if !cache.writable {
            let problem = format!("{missing}, and {folder} cannot be written to");
            return findings.problem(problem, "name another folder in HF_HUB_CACHE");
        }
        if let (Some(size), Some(free)) = (size, cache.free_bytes)
            && free < size
        {
            let (size, free) = (ByteCount(size), ByteCount(free));
            let problem = format!("{missing}, it takes {size}, and {folder} has room for {free}");
            return findings.problem(problem, "make room, or name a folder elsewhere in HF_HUB_CACHE");
        }
    }
    let size = size.map_or_else(String::new, |size| format!(", {}", ByteCount(size)));
    findings
        .note(format!("{missing}: clipclass fetch {name} downloads it{size}, or else the first run does"));
}
