//! Coded bytes → bits.

/// Zeros that stand after the coded bytes, so that eight can be read wherever there is one.
pub const PADDING: usize = 8;

/// Reads bits, the highest of a byte first. After the end there are zeros.
#[derive(Debug, Clone, Copy)]
pub struct Bits<'a> {
    /// With the padding.
    coded: &'a [u8],
    position: Position,
}

/// How far was read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Position {
    /// The next byte.
    at: usize,
    /// Bits that were fetched, from the highest on.
    window: u64,
    /// How many.
    held: u32,
}

impl<'a> Bits<'a> {
    #[inline(always)]
    pub fn new(coded: &'a [u8], position: Position) -> Self {
        Self { coded, position }
    }

    #[inline(always)]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Bytes that were not touched.
    pub fn bytes_left(&self) -> usize {
        (self.coded.len().saturating_sub(PADDING)).saturating_sub(self.bits_taken().div_ceil(8))
    }

    /// Whether more bits were taken than there are.
    #[inline(always)]
    pub fn is_past_end(&self) -> bool {
        self.bits_taken() > self.coded.len().saturating_sub(PADDING) * 8
    }

    #[inline(always)]
    fn bits_taken(&self) -> usize {
        (self.position.at * 8).saturating_sub(self.position.held as usize)
    }

    /// Fetches, so that at least 32 bits are held: the longest code and the longest value after it.
    #[inline(always)]
    pub fn fetch(&mut self) {
        let position = &mut self.position;
        if position.held < 32 {
            let next = self.coded.get(position.at..).and_then(|rest| rest.first_chunk());
            let next = next.map_or(0, |next| u64::from_be_bytes(*next));
            position.window |= next >> position.held;
            position.at += ((63 - position.held) / 8) as usize;
            position.held |= 56;
        }
    }

    /// The next `count` bits, 1 to 16, without taking them; fetched before.
    #[inline(always)]
    pub fn peek(&self, count: u32) -> u32 {
        (self.position.window >> (64 - count)) as u32
    }

    /// Takes bits that were fetched.
    #[inline(always)]
    pub fn take(&mut self, count: u32) {
        self.position.window <<= count;
        self.position.held = self.position.held.wrapping_sub(count);
    }

    /// Takes one bit, and fetches if need be.
    #[inline(always)]
    pub fn bit(&mut self) -> bool {
        self.fetch();
        let bit = self.peek(1);
        self.take(1);
        bit != 0
    }

    /// Takes `count` bits, 0 to 16, as a number; fetched before.
    #[inline(always)]
    pub fn number(&mut self, count: u32) -> u32 {
        // Shifted by one before, since a shift by all 64 is none.
        let number = (self.position.window >> 1 >> (63 - count)) as u32;
        self.take(count);
        number
    }

    /// Takes a value of `size` bits, 0 to 16, coded as T.81 F.2.2.1 has it (EXTEND); fetched before.
    #[inline(always)]
    pub fn value(&mut self, size: u32) -> i32 {
        extend(self.number(size), size)
    }
}

/// The value that `size` bits stand for: the lower half of the numbers stands for negative values.
#[inline(always)]
pub fn extend(number: u32, size: u32) -> i32 {
    let number = number as i32;
    if number < (1 << size) >> 1 { number - (1 << size) + 1 } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_in_order_and_zeros_after_them() {
        let coded = [&[0b1010_0101, 0xff, 0x01][..], &[0; PADDING]].concat();
        let mut bits = Bits::new(&coded, Position::default());
        bits.fetch();
        assert_eq!([bits.number(3), bits.number(5), bits.number(0), bits.number(12)], [5, 5, 0, 0xff0]);
        assert!(!bits.is_past_end());
        assert_eq!(bits.bytes_left(), 0);
        bits.fetch();
        assert_eq!([bits.number(4), bits.number(1)], [1, 0]);
        assert!(bits.is_past_end());
    }

    #[test]
    fn the_lower_half_of_numbers_is_negative() {
        assert_eq!([extend(0, 0), extend(0, 1), extend(1, 1), extend(3, 3), extend(4, 3)], [0, -1, 1, -4, 4]);
    }
}
