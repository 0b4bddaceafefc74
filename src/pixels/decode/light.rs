//! Linear light, as Radiance and OpenEXR store it → levels of sRGB.
//!
//! Pillow reads neither, and the files do not say how bright a screen is. What viewers show without being
//! told more is done here: 1.0 is white, and what is brighter is cut. Primaries and exposure that a file
//! gives stay unused. Alpha is multiplied into the colours of OpenEXR and is not divided out: what is clear
//! is black.

use rayon::prelude::*;

/// Makes levels of pixels of so many floats each, of which the first three are red, green and blue.
pub fn levels(pixels: &[u8], floats: usize) -> Vec<u8> {
    let thresholds = thresholds();
    let level = |light: &[u8; 4]| {
        // What is no number is black.
        let light = f32::from_ne_bytes(*light);
        thresholds.partition_point(|threshold| *threshold <= light) as u8
    };
    let mut levels = vec![0; pixels.len() / (4 * floats) * 3];
    let pixels = pixels.par_chunks_exact(4 * floats);
    levels.par_chunks_exact_mut(3).zip(pixels).with_min_len(4096).for_each(|(to, pixel)| {
        to.iter_mut().zip(pixel.as_chunks().0).for_each(|(to, light)| *to = level(light));
    });
    levels
}

/// From which light on a level is reached, from level 1 to 255 (IEC 61966-2-1, rounded).
fn thresholds() -> [f32; 255] {
    std::array::from_fn(|below| {
        let encoded = (below as f64 + 0.5) / 255.0;
        let light = if encoded <= 0.040_45 { encoded / 12.92 } else { ((encoded + 0.055) / 1.055).powf(2.4) };
        light as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn light_is_encoded_as_srgb_and_cut() {
        let light = [0.0, 0.215, 1.0, -1.0, f32::NAN, 0.003, f32::INFINITY, 1e-5, 7.0];
        let bytes: Vec<u8> = light.iter().flat_map(|light| light.to_ne_bytes()).collect();
        assert_eq!(levels(&bytes, 3), [0, 128, 255, 0, 0, 10, 255, 0, 255]);
    }

    #[test]
    fn alpha_is_dropped() {
        let bytes: Vec<u8> = [1.0_f32, 0.0, 1.0, 0.5].iter().flat_map(|light| light.to_ne_bytes()).collect();
        assert_eq!(levels(&bytes, 4), [255, 0, 255]);
    }
}
