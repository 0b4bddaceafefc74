//! What the user named → sources, one input after the other.
//!
//! An input is opened only to learn what it is, when its turn comes. A file with an image's name is
//! not even opened: that is left to the threads that decode. All else is told by its first bytes.

use super::archive::ArchiveWalk;
use super::folder::FolderWalk;
use super::list::List;
use super::part::Deal;
use super::stream::{self, Opened};
use super::web::{self, InputSpelling};
use super::{IMAGE_LIMIT_BYTES, ImageSource, Origin, Part, ReadError, folder, read_within};
use crate::formats::NameSays;
use anyhow::{Context, Result, bail};
use same_file::Handle;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// All that a run is to classify, as the user named it.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Files, folders, shards, addresses; `-` is standard input.
    pub paths: Vec<OsString>,
    /// A list of more of them, taken after `paths`.
    pub files_from: Option<FilesFrom>,
    /// The part of all sources that this run takes.
    pub part: Option<Part>,
    /// The file that the run writes, which must be none of the sources, nor their list.
    pub output: Option<PathBuf>,
    /// Whether images of shards come with what stands beside them; each then waits for the member after
    /// its own.
    pub annotations: Annotations,
}

/// What becomes of members that stand beside an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Annotations {
    #[default]
    PassedOver,
    Read,
}

/// A list of inputs.
#[derive(Debug, Clone)]
pub struct FilesFrom {
    /// The file it is read from; `-` is standard input.
    pub file: OsString,
    /// Whether NUL and not a line's end separates the inputs.
    pub null: bool,
}

impl Inputs {
    /// The images, in order, found as they are asked for.
    ///
    /// *Errors* when two inputs ask for standard input, or the list cannot be opened or is the output.
    pub fn sources(self) -> Result<impl Iterator<Item = ImageSource> + Send> {
        let dashes = self.paths.iter().filter(|path| is_stdin(path)).count();
        if dashes > 1 {
            bail!("`-` is given twice, but standard input can be read only once");
        }
        let output = self.output.and_then(|output| Handle::from_path(output).ok());
        let list = match self.files_from {
            Some(FilesFrom { file, .. }) if is_output(&file, output.as_ref()) => {
                bail!("{} is both the list of inputs and the output; write to another file", file.display())
            }
            Some(FilesFrom { file, .. }) if is_stdin(&file) && dashes > 0 => {
                bail!(
                    "standard input cannot be both the list of inputs and an image: give the list as a file"
                )
            }
            Some(files_from) => Some(files_from.open()?),
            None => None,
        };
        let stdin_is_free = !list.as_ref().is_some_and(|list| is_stdin(list.name()));
        let named = self.paths.into_iter().map(Ok).chain(list.into_iter().flatten());
        let (deal, annotations) = (Deal::new(self.part), self.annotations);
        Ok(Sources { named, open: None, deal, stdin_is_free, output, annotations })
    }
}

impl Inputs {
    /// How many images there are, where that takes no more than looking at names: there is nothing but
    /// files whose names tell what they are, and folders of them.
    pub fn count_by_name(&self) -> Option<u64> {
        let count = |path: &OsString| match Path::new(path).is_dir() {
            true => folder::count_by_name(path),
            false => (NameSays::of(path) == NameSays::Image).then_some(1),
        };
        if self.files_from.is_some() {
            return None;
        }
        let all: u64 = self.paths.iter().map(count).sum::<Option<_>>()?;
        let mut deal = Deal::new(self.part);
        Some((0..all).filter(|_| deal.take()).count() as u64)
    }
}

impl FilesFrom {
    fn open(self) -> Result<List> {
        if is_stdin(&self.file) {
            return Ok(List::new(self.file, Box::new(BufReader::new(io::stdin())), self.null));
        }
        let cannot = || format!("cannot read the list of inputs {}", self.file.display());
        let file = match super::open(Path::new(&self.file)) {
            Ok((file, _)) => file,
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                bail!("{}: it is a folder; name it as an input instead", cannot());
            }
            Err(error) => return Err(error).with_context(cannot),
        };
        Ok(List::new(self.file, Box::new(BufReader::new(file)), self.null))
    }
}

fn is_stdin(path: &OsStr) -> bool {
    path == "-"
}

fn is_output(path: impl AsRef<Path>, output: Option<&Handle>) -> bool {
    let path = path.as_ref();
    // A pipe must not be opened for this.
    let is_file = || path.metadata().is_ok_and(|metadata| metadata.is_file());
    output.is_some_and(|output| is_file() && Handle::from_path(path).is_ok_and(|input| input == *output))
}

/// The walk through all inputs.
struct Sources<I> {
    named: I,
    /// The input with more than one image whose turn it is.
    open: Option<Many>,
    deal: Deal,
    stdin_is_free: bool,
    output: Option<Handle>,
    annotations: Annotations,
}

/// An input with any number of images.
enum Many {
    Folder(FolderWalk),
    Archive(Box<ArchiveWalk>),
}

/// What an input turns out to be.
enum FoundInput {
    One(Origin),
    /// An image that can be read only here and now.
    Passing(Box<dyn Read + Send>),
    Many(Many),
}

impl<I: Iterator<Item = Result<OsString, ImageSource>>> Iterator for Sources<I> {
    type Item = ImageSource;

    fn next(&mut self) -> Option<ImageSource> {
        loop {
            let within = match &mut self.open {
                Some(Many::Folder(folder)) => folder.next(&mut self.deal),
                Some(Many::Archive(archive)) => archive.next(&mut self.deal),
                None => None,
            };
            if let Some(source) = within {
                let is_own = match &source.origin {
                    Origin::File(path) => is_output(path, self.output.as_ref()),
                    Origin::Opened(opened) => is_output(opened.path(), self.output.as_ref()),
                    _ => false,
                };
                return Some(if is_own {
                    ImageSource { origin: Origin::OwnOutput, ..source }
                } else {
                    source
                });
            }
            self.open = None;
            let name = match self.named.next()? {
                Ok(name) => name,
                Err(failed) if self.deal.take() => return Some(failed),
                Err(_) => continue,
            };
            match self.find(&name) {
                FoundInput::Many(many) => self.open = Some(many),
                FoundInput::One(Origin::OwnOutput) => return Some(ImageSource::new(name, Origin::OwnOutput)),
                _ if !self.deal.take() => {}
                FoundInput::One(origin) => return Some(ImageSource::new(name, origin)),
                FoundInput::Passing(bytes) => return Some(ImageSource::new(name, read_passing(bytes))),
            }
        }
    }
}

impl<I> Sources<I> {
    fn find(&mut self, name: &OsStr) -> FoundInput {
        let opened = if is_stdin(name) {
            if !std::mem::replace(&mut self.stdin_is_free, false) {
                let message = "standard input is already taken by another input or by the list itself";
                return FoundInput::One(Origin::Failed(ReadError::new("unreadable", message)));
            }
            stream::open_stream(Box::new(io::stdin()))
        } else {
            match InputSpelling::of(name) {
                InputSpelling::Path => return self.find_path(name, name),
                InputSpelling::Image => return FoundInput::One(Origin::Address(web::text_of(name))),
                InputSpelling::Shard => web::open_shard(name),
                InputSpelling::FileAddress => match web::path_of(name) {
                    Ok(path) => return self.find_path(name, path.as_os_str()),
                    Err(error) => Err(error),
                },
                InputSpelling::Unknown(scheme) => Err(web::unknown_scheme(&scheme)),
            }
        };
        self.found(name, opened)
    }

    /// What is at `path`, which the user called `name`.
    fn find_path(&self, name: &OsStr, path: &OsStr) -> FoundInput {
        if is_output(path, self.output.as_ref()) {
            return FoundInput::One(Origin::OwnOutput);
        }
        let opened = match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                return FoundInput::Many(Many::Folder(FolderWalk::new(path)));
            }
            Ok(metadata) if metadata.is_file() && NameSays::of(path) == NameSays::Image => {
                return FoundInput::One(Origin::File(path.into()));
            }
            // What is wrong with it is told when it is read.
            Err(_) => return FoundInput::One(Origin::File(path.into())),
            Ok(_) => stream::open_file(path),
        };
        self.found(name, opened)
    }

    fn found(&self, name: &OsStr, opened: Result<Opened, ReadError>) -> FoundInput {
        match opened {
            Ok(Opened::Archive(flow)) => {
                let archive = ArchiveWalk::new(name, flow).with_annotations(self.annotations);
                FoundInput::Many(Many::Archive(Box::new(archive)))
            }
            Ok(Opened::File(opened)) => FoundInput::One(Origin::Opened(opened)),
            Ok(Opened::Stream(bytes)) => FoundInput::Passing(bytes),
            Err(error) => FoundInput::One(Origin::Failed(error)),
        }
    }
}

fn read_passing(stream: Box<dyn Read + Send>) -> Origin {
    let mut bytes = Vec::new();
    match read_within(stream, IMAGE_LIMIT_BYTES, &mut bytes) {
        Ok(()) => Origin::Bytes(bytes),
        Err(error) => Origin::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world;
    use std::path::Path;
    use tempfile::{TempDir, tempdir};

    const IMAGE: &[u8] = b"\xff\xd8\xff\xe0 jpeg";

    fn folder_of(files: &[(&str, &[u8])]) -> TempDir {
        let folder = tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        folder
    }

    fn tar_of(names: &[&str]) -> Vec<u8> {
        world::tar_of(names.iter().map(|name| (name, IMAGE)))
    }

    fn paths(folder: &Path, names: &[&str]) -> Inputs {
        Inputs { paths: names.iter().map(|name| folder.join(name).into()).collect(), ..Inputs::default() }
    }

    fn list_of(file: impl Into<OsString>) -> Inputs {
        let files_from = Some(FilesFrom { file: file.into(), null: false });
        Inputs { files_from, ..Inputs::default() }
    }

    /// Each source as `name` or `name: kind`, relative to the folder.
    fn told(inputs: Inputs, folder: &Path) -> Vec<String> {
        let told = |source: ImageSource| {
            let name = Path::new(source.name.as_os_str());
            let name = name.strip_prefix(folder).unwrap_or(name).to_string_lossy().replace('\\', "/");
            match source.read() {
                Ok(_) => name,
                Err(error) => format!("{name}: {}", error.kind),
            }
        };
        inputs.sources().unwrap().map(told).collect()
    }

    #[test]
    fn a_folder_gives_its_images_in_natural_order() {
        let folder = folder_of(&[
            ("f/img10.jpg", IMAGE),
            ("f/img2.png", b"text"),
            ("f/img9/1.webp", IMAGE),
            ("f/notes.txt", IMAGE),
            ("f/.hidden.jpg", IMAGE),
            ("f/.cache/1.jpg", IMAGE),
            ("f/bare", IMAGE),
            ("f/README", b"no image"),
            ("f/1.jpg_large", IMAGE),
            ("f/2.jpg?w=200", IMAGE),
            ("f/3.part", b"no image"),
            ("f/4.mov", IMAGE),
            ("f/x.jpg/in.jpg", IMAGE),
            ("f/s.tar", &tar_of(&["1.jpg"])),
        ]);
        let images = [
            "f/1.jpg_large",
            "f/2.jpg?w=200",
            "f/bare",
            "f/img2.png",
            "f/img9/1.webp",
            "f/img10.jpg",
            "f/x.jpg/in.jpg",
        ];
        assert_eq!(told(paths(folder.path(), &["f"]), folder.path()), images);
    }

    #[test]
    fn what_was_looked_into_is_read_from_the_file_that_was_open() {
        let long = [IMAGE, &[7; 1000]].concat();
        let folder = folder_of(&[("f/bare", &long)]);
        for name in ["f", "f/bare"] {
            fs::write(folder.path().join("f/bare"), &long).unwrap();
            let source = paths(folder.path(), &[name]).sources().unwrap().next().unwrap();
            assert!(matches!(source.origin, Origin::Opened(_)), "{name}");
            fs::rename(folder.path().join("f/bare"), folder.path().join("moved")).unwrap();
            assert_eq!(source.read().unwrap(), long, "{name}");
        }
    }

    #[test]
    fn images_are_counted_by_name_as_long_as_names_tell() {
        let folder =
            folder_of(&[("f/1.jpg", IMAGE), ("f/2.heic", IMAGE), ("f/3.txt", b""), ("g/bare", IMAGE)]);
        let count = |names: &[&str]| paths(folder.path(), names).count_by_name();
        assert_eq!(count(&["f", "f/1.jpg"]), Some(3));
        assert_eq!(count(&["f", "g"]), None);
        assert_eq!(count(&["f", "f/3.txt"]), None);
        let part = Inputs { part: Some(Part::new(2, 2).unwrap()), ..paths(folder.path(), &["f", "f/1.jpg"]) };
        assert_eq!(part.count_by_name(), Some(1));
    }

    #[test]
    fn what_the_user_named_is_always_tried() {
        let folder = folder_of(&[
            ("notes.txt", b"text"),
            (".hidden.jpg", IMAGE),
            ("empty.jpg", b""),
            ("d.jpg/1.jpg", IMAGE),
            ("no.tar", b"text"),
            (".h/2.jpg", IMAGE),
        ]);
        let names = ["notes.txt", ".hidden.jpg", "gone.jpg", "empty.jpg", "d.jpg", "no.tar", ".h"];
        let expected = [
            "notes.txt",
            ".hidden.jpg",
            "gone.jpg: not_found",
            "empty.jpg",
            "d.jpg/1.jpg",
            "no.tar: archive",
            ".h/2.jpg",
        ];
        assert_eq!(told(paths(folder.path(), &names), folder.path()), expected);
    }

    #[test]
    fn a_shard_is_known_by_its_content_and_mixes_with_all_else() {
        let folder =
            folder_of(&[("a.jpg", IMAGE), ("shard-000", &tar_of(&["1.jpg", "2.jpg"])), ("f/3.jpg", IMAGE)]);
        let listed = ["f", "", "shard-000", "gone.jpg"];
        let lines: Vec<_> = listed
            .map(|name| match name {
                "" => String::new(),
                name => folder.path().join(name).to_str().unwrap().to_owned(),
            })
            .into();
        fs::write(folder.path().join("list"), lines.join("\r\n")).unwrap();
        let mut inputs = paths(folder.path(), &["shard-000", "a.jpg"]);
        inputs.files_from = list_of(folder.path().join("list")).files_from;
        let all = [
            "shard-000/1.jpg",
            "shard-000/2.jpg",
            "a.jpg",
            "f/3.jpg",
            "shard-000/1.jpg",
            "shard-000/2.jpg",
            "gone.jpg: not_found",
        ];
        assert_eq!(told(inputs.clone(), folder.path()), all);
        // The parts of the whole are the whole.
        for count in [2, 3, 10] {
            for index in 1..=count {
                inputs.part = Some(Part::new(index, count).unwrap());
                let part: Vec<_> = all.iter().skip(index as usize - 1).step_by(count as usize).collect();
                assert_eq!(
                    told(inputs.clone(), folder.path()),
                    part.into_iter().cloned().collect::<Vec<_>>()
                );
            }
        }
    }

    #[test]
    fn a_run_that_cannot_start_says_why() {
        let folder = tempdir().unwrap();
        let refused =
            |inputs: Inputs| inputs.sources().err().map(|error| format!("{error:#}")).unwrap_or_default();
        let twice = Inputs { paths: vec!["-".into(), "-".into()], ..Inputs::default() };
        assert!(refused(twice).contains("twice"));
        let both = Inputs { paths: vec!["-".into()], ..list_of("-") };
        assert!(refused(both).contains("cannot be both"));
        let gone = refused(list_of(folder.path().join("gone.txt")));
        assert!(gone.starts_with("cannot read the list of inputs") && gone.contains("gone.txt"), "{gone}");
        assert!(refused(list_of(folder.path())).contains("folder"));
    }

    #[test]
    fn an_address_waits_for_its_reader() {
        let inputs = Inputs { paths: vec!["https://example.invalid/a.jpg".into()], ..Inputs::default() };
        let source = inputs.sources().unwrap().next().unwrap();
        assert!(
            matches!(source.origin, Origin::Address(address) if address == "https://example.invalid/a.jpg")
        );
    }

    #[cfg(unix)]
    mod unix {
        use super::*;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::{PermissionsExt, symlink};

        #[test]
        fn links_are_followed_but_not_in_circles() {
            let folder = folder_of(&[("f/a.jpg", IMAGE), ("g/b.jpg", IMAGE)]);
            symlink(folder.path().join("g"), folder.path().join("f/to-g")).unwrap();
            symlink(folder.path().join("f"), folder.path().join("g/to-f")).unwrap();
            symlink("nowhere", folder.path().join("f/dead")).unwrap();
            symlink("nowhere.jpg", folder.path().join("f/dead.jpg")).unwrap();
            let images = ["f/a.jpg", "f/dead.jpg: not_found", "f/to-g/b.jpg"];
            assert_eq!(told(paths(folder.path(), &["f"]), folder.path()), images);
        }

        #[test]
        fn a_folder_that_cannot_be_entered_fails_and_the_walk_goes_on() {
            let folder = folder_of(&[("f/1/a.jpg", IMAGE), ("f/2.jpg", IMAGE)]);
            let closed = folder.path().join("f/1");
            fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
            // The superuser enters it all the same.
            let first = if fs::read_dir(&closed).is_ok() { "f/1/a.jpg" } else { "f/1: unreadable" };
            let images = told(paths(folder.path(), &["f"]), folder.path());
            fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
            assert_eq!(images, [first, "f/2.jpg"]);
        }

        #[test]
        fn a_name_that_is_not_utf8_leads_to_its_file() {
            let folder = folder_of(&[]);
            let name = OsStr::from_bytes(b"caf\xe9.jpg");
            fs::write(folder.path().join(name), IMAGE).unwrap();
            fs::write(folder.path().join("list"), folder.path().join(name).as_os_str().as_bytes()).unwrap();
            for inputs in [paths(folder.path(), &[""]), list_of(folder.path().join("list"))] {
                let mut sources = inputs
                    .sources()
                    .unwrap()
                    .filter(|source| Path::new(source.name.as_os_str()).file_name() == Some(name));
                assert_eq!(sources.next().unwrap().read().unwrap(), IMAGE);
            }
        }

        #[test]
        fn a_pipe_is_read_as_it_passes() {
            let folder = folder_of(&[]);
            for (name, sent, expected) in [
                ("image", IMAGE.to_vec(), vec!["image"]),
                ("archive", tar_of(&["1.jpg", "2.jpg"]), vec!["archive/1.jpg", "archive/2.jpg"]),
            ] {
                let pipe = folder.path().join(name);
                let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
                assert!(made.success());
                let writer = std::thread::spawn(move || fs::write(pipe, sent));
                assert_eq!(told(paths(folder.path(), &[name]), folder.path()), expected);
                writer.join().unwrap().unwrap();
            }
        }
    }
}
