//! `clipclass models`: the models worth knowing, what their publishers say of them, and what this
//! machine knows of them.

use super::Exit;
use crate::cache::{self, KnownSpeed};
use crate::hub::{self, FigureSource, KNOWN_MODELS, KnownModel, Presence};
use crate::messages::ByteCount;
use crate::report;
use anyhow::Result;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};

/// How models are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelsFormat {
    /// A table for reading.
    Table,
    /// JSON Lines, one object a model.
    Json,
}

/// What `clipclass models` was asked for.
pub struct Models {
    /// How they are listed.
    pub format: ModelsFormat,
    /// The embedding cache's folder, which knows speeds.
    pub cache: Option<PathBuf>,
}

/// A model as JSON has it.
#[derive(Serialize)]
struct ModelObject<'a> {
    name: &'a str,
    repository: &'a str,
    family: &'a str,
    parameters: u64,
    size_bytes: u64,
    image_size: u32,
    imagenet_top1: Option<f64>,
    imagenet_source: Option<&'static str>,
    hub_cache: &'static str,
    hub_cache_bytes: u64,
    speeds: Vec<SpeedObject<'a>>,
}

/// What an image took on this machine.
#[derive(Serialize)]
struct SpeedObject<'a> {
    device: &'a str,
    precision: &'a str,
    ms_per_image: f64,
}

impl Models {
    pub(super) fn run(self) -> Result<Exit> {
        let speeds = self.cache.as_deref().map(cache::speeds).unwrap_or_default();
        let rows = KNOWN_MODELS.iter().map(|model| {
            let of_model = speeds.iter().filter(|speed| speed.model == model.repository).collect();
            anyhow::Ok((model, hub::presence(model.repository)?, of_model))
        });
        let rows: Vec<(_, _, Vec<_>)> = rows.collect::<Result<_>>()?;
        let mut out = report::stdout()?;
        match self.format {
            ModelsFormat::Json => {
                for (model, presence, speeds) in &rows {
                    serde_json::to_writer(&mut out, &object(model, *presence, speeds))?;
                    writeln!(out)?;
                }
            }
            ModelsFormat::Table => {
                let heads =
                    ["name", "family", "size", "image", "ImageNet", "ms an image", "here", "repository"];
                let rows = rows.iter().map(|(model, presence, speeds)| cells(model, *presence, speeds));
                write_table(&mut out, heads, &rows.collect::<Vec<_>>())?;
                writeln!(out, "\n{}", footer(self.cache.as_deref()))?;
            }
        }
        out.flush()?;
        Ok(Exit::Success)
    }
}

fn object<'a>(model: &KnownModel, presence: Presence, speeds: &[&'a KnownSpeed]) -> ModelObject<'a> {
    let (hub_cache, hub_cache_bytes) = match presence {
        Presence::Absent => ("none", 0),
        Presence::Part { bytes } => ("part", bytes),
        Presence::Whole { bytes } => ("whole", bytes),
    };
    ModelObject {
        name: model.name,
        repository: model.repository,
        family: model.family,
        parameters: model.size_bytes() / 4,
        size_bytes: model.size_bytes(),
        image_size: model.image_size_px,
        // As the figure is printed, not as it is in f32.
        imagenet_top1: model.imagenet.map(|(percent, _)| (f64::from(percent) * 100.0).round() / 1e4),
        imagenet_source: model.imagenet.map(|(_, source)| source.name()),
        hub_cache,
        hub_cache_bytes,
        speeds: speeds
            .iter()
            .map(|speed| SpeedObject {
                device: &speed.device,
                precision: &speed.precision,
                ms_per_image: (speed.ms() * 100.0).round() / 100.0,
            })
            .collect(),
    }
}

fn cells(model: &KnownModel, presence: Presence, speeds: &[&KnownSpeed]) -> [String; 8] {
    const NOTHING: &str = "–";
    let speeds: Vec<_> = speeds
        .iter()
        .map(|speed| format!("{:.1} ({} {})", speed.ms(), speed.device, speed.precision))
        .collect();
    [
        model.name.to_owned(),
        model.family.to_owned(),
        ByteCount(model.size_bytes()).to_string(),
        format!("{} px", model.image_size_px),
        model.imagenet.map_or_else(|| NOTHING.to_owned(), |(percent, _)| format!("{percent:.1} %")),
        if speeds.is_empty() { NOTHING.to_owned() } else { speeds.join(", ") },
        match presence {
            Presence::Absent => NOTHING.to_owned(),
            Presence::Part { bytes } => format!("{} of it", ByteCount(bytes)),
            Presence::Whole { .. } => "yes".to_owned(),
        },
        model.repository.to_owned(),
    ]
}

fn footer(cache: Option<&Path>) -> String {
    let speeds = match cache {
        Some(_) => "from the last runs on this machine, reading and decoding left out",
        None => "not known without an embedding cache",
    };
    format!(
        "--model and fetch take these names. Size: computed, four bytes a parameter. ImageNet: zero-shot \
         accuracy\nas published by {} and {}. ms an image: {speeds}.",
        FigureSource::OpenClip.name(),
        FigureSource::BigVision.name()
    )
}

fn write_table<const COLUMNS: usize>(
    out: &mut impl Write,
    heads: [&str; COLUMNS],
    rows: &[[String; COLUMNS]],
) -> Result<()> {
    let heads = heads.map(str::to_owned);
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        let cells = std::iter::once(&heads).chain(rows).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    });
    for row in std::iter::once(&heads).chain(rows) {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.chars().count())));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_the_bytes_of_their_letters() {
        let mut out = Vec::new();
        let rows = [["–".to_owned(), "x".to_owned()], ["bc".to_owned(), "y".to_owned()]];
        write_table(&mut out, ["a", "b"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a   b\n–   x\nbc  y\n");
    }

    #[test]
    fn json_gives_what_is_not_known_as_null() {
        let model = hub::known_model("bioclip").unwrap();
        let json = serde_json::to_value(object(model, Presence::Absent, &[])).unwrap();
        assert_eq!(json["imagenet_top1"], serde_json::Value::Null);
        assert_eq!((json["hub_cache"].as_str(), json["image_size"].as_u64()), (Some("none"), Some(224)));
        let json =
            serde_json::to_value(object(hub::known_model("datacomp-b32").unwrap(), Presence::Absent, &[]));
        assert_eq!(json.unwrap()["imagenet_top1"], 0.7281);
    }
}
