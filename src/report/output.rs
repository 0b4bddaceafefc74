//! Standard output, or a file that appears when it is complete.

use super::claim::Claim;
use super::resume::{self, Done, EarlierFailures, Recipe};
#[cfg(unix)]
use anyhow::ensure;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::{Builder, NamedTempFile};

/// Nobody reads the output any more, as with `| head -1`: a reason to stop, not a failure.
#[derive(Debug, thiserror::Error)]
#[error("the output was closed")]
pub struct ClosedPipe;

/// Where records are written.
pub(super) enum Destination {
    Stdout(BufWriter<Stdout>),
    /// Written beside, renamed when complete: an earlier file stays whole until then.
    Beside {
        file: BufWriter<NamedTempFile>,
        path: PathBuf,
        claim: Claim,
    },
    /// A pipe or a device, which has no beside.
    Device {
        file: BufWriter<File>,
        path: PathBuf,
    },
    /// A file that an earlier run began.
    Resumed {
        file: BufWriter<File>,
        path: PathBuf,
        _claim: Claim,
    },
}

impl Destination {
    /// Prepares to write to standard output.
    pub(super) fn stdout() -> Result<Self> {
        Ok(Self::Stdout(BufWriter::new(stdout()?)))
    }

    /// Prepares to write the file, which another run must not be writing.
    pub(super) fn file(path: &Path) -> Result<Self> {
        let open = || -> Result<Self> {
            // A link's target is replaced, not the link.
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            if path.is_dir() {
                return Err(io::Error::from(io::ErrorKind::IsADirectory).into());
            }
            if path.exists() && !path.is_file() {
                let file = BufWriter::new(File::options().write(true).open(&path)?);
                return Ok(Self::Device { file, path });
            }
            let claim = Claim::take(&path)?;
            Ok(Self::Beside { file: BufWriter::new(beside(&path)?), path, claim })
        };
        open().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Goes on with a file of records.
    pub(super) fn resume(path: &Path, recipe: &Recipe, failures: EarlierFailures) -> Result<(Self, Done)> {
        let open = || -> Result<(Self, Done)> {
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            let claim = Claim::take(&path)?;
            let (file, done) = resume::open(&path, recipe, failures)?;
            Ok((Self::Resumed { file: BufWriter::new(file), path, _claim: claim }, done))
        };
        open().with_context(|| format!("cannot go on with {}", path.display()))
    }

    /// Whether people read it as it is written.
    pub(super) fn terminal(&self) -> bool {
        matches!(self, Self::Stdout(_)) && io::stdout().is_terminal()
    }

    /// Lets `write` write, and passes it on.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        let result = match self {
            Self::Stdout(out) => write(out).and_then(|()| Ok(out.flush()?)),
            Self::Beside { file, .. } => write(file),
            Self::Device { file, .. } | Self::Resumed { file, .. } => {
                write(file).and_then(|()| Ok(file.flush()?))
            }
        };
        result.or_else(|error| self.explain(error))
    }

    fn explain(&self, error: anyhow::Error) -> Result<()> {
        let io = error.chain().find_map(|cause| {
            let json = cause.downcast_ref().and_then(serde_json::Error::io_error_kind);
            json.or_else(|| cause.downcast_ref().map(io::Error::kind))
        });
        if io == Some(io::ErrorKind::BrokenPipe) {
            return Err(ClosedPipe.into());
        }
        Err(error).with_context(|| match self {
            Self::Stdout(_) => "cannot write to standard output".to_owned(),
            Self::Beside { path, .. } | Self::Device { path, .. } | Self::Resumed { path, .. } => {
                format!("cannot write {}", path.display())
            }
        })
    }

    /// Makes a file appear under its name.
    pub(super) fn finish(self) -> Result<()> {
        let Self::Beside { file, path, claim } = self else { return Ok(()) };
        let finish = || {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.persist(&path).map_err(|error| error.error)
        };
        finish().map(drop).with_context(|| format!("cannot write {}", path.display()))?;
        drop(claim);
        Ok(())
    }
}

/// A file beside `path`, to be renamed to it, with the rights that it has or would have.
pub(super) fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut builder = Builder::new();
    builder.prefix(".clipclass-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let kept = fs::metadata(path).map(|file| file.permissions());
        builder.permissions(kept.unwrap_or_else(|_| fs::Permissions::from_mode(0o666)));
    }
    builder.tempfile_in(folder.unwrap_or(Path::new(".")))
}

/// Standard output.
///
/// *Errors* when the process was started without one, as by `>&-`: all would be lost.
pub fn stdout() -> Result<Stdout> {
    #[cfg(unix)]
    ensure!(!STDOUT_WAS_CLOSED.load(Ordering::Relaxed), "cannot write to standard output: it is closed");
    Ok(io::stdout())
}

#[cfg(unix)]
static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Looks before Rust's own start, which opens `/dev/null` where standard output is closed.
#[cfg(unix)]
#[ctor::ctor]
fn look_at_stdout() {
    let closed = rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_err();
    STDOUT_WAS_CLOSED.store(closed, Ordering::Relaxed);
}
