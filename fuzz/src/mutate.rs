//! A file → a damaged one.

use flate2::Crc;

/// Random numbers, the same for the same seed (SplitMix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Numbers at which decoders go wrong.
const EDGES: [u8; 10] = [0, 1, 2, 0x0f, 0x10, 0x7f, 0x80, 0xf0, 0xfe, 0xff];
/// The same for sizes, counts and offsets.
const LARGE_EDGES: [u32; 12] =
    [0, 1, 7, 255, 256, 16_383, 32_768, 65_535, 100_000, 0x7fff_ffff, 0x8000_0000, u32::MAX];

/// Damages a copy of `file` in one to six places; `other` is a file to take pieces from.
pub fn mutate(file: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..1 + random.below(6) {
        // Headers are short, and what they say decides most.
        let end = if random.below(3) == 0 { bytes.len() } else { bytes.len().min(700) };
        let at = random.below(end);
        let longest = if random.below(4) == 0 { 64 } else { 4 };
        let length = 1 + random.below(longest);
        let until = (at + length).min(bytes.len());
        match random.below(10) {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (length % 8)),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = random.next() as u8),
            2 => {
                let edge = EDGES[random.below(EDGES.len())];
                bytes.iter_mut().skip(at).take(1 + length % 4).for_each(|byte| *byte = edge);
            }
            3 => drop(bytes.drain(at..until)),
            4 => {
                let piece = bytes[at..until].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            5 => {
                let from = random.below(other.len());
                let piece = other[from..(from + length * 8).min(other.len())].to_vec();
                bytes.splice(at..until, piece);
            }
            6 => {
                let from = random.below(bytes.len());
                let piece = bytes[from..(from + length).min(bytes.len())].to_vec();
                overwrite(&mut bytes, at, &piece);
            }
            7 if random.below(4) == 0 => bytes.truncate(random.below(bytes.len()).max(4)),
            8 => {
                let edge = LARGE_EDGES[random.below(LARGE_EDGES.len())];
                let (big, little) = (edge.to_be_bytes(), edge.to_le_bytes());
                let numbers = [&big[..], &little, &big[2..], &little[..2]];
                overwrite(&mut bytes, at, numbers[random.below(4)]);
            }
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = byte.wrapping_add(length as u8)),
        }
        if bytes.is_empty() {
            break;
        }
    }
    // A PNG with a wrong checksum is refused before anything in it is looked at.
    if random.below(4) > 0 {
        correct_checksums(&mut bytes);
    }
    bytes
}

fn overwrite(bytes: &mut [u8], at: usize, piece: &[u8]) {
    bytes.iter_mut().skip(at).zip(piece).for_each(|(to, byte)| *to = *byte);
}

/// Gives each chunk of a PNG the checksum of what is in it now.
fn correct_checksums(bytes: &mut [u8]) {
    if !bytes.starts_with(b"\x89PNG") {
        return;
    }
    let mut at = 8;
    while let Some(header) = bytes.get(at..at + 4) {
        let length = header.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let Some(named) = bytes.get(at + 4..at + 8 + length) else { return };
        let mut crc = Crc::new();
        crc.update(named);
        overwrite(bytes, at + 8 + length, &crc.sum().to_be_bytes());
        at += 12 + length;
    }
}
