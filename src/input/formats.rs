//! A name, or the first bytes → whether a walk or a shard takes it for an image.

use std::ffi::OsStr;
use std::path::Path;

/// How many bytes [`is_image`] wants to see.
pub(super) const HEAD_BYTES: u64 = 32;

/// The formats clipclass reads, then common photo formats it does not: those are no less images,
/// and leaving them out without a word would look as if they had been classified.
const EXTENSIONS: [&str; 16] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff", // read
    "avif", "heic", "heif", "jxl", // refused by name
];

/// Whether the name ends like an image's.
pub(super) fn has_image_extension(name: impl AsRef<Path>) -> bool {
    let extension = name.as_ref().extension().and_then(OsStr::to_str);
    extension.is_some_and(|extension| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// Whether the name says nothing, so that the content must.
pub(super) fn has_no_extension(name: impl AsRef<Path>) -> bool {
    name.as_ref().extension().is_none()
}

/// Whether the name begins with a dot, as the system's and other programs' own files do.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") && name != "." && name != ".."
}

/// Whether the first bytes are an image's in one of the formats clipclass reads.
pub(super) fn is_image(head: &[u8]) -> bool {
    let bmp_header_bytes = [12, 40, 52, 56, 64, 108, 124];
    head.starts_with(b"\xff\xd8\xff")
        || head.starts_with(b"\x89PNG\r\n\x1a\n")
        || head.starts_with(b"GIF8")
        || head.starts_with(b"II*\0")
        || head.starts_with(b"MM\0*")
        || (head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP"))
        // Two letters alone would take any text that begins with them.
        || (head.starts_with(b"BM") && head.get(14).is_some_and(|bytes| bmp_header_bytes.contains(bytes))
            && head.get(15..18) == Some(&[0; 3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_by_its_extension_in_any_case() {
        for name in ["a.jpg", "b/A.JPEG", "x.tar.png", "photo.HEIC"] {
            assert!(has_image_extension(name), "{name}");
        }
        for name in ["jpg", ".jpg", "a.jpg.txt", "a.json", "a.tar", "a"] {
            assert!(!has_image_extension(name), "{name}");
        }
    }

    #[test]
    fn without_an_extension_the_first_bytes_decide() {
        assert!(is_image(b"\xff\xd8\xff\xe0"));
        assert!(is_image(b"RIFF\x10\0\0\0WEBPVP8 "));
        assert!(is_image(b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"));
        for text in
            [&b""[..], b"BM", b"BMW drives off into the sunset", b"RIFF\x10\0\0\0WAVEfmt ", b"\xff\xd8"]
        {
            assert!(!is_image(text), "{text:?}");
        }
    }
}
