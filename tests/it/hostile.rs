//! Files made to do harm: small, and asking for all the time and memory there is. Each must cost one
//! image, and say so.

use crate::world::{TREE, classify, records_of};
use serde_json::Value;
use std::fs;

/// What is expected of a file: a kind of failure, and a word that the message has.
type Expected = (&'static str, &'static str);

const MANY_PIXELS: Expected = ("limit", "178956970");
const MUCH_MEMORY: Expected = ("limit", "MiB of memory");

/// The records of files of these names and bytes, of one run that ends with `code`.
#[track_caller]
fn records<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>, code: i32) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let path = |(name, bytes): (&str, &[u8])| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let paths: Vec<_> = files.into_iter().map(path).collect();
    let mut arguments = vec!["--json", "--no-cache"];
    arguments.extend(paths.iter().map(String::as_str));
    records_of(&classify(&arguments), code)
}

/// Classifies files in one run and compares what is said of each.
#[track_caller]
fn assert_told(files: &[(&str, Vec<u8>, Expected)]) {
    let records = records(files.iter().map(|(name, bytes, _)| (*name, &bytes[..])), 1);
    assert_eq!(records.len(), files.len());
    let mut wrong = Vec::new();
    for ((name, _, (kind, words)), record) in files.iter().zip(records) {
        let error = &record["error"];
        if error["kind"] != *kind || !error["message"].as_str().unwrap_or_default().contains(words) {
            wrong.push(format!("{name}: {record} instead of {kind} with \"{words}\""));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Writes bytes over those at a place.
fn with(mut file: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

fn place_of(file: &[u8], name: &[u8]) -> usize {
    file.windows(name.len()).position(|window| window == name).unwrap()
}

/// A chunk of a PNG.
fn png_chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(name);
    crc.update(body);
    [&(body.len() as u32).to_be_bytes()[..], name, body, &crc.sum().to_be_bytes()].concat()
}

/// A chunk of a WebP.
fn webp_chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&name[..], &(body.len() as u32).to_le_bytes(), body].concat()
}

fn webp(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = [b"WEBP".to_vec(), chunks.concat()].concat();
    webp_chunk(b"RIFF", &body)
}

/// The begin of a lossy picture of 16,383 × 16,383 pixels.
const LARGE_VP8: [u8; 12] = [0x10, 2, 0, 0x9d, 1, 0x2a, 0xff, 0x3f, 0xff, 0x3f, 0, 0];

/// A lossless picture of 8 × 8 pixels with so many groups of codes, each of which takes ten bytes of the file
/// and more than 64 KiB of memory.
fn many_codes(groups: u64) -> Vec<u8> {
    // A code of one symbol, which is either told in eight bits or is 0.
    let single = |number: u64| (0b101 | number << 3, 11);
    let zero = (0b0001, 4);
    // No alpha, version 0, no transform; 2,048 colours are remembered. One group for each 4 × 4 pixels, all of
    // them the last one.
    let mut numbers = vec![(1 << 5 | 11 << 6, 10), (1, 5)];
    numbers.extend([single((groups - 1) & 0xff), single((groups - 1) >> 8), zero, zero, zero]);
    for _ in 0..groups {
        // 2,048 symbols have words of eleven bits, for which no bits are needed.
        numbers.extend([(11 << 1, 5), (0, 3 * 14), (1 | 1 << 3 | 5 << 4 | 2046 << 7, 3 + 1 + 3 + 12)]);
        numbers.extend([zero; 4]);
    }
    numbers.extend([(0, 64); 11]);
    lossless(&numbers)
}

/// A lossless picture of 8 × 8 pixels with these numbers, of so many bits each, after its size.
fn lossless(numbers: &[(u64, u32)]) -> Vec<u8> {
    let head = [(0x2f, 8), (7, 14), (7, 14)];
    let numbers = head.iter().chain(numbers);
    let bits: Vec<_> =
        numbers.flat_map(|(number, count)| (0..*count).map(move |bit| (number >> bit & 1) as u8)).collect();
    bits.chunks(8).map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | bit)).collect()
}

#[test]
fn a_lossless_webp_with_many_codes_is_refused_as_a_limit() {
    let codes = many_codes(65_536);
    // Alpha does not tell its size, which takes five bytes.
    let alpha = [&[1][..], &codes[5..]].concat();
    let with_alpha = webp(&[
        webp_chunk(b"VP8X", &[0x10, 0, 0, 0, 7, 0, 0, 7, 0, 0]),
        webp_chunk(b"ALPH", &[&alpha[..], &[0]].concat()[..alpha.len().next_multiple_of(2)]),
        webp_chunk(b"VP8 ", &[0x10, 2, 0, 0x9d, 1, 0x2a, 8, 0, 8, 0, 0, 0]),
    ]);
    assert_told(&[
        ("codes.webp", webp(&[webp_chunk(b"VP8L", &codes)]), MUCH_MEMORY),
        ("codes-of-alpha.webp", with_alpha, MUCH_MEMORY),
        ("codes-of-animation.webp", animation(b"VP8L", &codes), MUCH_MEMORY),
    ]);
    // As many as no program is known to write, and few enough.
    records([("fewer-codes.webp", &webp(&[webp_chunk(b"VP8L", &many_codes(3000))])[..])], 0);
}

/// A lossless picture of 8 × 8 pixels, green of one of two levels, each of which takes a bit.
fn two_levels(first: u64, second: u64) -> Vec<u8> {
    // No alpha, version 0, no transform, no colours remembered, one group.
    let mut numbers = vec![(0, 7), (0b111 | first << 3 | second << 11, 19)];
    numbers.extend([(0b0001, 4); 4]);
    numbers.extend([(0x0f0f_0f0f_ffff_0000, 64), (0, 64), (0, 64)]);
    lossless(&numbers)
}

#[test]
fn a_lossless_webp_whose_code_is_read_in_two_ways_is_refused() {
    let file = |first, second| webp(&[webp_chunk(b"VP8L", &two_levels(first, second))]);
    assert_told(&[
        ("disorder.webp", file(200, 100), ("decode", "in disorder")),
        ("twice.webp", file(100, 100), ("decode", "in disorder")),
    ]);
    records([("order.webp", &file(100, 200)[..])], 0);
}

#[test]
fn a_large_animation_is_refused_as_a_limit() {
    // Of 13,000 × 13,000 pixels, which take eleven bytes each without any picture.
    let side = 12_999_u32.to_le_bytes();
    let canvas = [&[2, 0, 0, 0][..], &side[..3], &side[..3]].concat();
    let small = animation(b"VP8L", &many_codes(1));
    let place = place_of(&small, b"VP8X") + 8;
    assert_told(&[("animation.webp", with(small, place, &canvas), MUCH_MEMORY)]);
}

/// An animation of 10 × 10 pixels with one picture.
fn animation(name: &[u8; 4], picture: &[u8]) -> Vec<u8> {
    let place = [[0; 6], [9, 0, 0, 9, 0, 0]].concat();
    let frame = [place, vec![100, 0, 0, 0], webp_chunk(name, picture)].concat();
    webp(&[
        webp_chunk(b"VP8X", &[2, 0, 0, 0, 9, 0, 0, 9, 0, 0]),
        webp_chunk(b"ANIM", &[0; 6]),
        webp_chunk(b"ANMF", &frame),
    ])
}

#[test]
fn headers_that_promise_too_many_pixels_are_refused_as_limits() {
    let side = 60_000_u32;
    let bmp = with(with(fixture("images/bird.bmp"), 18, &side.to_le_bytes()), 22, &side.to_le_bytes());
    let gif = [b"GIF89a", &[0xff; 4][..], &[0; 3], b",", &[0; 4], &[0xff; 4], &[0, 8, 0]].concat();
    let ihdr = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let png = [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        png_chunk(b"IHDR", &ihdr),
        png_chunk(b"IDAT", &[]),
        png_chunk(b"IEND", &[]),
    ];
    // More pixels than the screen has, which the file says, too.
    let exr = fixture("kinds/exr-half.exr");
    let right = place_of(&exr, b"dataWindow") + "dataWindow\0box2i\0".len() + 4 + 8;
    let exr = with(exr, right, &i32::MAX.to_le_bytes());
    let jpeg = fixture("images/tree.jpg");
    let frame = place_of(&jpeg, &[0xff, 0xc0]);
    let heif = |name: &str| {
        let mut file = fixture(name);
        let places: Vec<_> = (0..file.len()).filter(|at| file[*at..].starts_with(b"ispe")).collect();
        for at in places {
            file = with(file, at + 8, &[side.to_be_bytes(), side.to_be_bytes()].concat());
        }
        file
    };
    // 30 bits of height and width, then a header of usual things.
    let jxl_bits =
        0b11 << 1 | (u128::from(side) - 1) << 3 | 0b11 << 36 | (u128::from(side) - 1) << 38 | 3 << 68;
    let jxl = [&[0xff, 0x0a][..], &jxl_bits.to_le_bytes(), &[0; 16]].concat();
    assert_told(&[
        ("bomb.bmp", bmp, MANY_PIXELS),
        ("bomb.gif", gif, MANY_PIXELS),
        ("bomb.png", png.concat(), MANY_PIXELS),
        ("bomb.exr", exr, MANY_PIXELS),
        ("bomb.jpg", with(jpeg, frame + 5, &[0xff; 4]), MANY_PIXELS),
        ("bomb.webp", webp(&[webp_chunk(b"VP8 ", &LARGE_VP8)]), MANY_PIXELS),
        ("bomb.heic", heif("containers/420.heic"), MANY_PIXELS),
        ("bomb.avif", heif("containers/420.avif"), MANY_PIXELS),
        ("bomb.jxl", jxl, MANY_PIXELS),
        ("bomb.tif", Tiff::new(side, side).file(), MANY_PIXELS),
    ]);
}

/// Pictures that simple formats announce in a header, of which not a pixel follows.
fn bare_headers(width: u32, height: u32) -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: String| text.into_bytes();
    let sides = |to_bytes: fn(u32) -> [u8; 4]| [to_bytes(width), to_bytes(height)].concat();
    let short = |side: u32| u16::try_from(side).unwrap().to_le_bytes();
    let tga = |kind: u8| {
        [&[0, 0, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &short(width), &short(height), &[24, 0]].concat()
    };
    let dds = with(fixture("kinds/dds-RGBA-DXT1.dds"), 12, &height.to_le_bytes());
    let dds = with(dds, 16, &width.to_le_bytes());
    let pam =
        format!("P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH 4\nMAXVAL 65535\nTUPLTYPE RGB_ALPHA\nENDHDR\n");
    vec![
        ("bare.pbm", text(format!("P4 {width} {height}\n"))),
        ("bare-text.pbm", text(format!("P1 {width} {height}\n"))),
        ("bare-text.ppm", text(format!("P3 {width} {height} 255\n"))),
        ("bare.ppm", text(format!("P6 {width} {height} 255\n"))),
        ("bare.pam", text(pam)),
        ("bare.tga", tga(2)),
        ("bare-packed.tga", tga(10)),
        ("bare.ico", icon(1, &[bare_png(width, height)])),
        ("bare-bitmap.ico", icon(1, &[bare_bitmap(width, height)])),
        ("bare.cur", icon(2, &[bare_png(width, height)])),
        ("bare-bitmap.cur", icon(2, &[bare_bitmap(width, height)])),
        ("bare.qoi", [b"qoif", &sides(u32::to_be_bytes)[..], &[4, 0]].concat()),
        ("bare.dds", dds[..128].to_vec()),
        ("bare.hdr", text(format!("#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n"))),
        ("bare.ff", [b"farbfeld", &sides(u32::to_be_bytes)[..]].concat()),
    ]
}

/// An icon (1) or a cursor (2) of these pictures, all of which it says to be of 32 × 32 pixels.
fn icon(kind: u8, pictures: &[Vec<u8>]) -> Vec<u8> {
    let mut at = 6 + 16 * pictures.len() as u32;
    let mut file = [&[0, 0, kind, 0][..], &(pictures.len() as u16).to_le_bytes()].concat();
    for picture in pictures {
        let length = picture.len() as u32;
        file.extend([&[32, 32, 0, 0, 1, 0, 32, 0][..], &length.to_le_bytes(), &at.to_le_bytes()].concat());
        at += length;
    }
    [file, pictures.concat()].concat()
}

fn bare_png(width: u32, height: u32) -> Vec<u8> {
    let ihdr = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 6, 0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n".to_vec(), png_chunk(b"IHDR", &ihdr), png_chunk(b"IDAT", &[])].concat()
}

/// The header of a BMP as icons have it, twice as high because of its mask.
fn bare_bitmap(width: u32, height: u32) -> Vec<u8> {
    let fields = [40, width, 2 * height, 1 | 32 << 16, 0, 0, 0, 0, 0, 0];
    fields.iter().flat_map(|field: &u32| field.to_le_bytes()).collect()
}

#[test]
fn bare_headers_of_simple_formats_cost_one_image_each() {
    let too_many = bare_headers(20_000, 10_000).into_iter().map(|(name, file)| (name, file, MANY_PIXELS));
    assert_told(&too_many.collect::<Vec<_>>());
    // As many as are allowed.
    let many = bare_headers(13_000, 13_000).into_iter().map(|(name, file)| {
        let expected = if name.ends_with("hdr") { MUCH_MEMORY } else { ("decode", "") };
        (name, file, expected)
    });
    assert_told(&many.collect::<Vec<_>>());
}

#[test]
fn icons_that_lead_into_themselves_or_share_a_picture_cost_no_more_than_one() {
    let entries_alone = [&[0, 0, 1, 0, 0xff, 0xff][..], &[0xff; 64]].concat();
    // Its picture is the icon itself, and lies behind its end.
    let itself = with(icon(1, &[vec![0; 64]]), 18, &[0; 4]);
    let behind = with(icon(1, &[vec![0; 64]]), 18, &[0xff; 4]);
    let nothing = [0, 0, 1, 0, 0, 0].to_vec();
    assert_told(&[
        ("entries.ico", entries_alone, ("decode", "damaged or cut short")),
        ("itself.ico", itself, ("decode", "cut short")),
        ("behind.ico", behind, ("decode", "damaged or cut short")),
        ("nothing.ico", nothing, ("decode", "damaged or cut short")),
    ]);
    // Each of 65,535 entries leads to the same picture.
    let one = fixture("kinds/ico-32.ico");
    let entry = with(one[6..22].to_vec(), 12, &(6 + 16 * 65_535_u32).to_le_bytes());
    let shared = [&[0, 0, 1, 0, 0xff, 0xff][..], &entry.repeat(65_535), &one[22..]].concat();
    let records = records([("one.ico", &one[..]), ("shared.ico", &shared)], 0);
    assert_eq!(records[0]["scores"], records[1]["scores"]);
}

#[test]
fn texts_without_an_end_are_refused() {
    let long =
        |begin: &str, repeated: &str| [begin.as_bytes(), &repeated.as_bytes().repeat(1 << 20)].concat();
    assert_told(&[
        ("width.pgm", long("P5 ", "1"), ("decode", "no meaning")),
        ("comment.pgm", long("P5 #", "1"), ("decode", "no meaning")),
        ("level.pgm", long("P2 1 1 255\n", "1"), ("decode", "no levels")),
        ("levels.ppm", long("P3 2000 2000 255\n", "1 "), ("decode", "end early")),
        ("comments.pbm", long("P1 9 9\n", "# no bits\n"), ("decode", "end early")),
        ("line.pam", long("P7\nWIDTH ", "1"), ("decode", "no meaning")),
        (
            "types.pam",
            long("P7\nWIDTH 1\nHEIGHT 1\nDEPTH 9\nMAXVAL 9\n", "TUPLTYPE A\n"),
            ("decode", "no meaning"),
        ),
        ("line.hdr", long("#?RADIANCE\n", "1"), ("limit", "more than a MiB")),
        ("attributes.hdr", long("#?RADIANCE\n", "=\n"), ("limit", "more than a MiB")),
    ]);
}

#[test]
fn what_a_file_says_of_itself_does_not_fill_the_record() {
    let kind = "A".repeat(1 << 20);
    let pam = format!("P7\nWIDTH 1\nHEIGHT 1\nDEPTH 9\nMAXVAL 9\nTUPLTYPE {kind}\nENDHDR\n");
    let records = records([("type.pam", pam.as_bytes())], 1);
    let message = records[0]["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("PAM with 9 samples") && message.len() < 200, "{} bytes", message.len());
}

#[test]
fn runs_that_multiply_each_other_are_refused() {
    // Each of them is 256 times as long as the one before.
    let header = b"#?RADIANCE\n\n-Y 1000 +X 100000\n\x80\x80\x80\x80";
    let runs = [&header[..], &[1, 1, 1, 0].repeat(20), &[1, 1, 1, 255].repeat(20)].concat();
    assert_told(&[("runs.hdr", runs, ("decode", ""))]);
}

/// An OpenEXR with another attribute, and its version changed.
fn exr_with(version: u8, name: &str, kind: &str, value: &[u8]) -> Vec<u8> {
    let file = with(fixture("kinds/exr-half.exr"), 5, &[version]);
    let length = (value.len() as u32).to_le_bytes();
    let attribute = [name.as_bytes(), b"\0", kind.as_bytes(), b"\0", &length, value].concat();
    [&file[..8], &attribute, &file[8..]].concat()
}

#[test]
fn openexrs_that_promise_much_are_refused() {
    const TILED: u8 = 2;
    const SEVERAL_PARTS: u8 = 0x10;
    let sized = |file: Vec<u8>, side: i32| {
        let places =
            ["dataWindow", "displayWindow"].map(|name| place_of(&file, name.as_bytes()) + name.len());
        places.iter().fold(file, |file, at| {
            with(file, at + "\0box2i\0".len() + 4 + 8, &[(side - 1).to_le_bytes(); 2].concat())
        })
    };
    let tiles = |side: u32| [&side.to_le_bytes()[..], &side.to_le_bytes(), &[0]].concat();
    let small_tiles = sized(exr_with(TILED, "tiles", "tiledesc", &tiles(1)), 8000);
    let large_tile = exr_with(TILED, "tiles", "tiledesc", &tiles(u32::MAX));
    let chunks = exr_with(SEVERAL_PARTS, "chunkCount", "int", &i32::MAX.to_le_bytes());
    let empty = |name: u32| [format!("{name}\0x\0").as_bytes(), &[0; 4]].concat();
    let half = fixture("kinds/exr-half.exr");
    let attributes: Vec<u8> = (0..30_000).flat_map(empty).collect();
    let many_attributes = [&half[..8], &attributes, &half[8..]].concat();
    let long = fixture("kinds/exr-half.exr");
    let at = place_of(&long, b"chlist") + "chlist\0".len();
    assert_told(&[
        ("many-tiles.exr", small_tiles, ("decode", "")),
        ("large-tile.exr", large_tile, MANY_PIXELS),
        ("chunks.exr", chunks, ("decode", "")),
        ("lines.exr", sized(fixture("kinds/exr-half.exr"), 8000), ("decode", "")),
        ("much.exr", sized(fixture("kinds/exr-half.exr"), 13_000), MUCH_MEMORY),
        ("negative.exr", sized(fixture("kinds/exr-half.exr"), i32::MIN + 1), ("decode", "no pixels")),
        ("attributes.exr", many_attributes, ("limit", "attributes")),
        ("long.exr", with(long, at, &[0xff; 4]), ("decode", "cannot be read")),
    ]);
}

#[test]
fn parts_of_another_size_than_their_picture_are_refused() {
    let heic = fixture("containers/420.heic");
    let at = place_of(&heic, b"ispe");
    let smaller = with(heic, at + 8, &[0, 0, 0, 1, 0, 0, 0, 1]);
    let avif = fixture("containers/420.avif");
    let at = place_of(&avif, b"ispe");
    let small_avif = with(avif, at + 8, &[0, 0, 0, 1, 0, 0, 0, 1]);
    assert_told(&[
        ("large-frame.webp", animation(b"VP8 ", &LARGE_VP8), ("decode", "of another size")),
        ("larger-than-said.heic", smaller, ("decode", "where the file says 1 × 1")),
        ("larger-than-said.avif", small_avif, ("decode", "damaged")),
    ]);
}

#[test]
fn files_that_a_decoder_panics_at_cost_one_image_each_and_not_the_run() {
    let finds = fs::read_dir(format!("{}/fixtures/finds", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut paths: Vec<_> = finds.map(|find| find.unwrap().path().to_str().unwrap().to_owned()).collect();
    // Those that cannot unwind leave their thread behind, and are followed by others.
    paths.sort();
    paths.extend([paths[0].clone(), TREE.to_owned()]);
    let mut arguments = vec!["--json", "--no-cache"];
    arguments.extend(paths.iter().map(String::as_str));
    let records = records_of(&classify(&arguments), 1);
    assert_eq!(records.len(), paths.len());
    let (tree, finds) = records.split_last().unwrap();
    assert_eq!(tree["prediction"], "a tree");
    for record in finds {
        // Without checks of overflow some of these decoders find what is wrong, or go on.
        let is_decoded = !cfg!(debug_assertions) && record["error"].is_null();
        assert!(is_decoded || record["error"]["kind"] == "decode", "{record}");
    }
}

/// A box of HEIF.
fn boxed(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u32 + 8).to_be_bytes()[..], name, &body].concat()
}

/// A HEIF whose primary item is a grid of 255 × 255 times item 2, with so many bytes.
fn grid_of_one_tile(tile_bytes: u32) -> Vec<u8> {
    let full = |name, parts: &[&[u8]]| boxed(name, &[&[0; 4], &parts.concat()]);
    let (rows, columns) = (255_u16, 255_u16);
    let infe = |id: u8, kind: &[u8; 4]| boxed(b"infe", &[&[2, 0, 0, 0, 0, id, 0, 0], kind, &[0]]);
    let ispe = full(b"ispe", &[&[0, 0, 0, 64, 0, 0, 0, 64]]);
    let grid = [&[0, 0, rows as u8 - 1, columns as u8 - 1][..], &(columns * 50).to_be_bytes(), &[0x31, 0xce]];
    let references = rows * columns;
    let dimg = [&[0, 1][..], &references.to_be_bytes(), &[0, 2].repeat(references.into())].concat();
    let meta = |at: u32| {
        // Offsets and lengths of four bytes: two items with one extent each, the grid in `idat`.
        let mut places = vec![0x44, 0, 0, 2];
        places.extend([0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8]);
        places.extend([&[0, 2, 0, 0, 0, 0, 0, 1][..], &at.to_be_bytes(), &tile_bytes.to_be_bytes()].concat());
        boxed(
            b"meta",
            &[
                &[0; 4],
                &full(b"hdlr", &[&[0; 4], b"pict", &[0; 13]]),
                &full(b"pitm", &[&[0, 1]]),
                &boxed(b"iloc", &[&[1, 0, 0, 0], &places]),
                &full(b"iinf", &[&[0, 2], &infe(1, b"grid"), &infe(2, b"hvc1")]),
                &boxed(
                    b"iprp",
                    &[
                        &boxed(b"ipco", &[&ispe, &boxed(b"hvcC", &[&[0; 23]])]),
                        &full(b"ipma", &[&[0, 0, 0, 1, 0, 2, 2, 1, 2]]),
                    ],
                ),
                &full(b"iref", &[&boxed(b"dimg", &[&dimg])]),
                &boxed(b"idat", &[&grid.concat()]),
            ],
        )
    };
    let kind = boxed(b"ftyp", &[b"heic\0\0\0\0mif1heic"]);
    let header_bytes = kind.len() + meta(0).len() + 8;
    [kind, meta(header_bytes as u32), boxed(b"mdat", &[&vec![0; tile_bytes as usize]])].concat()
}

#[test]
fn a_grid_of_tiles_that_share_their_bytes_is_refused_as_a_limit() {
    assert_told(&[("grid.heic", grid_of_one_tile(10_000), ("limit", "share them"))]);
}

#[test]
fn places_of_no_bytes_are_not_counted_out() {
    // An item with 65,535 extents, whose offsets and lengths take no bytes.
    let heic = fixture("containers/420.heic");
    let iloc = place_of(&heic, b"iloc");
    let fields = with(heic, iloc + 8, &[0, 0]);
    assert_told(&[("places.heic", with(fields, iloc + 12, &[0xff; 6]), ("decode", "damaged or cut short"))]);
}

#[test]
fn a_jpeg_in_a_thousand_scans_is_refused_as_a_limit() {
    let segment = |marker: u8, body: &[u8]| {
        [&[0xff, marker][..], &(body.len() as u16 + 2).to_be_bytes(), body].concat()
    };
    let mut jpeg = vec![0xff, 0xd8];
    jpeg.extend(segment(0xdb, &[&[0][..], &[1; 64]].concat()));
    jpeg.extend(segment(0xc2, &[8, 0, 8, 0, 8, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]));
    // One code of one bit: no difference, and the end of a block.
    let code = [&[1][..], &[0; 15], &[0]].concat();
    jpeg.extend(segment(0xc4, &[&[0][..], &code, &[0x10], &code].concat()));
    let mut scan = |components: &[u8], band: [u8; 2], bits: u8| {
        let parts: Vec<_> = components.iter().flat_map(|component| [*component, 0]).collect();
        let body = [&[components.len() as u8][..], &parts, &band, &[bits]].concat();
        jpeg.extend(segment(0xda, &body));
        // Three times the code, and what fills a byte.
        jpeg.push(0x1f);
    };
    scan(&[1, 2, 3], [0, 0], 0);
    for component in 1..=3 {
        for place in 1..64 {
            scan(&[component], [place, place], 13);
            for bit in (0..13).rev() {
                scan(&[component], [place, place], (bit + 1) << 4 | bit);
            }
        }
    }
    jpeg.extend([0xff, 0xd9]);
    assert_told(&[("scans.jpg", jpeg, ("limit", "1001 scans"))]);
}

/// A little-endian TIFF of grey pixels of 8 bits in one strip.
struct Tiff {
    entries: Vec<(u16, u16, u32, u32)>,
    pixels: Vec<u8>,
    next: u32,
}

const LONG: u16 = 4;

impl Tiff {
    fn new(width: u32, height: u32) -> Self {
        let entries = vec![
            (256, LONG, 1, width),
            (257, LONG, 1, height),
            (258, LONG, 1, 8),
            (259, LONG, 1, 1),
            (262, LONG, 1, 1),
            (273, LONG, 1, 0),
            (277, LONG, 1, 1),
        ];
        Self { entries, pixels: vec![7; 64], next: 0 }
    }

    /// Gives a tag a value, or a kind, a count and a place.
    fn tag(mut self, tag: u16, kind: u16, count: u32, value: u32) -> Self {
        self.entries.retain(|(there, ..)| *there != tag);
        self.entries.push((tag, kind, count, value));
        self.entries.sort_unstable();
        self
    }

    fn whole(self, tag: u16, value: u32) -> Self {
        self.tag(tag, LONG, 1, value)
    }

    /// Where the pixels are.
    fn pixels_at(&self) -> u32 {
        8 + 2 + 12 * self.entries.len() as u32 + 4
    }

    fn file(self) -> Vec<u8> {
        let pixels_at = self.pixels_at();
        let mut file = [&b"II*\0\x08\0\0\0"[..], &(self.entries.len() as u16).to_le_bytes()].concat();
        for (tag, kind, count, value) in self.entries {
            let value = if (tag, count, value) == (273, 1, 0) { pixels_at } else { value };
            file.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
            file.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
        }
        file.extend(self.next.to_le_bytes());
        file.extend(self.pixels);
        file
    }
}

#[test]
fn hostile_tiffs_fail_each_in_its_way() {
    let places = Tiff::new(8, 8).tag(273, LONG, u32::MAX, 8);
    let many_tags = with(Tiff::new(8, 8).file(), 8, &[0xff, 0xff]);
    // Six samples of 16 bits in one strip.
    let strip = Tiff::new(13_000, 13_000).whole(258, 16).whole(277, 6).whole(262, 2);
    // Four inks as JPEG, whose coefficients are kept where it is progressive.
    let coefficients = Tiff::new(13_000, 13_000).whole(259, 7).whole(277, 4).whole(262, 5);
    let tiles = Tiff::new(8, 8).whole(322, 1 << 20).whole(323, 1 << 20);
    let many_tiles = Tiff::new(1 << 20, 1).whole(322, 1).whole(323, 1 << 20);
    let mut dictionary = Tiff::new(8, 8).whole(259, 34925);
    // The header of LZMA with a dictionary of 3 GiB.
    dictionary.pixels = b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46\x02\0\x21\x01\x27\0\0\0".to_vec();
    let checked = [0x02, 0, 0x21, 0x01, 0x27, 0, 0, 0];
    let mut crc = flate2::Crc::new();
    crc.update(&checked);
    dictionary.pixels.extend(crc.sum().to_le_bytes());
    assert_told(&[
        ("no-directory.tif", b"II*\0\xff\xff\xff\xff".to_vec(), ("decode", "no directory")),
        ("4-billion-places.tif", places.file(), ("decode", "where its pixels are")),
        (
            "4-billion-bits.tif",
            Tiff::new(8, 8).tag(258, LONG, u32::MAX, 8).file(),
            ("decode", "bits of a sample cannot be read"),
        ),
        ("65535-tags.tif", with(many_tags, 8 + 2 + 5 * 12, &[0; 2]), ("decode", "where its pixels are")),
        ("past-the-end.tif", Tiff::new(8, 8).whole(273, u32::MAX).file(), ("decode", "end early")),
        ("too-few-pixels.tif", Tiff::new(8, 9).file(), ("decode", "end early")),
        ("large-strip.tif", strip.file(), MUCH_MEMORY),
        ("coefficients.tif", coefficients.file(), MUCH_MEMORY),
        ("large-tiles.tif", tiles.file(), ("limit", "strips or tiles")),
        ("narrow-tiles.tif", many_tiles.file(), ("limit", "strips or tiles")),
        ("dictionary.tif", dictionary.file(), ("limit", "LZMA")),
    ]);
}

#[test]
fn tiffs_that_lead_back_to_themselves_or_share_pixels_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut circle = Tiff::new(8, 8).whole(330, 8).whole(34665, 8);
    circle.next = 8;
    // Eight strips of a row, all of the same bytes, told by the rows that they have.
    let mut shared = Tiff::new(8, 8).whole(278, 1).tag(273, LONG, 8, 0);
    let at = shared.pixels_at();
    shared = shared.tag(273, LONG, 8, at);
    shared.pixels = [(at + 32).to_le_bytes().repeat(8), vec![7; 8]].concat();
    let paths = [("circle.tif", circle), ("shared.tif", shared)].map(|(name, tiff)| {
        let path = folder.path().join(name);
        fs::write(&path, tiff.file()).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let records = records_of(&classify(&["--json", "--no-cache", &paths[0], &paths[1]]), 0);
    assert_eq!(records.len(), 2);
    // Both are grey all over.
    assert_eq!(records[0]["scores"], records[1]["scores"]);
}
