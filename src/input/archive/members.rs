//! The bytes of a tar archive → the headers of its members, one after the other.
//!
//! The headers, with all their extensions for long names and large files, are read by `tar`; its
//! iterator borrows the archive, so each member gets a fresh one over the bytes that follow.

use crate::input::stream::Flow;
use std::io::{self, Read};

/// Members begin at multiples of this.
const BLOCK_BYTES: u64 = 512;

/// The walk from header to header.
pub(super) struct Members {
    pub(super) flow: Flow,
    /// Filling between the last member and the next header.
    padding_bytes: u64,
}

/// What a header says.
pub(super) struct Member {
    /// Where its first header lies, as far as the archive's bytes are counted.
    pub(super) at: u64,
    /// Its name as written, without a `./` at the start.
    pub(super) path: Vec<u8>,
    pub(super) size_bytes: u64,
    pub(super) kind: MemberKind,
}

/// What a member is.
pub(super) enum MemberKind {
    File,
    /// A file stored without the zeros in it.
    Sparse,
    /// Another name of the member of this name.
    HardLink(Vec<u8>),
    /// A path from the folder that the link lies in.
    Symlink(Vec<u8>),
    /// A folder, a device, a pipe.
    Other,
}

impl Members {
    pub(super) fn new(flow: Flow) -> Self {
        Self { flow, padding_bytes: 0 }
    }

    /// Reads up to the content of the next member.
    ///
    /// *Errors* when the archive cannot be read, is damaged, or was cut off.
    pub(super) fn next(&mut self) -> io::Result<Option<Member>> {
        let Some(block) = self.header_block()? else { return Ok(None) };
        let at = self.flow.position_bytes() - BLOCK_BYTES;
        let mut archive = tar::Archive::new((&block[..]).chain(&mut self.flow));
        let Some(entry) = archive.entries()?.next().transpose()? else { return Ok(None) };
        let target = || entry.link_name_bytes().unwrap_or_default().into_owned();
        let kind = match entry.header().entry_type() {
            kind if kind.is_file() || kind.is_contiguous() => MemberKind::File,
            kind if kind.is_gnu_sparse() => MemberKind::Sparse,
            kind if kind.is_hard_link() => MemberKind::HardLink(target()),
            kind if kind.is_symlink() => MemberKind::Symlink(target()),
            _ => MemberKind::Other,
        };
        let size_bytes = match kind {
            MemberKind::Sparse => entry.header().entry_size()?,
            // Some archivers repeat the target's size, but none is known to repeat its content.
            MemberKind::HardLink(_) | MemberKind::Symlink(_) => 0,
            MemberKind::File | MemberKind::Other => entry.size(),
        };
        let path = entry.path_bytes();
        let path = path.strip_prefix(b"./").unwrap_or(&path).to_vec();
        self.padding_bytes = size_bytes.wrapping_neg() % BLOCK_BYTES;
        Ok(Some(Member { at, path, size_bytes, kind }))
    }

    /// Reads the first block of the next header.
    ///
    /// Zero blocks mark an archive's end; others may follow (`cat *.tar |`) and are read as one. Only
    /// the missing mark tells that an archive was cut off between two members.
    fn header_block(&mut self) -> io::Result<Option<[u8; BLOCK_BYTES as usize]>> {
        self.flow.pass_over(self.padding_bytes)?;
        let mut has_end_mark = false;
        loop {
            let mut block = Vec::with_capacity(BLOCK_BYTES as usize);
            self.read(BLOCK_BYTES, &mut block)?;
            match <[u8; BLOCK_BYTES as usize]>::try_from(block) {
                Ok(block) if block.iter().all(|&byte| byte == 0) => has_end_mark = true,
                Ok(block) => return Ok(Some(block)),
                Err(_) if has_end_mark => return Ok(None),
                Err(_) => return Err(io::Error::other("it has no end mark, so it was cut off")),
            }
        }
    }

    /// Appends the next `count` bytes, or as many as there are.
    pub(super) fn read(&mut self, count: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        self.flow.by_ref().take(count).read_to_end(bytes).map(drop)
    }

    /// Goes to the header of a member that begins `at`, in an archive that can be sought in.
    pub(super) fn go_to(&mut self, at: u64) -> io::Result<()> {
        self.padding_bytes = 0;
        self.flow.go_to(at)
    }
}
