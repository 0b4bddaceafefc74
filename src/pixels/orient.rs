//! Which way up a picture is, and turning it: wherever Pillow's `ImageOps.exif_transpose` finds it.
//!
//! That is Exif in a segment or chunk of its own, as cameras write it; in a text chunk of PNG, as
//! ImageMagick writes it; and, where Exif does not say, XMP. In a TIFF it is the file's own tag.

use super::decode::{APP1, SOS, Segments, TiffDirectory};
use flate2::read::ZlibDecoder;
use image::metadata::Orientation;
use image::{ImageFormat, RgbImage};
use rayon::prelude::*;
use std::io::Read;

/// The tag that says it.
const ORIENTATION: u16 = 0x0112;
/// The tag of XMP in a TIFF.
const XMP: u16 = 700;
/// The most bytes of a compressed text that are looked at.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// What a file says about its picture.
#[derive(Debug, Clone, Default, PartialEq)]
struct Metadata {
    exif: Option<Vec<u8>>,
    xmp: Option<Vec<u8>>,
}

/// How the picture in a file has to be turned.
pub fn orientation(bytes: &[u8], format: ImageFormat) -> Orientation {
    let metadata = match format {
        ImageFormat::Jpeg => in_jpeg(bytes),
        ImageFormat::Png => in_png(bytes),
        ImageFormat::WebP => in_webp(bytes),
        ImageFormat::Tiff => in_tiff(bytes),
        _ => Metadata::default(),
    };
    upright(&metadata)
}

/// How a picture has to be turned that has nothing but Exif beside it.
pub fn exif_orientation(exif: &[u8]) -> Orientation {
    upright(&Metadata { exif: Some(exif.to_vec()), xmp: None })
}

fn upright(metadata: &Metadata) -> Orientation {
    let in_exif = metadata.exif.as_deref().and_then(|exif| tag_value(without_prefixes(exif), ORIENTATION));
    let code = in_exif.or_else(|| metadata.xmp.as_deref().and_then(xmp_orientation));
    let code = code.and_then(|code| u8::try_from(code).ok());
    code.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

/// Segments up to the picture. Exif that goes on in a further segment is put together.
fn in_jpeg(bytes: &[u8]) -> Metadata {
    let mut metadata = Metadata::default();
    let Ok(mut segments) = Segments::new(bytes) else { return metadata };
    while let Ok(Some(segment)) = segments.next() {
        match segment.marker {
            SOS => break,
            APP1 => {
                if let Some(exif) = segment.body.strip_prefix(b"Exif\0\0") {
                    metadata.exif.get_or_insert_default().extend_from_slice(exif);
                } else if let Some(xmp) = segment.body.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
                    metadata.xmp = Some(xmp.to_vec());
                }
            }
            _ => {}
        }
    }
    metadata
}

/// Chunks before and after the picture; the last one counts.
fn in_png(bytes: &[u8]) -> Metadata {
    let (mut metadata, mut profile) = (Metadata::default(), None);
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, kind @ ..] = *header;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let Some((body, after)) = after.split_at_checked(length) else { break };
        match &kind {
            b"eXIf" => metadata.exif = Some(body.to_vec()),
            b"tEXt" | b"zTXt" | b"iTXt" => match png_text(&kind, body) {
                Some((b"XML:com.adobe.xmp", text)) => metadata.xmp = Some(text),
                Some((b"Raw profile type exif", text)) => profile = raw_profile(&text).or(profile),
                _ => {}
            },
            b"IEND" => break,
            _ => {}
        }
        // A checksum is last.
        rest = after.get(4..).unwrap_or_default();
    }
    metadata.exif = metadata.exif.or(profile);
    metadata
}

/// The keyword and the text of a text chunk.
fn png_text<'a>(kind: &[u8; 4], body: &'a [u8]) -> Option<(&'a [u8], Vec<u8>)> {
    let (keyword, rest) = split_at_zero(body)?;
    let (is_compressed, text) = match (kind, rest) {
        (b"tEXt", text) => (false, text),
        (b"zTXt", [0, text @ ..]) => (true, text),
        (b"iTXt", [compressed, _, rest @ ..]) => {
            let (_language, rest) = split_at_zero(rest)?;
            let (_translated, text) = split_at_zero(rest)?;
            (*compressed != 0, text)
        }
        _ => return None,
    };
    if !is_compressed {
        return Some((keyword, text.to_vec()));
    }
    let mut plain = Vec::new();
    ZlibDecoder::new(text).take(MAX_TEXT_BYTES).read_to_end(&mut plain).ok()?;
    Some((keyword, plain))
}

fn split_at_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let zero = bytes.iter().position(|byte| *byte == 0)?;
    Some((bytes.get(..zero)?, bytes.get(zero + 1..)?))
}

/// Bytes in hexadecimal, after an empty line, a name and a length.
fn raw_profile(text: &[u8]) -> Option<Vec<u8>> {
    let lines = text.split(|byte| *byte == b'\n').skip(3);
    let digits = lines.flatten().filter(|byte| !byte.is_ascii_whitespace());
    let digits = digits.map(|digit| char::from(*digit).to_digit(16)).collect::<Option<Vec<_>>>()?;
    let (pairs, excess) = digits.as_chunks();
    excess.is_empty().then(|| pairs.iter().map(|[high, low]| (high << 4 | low) as u8).collect())
}

/// Chunks that the header announces; others do not count.
fn in_webp(bytes: &[u8]) -> Metadata {
    const HAS_XMP: u8 = 4;
    const HAS_EXIF: u8 = 8;
    let (mut metadata, mut flags) = (Metadata::default(), 0);
    let mut rest = bytes.get(12..).unwrap_or_default();
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let [kind @ .., a, b, c, d] = *header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let Some((body, after)) = after.split_at_checked(length) else { break };
        match &kind {
            b"VP8X" => flags = body.first().copied().unwrap_or_default(),
            b"EXIF" if flags & HAS_EXIF != 0 && metadata.exif.is_none() => {
                metadata.exif = Some(body.to_vec())
            }
            b"XMP " if flags & HAS_XMP != 0 && metadata.xmp.is_none() => metadata.xmp = Some(body.to_vec()),
            _ => {}
        }
        rest = after.get(length % 2..).unwrap_or_default();
    }
    metadata
}

/// A TIFF is what Exif is made of.
fn in_tiff(bytes: &[u8]) -> Metadata {
    let xmp = TiffDirectory::first(bytes).and_then(|directory| directory.values(XMP));
    let exif = tag_value(bytes, ORIENTATION).map(|_| bytes.to_vec());
    Metadata { exif, xmp: xmp.map(|values| values.bytes.to_vec()) }
}

/// Some programs write the prefix that belongs to JPEG everywhere, or twice.
fn without_prefixes(mut exif: &[u8]) -> &[u8] {
    while let Some(rest) = exif.strip_prefix(b"Exif\0\0") {
        exif = rest;
    }
    exif
}

/// The single whole number that a tag holds, of whatever size.
fn tag_value(tiff: &[u8], tag: u16) -> Option<u64> {
    let values = TiffDirectory::first(tiff)?.values(tag)?;
    if values.count() == 1 { values.whole(0) } else { None }
}

/// The first orientation in XMP, as an attribute or as an element.
fn xmp_orientation(xmp: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"tiff:Orientation";
    let begins = (0..xmp.len()).filter_map(|at| xmp.get(at..)?.strip_prefix(NAME));
    let mut digits = begins.filter_map(|rest| match rest {
        [b'=', b'"', digit @ b'0'..=b'9', ..] | [b'>', digit @ b'0'..=b'9', ..] => {
            Some(u64::from(digit - b'0'))
        }
        _ => None,
    });
    digits.next()
}

/// Turns a picture upright.
pub fn turn(picture: RgbImage, orientation: Orientation) -> RgbImage {
    use Orientation::*;
    // Whether rows and columns change places, and which of them then run backwards.
    let (transposed, backward_x, backward_y) = match orientation {
        NoTransforms => return picture,
        FlipHorizontal => (false, true, false),
        Rotate180 => (false, true, true),
        FlipVertical => (false, false, true),
        Rotate90FlipH => (true, false, false),
        Rotate90 => (true, true, false),
        Rotate270FlipH => (true, true, true),
        Rotate270 => (true, false, true),
    };
    let (from_width, from_height) = (picture.width() as usize, picture.height() as usize);
    let (width, height) = if transposed { (from_height, from_width) } else { (from_width, from_height) };
    let from = picture.as_raw();
    let mut turned = vec![0; from.len()];
    // Bands and, within them, tiles of this many pixels keep both sides in the cache.
    const TILE: usize = 32;
    turned.par_chunks_mut(width * 3 * TILE).enumerate().for_each(|(band, rows)| {
        for tile in (0..width).step_by(TILE) {
            for (y, row) in rows.chunks_exact_mut(width * 3).enumerate() {
                let y = band * TILE + y;
                let y = if backward_y { height - 1 - y } else { y };
                for x in tile..(tile + TILE).min(width) {
                    let from_x = if backward_x { width - 1 - x } else { x };
                    let at = if transposed { from_x * from_width + y } else { y * from_width + from_x };
                    row[x * 3..][..3].copy_from_slice(&from[at * 3..][..3]);
                }
            }
        }
    });
    RgbImage::from_raw(width as u32, height as u32, turned).expect("turning keeps the number of pixels")
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, Rgb};

    /// A directory with a single entry, in either order of bytes.
    fn exif(is_little: bool, kind: u16, count: u32, value: &[u8]) -> Vec<u8> {
        let short = |number: u16| if is_little { number.to_le_bytes() } else { number.to_be_bytes() };
        let long = |number: u32| if is_little { number.to_le_bytes() } else { number.to_be_bytes() };
        let mut bytes = if is_little { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
        bytes.extend(
            [&long(8)[..], &short(1), &short(0x112), &short(kind), &long(count), value, &[0; 4]].concat(),
        );
        bytes
    }

    fn jpeg(segments: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8];
        for (marker, body) in segments {
            bytes.extend([0xff, *marker]);
            bytes.extend((body.len() as u16 + 2).to_be_bytes());
            bytes.extend(*body);
        }
        bytes
    }

    fn png(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        for (kind, body) in chunks {
            bytes.extend((body.len() as u32).to_be_bytes());
            bytes.extend([&kind[..], body, &[0; 4]].concat());
        }
        bytes
    }

    fn webp(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut bytes = b"RIFF\0\0\0\0WEBP".to_vec();
        for (kind, body) in chunks {
            bytes.extend([&kind[..], &(body.len() as u32).to_le_bytes(), body].concat());
            bytes.extend(vec![0; body.len() % 2]);
        }
        bytes
    }

    fn code(bytes: &[u8], format: ImageFormat) -> u8 {
        orientation(bytes, format).to_exif()
    }

    #[test]
    fn all_orientations_are_turned_as_the_image_crate_turns_them() {
        let picture = RgbImage::from_fn(70, 33, |x, y| Rgb([x as u8, y as u8, 0]));
        for code in 1..=8 {
            let orientation = Orientation::from_exif(code).unwrap();
            let mut expected = DynamicImage::from(picture.clone());
            expected.apply_orientation(orientation);
            assert!(turn(picture.clone(), orientation) == expected.into_rgb8(), "{code}");
        }
    }

    #[test]
    fn an_orientation_may_be_a_whole_number_of_any_size_and_order() {
        for exif in [
            exif(true, 3, 1, &[6, 0, 0, 0]),
            exif(false, 3, 1, &[0, 6, 0, 0]),
            exif(true, 4, 1, &[6, 0, 0, 0]),
            exif(false, 4, 1, &[0, 0, 0, 6]),
            exif(true, 1, 1, &[6, 0, 0, 0]),
        ] {
            let body = [b"Exif\0\0", &exif[..]].concat();
            assert_eq!(code(&jpeg(&[(0xe1, &body)]), ImageFormat::Jpeg), 6, "{exif:?}");
        }
    }

    #[test]
    fn of_two_orientations_the_first_counts() {
        let entry = |code: u8| [0x12, 1, 3, 0, 1, 0, 0, 0, code, 0, 0, 0];
        let exif = [&b"II*\0\x08\0\0\0\x02\0"[..], &entry(3), &entry(6)].concat();
        assert_eq!(code(&exif, ImageFormat::Tiff), 3);
    }

    #[test]
    fn nonsense_turns_nothing() {
        for exif in
            [exif(true, 3, 1, &[9, 0, 0, 0]), exif(true, 3, 2, &[6, 0, 6, 0]), exif(true, 2, 1, b"6\0\0\0")]
        {
            for end in 0..=exif.len() {
                let body = [b"Exif\0\0", &exif[..end]].concat();
                assert_eq!(code(&jpeg(&[(0xe1, &body)]), ImageFormat::Jpeg), 1, "{exif:?} up to {end}");
            }
        }
    }

    #[test]
    fn the_first_exif_of_a_jpeg_counts_and_its_prefix_may_be_doubled() {
        let [three, six] = [3, 6].map(|code| [b"Exif\0\0", &exif(true, 3, 1, &[code, 0, 0, 0])[..]].concat());
        assert_eq!(code(&jpeg(&[(0xe1, &three), (0xe1, &six)]), ImageFormat::Jpeg), 3);
        let doubled = [b"Exif\0\0", &six[..]].concat();
        assert_eq!(code(&jpeg(&[(0xe1, &doubled)]), ImageFormat::Jpeg), 6);
    }

    #[test]
    fn xmp_counts_where_exif_does_not_say() {
        let three = [b"Exif\0\0", &exif(true, 3, 1, &[3, 0, 0, 0])[..]].concat();
        for xmp in [r#"<x tiff:Orientation="6"/>"#, "<tiff:Orientation>6</tiff:Orientation>"] {
            let segment = [b"http://ns.adobe.com/xap/1.0/\0", xmp.as_bytes()].concat();
            assert_eq!(code(&jpeg(&[(0xe1, &segment)]), ImageFormat::Jpeg), 6, "{xmp}");
            assert_eq!(code(&jpeg(&[(0xe1, &segment), (0xe1, &three)]), ImageFormat::Jpeg), 3, "{xmp}");
            let text = [b"XML:com.adobe.xmp\0\0\0\0\0", xmp.as_bytes()].concat();
            assert_eq!(code(&png(&[(b"iTXt", &text)]), ImageFormat::Png), 6, "{xmp}");
            assert_eq!(
                code(&webp(&[(b"VP8X", &[4]), (b"XMP ", xmp.as_bytes())]), ImageFormat::WebP),
                6,
                "{xmp}"
            );
        }
    }

    #[test]
    fn exif_of_a_png_may_stand_after_the_picture_or_in_a_text() {
        let exif = exif(true, 3, 1, &[6, 0, 0, 0]);
        let prefixed = [b"Exif\0\0", &exif[..]].concat();
        for exif in [&exif, &prefixed] {
            assert_eq!(code(&png(&[(b"IDAT", &[1, 2]), (b"eXIf", exif)]), ImageFormat::Png), 6);
            let hexadecimal: String = exif.iter().map(|byte| format!("{byte:02x}\n")).collect();
            let profile = format!("\nexif\n{:8}\n{hexadecimal}", exif.len());
            let text = format!("Raw profile type exif\0{profile}");
            assert_eq!(code(&png(&[(b"tEXt", text.as_bytes())]), ImageFormat::Png), 6);
        }
    }

    #[test]
    fn a_webp_says_in_its_header_that_it_has_exif() {
        let exif = [b"Exif\0\0", &exif(true, 3, 1, &[6, 0, 0, 0])[..]].concat();
        assert_eq!(code(&webp(&[(b"VP8X", &[8]), (b"EXIF", &exif)]), ImageFormat::WebP), 6);
        assert_eq!(code(&webp(&[(b"VP8X", &[0]), (b"EXIF", &exif)]), ImageFormat::WebP), 1);
    }

    #[test]
    fn a_tiff_is_turned_by_its_own_tag() {
        assert_eq!(code(&exif(false, 3, 1, &[0, 8, 0, 0]), ImageFormat::Tiff), 8);
        assert_eq!(code(&exif(true, 4, 1, &[8, 0, 0, 0]), ImageFormat::Tiff), 8);
    }
}
