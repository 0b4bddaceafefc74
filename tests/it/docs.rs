//! What README.md and docs/ tell people to type, typed: each block of a page in order, by bash, in a folder
//! as `docs/README.md` describes it.
//!
//! A block's first line says what it is: `sh` and `python` must end well, `console` must also print what
//! stands there, numbers to within 0.001. `untested: REASON` after the language leaves a block out. Other
//! languages are no commands.

use crate::world::{CAT_BYTES, MODEL, TREE_BYTES, TarBuilder, clipclass};
use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const DOG_BYTES: &[u8] = include_bytes!("../../fixtures/images/dog.webp");
const CAR_BYTES: &[u8] = include_bytes!("../../fixtures/images/car.jpg");

/// What the pages take from the hub; all of them are the fixture model here.
const REPOSITORIES: [&str; 3] = [
    "openai/clip-vit-base-patch32",
    "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K",
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
];
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Tools of the pages that a developer's machine may lack; in CI they are all there.
const TOOLS: [&str; 2] = ["jq", "python3"];

/// How often each picture is there: `eval --fit` wants twenty.
const COPIES: usize = 8;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A block of a page.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// Where it begins.
    line: usize,
    language: String,
    /// What follows the language.
    note: String,
    text: String,
}

/// All fenced blocks of a page.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(opening) = line.strip_prefix("```") else { continue };
        let (language, note) = opening.split_once(' ').unwrap_or((opening, ""));
        let text: Vec<_> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let (language, note) = (language.to_owned(), note.to_owned());
        blocks.push(Block { line: at + 1, language, note, text: text.join("\n") });
    }
    blocks
}

/// A user's machine, as `docs/README.md` describes it.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let make = |path: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(&path).unwrap();
            path
        };
        symlink(clipclass().get_program(), make("bin").join("clipclass")).unwrap();
        for repository in REPOSITORIES {
            let cache = make(&format!("home/hub/models--{}", repository.replace('/', "--")));
            fs::create_dir_all(cache.join("refs")).unwrap();
            fs::create_dir_all(cache.join("snapshots")).unwrap();
            fs::write(cache.join("refs/main"), COMMIT).unwrap();
            symlink(MODEL, cache.join("snapshots").join(COMMIT)).unwrap();
        }
        let desk = make("desk");
        for name in ["fixtures", "examples"] {
            symlink(Path::new(ROOT).join(name), desk.join(name)).unwrap();
        }
        fs::write(desk.join("photo.jpg"), TREE_BYTES).unwrap();
        fs::write(desk.join("labels.txt"), "a cat\na dog\na tree\n").unwrap();
        let things =
            [("a cat", CAT_BYTES, "png"), ("a dog", DOG_BYTES, "webp"), ("a tree", TREE_BYTES, "jpg")];
        for (label, bytes, extension) in things.into_iter().chain([("none", CAR_BYTES, "jpg")]) {
            let folder = make(&format!("desk/photos/{label}"));
            for copy in 1..=COPIES {
                fs::write(folder.join(format!("{copy}.{extension}")), bytes).unwrap();
            }
        }
        let shards = make("desk/shards");
        for shard in 0..2 {
            let samples =
                things.iter().enumerate().fold(TarBuilder::new(), |tar, (at, (label, bytes, extension))| {
                    let key = format!("{:06}", 3 * shard + at);
                    tar.file(format!("{key}.{extension}"), bytes).file(format!("{key}.txt"), label)
                });
            fs::write(shards.join(format!("{shard}.tar")), samples.finish()).unwrap();
        }
        Self { folder }
    }

    /// Runs a program with `arguments`; gives what it printed.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut paths = vec![self.folder.path().join("bin")];
        paths.extend(env::split_paths(&env::var_os("PATH").unwrap()));
        let mut command = Command::new(program);
        for (name, value) in clipclass().get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("PATH", env::join_paths(paths).unwrap()).env("HF_HUB_OFFLINE", "1");
        command.env("HF_HOME", self.folder.path().join("home"));
        command.env("CLIPCLASS_CACHE", self.folder.path().join("cache"));
        command.args(arguments).current_dir(self.folder.path().join("desk")).stdin(Stdio::null());
        let output = command.output().map_err(|error| format!("{program}: {error}"))?;
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        if output.status.success() {
            Ok(stdout)
        } else {
            Err(format!("{}: {stderr}\n{stdout}", output.status))
        }
    }

    fn sh(&self, script: &str) -> Result<String, String> {
        self.run("bash", &["-euo", "pipefail", "-c", script])
    }

    /// Does what a block says; tells whether it was a command.
    fn follow(&self, block: &Block) -> Result<bool, String> {
        if let Some(reason) = block.note.strip_prefix("untested:") {
            return if reason.trim().is_empty() { Err("no reason is given".to_owned()) } else { Ok(false) };
        }
        if !block.note.is_empty() {
            return Err(format!("what is {:?}?", block.note));
        }
        match block.language.as_str() {
            "sh" => self.sh(&block.text).map(|_| true),
            "python" => self.run("python3", &["-c", &block.text]).map(|_| true),
            "console" => {
                for session in block.text.split("$ ").skip(1) {
                    let (command, printed) = session.split_once('\n').ok_or("nothing is printed")?;
                    let told = self.sh(command)?;
                    if !is_like(&told, printed) {
                        return Err(format!("`{command}` printed\n{told}instead of\n{printed}"));
                    }
                }
                Ok(true)
            }
            "" | "json" | "yaml" => Ok(false),
            language => Err(format!("what is {language:?}?")),
        }
    }
}

/// Whether two texts are the same but for the last digits of numbers.
fn is_like(told: &str, printed: &str) -> bool {
    let fields = |text: &str| {
        let text = text.trim_end();
        text.split_inclusive(|c: char| c.is_whitespace() || c == ',').map(str::to_owned).collect::<Vec<_>>()
    };
    let number =
        |field: &str| field.trim_end_matches(|c: char| c.is_whitespace() || c == ',').parse::<f64>().ok();
    let (told, printed) = (fields(told), fields(printed));
    told.len() == printed.len()
        && told.iter().zip(&printed).all(|(told, printed)| match (number(told), number(printed)) {
            (Some(told), Some(printed)) => (told - printed).abs() <= 1e-3,
            _ => told == printed,
        })
}

/// Whether a block cannot be followed for want of a tool of others.
fn lacks_a_tool(block: &Block) -> bool {
    let is_there = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    let wants =
        |tool: &&str| block.text.contains(*tool) || (block.language == "python" && **tool == *"python3");
    env::var_os("CI").is_none() && TOOLS.iter().filter(|tool| wants(tool)).any(|tool| !is_there(tool))
}

/// Follows a page from top to bottom.
#[track_caller]
fn follow(page: &str) {
    let text = fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
    let desk = Desk::new();
    let mut followed = 0;
    for block in blocks(&text) {
        if lacks_a_tool(&block) {
            // What comes after it may build on it.
            return;
        }
        match desk.follow(&block) {
            Ok(command) => followed += usize::from(command),
            Err(error) => panic!("{page}:{}: {error}", block.line),
        }
    }
    let is_prose = ["docs/README.md", "docs/accuracy.md", "docs/speed.md", "docs/systems.md"].contains(&page);
    assert!(followed > 0 || is_prose, "{page} has no commands");
}

macro_rules! pages {
    ($($name:ident: $page:literal,)*) => {
        const PAGES: &[&str] = &[$($page),*];
        $(#[test] fn $name() { follow($page); })*
    };
}

pages! {
    the_readme_does_what_it_says: "README.md",
    the_list_of_pages_does_what_it_says: "docs/README.md",
    accuracy_does_what_it_says: "docs/accuracy.md",
    ci_does_what_it_says: "docs/ci.md",
    clusters_does_what_it_says: "docs/clusters.md",
    inputs_does_what_it_says: "docs/inputs.md",
    labels_does_what_it_says: "docs/labels.md",
    models_does_what_it_says: "docs/models.md",
    none_of_these_does_what_it_says: "docs/none.md",
    output_does_what_it_says: "docs/output.md",
    a_photo_library_does_what_it_says: "docs/photo-library.md",
    prompts_does_what_it_says: "docs/prompts.md",
    python_does_what_it_says: "docs/python.md",
    speed_does_what_it_says: "docs/speed.md",
    systems_does_what_it_says: "docs/systems.md",
    a_webdataset_does_what_it_says: "docs/webdataset.md",
}

#[test]
fn every_page_is_followed_and_every_link_leads_somewhere() {
    let root = Path::new(ROOT);
    let mut pages: Vec<_> = fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|page| format!("docs/{}", page.unwrap().file_name().to_str().unwrap()))
        .chain(["README.md".to_owned()])
        .collect();
    pages.sort();
    let mut followed = PAGES.to_vec();
    followed.sort_unstable();
    assert_eq!(followed, pages);
    for page in PAGES {
        let path = root.join(page);
        let text = fs::read_to_string(&path).unwrap();
        for (link, _) in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            if link.starts_with("https://") {
                continue;
            }
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{page}: {link}");
            let anchor = |line: &str| {
                let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                words.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect::<String>()
            };
            let is_there = || {
                fs::read_to_string(&target)
                    .unwrap()
                    .lines()
                    .any(|line| line.starts_with('#') && anchor(line) == heading)
            };
            assert!(heading.is_empty() || is_there(), "{page}: {link}");
        }
    }
}

/// What keeps this from passing whatever the pages say.
#[test]
fn a_page_that_is_wrong_is_found_out() {
    let desk = Desk::new();
    let follow =
        |page: &str| blocks(page).iter().map(|block| desk.follow(block)).collect::<Result<Vec<_>, _>>();
    assert_eq!(follow("```sh\nclipclass --version\n```\n```json\n{}\n```\n"), Ok(vec![true, false]));
    assert_eq!(follow("```sh untested: no card\nfalse\n```\n"), Ok(vec![false]));
    assert_eq!(follow("```console\n$ echo a 0.5000\na 0.5004\n$ echo b\nb\n```\n"), Ok(vec![true]));
    for wrong in [
        "```sh\nclipclass --no-such-flag\n```\n",
        "```sh\nclipclass nowhere.jpg -l a,b | cat\n```\n",
        "```sh\nfalse\ntrue\n```\n",
        "```console\n$ echo a 0.5000\na 0.5020\n```\n",
        "```console\n$ echo a\na\n$ echo b\nc\n```\n",
        "```python\nraise SystemExit(3)\n```\n",
        "```sh untested:\ntrue\n```\n",
        "```sh later\ntrue\n```\n",
        "```bash\ntrue\n```\n",
    ] {
        assert!(follow(wrong).is_err(), "{wrong}");
    }
}
