//! A file → a damaged one.

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
        match random.below(9) {
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
                for (to, byte) in bytes.iter_mut().skip(at).zip(piece) {
                    *to = byte;
                }
            }
            7 if random.below(4) == 0 => bytes.truncate(random.below(bytes.len()).max(4)),
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = byte.wrapping_add(length as u8)),
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}
