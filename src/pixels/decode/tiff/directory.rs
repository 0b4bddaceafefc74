//! A TIFF → the values in its first directory. Exif is made in the same way.

/// The first directory of a TIFF, classic or big.
#[derive(Debug, Clone, Copy)]
pub struct TiffDirectory<'a> {
    file: &'a [u8],
    numbers: TiffNumbers,
    /// Entries, of which the last one may be cut off.
    entries: &'a [u8],
    /// Where the directory after this one is.
    next: Option<u64>,
}

impl<'a> TiffDirectory<'a> {
    /// Whether a file begins as a TIFF.
    pub fn begins(file: &[u8]) -> bool {
        TiffNumbers::new(file).is_some()
    }

    /// Finds the first directory, if the file has one.
    pub fn first(file: &'a [u8]) -> Option<Self> {
        let numbers = TiffNumbers::new(file)?;
        let at = numbers.number(file.get(numbers.word()..)?, numbers.word())?;
        Self::at(file, numbers, at)
    }

    /// Finds another directory of the same file.
    pub fn another(&self, at: u64) -> Option<Self> {
        Self::at(self.file, self.numbers, at)
    }

    /// Where the directory after this one is, if there is one.
    pub fn next(&self) -> Option<u64> {
        self.next
    }

    fn at(file: &'a [u8], numbers: TiffNumbers, at: u64) -> Option<Self> {
        let at = usize::try_from(at).ok()?;
        let count_bytes = if numbers.is_big { 8 } else { 2 };
        let (count, entries) = file.get(at..)?.split_at_checked(count_bytes)?;
        let count = usize::try_from(numbers.number(count, count_bytes)?).ok()?;
        let length = count.saturating_mul(numbers.entry_bytes()).min(entries.len());
        let next = entries.get(length..).and_then(|rest| numbers.number(rest, numbers.word()));
        let next = next.filter(|next| *next != 0);
        Some(Self { file, numbers, entries: entries.get(..length)?, next })
    }

    /// The order of bytes of all numbers in the file.
    pub fn order(&self) -> ByteOrder {
        self.numbers.order
    }

    /// The values of a tag: those of its first entry that is whole.
    pub fn values(&self, tag: u16) -> Option<TiffValues<'a>> {
        let numbers = self.numbers;
        let mut entries = self.entries.chunks_exact(numbers.entry_bytes());
        entries.find_map(|entry| {
            if numbers.number(entry, 2)? != u64::from(tag) {
                return None;
            }
            let kind = TiffValueKind::of(numbers.number(entry.get(2..)?, 2)?)?;
            let count = usize::try_from(numbers.number(entry.get(4..)?, numbers.word())?).ok()?;
            let length = count.checked_mul(kind.bytes())?;
            let place = entry.get(4 + numbers.word()..)?;
            let bytes = if length <= numbers.word() {
                place.get(..length)?
            } else {
                let at = usize::try_from(numbers.number(place, numbers.word())?).ok()?;
                self.file.get(at..)?.get(..length)?
            };
            (!bytes.is_empty()).then_some(TiffValues { kind, bytes, numbers })
        })
    }

    /// Whether a tag has entries, and none that is whole.
    pub fn is_broken(&self, tag: u16) -> bool {
        let mut entries = self.entries.chunks_exact(self.numbers.entry_bytes());
        entries.any(|entry| self.numbers.number(entry, 2) == Some(tag.into())) && self.values(tag).is_none()
    }

    /// The first whole number of a tag.
    pub fn whole(&self, tag: u16) -> Option<u64> {
        self.values(tag)?.whole(0)
    }
}

/// In which order the bytes of a number are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    Little,
    Big,
}

/// How the numbers of a file are written.
#[derive(Debug, Clone, Copy)]
struct TiffNumbers {
    order: ByteOrder,
    /// Counts and places are of 8 bytes.
    is_big: bool,
}

impl TiffNumbers {
    fn new(file: &[u8]) -> Option<Self> {
        let (order, is_big) = match file.first_chunk()? {
            b"II\x2a\0" | b"II\0\x2a" => (ByteOrder::Little, false),
            b"MM\0\x2a" | b"MM\x2a\0" => (ByteOrder::Big, false),
            b"II\x2b\0" => (ByteOrder::Little, true),
            b"MM\0\x2b" => (ByteOrder::Big, true),
            _ => return None,
        };
        Some(Self { order, is_big })
    }

    /// The bytes of a place in the file.
    fn word(self) -> usize {
        if self.is_big { 8 } else { 4 }
    }

    fn entry_bytes(self) -> usize {
        4 + 2 * self.word()
    }

    /// The number in the first `length` bytes, at most eight.
    fn number(self, bytes: &[u8], length: usize) -> Option<u64> {
        let bytes = bytes.get(..length)?;
        let push = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(match self.order {
            ByteOrder::Little => bytes.iter().rev().fold(0, push),
            ByteOrder::Big => bytes.iter().fold(0, push),
        })
    }
}

/// What values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TiffValueKind {
    /// Whole numbers of so many bytes.
    Whole(usize),
    Fraction,
    Float,
    Double,
}

impl TiffValueKind {
    fn of(code: u64) -> Option<Self> {
        Some(match code {
            // Bytes, and those with a sign or without a meaning.
            1 | 6 | 7 => Self::Whole(1),
            3 | 8 => Self::Whole(2),
            4 | 9 | 13 => Self::Whole(4),
            16..=18 => Self::Whole(8),
            5 | 10 => Self::Fraction,
            11 => Self::Float,
            12 => Self::Double,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Float => 4,
            Self::Fraction | Self::Double => 8,
        }
    }
}

/// The values of a tag, at least one.
#[derive(Debug, Clone, Copy)]
pub struct TiffValues<'a> {
    kind: TiffValueKind,
    pub bytes: &'a [u8],
    numbers: TiffNumbers,
}

impl TiffValues<'_> {
    /// How many values there are.
    pub fn count(&self) -> usize {
        self.bytes.len() / self.kind.bytes()
    }

    /// A value, if the tag has so many, and they are whole numbers.
    pub fn whole(&self, index: usize) -> Option<u64> {
        let TiffValueKind::Whole(length) = self.kind else { return None };
        self.numbers.number(self.bytes.get(index.checked_mul(length)?..)?, length)
    }

    /// A value of any kind.
    pub fn real(&self, index: usize) -> Option<f32> {
        let value = self.bytes.get(index.checked_mul(self.kind.bytes())?..)?;
        let number = |at: usize, length| self.numbers.number(value.get(at..)?, length);
        Some(match self.kind {
            TiffValueKind::Whole(length) => number(0, length)? as f32,
            TiffValueKind::Fraction => (number(0, 4)? as f64 / number(4, 4)? as f64) as f32,
            TiffValueKind::Float => f32::from_bits(number(0, 4)? as u32),
            TiffValueKind::Double => f64::from_bits(number(0, 8)?) as f32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_whole_entry_of_a_tag_counts() {
        let entry =
            |count: u32, value: u32| [&[0, 1, 4, 0][..], &count.to_le_bytes(), &value.to_le_bytes()].concat();
        // Values that are not in the file, then two that are.
        let entries = [entry(9, 1000), entry(1, 7), entry(1, 8)].concat();
        let file = [b"II\x2a\0\x08\0\0\0\x03\0", &entries[..]].concat();
        let directory = TiffDirectory::first(&file).unwrap();
        assert_eq!(directory.whole(0x100), Some(7));
        assert_eq!(directory.whole(0x101), None);
    }

    #[test]
    fn a_big_tiff_has_places_of_eight_bytes() {
        let file = [
            &b"MM\0\x2b\0\x08\0\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x01"[..],
            b"\x01\0\0\x03\0\0\0\0\0\0\0\x02\0\x05\0\x06\0\0\0\0",
        ];
        let file = file.concat();
        let values = TiffDirectory::first(&file).unwrap().values(0x100).unwrap();
        assert_eq!((values.count(), values.whole(1), values.whole(2)), (2, Some(6), None));
    }
}
