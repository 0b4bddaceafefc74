//! Files that are whole but not in order → files that the image crate takes, where Pillow does as well.

use super::webp;
use flate2::Crc;
use std::borrow::Cow;

/// A PNG with the checksums of its data right and its end in place. Where data are missing, they still are.
pub fn mend_png(bytes: &[u8]) -> Cow<'_, [u8]> {
    /// Length 0, the name, and the checksum of that.
    const END: [u8; 12] = *b"\0\0\0\0IEND\xae\x42\x60\x82";
    let mut mended = Cow::Borrowed(bytes);
    let mut at = 8;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some((header, after)) = rest.split_first_chunk::<8>() else {
            // Only a file that ends between two chunks lacks nothing but its end.
            if rest.is_empty() && at > 8 {
                mended.to_mut().extend(END);
            }
            return mended;
        };
        let [a, b, c, d, name @ ..] = header;
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let Some((body, after)) = after.split_at_checked(length) else { return mended };
        let Some(checksum) = after.first_chunk::<4>() else { return mended };
        if name == b"IEND" {
            return mended;
        }
        let end = at + 8 + length;
        if name == b"IDAT" {
            let mut crc = Crc::new();
            crc.update(name);
            crc.update(body);
            let right = crc.sum().to_be_bytes();
            if right != *checksum
                && let Some(checksum) = mended.to_mut().get_mut(end..end + 4)
            {
                checksum.copy_from_slice(&right);
            }
        }
        at = end + 4;
    }
}

/// A WebP that does not announce alpha if its lossy picture has none.
pub fn mend_webp(bytes: &[u8]) -> Cow<'_, [u8]> {
    const FLAGS: usize = 20;
    const HAS_ALPHA: u8 = 0x10;
    let mut mended = Cow::Borrowed(bytes);
    if !matches!(bytes.get(12..FLAGS + 1), Some([b'V', b'P', b'8', b'X', .., flags]) if flags & HAS_ALPHA != 0)
    {
        return mended;
    }
    let decides = |name: &[u8; 4]| matches!(name, b"ALPH" | b"VP8L" | b"ANMF" | b"VP8 ");
    if webp::file_chunks(bytes).map(|(name, _)| name).find(decides) == Some(*b"VP8 ") {
        mended.to_mut()[FLAGS] &= !HAS_ALPHA;
    }
    mended
}

/// How a Radiance picture may begin, too.
pub const OLD_HDR_MARK: &[u8] = b"#?RGBE";

/// A Radiance picture that begins as the crate wants it.
pub fn mend_hdr(bytes: &[u8]) -> Cow<'_, [u8]> {
    match bytes.strip_prefix(OLD_HDR_MARK) {
        Some(rest) => Cow::Owned([b"#?RADIANCE", rest].concat()),
        None => Cow::Borrowed(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(name: &[u8; 4], body: &[u8], checksum: u32) -> Vec<u8> {
        [&(body.len() as u32).to_be_bytes()[..], name, body, &checksum.to_be_bytes()].concat()
    }

    #[test]
    fn a_png_gets_right_checksums_and_an_end() {
        let header = b"\x89PNG\r\n\x1a\n";
        let end = chunk(b"IEND", &[], 0xae42_6082);
        // The checksum of "IDAT" and "abc".
        let mut crc = Crc::new();
        crc.update(b"IDATabc");
        let right = [&header[..], &chunk(b"IDAT", b"abc", crc.sum()), &end].concat();
        let wrong = [&header[..], &chunk(b"IDAT", b"abc", !crc.sum()), &end].concat();
        assert_eq!(mend_png(&wrong), right);
        assert!(matches!(mend_png(&right), Cow::Borrowed(_)));
        assert_eq!(mend_png(&right[..right.len() - 12]), right);
        assert!(matches!(mend_png(&right[..right.len() - 13]), Cow::Borrowed(_)));
    }
}
