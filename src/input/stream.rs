//! A file or a stream → what it is by its first bytes: a shard, packed or not, or an image.

use super::{OpenedFile, ReadError};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

/// A tar header, which is what it takes to know one.
const BLOCK_BYTES: usize = 512;

/// Larger than the default, since shards are read from end to end.
const BUFFER_BYTES: usize = 128 << 10;

/// What a file or stream turns out to be.
pub(super) enum Opened {
    Archive(Flow),
    /// A regular file that is no archive.
    File(OpenedFile),
    /// A stream that is no archive.
    Stream(Box<dyn Read + Send>),
}

/// The bytes of a shard from front to back, with what is not wanted passed over.
pub(super) struct Flow {
    bytes: FlowBytes,
    position_bytes: u64,
}

enum FlowBytes {
    /// Where passing over is free.
    File {
        file: BufReader<File>,
        length_bytes: u64,
    },
    Stream(Box<dyn Read + Send>),
}

impl Flow {
    fn of_file(file: File, length_bytes: u64) -> Self {
        let file = BufReader::with_capacity(BUFFER_BYTES, file);
        Self { bytes: FlowBytes::File { file, length_bytes }, position_bytes: 0 }
    }

    fn of_stream(stream: Box<dyn Read + Send>) -> Self {
        let stream = Box::new(BufReader::with_capacity(BUFFER_BYTES, stream));
        Self { bytes: FlowBytes::Stream(stream), position_bytes: 0 }
    }

    /// Whether it can go back.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.bytes, FlowBytes::File { .. })
    }

    /// How many bytes are behind.
    pub(super) fn position_bytes(&self) -> u64 {
        self.position_bytes
    }

    /// Goes back or on to a position in a file.
    ///
    /// *Errors* in a stream.
    pub(super) fn go_to(&mut self, position_bytes: u64) -> io::Result<()> {
        let FlowBytes::File { file, .. } = &mut self.bytes else {
            return Err(io::ErrorKind::NotSeekable.into());
        };
        // What is buffered is kept if it can be.
        file.seek_relative(position_bytes.wrapping_sub(self.position_bytes).cast_signed())?;
        self.position_bytes = position_bytes;
        Ok(())
    }

    /// Passes over `count` bytes, or as many as there are, and tells how many those were.
    pub(super) fn pass_over(&mut self, count: u64) -> io::Result<u64> {
        let passed = match &mut self.bytes {
            FlowBytes::File { file, length_bytes } => {
                let passed = count.min(length_bytes.saturating_sub(self.position_bytes));
                file.seek_relative(passed.try_into().map_err(io::Error::other)?)?;
                passed
            }
            FlowBytes::Stream(stream) => io::copy(&mut stream.take(count), &mut io::sink())?,
        };
        self.position_bytes += passed;
        Ok(passed)
    }
}

impl Read for Flow {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.bytes {
            FlowBytes::File { file, .. } => file.read(bytes)?,
            FlowBytes::Stream(stream) => stream.read(bytes)?,
        };
        self.position_bytes += read as u64;
        Ok(read)
    }
}

/// Opens what the user named; pipes and devices are streams.
pub(super) fn open_file(path: &OsStr) -> Result<Opened, ReadError> {
    let path = Path::new(path);
    // A pipe's first bytes must not be taken from it.
    if !path.metadata()?.is_file() {
        return open_stream(Box::new(File::open(path)?));
    }
    let named_archive = is_named_archive(path.as_os_str());
    let mut opened = OpenedFile::open(path, BLOCK_BYTES)?;
    let (head, file) = (&opened.head, &mut opened.file);
    if is_tar(head) || (named_archive && head.len() == BLOCK_BYTES && head.iter().all(|&byte| byte == 0)) {
        file.rewind()?;
        let length_bytes = file.metadata()?.len();
        return Ok(Opened::Archive(Flow::of_file(opened.file, length_bytes)));
    }
    match Packing::of(head) {
        Some(_) => match open_stream(Box::new(io::Cursor::new(opened.head).chain(opened.file)))? {
            Opened::Stream(_) if named_archive => Err(no_archive()),
            opened => Ok(opened),
        },
        None if named_archive => Err(no_archive()),
        None => Ok(Opened::File(opened)),
    }
}

/// Looks into a stream that can be read only once, and unpacks it if need be.
pub(super) fn open_stream(mut stream: Box<dyn Read + Send>) -> Result<Opened, ReadError> {
    let head = read_head(&mut stream)?;
    let packing = Packing::of(&head);
    let mut stream: Box<dyn Read + Send> = Box::new(io::Cursor::new(head.clone()).chain(stream));
    let mut head = head;
    if let Some(packing) = packing {
        let packed = BufReader::with_capacity(BUFFER_BYTES, stream);
        stream = match packing {
            Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            Packing::Zstd => Box::new(Zstd { packed, frame: FrameDecoder::new(), is_within: false }),
        };
        head = read_head(&mut stream)
            .map_err(|error| ReadError::new("archive", format!("cannot unpack it: {error}")))?;
        stream = Box::new(io::Cursor::new(head.clone()).chain(stream));
    }
    if is_tar(&head) {
        return Ok(Opened::Archive(Flow::of_stream(stream)));
    }
    Ok(Opened::Stream(stream))
}

pub(super) fn no_archive() -> ReadError {
    ReadError::new("archive", "not a tar archive, though its name says so")
}

fn read_head(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(BLOCK_BYTES);
    reader.take(BLOCK_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

pub(super) fn is_named_archive(path: &OsStr) -> bool {
    let name = path.to_string_lossy().to_ascii_lowercase();
    [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"].iter().any(|end| name.ends_with(end))
}

/// By the mark that every tar since 1988 has, or the checksum that those before it have too.
pub(super) fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
        || (head.len() == BLOCK_BYTES && {
            let header = tar::Header::from_byte_slice(head);
            let sum = head.iter().enumerate().map(|(i, &byte)| {
                // The checksum counts its own place as spaces.
                if (148..156).contains(&i) { u32::from(b' ') } else { u32::from(byte) }
            });
            header.cksum().is_ok_and(|checksum| checksum == sum.sum::<u32>())
        })
}

/// How a stream is packed.
#[derive(Clone, Copy)]
enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Unpacks all frames of a zstd stream; parallel packers write many.
///
/// Output lags behind input by a frame's window (2 MiB at zstd's default level), so that much of a
/// stream that is cut off is lost.
struct Zstd<R> {
    packed: R,
    frame: FrameDecoder,
    is_within: bool,
}

impl<R: BufRead> Zstd<R> {
    /// Goes on to the next frame with content, and tells whether there is one.
    fn enter(&mut self) -> io::Result<bool> {
        while !self.packed.fill_buf()?.is_empty() {
            match self.frame.init(&mut self.packed) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => io::copy(&mut self.packed.by_ref().take(length.into()), &mut io::sink())?,
                Err(error) => return Err(io::Error::other(error)),
            };
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_within && !self.enter()? {
                return Ok(0);
            }
            self.is_within = true;
            while self.frame.can_collect() == 0 && !self.frame.is_finished() {
                self.frame
                    .decode_blocks(&mut self.packed, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            let read = self.frame.read(bytes)?;
            if read > 0 || bytes.is_empty() {
                return Ok(read);
            }
            let written = self.frame.get_checksum_from_data();
            if written.is_some() && written != self.frame.get_calculated_checksum() {
                return Err(io::Error::other("the checksum does not match: the archive is damaged"));
            }
            self.is_within = false;
        }
    }
}
