//! Standard output, or a file that appears when it is complete.

use super::resume::{self, Done};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile};

/// Nobody reads the output any more, as with `| head -1`: a reason to stop, not a failure.
#[derive(Debug, thiserror::Error)]
#[error("the output was closed")]
pub struct ClosedPipe;

/// Where records are written.
pub(super) enum Output {
    Stdout(BufWriter<Stdout>),
    /// Written beside, renamed when complete: an earlier file stays whole until then.
    Beside {
        file: BufWriter<NamedTempFile>,
        path: PathBuf,
    },
    /// A pipe or a device, which has no beside; or a file that an earlier run began.
    Direct {
        file: BufWriter<File>,
        path: PathBuf,
    },
}

impl Output {
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::Stdout(BufWriter::new(io::stdout()))) };
        Self::open_file(path).with_context(|| format!("cannot write {}", path.display()))
    }

    fn open_file(path: &Path) -> io::Result<Self> {
        // A link's target is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if path.exists() && !path.is_file() {
            let file = BufWriter::new(File::options().write(true).open(&path)?);
            return Ok(Self::Direct { file, path });
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut builder = Builder::new();
        builder.prefix(".clipclass-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let kept = fs::metadata(&path).map(|file| file.permissions());
            builder.permissions(kept.unwrap_or_else(|_| fs::Permissions::from_mode(0o666)));
        }
        let file = BufWriter::new(builder.tempfile_in(folder.unwrap_or(Path::new(".")))?);
        Ok(Self::Beside { file, path })
    }

    pub(super) fn resume(path: &Path, labels: &[String], top: Option<usize>) -> Result<(Self, Done)> {
        let open = resume::open(path, labels, top);
        let (file, done) = open.with_context(|| format!("cannot go on with {}", path.display()))?;
        Ok((Self::Direct { file: BufWriter::new(file), path: path.to_owned() }, done))
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
            Self::Direct { file, .. } => write(file).and_then(|()| Ok(file.flush()?)),
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
            Self::Beside { path, .. } | Self::Direct { path, .. } => {
                format!("cannot write {}", path.display())
            }
        })
    }

    /// Makes a file appear under its name.
    pub(super) fn finish(self) -> Result<()> {
        let Self::Beside { file, path } = self else { return Ok(()) };
        let finish = || {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.persist(&path).map_err(|error| error.error)
        };
        finish().map(drop).with_context(|| format!("cannot write {}", path.display()))
    }
}
