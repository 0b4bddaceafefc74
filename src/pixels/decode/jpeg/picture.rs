//! A file → its picture: the segments in order, a scan at a time.

use super::arithmetic_model::Arithmetic;
use super::coefficients::Blocks;
use super::colour::Colours;
use super::frame::{EntropyCoding, Frame, Passes};
use super::output::{Edges, PixelOutput};
use super::progressive::Progressive;
use super::scan::Scan;
use super::segments::{
    APP0, APP15, COM, DAC, DHT, DNL, DQT, DRI, EOI, RST0, RST7, SOF0, SOI, SOS, Segments, TEM,
};
use super::sequential::{BlockDecoder, ScanReader, Sequential};
use super::tables::{Quantisation, Tables};
use super::{Broken, Decoded, ENDS_EARLY, JpegError};
use rayon::prelude::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The most scans of a file. A picture sent bit by bit and coefficient by coefficient has fewer.
const MAX_SCANS: usize = 1000;
/// The most blocks decoded, as a multiple of those that the picture has. An encoder's usual progression
/// comes to 4; one that sends each coefficient alone, to 64.
const MAX_PASSES: u64 = 100;
/// Blocks that every file may decode beyond that.
const FREE_BLOCKS: u64 = 1 << 20;
/// Bands that wait for a thread, at most.
const MAX_WAITING: usize = 4;

/// Decodes a JPEG of at most `max_pixels` to RGB.
///
/// *Errors* when the file is damaged, too large, or of a kind that is not decoded.
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<Decoded, JpegError> {
    decode_as(bytes, Tables::default(), max_pixels, Colours::of)
}

/// Decodes a JPEG that is a part of another file, which says what its components are and may keep the
/// tables that its parts have in common.
///
/// *Errors* as [`decode`].
pub fn decode_part(
    bytes: &[u8],
    common: Option<&[u8]>,
    colours: PartColours,
    max_pixels: u64,
) -> Result<Decoded, JpegError> {
    let mut tables = Tables::default();
    if let Some(common) = common {
        let mut segments = Segments::new(common)?;
        while let Some(segment) = segments.next()?.filter(|segment| segment.marker != EOI) {
            take_other(segment, &mut tables)?;
        }
    }
    decode_as(bytes, tables, max_pixels, |frame, _| match colours {
        PartColours::YCbCr if frame.components.len() == 3 => Ok(Colours::YCbCr),
        PartColours::YCbCr | PartColours::Stored => Ok(Colours::Stored(frame.components.len())),
    })
}

/// What the components of a part are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartColours {
    /// Brightness and colours, which become RGB.
    YCbCr,
    /// Whatever they are, they stay.
    Stored,
}

fn decode_as(
    bytes: &[u8],
    mut tables: Tables,
    max_pixels: u64,
    colours: impl FnOnce(&Frame, &Tables) -> Result<Colours, JpegError>,
) -> Result<Decoded, JpegError> {
    let mut segments = Segments::new(bytes)?;
    let mut frame = None;
    while let Some(segment) = segments.next()? {
        match segment.marker {
            SOS => {
                let frame = frame.take().ok_or(Broken("a scan comes before the frame header"))?;
                let scan = Scan::read(segment.body, &frame)?;
                let colours = colours(&frame, &tables)?;
                return decode_scans(segments, tables, &frame, scan, colours);
            }
            // Not these: tables and reserved ones.
            SOF0..=0xcf if !matches!(segment.marker, DHT | DAC | 0xc8) => {
                if frame.is_some() {
                    return Err(Broken("there are two frame headers"));
                }
                frame = Some(check_size(Frame::read(segment)?, max_pixels)?);
            }
            EOI => return Err(Broken("there is no picture in the file")),
            _ => take_other(segment, &mut tables)?,
        }
    }
    Err(ENDS_EARLY)
}

fn check_size(frame: Frame, max_pixels: u64) -> Result<Frame, JpegError> {
    let (width, height) = (frame.width, frame.height);
    if (width * height) as u64 > max_pixels {
        return Err(JpegError::Limit(format!(
            "{width} × {height} pixels are more than the limit of {max_pixels}; shrink the image first"
        )));
    }
    Ok(frame)
}

/// Segments that are neither frames nor scans.
fn take_other(segment: super::segments::Segment, tables: &mut Tables) -> Result<(), JpegError> {
    match segment.marker {
        DHT | DAC | DQT | DRI | APP0..=APP15 => tables.take(segment),
        RST0..=RST7 | TEM | COM | DNL => Ok(()),
        SOI => Err(Broken("a second picture begins in the first one")),
        0xde | 0xdf => Err(JpegError::Unsupported("hierarchical JPEG".into())),
        _ => Err(Broken("there is a marker that means nothing")),
    }
}

/// Decodes the first scan and all that follow it.
fn decode_scans(
    segments: Segments,
    mut tables: Tables,
    frame: &Frame,
    first: Scan,
    colours: Colours,
) -> Result<Decoded, JpegError> {
    if (frame.coding, frame.passes) == (EntropyCoding::Huffman, Passes::Sequential) {
        tables.complete_codes();
    }
    if frame.passes == Passes::Sequential && first.components.len() == frame.components.len() {
        decode_single_scan(segments, &tables, frame, &first, colours)
    } else {
        decode_many_scans(segments, tables, frame, first, colours)
    }
}

/// The factors of a component.
fn quantisation(tables: &Tables, frame: &Frame, index: usize) -> Result<Quantisation, JpegError> {
    let number = frame.components.get(index).map(|component| component.quantisation);
    let table = number.and_then(|number| tables.quantisation.get(number).copied().flatten());
    table.ok_or(Broken("a channel uses a quantisation table that is not there"))
}

/// Everything is in one scan: each band is made into pixels as soon as it is decoded.
fn decode_single_scan(
    segments: Segments,
    tables: &Tables,
    frame: &Frame,
    scan: &Scan,
    colours: Colours,
) -> Result<Decoded, JpegError> {
    let places = 0..frame.components.len();
    let quantisation =
        &places.map(|index| quantisation(tables, frame, index)).collect::<Result<Vec<_>, _>>()?;
    let output = PixelOutput::new(frame, quantisation, colours);
    match frame.coding {
        EntropyCoding::Huffman => {
            decode_bands(Sequential::new(scan, tables)?, segments, tables, scan, &output)
        }
        EntropyCoding::Arithmetic => {
            decode_bands(Arithmetic::new(&tables.conditioning), segments, tables, scan, &output)
        }
    }
}

fn decode_bands<D: BlockDecoder + Send>(
    decoder: D,
    mut segments: Segments,
    tables: &Tables,
    scan: &Scan,
    output: &PixelOutput,
) -> Result<Decoded, JpegError> {
    let frame = output.frame;
    let mut reader = ScanReader::new(decoder, segments.bytes(), segments.position(), tables.restart_interval);
    let mut decode_band = |unit: usize, mut blocks: Vec<Blocks>| {
        let units = output.band_units().min(frame.mcus_high() - unit);
        for row in 0..units {
            reader.decode_row(scan, row, &mut blocks)?;
        }
        Ok::<_, JpegError>(blocks)
    };
    let levels = if frame.mcus_high() <= output.band_units() {
        let mut levels = vec![0; output.row_bytes() * frame.height];
        let blocks = decode_band(0, new_blocks(frame, frame.mcus_high()))?;
        output.make_band(&blocks, 0, 0, &mut levels, &mut Edges::default())?;
        levels
    } else {
        decode_beside_output(decode_band, output)?
    };
    finish(&mut segments, &reader)?;
    Ok(output.decoded(levels))
}

/// Decodes band after band here, while other threads make pixels of those before, if any is free.
fn decode_beside_output(
    mut decode_band: impl FnMut(usize, Vec<Blocks>) -> Result<Vec<Blocks>, JpegError> + Send,
    output: &PixelOutput,
) -> Result<Vec<u8>, JpegError> {
    let frame = output.frame;
    let mut levels = vec![0; output.row_bytes() * frame.height];
    let bands = frame.mcus_high().div_ceil(output.band_units());
    let mut edges = vec![Edges::default(); bands];
    // Blocks of bands that are made.
    let spare = &Mutex::new(Vec::<Vec<Blocks>>::new());
    let (waiting, failed) = (&AtomicUsize::new(0), &AtomicBool::new(false));
    rayon::scope(|scope| {
        let parts = levels.chunks_mut(output.band_rows() * output.row_bytes()).zip(&mut edges);
        for (band, (levels, edges)) in parts.enumerate() {
            let unit = band * output.band_units();
            let cleared = spare.lock().ok().and_then(|mut spare| spare.pop());
            let mut blocks =
                decode_band(unit, cleared.unwrap_or_else(|| new_blocks(frame, output.band_units())))?;
            let mut make = move || {
                if output.make_band(&blocks, unit, 0, levels, edges).is_err() {
                    failed.store(true, Ordering::Relaxed);
                }
                blocks.iter_mut().for_each(Blocks::clear);
                if let Ok(mut spare) = spare.lock() {
                    spare.push(std::mem::take(&mut blocks));
                }
            };
            // When no thread takes bands away, the blocks are better made to pixels while they are warm.
            if waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING {
                scope.spawn(move |_| {
                    make();
                    waiting.fetch_sub(1, Ordering::Relaxed);
                });
            } else {
                make();
                waiting.fetch_sub(1, Ordering::Relaxed);
            }
        }
        Ok(())
    })?;
    if failed.load(Ordering::Relaxed) {
        return Err(super::sequential::DC_TOO_LARGE);
    }
    output.make_seams(&mut levels, &edges)?;
    Ok(levels)
}

/// Looks at what follows the only scan: nothing that belongs to the picture.
fn finish<D: BlockDecoder>(segments: &mut Segments, reader: &ScanReader<D>) -> Result<(), JpegError> {
    if !reader.goes_on() {
        return Err(ENDS_EARLY);
    }
    segments.seek(reader.end());
    // What is not even a segment does not matter any more.
    while let Ok(Some(segment)) = segments.next() {
        match segment.marker {
            EOI => break,
            SOS => return Err(Broken("the picture is sent twice")),
            _ => {}
        }
    }
    Ok(())
}

/// Blocks for so many rows of units of each component.
fn new_blocks(frame: &Frame, units: usize) -> Vec<Blocks> {
    let of = |component: &super::frame::Component| {
        Blocks::new(frame.mcus_wide() * component.h, units * component.v)
    };
    frame.components.iter().map(of).collect()
}

/// What was sent of a component so far.
#[derive(Debug, Clone)]
struct Sent {
    quantisation: Option<Quantisation>,
    /// For each coefficient the lowest bit that was sent, once one was.
    low_bits: [Option<u8>; 64],
}

/// All coefficients are kept until the last scan is decoded.
fn decode_many_scans(
    mut segments: Segments,
    mut tables: Tables,
    frame: &Frame,
    first: Scan,
    colours: Colours,
) -> Result<Decoded, JpegError> {
    let mut blocks = new_blocks(frame, frame.mcus_high());
    let mut sent = vec![Sent { quantisation: None, low_bits: [None; 64] }; frame.components.len()];
    let mut next = Some(first);
    let picture_blocks: usize =
        blocks.iter().map(|blocks| blocks.groups.len() * super::coefficients::LANES).sum();
    let mut budget = picture_blocks as u64 * MAX_PASSES + FREE_BLOCKS;
    let mut scans = 0;
    loop {
        if let Some(scan) = next.take() {
            scans += 1;
            let scan_blocks: usize = scan.components.iter().map(|component| component.h * component.v).sum();
            let cost = scan_blocks as u64 * scan.wide as u64 * scan.high as u64;
            budget = budget.checked_sub(cost).filter(|_| scans <= MAX_SCANS).ok_or_else(|| {
                JpegError::Limit(format!(
                    "the picture is sent in more than {scans} scans; save the image anew"
                ))
            })?;
            note_scan(&scan, frame, &tables, &mut sent)?;
            decode_scan(&mut segments, &tables, frame, &scan, &mut blocks)?;
        }
        let segment = segments.next()?.ok_or(ENDS_EARLY)?;
        match segment.marker {
            EOI => break,
            SOS => next = Some(Scan::read(segment.body, frame)?),
            SOF0..=0xcf if !matches!(segment.marker, DHT | DAC | 0xc8) => {
                return Err(Broken("there are two frame headers"));
            }
            _ => take_other(segment, &mut tables)?,
        }
    }
    check_sent(&sent)?;
    let quantisation: Vec<_> = sent.iter().map(|sent| sent.quantisation.unwrap_or([0; 64])).collect();
    let output = PixelOutput::new(frame, &quantisation, colours);
    let levels = make_all(&output, &blocks)?;
    Ok(output.decoded(levels))
}

fn decode_scan(
    segments: &mut Segments,
    tables: &Tables,
    frame: &Frame,
    scan: &Scan,
    blocks: &mut [Blocks],
) -> Result<(), JpegError> {
    fn run<D: BlockDecoder>(
        decoder: D,
        segments: &mut Segments,
        tables: &Tables,
        scan: &Scan,
        blocks: &mut [Blocks],
    ) -> Result<(), JpegError> {
        let mut reader =
            ScanReader::new(decoder, segments.bytes(), segments.position(), tables.restart_interval);
        for row in 0..scan.high {
            reader.decode_row(scan, row, blocks)?;
        }
        segments.seek(reader.end());
        Ok(())
    }
    match (frame.coding, frame.passes) {
        (EntropyCoding::Arithmetic, _) => {
            run(Arithmetic::new(&tables.conditioning), segments, tables, scan, blocks)
        }
        (_, Passes::Sequential) => run(Sequential::new(scan, tables)?, segments, tables, scan, blocks),
        (_, Passes::Progressive) => run(Progressive::new(scan, tables)?, segments, tables, scan, blocks),
    }
}

/// Notes which bits a scan sends, and with which factors: those that hold when a component is first sent.
///
/// *Errors* when the bits were sent before, or those above them were not.
fn note_scan(scan: &Scan, frame: &Frame, tables: &Tables, sent: &mut [Sent]) -> Result<(), JpegError> {
    for component in &scan.components {
        let factors = quantisation(tables, frame, component.index)?;
        let sent = sent.get_mut(component.index).ok_or(ENDS_EARLY)?;
        sent.quantisation.get_or_insert(factors);
        if *scan.band.start() > 0 && sent.low_bits[0].is_none() {
            return Err(Broken("a channel has its details sent before its brightness"));
        }
        let (start, end) = (usize::from(*scan.band.start()), usize::from(*scan.band.end()));
        for low_bit in sent.low_bits.iter_mut().take(end + 1).skip(start) {
            let expected = scan.refines.then_some(scan.low_bit + 1);
            if *low_bit != expected {
                return Err(Broken("the bits of coefficients are not sent one after the other"));
            }
            *low_bit = Some(scan.low_bit);
        }
    }
    Ok(())
}

/// Whether all was sent that libjpeg does not make up.
///
/// *Errors* when a channel is missing, or one of the coefficients for which libjpeg would look at the
/// blocks around, to blur what is not there.
fn check_sent(sent: &[Sent]) -> Result<(), JpegError> {
    // The DC coefficient and the nine after it.
    const SMOOTHED: usize = 10;
    for Sent { low_bits, .. } in sent {
        if low_bits[0].is_none() {
            return Err(Broken("a channel of the picture is missing"));
        }
        if low_bits.iter().take(SMOOTHED).any(|low_bit| *low_bit != Some(0)) {
            return Err(Broken("the picture is not finished: its last scans are missing"));
        }
    }
    Ok(())
}

/// Makes all bands, on as many threads as are free.
fn make_all(output: &PixelOutput, blocks: &[Blocks]) -> Result<Vec<u8>, JpegError> {
    let frame = output.frame;
    let mut levels = vec![0; output.row_bytes() * frame.height];
    let band_units = output.band_units();
    let mut edges = vec![Edges::default(); frame.mcus_high().div_ceil(band_units)];
    let parts = levels.par_chunks_mut(output.band_rows() * output.row_bytes()).zip(&mut edges);
    parts.enumerate().try_for_each(|(band, (levels, edges))| {
        output.make_band(blocks, band * band_units, band * band_units, levels, edges)
    })?;
    output.make_seams(&mut levels, &edges)?;
    Ok(levels)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRESSIVE: &[u8] = include_bytes!("../../../../fixtures/images/progressive.jpg");
    const TREE: &[u8] = include_bytes!("../../../../fixtures/images/tree.jpg");

    fn decode(bytes: &[u8]) -> Result<Decoded, JpegError> {
        super::decode(bytes, 1 << 24)
    }

    /// Where the scans of a file begin.
    fn scans(bytes: &[u8]) -> Vec<usize> {
        let begins = |at: &usize| bytes[*at..].starts_with(&[0xff, SOS]);
        (0..bytes.len()).filter(begins).collect()
    }

    #[test]
    fn bands_on_many_threads_are_the_same_picture() {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| decode(TREE)).unwrap()
        };
        assert!(on(1) == on(5));
    }

    #[test]
    fn a_progressive_file_without_its_last_scans_is_refused() {
        let begins = scans(PROGRESSIVE);
        assert!(begins.len() > 5 && decode(PROGRESSIVE).is_ok());
        for begin in &begins[1..4] {
            let unfinished = [&PROGRESSIVE[..*begin], &[0xff, EOI]].concat();
            assert!(decode(&unfinished).is_err(), "{begin}");
        }
    }

    #[test]
    fn a_scan_that_is_sent_twice_is_refused() {
        let begins = scans(PROGRESSIVE);
        let scan = &PROGRESSIVE[begins[0]..begins[1]];
        let twice = [&PROGRESSIVE[..begins[1]], scan, &PROGRESSIVE[begins[1]..]].concat();
        assert!(decode(&twice).is_err());
        let tree = scans(TREE);
        let twice = [&TREE[..TREE.len() - 2], &TREE[tree[0]..]].concat();
        assert!(decode(&twice).is_err());
    }

    #[test]
    fn a_picture_larger_than_allowed_is_refused_by_its_size() {
        let error = super::decode(TREE, 1000).unwrap_err();
        assert!(matches!(&error, JpegError::Limit(message) if message.contains("640 × 427")), "{error}");
    }
}
