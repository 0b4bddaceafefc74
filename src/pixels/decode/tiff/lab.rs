//! Lab → sRGB, with the arithmetic of Little CMS, which Pillow converts it with.
//!
//! That computes the colours of 33 × 33 × 33 places of Lab, and what is between by interpolation among
//! the four places around it. Both are seen in the levels, so both are done here.

use std::sync::LazyLock;

/// Places along a side.
const SIDE: usize = 33;

/// The colours of all places, of 16 bits: `b` runs fastest, then `a`.
static PLACES: LazyLock<Vec<[i32; 3]>> = LazyLock::new(|| {
    let coordinate = |place: usize| word(place as f64 * 65535.0 / (SIDE - 1) as f64);
    let place = |place: usize| [place / (SIDE * SIDE), place / SIDE % SIDE, place % SIDE].map(coordinate);
    (0..SIDE * SIDE * SIDE).map(|index| colour(place(index))).collect()
});

/// Converts L, a and b, of which a TIFF stores the last two with a sign.
pub fn rgb([l, a, b]: [u8; 3]) -> [u8; 3] {
    // Where in the cube a byte is, with 16 bits behind the point.
    let at = |byte: u8| {
        let place = i32::from(byte) * 257 * (SIDE - 1) as i32;
        place + (place + 0x7fff) / 0xffff
    };
    let at = [l, a ^ 128, b ^ 128].map(at);
    let mut index = at.iter().fold(0, |index, at| index * SIDE + (at >> 16) as usize);
    // One side after the other is walked along, that with the greatest part first.
    let mut sides = [0, 1, 2].map(|side| (at[side] & 0xffff, SIDE.pow(2 - side as u32)));
    sides.sort_by_key(|(part, _)| -part);
    let start = PLACES[index];
    let (mut last, mut sums) = (start, [0x8001_i32; 3]);
    // A part of 0 may be at the end of a side, where there is no further place.
    for (part, step) in sides.into_iter().filter(|(part, _)| *part > 0) {
        index += step;
        let next = PLACES[index];
        for channel in 0..3 {
            sums[channel] =
                i32::wrapping_add(sums[channel], (next[channel] - last[channel]).wrapping_mul(part));
        }
        last = next;
    }
    std::array::from_fn(|channel| {
        let level = (start[channel] + (sums[channel].wrapping_add(sums[channel] >> 16) >> 16)) & 0xffff;
        // 65,535 becomes 255.
        ((level as u32 * 65281 + 8_388_608) >> 24) as u8
    })
}

/// The colour of Lab in 16 bits.
fn colour(lab: [i32; 3]) -> [i32; 3] {
    /// The greatest number that Little CMS writes XYZ in.
    const MAX_XYZ: f64 = 1.0 + 32767.0 / 32768.0;
    /// The white of Lab, D50.
    const WHITE: [f64; 3] = [0.9642, 1.0, 0.8249];
    /// From XYZ under D50 to linear sRGB: the primaries of ITU-R BT.709 under D65, adapted by Bradford.
    const TO_SRGB: [[f64; 3]; 3] = [
        [3.134_186_364_236_819_5, -1.617_208_958_998_275_9, -0.490_694_064_006_384_2],
        [-0.978_748_504_190_694_6, 1.916_130_096_773_587_7, 0.033_433_399_159_995_617],
        [0.071_963_927_802_246_82, -0.228_993_873_453_203_35, 1.405_753_732_896_444_7],
    ];
    let [l, a, b] = lab.map(|coordinate| f64::from((f64::from(coordinate) / 65535.0) as f32));
    let y = (l * 100.0 + 16.0) / 116.0;
    let x = y + 0.002 * (a * 255.0 - 128.0);
    let z = y - 0.005 * (b * 255.0 - 128.0);
    let linear = |t: f64| if t <= 24.0 / 116.0 { 108.0 / 841.0 * (t - 16.0 / 116.0) } else { t * t * t };
    // Between steps numbers are of 32 bits.
    let xyz: [f64; 3] =
        std::array::from_fn(|i| f64::from((linear([x, y, z][i]) * WHITE[i] / MAX_XYZ) as f32));
    TO_SRGB.map(|row| {
        let light: f64 = (0..3).map(|i| xyz[i] * (row[i] * MAX_XYZ)).sum();
        word(f64::from(gamma(f64::from(light as f32)) as f32) * 65535.0)
    })
}

/// Light → level, as sRGB defines it.
fn gamma(light: f64) -> f64 {
    const SLOPE: f64 = 1.0 / 12.92;
    const SCALE: f64 = 1.0 / 1.055;
    const OFFSET: f64 = 0.055 / 1.055;
    const EXPONENT: f64 = 2.4;
    let bend = (SCALE * 0.04045 + OFFSET).powf(EXPONENT);
    if light >= bend { (light.powf(1.0 / EXPONENT) - OFFSET) / SCALE } else { light / SLOPE }
}

/// Rounds to 16 bits, as Little CMS does: what is not within 16 bits behind the point is rounded before.
fn word(value: f64) -> i32 {
    let value = (value + 0.5).clamp(0.0, 65535.0);
    ((value * 65536.0).round_ties_even() / 65536.0).floor() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_black_and_red_are_what_pillow_makes_of_them() {
        assert_eq!(rgb([255, 0, 0]), [254, 255, 254]);
        assert_eq!(rgb([0, 0, 0]), [1, 0, 1]);
        assert_eq!(rgb([137, 81, 31]), [248, 7, 82]);
    }
}
