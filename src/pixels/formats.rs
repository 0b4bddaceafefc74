//! A name, or a file's first bytes → what the file is, for `input`, which has to choose, and for
//! `pixels`, which has to decode or to say why it does not.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

/// How many bytes [`Content::of`] wants to see to know every picture; a drawing may take more.
pub const HEAD_BYTES: usize = 64;

/// What a file is by its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// HEIC or AVIF.
    Heif,
    JpegXl,
    /// A picture in one of the other formats that clipclass reads.
    Picture,
    /// Something known, and no picture that clipclass reads.
    Foreign(Foreign),
    /// A picture of a format that has no mark, or none at all.
    Unknown,
}

/// What clipclass does not read: what it is, and what helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    what: &'static str,
    remedy: &'static str,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}, which clipclass does not read; {}", self.what, self.remedy)
    }
}

const fn drawing(what: &'static str) -> Foreign {
    Foreign { what, remedy: "render it to PNG first" }
}

/// A camera raw of some kind.
pub const fn raw(what: &'static str) -> Foreign {
    Foreign { what, remedy: "develop it to JPEG or TIFF first" }
}

const fn film(what: &'static str) -> Foreign {
    Foreign { what, remedy: "extract its frames first, with ffmpeg for example" }
}

const fn unread(what: &'static str) -> Foreign {
    Foreign { what, remedy: "convert it to JPEG or PNG first" }
}

const fn archive(what: &'static str) -> Foreign {
    Foreign { what, remedy: "unpack it first, or pack the images with tar" }
}

impl Content {
    /// Looks at the first bytes of a file, [`HEAD_BYTES`] of them or more.
    pub fn of(head: &[u8]) -> Self {
        if is_picture(head) {
            return Self::Picture;
        }
        if head.starts_with(b"\xff\x0a") || head.starts_with(b"\0\0\0\x0cJXL \r\n\x87\n") {
            return Self::JpegXl;
        }
        if head.get(4..8) == Some(b"ftyp") {
            return of_brands(head);
        }
        foreign(head).map_or(Self::Unknown, Self::Foreign)
    }

    /// Whether it is a picture that clipclass reads.
    pub fn is_image(self) -> bool {
        matches!(self, Self::Heif | Self::JpegXl | Self::Picture)
    }
}

fn is_picture(head: &[u8]) -> bool {
    const MARKS: [&[u8]; 16] = [
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF87a",
        b"GIF89a",
        // TIFF and BigTIFF; Pillow, too, takes both orders of the second number.
        b"II*\0",
        b"MM\0*",
        b"II\0*",
        b"MM*\0",
        b"II+\0",
        b"MM\0+",
        b"qoif",
        b"DDS \x7c\0\0\0",
        b"farbfeld",
        b"#?RADIANCE",
        b"#?RGBE",
        b"\x76\x2f\x31\x01",
    ];
    const BMP_HEADER_BYTES: [u8; 8] = [12, 16, 40, 52, 56, 64, 108, 124];
    // Raws in the clothing of TIFF, as far as their first bytes tell.
    let is_raw = head.get(8..10) == Some(b"CR") && head.starts_with(b"II*\0");
    (MARKS.iter().any(|mark| head.starts_with(mark)) && !is_raw)
        || (head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP"))
        // Two letters alone would take any text that begins with them.
        || (head.starts_with(b"BM")
            && head.get(14).is_some_and(|bytes| BMP_HEADER_BYTES.contains(bytes))
            && head.get(15..18) == Some(&[0; 3]))
        || matches!(head, [b'P', b'1'..=b'6', b'\t'..=b'\r' | b' ', b'\t'..=b'\r' | b' ' | b'#' | b'0'..=b'9', ..])
        || head.starts_with(b"P7\n")
        // An icon or a cursor: how many pictures, and of the first one a byte that is always zero.
        || matches!(head, [0, 0, 1 | 2, 0, 1..=255, 0, _, _, _, 0, ..])
}

/// What the brands of an ISO base media file say: the first one, and if that says nothing, the others.
fn of_brands(head: &[u8]) -> Content {
    const STILLS: [&[u8; 4]; 15] = [
        b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1",
        b"mif2", b"mif3", b"msf1", b"miaf",
    ];
    let is_still = |brand: &[u8]| STILLS.iter().any(|still| *still == brand);
    let length = head.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    let others = head.get(16..length.min(head.len())).unwrap_or_default();
    match head.get(8..12) {
        Some(brand) if is_still(brand) => Content::Heif,
        Some(b"crx ") => Content::Foreign(raw("a camera raw (CR3)")),
        Some(b"qt  ") => Content::Foreign(film("a film (QuickTime)")),
        Some(b"jp2 " | b"jpx " | b"jpm ") => Content::Foreign(unread("a JPEG 2000 picture")),
        _ if others.chunks_exact(4).any(is_still) => Content::Heif,
        _ => Content::Foreign(film("a film (MP4)")),
    }
}

fn foreign(head: &[u8]) -> Option<Foreign> {
    const MARKS: [(&[u8], Foreign); 29] = [
        (b"%PDF-", Foreign { what: "a PDF document", remedy: "extract or render its pictures first" }),
        (b"%!PS", drawing("a PostScript drawing")),
        (b"\xc5\xd0\xd3\xc6", drawing("a PostScript drawing")),
        (b"8BPS", unread("a Photoshop document")),
        (b"gimp xcf", unread("a GIMP picture")),
        (b"\0\0\0\x0cjP  \r\n\x87\n", unread("a JPEG 2000 picture")),
        (b"\xff\x4f\xff\x51", unread("a JPEG 2000 picture")),
        (b"II\xbc", unread("a JPEG XR picture")),
        (b"PF\n", unread("a PNM picture of floats (PFM)")),
        (b"Pf\n", unread("a PNM picture of floats (PFM)")),
        (b"P7 332", unread("a thumbnail of XV")),
        (b"FLIF", unread("a FLIF picture")),
        (b"BPG\xfb", unread("a BPG picture")),
        (b"AT&TFORM", unread("a DjVu document")),
        (b"II*\0", raw("a camera raw (CR2)")),
        (b"II\x1a\0\0\0HEAPCCDR", raw("a camera raw (CRW)")),
        (b"FUJIFILMCCD-RAW", raw("a camera raw (RAF)")),
        (b"IIRO", raw("a camera raw (ORF)")),
        (b"IIRS", raw("a camera raw (ORF)")),
        (b"MMOR", raw("a camera raw (ORF)")),
        (b"IIU\0", raw("a camera raw (RW2)")),
        (b"FOVb", raw("a camera raw (X3F)")),
        (b"\0MRM", raw("a camera raw (MRW)")),
        (b"\x1aE\xdf\xa3", film("a film (Matroska or WebM)")),
        (b"\0\0\x01\xba", film("a film (MPEG)")),
        (b"\0\0\x01\xb3", film("a film (MPEG)")),
        (b"FLV\x01", film("a film (Flash)")),
        (b"PK\x03\x04", archive("a ZIP archive")),
        (b"7z\xbc\xaf\x27\x1c", archive("a 7-Zip archive")),
    ];
    if let Some((_, found)) = MARKS.iter().find(|(mark, _)| head.starts_with(mark)) {
        return Some(*found);
    }
    match (head.get(..4), head.get(4..8), head.get(8..12)) {
        (Some(b"RIFF"), _, Some(b"AVI ")) => return Some(film("a film (AVI)")),
        // Older QuickTime says only what comes first.
        (_, Some(b"moov" | b"mdat" | b"wide" | b"pnot"), _) => return Some(film("a film (QuickTime)")),
        _ => {}
    }
    of_markup(head)
}

/// What a text in angle brackets is. Before a drawing there may be declarations and comments.
fn of_markup(head: &[u8]) -> Option<Foreign> {
    const LOOKED_AT_BYTES: usize = 4096;
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    if !text.starts_with(b"<") {
        return None;
    }
    let text = text.get(..LOOKED_AT_BYTES).unwrap_or(text).to_ascii_lowercase();
    let contains = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
    if contains(b"<svg") {
        Some(drawing("an SVG drawing"))
    } else if contains(b"<html") || text.starts_with(b"<!doctype html") {
        Some(Foreign { what: "a web page", remedy: "save the picture that it shows, not the page" })
    } else {
        None
    }
}

/// What a file's name says about its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameSays {
    /// It ends like an image's.
    Image,
    /// It ends like that of something else that is known.
    Other,
    /// Nothing, so that the content must.
    Nothing,
}

/// What clipclass reads, and after it what it does not read: that is no less an image, and leaving it out
/// without a word would look as if it had been classified.
const IMAGES: &[&str] = &[
    "jpg", "jpeg", "jpe", "jfif", "jif", "mpo", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff",
    "heic", "heif", "hif", "heics", "heifs", "avif", "avifs", "jxl", "pbm", "pgm", "ppm", "pnm", "pam",
    "tga", "icb", "vda", "vst", "ico", "cur", "qoi", "dds", "ff", "hdr", "exr", "pfm", "jp2", "j2k", "jpf",
    "jpx",
];

/// What lies beside images and is none that clipclass reads.
const OTHERS: &[&str] = &[
    // Texts and tables.
    "txt",
    "md",
    "rst",
    "log",
    "json",
    "jsonl",
    "ndjson",
    "csv",
    "tsv",
    "xml",
    "yaml",
    "yml",
    "toml",
    "ini",
    "cfg",
    "conf",
    "html",
    "htm",
    "mht",
    "mhtml",
    "css",
    "tex",
    "srt",
    "vtt",
    "cls",
    "lst",
    "url",
    "xmp",
    "aae",
    "pp3",
    "dop",
    "sha256",
    "md5",
    "sfv",
    // Programs and their sources.
    "py",
    "pyc",
    "ipynb",
    "sh",
    "bat",
    "ps1",
    "js",
    "ts",
    "rs",
    "go",
    "c",
    "h",
    "cc",
    "cpp",
    "hpp",
    "java",
    "rb",
    "php",
    "pl",
    "lua",
    "exe",
    "dll",
    "so",
    "dylib",
    "o",
    "a",
    "class",
    "jar",
    "apk",
    "deb",
    "rpm",
    // Documents, drawings and fonts.
    "pdf",
    "ps",
    "eps",
    "ai",
    "svg",
    "svgz",
    "psd",
    "psb",
    "xcf",
    "kra",
    "cdr",
    "indd",
    "djvu",
    "doc",
    "docx",
    "odt",
    "rtf",
    "xls",
    "xlsx",
    "ods",
    "ppt",
    "pptx",
    "odp",
    "epub",
    "ttf",
    "otf",
    "woff",
    "woff2",
    // Archives.
    "tar",
    "tgz",
    "gz",
    "bz2",
    "xz",
    "zst",
    "lz4",
    "zip",
    "7z",
    "rar",
    "iso",
    "dmg",
    // Films and sound.
    "mp4",
    "m4v",
    "mov",
    "qt",
    "mkv",
    "webm",
    "avi",
    "wmv",
    "flv",
    "mpg",
    "mpeg",
    "mts",
    "m2ts",
    "3gp",
    "ogv",
    "mp3",
    "m4a",
    "aac",
    "wav",
    "flac",
    "ogg",
    "oga",
    "opus",
    "wma",
    "aif",
    "aiff",
    "mid",
    // Camera raws, and the small pictures beside films.
    "cr2",
    "cr3",
    "crw",
    "nef",
    "nrw",
    "arw",
    "srf",
    "sr2",
    "dng",
    "raf",
    "orf",
    "rw2",
    "rwl",
    "pef",
    "srw",
    "x3f",
    "mrw",
    "3fr",
    "fff",
    "iiq",
    "erf",
    "kdc",
    "dcr",
    "mef",
    "mos",
    "raw",
    "thm",
    // Data and weights.
    "npy",
    "npz",
    "mat",
    "h5",
    "hdf5",
    "parquet",
    "arrow",
    "feather",
    "tfrecord",
    "idx",
    "pkl",
    "pickle",
    "pt",
    "pth",
    "ckpt",
    "safetensors",
    "onnx",
    "bin",
    "db",
    "sqlite",
    "sqlite3",
    "lmdb",
    "mdb",
    "lock",
];

impl NameSays {
    /// Looks at the ending of a name, in any case.
    pub fn of(name: impl AsRef<Path>) -> Self {
        let Some(extension) = name.as_ref().extension() else { return Self::Nothing };
        let is_in = |list: &[&str]| list.iter().any(|known| extension.eq_ignore_ascii_case(known));
        if is_in(IMAGES) {
            Self::Image
        } else if is_in(OTHERS) {
            Self::Other
        } else {
            Self::Nothing
        }
    }
}

/// Whether the name begins with a dot, as the system's and other programs' own files do.
pub fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_by_its_ending_in_any_case() {
        for name in
            ["a.jpg", "b/A.JPEG", "x.tar.png", "photo.HEIC", "1.hif", "3d.mpo", "a.avif", "a.JXL", "a.jp2"]
        {
            assert_eq!(NameSays::of(name), NameSays::Image, "{name}");
        }
        for name in ["a.jpg.txt", "a.json", "a.tar", "a.CR2", "a.svg", "clip.MOV"] {
            assert_eq!(NameSays::of(name), NameSays::Other, "{name}");
        }
        for name in ["jpg", ".jpg", "a", "a.jpg_large", "x.jpg?w=200", "a.part"] {
            assert_eq!(NameSays::of(name), NameSays::Nothing, "{name}");
        }
    }

    #[test]
    fn a_picture_is_known_by_its_first_bytes() {
        for head in [
            &b"\xff\xd8\xff\xe0"[..],
            b"RIFF\x10\0\0\0WEBPVP8 ",
            b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0",
            b"II+\0\x08\0",
            b"P6\n4 4\n255\n",
            b"P7\nWIDTH 4\n",
            b"\0\0\x01\0\x02\0\x10\x10\0\0",
            b"\0\0\x02\0\x01\0\x20\x20\0\0",
            b"qoif\0\0\0\x04",
        ] {
            assert_eq!(Content::of(head), Content::Picture, "{}", head.escape_ascii());
        }
        assert_eq!(Content::of(b"\xff\x0a\xfa"), Content::JpegXl);
        for text in [
            &b""[..],
            b"BM",
            b"BMW drives off into the sunset",
            b"RIFF\x10\0\0\0WAVEfmt ",
            b"\xff\xd8",
            b"PAL",
            b"P1 is the first of six",
            b"DDS is a format",
            b"\0\0\x01\0",
            // A TGA, which has no mark.
            b"\0\0\x02\0\0\0\0\0\0\0\0\0\x04\0\x04\0\x18\0",
            b"<p>text</p>",
        ] {
            assert_eq!(Content::of(text), Content::Unknown, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn brands_tell_pictures_from_films() {
        let of = |brands: &[u8]| {
            let length = 8 + brands.len() as u32;
            Content::of(&[&length.to_be_bytes()[..], b"ftyp", brands, b"\0\0\0\x08mdat"].concat())
        };
        for still in
            [&b"heic\0\0\0\0mif1heic"[..], b"avif\0\0\0\0", b"mif1\0\0\0\0avif", b"XYZ \0\0\0\0miafheic"]
        {
            assert_eq!(of(still), Content::Heif, "{}", still.escape_ascii());
        }
        for other in [&b"isom\0\0\x02\0isomavc1mp41"[..], b"qt  \0\0\0\0", b"crx \0\0\0\x01crx isom"] {
            assert!(matches!(of(other), Content::Foreign(_)), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn what_is_not_read_is_called_by_its_name() {
        for (head, what) in [
            (&b"<?xml version=\"1.0\"?>\n<!-- drawn -->\n<svg xmlns="[..], "an SVG drawing"),
            (b"\xef\xbb\xbf <SVG>", "an SVG drawing"),
            (b"<!DOCTYPE html><title>404</title>", "a web page"),
            (b"%PDF-1.7", "a PDF document"),
            (b"Pf\n4 4\n-1.0\n", "a PNM picture of floats"),
            (b"II*\0\x10\0\0\0CR\x02\0", "a camera raw (CR2)"),
            (b"\0\0\0\x14ftypqt  \0\0\0\0", "a film (QuickTime)"),
            (b"RIFF\x10\0\0\0AVI LIST", "a film (AVI)"),
            (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
        ] {
            match Content::of(head) {
                Content::Foreign(foreign) => assert!(foreign.to_string().starts_with(what), "{foreign}"),
                other => panic!("{other:?} instead of {what}"),
            }
        }
    }
}
