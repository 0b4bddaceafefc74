//! Findings for reading, to be pasted into a report of what went wrong: no line is wider than 80 columns
//! unless a path is.

use super::Examination;
use crate::messages::ByteCount;
use crate::model::precision::Precision;
use crate::terminal;
use anyhow::Result;
use std::io::Write;

/// Columns of a line.
const WIDTH: usize = 80;
/// Columns before what is said of a thing.
const NAME_WIDTH: usize = 14;

pub(super) fn write(found: &Examination, out: &mut dyn Write) -> Result<()> {
    let lines: Vec<(&str, String)> = [
        vec![("clipclass", clipclass(found)), ("system", system(found))],
        vec![("instructions", instructions(found)), ("threads", threads(found))],
        found.devices.iter().map(|device| (device.name, device_line(device))).collect(),
        vec![("embeddings", embedding_cache(found)), ("hub cache", hub_cache(found))],
        vec![("hub", hub(found))],
        model(found),
        vec![("self-test", self_test(found)), ("speed", speed(found))],
    ]
    .concat();
    for (name, said) in lines {
        write_wrapped(out, &format!("{name:<NAME_WIDTH$}"), &said)?;
    }
    writeln!(out)?;
    for note in &found.notes {
        write_wrapped(out, "note: ", note)?;
    }
    for problem in &found.problems {
        write_wrapped(out, "problem: ", &problem.problem)?;
        write_wrapped(out, "  remedy: ", &problem.remedy)?;
    }
    if found.problems.is_empty() {
        writeln!(out, "no problems were found")?;
    }
    Ok(())
}

/// Writes a text after what begins its first line, its other lines below its beginning.
fn write_wrapped(out: &mut dyn Write, begin: &str, text: &str) -> Result<()> {
    for line in terminal::wrapped_after(begin, text, WIDTH) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn clipclass(found: &Examination) -> String {
    format!("{}, a {} build", found.version, found.build)
}

fn system(found: &Examination) -> String {
    let system = &found.system;
    let cpu = system.cpu.as_deref().unwrap_or("a processor of unknown name");
    format!("{} on {}, {cpu}", system.os, system.arch)
}

fn instructions(found: &Examination) -> String {
    let instructions = &found.instructions;
    let in_use = instructions.in_use.as_deref().unwrap_or("not known");
    let limit =
        instructions.limit.as_ref().map_or(String::new(), |limit| format!("; CLIPCLASS_SIMD is {limit}"));
    format!("{in_use}; this machine has {}{limit}", instructions.machine.join(", "))
}

fn threads(found: &Examination) -> String {
    let cores = found.system.cores.map_or(String::new(), |cores| format!(", cores: {cores}"));
    format!("{}{cores}", found.threads)
}

fn device_line(device: &super::DeviceFindings) -> String {
    match (&device.reason, device.built_in) {
        (None, _) => "usable".to_owned(),
        (Some(_), false) => "not built in".to_owned(),
        (Some(reason), true) => format!("not usable: {reason}"),
    }
}

fn room(free_bytes: Option<u64>) -> String {
    free_bytes.map_or(String::new(), |free| format!(", {} free", ByteCount(free)))
}

fn embedding_cache(found: &Examination) -> String {
    let Some(cache) = &found.embedding_cache else { return "there is no folder for them".to_owned() };
    let folder = cache.folder.display();
    if !cache.usable {
        return format!("{folder}, not usable");
    }
    let (bytes, images, prompts) = (ByteCount(cache.bytes), cache.images, cache.prompts);
    format!("{folder} ({bytes}, images: {images}, prompts: {prompts}{})", room(cache.free_bytes))
}

fn hub_cache(found: &Examination) -> String {
    let Some(cache) = &found.hub_cache else { return "not known".to_owned() };
    let read_only = if cache.writable { "" } else { ", cannot be written to" };
    let (folder, bytes, models) = (cache.folder.display(), ByteCount(cache.bytes), cache.models);
    format!("{folder} ({bytes}, models: {models}{}{read_only})", room(cache.free_bytes))
}

fn hub(found: &Examination) -> String {
    let Some(hub) = &found.hub else { return "not known".to_owned() };
    let told = found.problems.iter().map(|problem| &problem.problem).chain(&found.notes);
    let is_told = |reason: &&String| told.clone().any(|told| told.contains(reason.as_str()));
    let through = hub.proxy.as_ref().map_or(String::new(), |proxy| format!(" through the proxy {proxy}"));
    let token = if hub.token { "given" } else { "none" };
    let answer = match (hub.ms, hub.reason.as_ref().filter(|reason| !is_told(reason))) {
        (Some(ms), _) => format!("reached in {ms} ms"),
        (None, Some(reason)) => format!("{}: {reason}", hub.answer),
        (None, None) => hub.answer.to_owned(),
    };
    format!("{}{through}, access token: {token}; {answer}", hub.endpoint)
}

fn model(found: &Examination) -> Vec<(&'static str, String)> {
    let model = &found.model;
    let mut lines = vec![("model", format!("{}, {}", model.name, model.state.name()))];
    let folders = model.folders.iter().map(|folder| folder.display().to_string());
    lines.extend(folders.filter(|folder| *folder != model.name).map(|folder| ("", folder)));
    if let Some(digest) = &model.digest {
        lines.push(("  digest", digest.clone()));
        let checked = match model.files_checked {
            0 => "its files have no digests to be compared with".to_owned(),
            files => format!("{files} of its files compared with the hub's digests"),
        };
        lines.push(("", checked));
    }
    lines
}

fn self_test(found: &Examination) -> String {
    let failed: Vec<_> = found
        .self_test
        .iter()
        .filter(|check| !check.passed)
        .map(|check| match (check.error, check.bound) {
            (Some(error), Some(bound)) => format!("{} (off by {error:.1e}, at most {bound:.0e})", check.name),
            _ => check.name.to_owned(),
        })
        .collect();
    let (all, passed) = (found.self_test.len(), found.self_test.len() - failed.len());
    let has_known = found.self_test.iter().any(|check| check.name.starts_with("known"));
    match failed.is_empty() {
        true if has_known => format!("{all} of {all} passed: kernels, a known picture, a known network"),
        true => format!("{all} of {all} passed: kernels"),
        false => format!("{passed} of {all} passed; failed: {}", failed.join(", ")),
    }
}

fn speed(found: &Examination) -> String {
    let (speed, model) = (&found.speed, &found.model);
    let int8 = speed.int8_gops.map_or(String::new(), |gops| format!(", int8 {gops:.0} Gop/s"));
    let bf16 = speed.bf16_gflops.map_or(String::new(), |gflops| format!(", bf16 {gflops:.0} GFLOP/s"));
    let products = format!("products in f32 {:.0} GFLOP/s{int8}{bf16}", speed.f32_gflops);
    match model.ms_per_image {
        Some(ms) => {
            let device = model.device.as_deref().unwrap_or("cpu");
            let precision = model.precision.unwrap_or(Precision::default().name());
            format!(
                "{ms} ms an image ({} on {device}, {precision}, without decoding); {products}",
                model.name
            )
        }
        None => products,
    }
}
