//! Samples of any kind → a byte each: whole numbers as they are up to 8 bits, the high byte of more.
//!
//! Where Pillow keeps numbers with a sign or a point, and cuts what is not within 0–255, so does this.

use super::directory::ByteOrder;
use super::layout::TiffSample;

/// Brings a row of samples to bytes, and puts each `step`th of `to` in its place.
pub fn to_bytes(row: &[u8], sample: TiffSample, order: ByteOrder, to: &mut [u8], step: usize) {
    let to = to.iter_mut().step_by(step);
    match (sample, order) {
        (TiffSample::Bits(8), _) => to.zip(row).for_each(|(to, byte)| *to = *byte),
        (TiffSample::Bits(16), ByteOrder::Little) => {
            to.zip(row.as_chunks().0).for_each(|(to, [_, high])| *to = *high);
        }
        (TiffSample::Bits(16), ByteOrder::Big) => {
            to.zip(row.as_chunks().0).for_each(|(to, [high, _])| *to = *high);
        }
        (TiffSample::Bits(12), _) => {
            let halves = row.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect::<Vec<_>>();
            to.zip(halves.as_chunks().0).for_each(|(to, [high, middle, _])| *to = high << 4 | middle);
        }
        (TiffSample::Bits(bits), _) => {
            for (i, to) in to.enumerate() {
                let byte = row.get(i * bits / 8).copied().unwrap_or_default();
                *to = byte << (i * bits % 8) >> (8 - bits);
            }
        }
        (TiffSample::Signed(16), _) => {
            let cut =
                |bytes: &[u8; 2]| i16::from_le_bytes(in_little_order(*bytes, order)).clamp(0, 255) as u8;
            to.zip(row.as_chunks().0).for_each(|(to, bytes)| *to = cut(bytes));
        }
        (TiffSample::Signed(_), _) => {
            let cut =
                |bytes: &[u8; 4]| i32::from_le_bytes(in_little_order(*bytes, order)).clamp(0, 255) as u8;
            to.zip(row.as_chunks().0).for_each(|(to, bytes)| *to = cut(bytes));
        }
        (TiffSample::Float, _) => {
            // A cast cuts as well, and drops what is behind the point.
            let cut = |bytes: &[u8; 4]| f32::from_le_bytes(in_little_order(*bytes, order)) as u8;
            to.zip(row.as_chunks().0).for_each(|(to, bytes)| *to = cut(bytes));
        }
    }
}

fn in_little_order<const N: usize>(mut bytes: [u8; N], order: ByteOrder) -> [u8; N] {
    if order == ByteOrder::Big {
        bytes.reverse();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(row: &[u8], sample: TiffSample, order: ByteOrder, count: usize) -> Vec<u8> {
        let mut to = vec![0; count];
        to_bytes(row, sample, order, &mut to, 1);
        to
    }

    #[test]
    fn samples_of_a_few_bits_begin_with_the_high_ones() {
        use ByteOrder::Little;
        assert_eq!(bytes(&[0b1010_0000], TiffSample::Bits(1), Little, 4), [1, 0, 1, 0]);
        assert_eq!(bytes(&[0b1101_1000], TiffSample::Bits(2), Little, 4), [3, 1, 2, 0]);
        assert_eq!(bytes(&[0xab, 0xc0], TiffSample::Bits(4), Little, 3), [0xa, 0xb, 0xc]);
        assert_eq!(bytes(&[0xab, 0xcd, 0xef], TiffSample::Bits(12), Little, 2), [0xab, 0xde]);
    }

    #[test]
    fn what_is_not_a_level_is_cut() {
        for (order, minus_two, thousand) in
            [(ByteOrder::Little, [0xfe, 0xff], [0xe8, 3]), (ByteOrder::Big, [0xff, 0xfe], [3, 0xe8])]
        {
            let row = [minus_two, thousand].concat();
            assert_eq!(bytes(&row, TiffSample::Signed(16), order, 2), [0, 255], "{order:?}");
        }
        let floats = [-1.0_f32, 3.9, 1e9, f32::NAN].map(f32::to_be_bytes).concat();
        assert_eq!(bytes(&floats, TiffSample::Float, ByteOrder::Big, 4), [0, 3, 255, 0]);
    }
}
