//! Brightness and colours of a TIFF → RGB: with libtiff's arithmetic where Pillow has libtiff read them,
//! with Pillow's own where they are not packed.

use super::directory::TiffDirectory;

const COEFFICIENTS: u16 = 529;
const REFERENCE_BLACK_WHITE: u16 = 532;

/// Brightness by the pixel and colours by the block, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Blocks {
    /// Pixels of a block.
    pub across: usize,
    pub down: usize,
    /// Pixels of the picture, of which blocks may have more.
    pub width: usize,
    pub rows: usize,
}

impl Blocks {
    fn blocks_across(&self) -> usize {
        self.width.div_ceil(self.across)
    }

    fn block_bytes(&self) -> usize {
        self.across * self.down + 2
    }

    /// The bytes of all blocks.
    pub fn bytes(&self) -> usize {
        self.blocks_across() * self.rows.div_ceil(self.down) * self.block_bytes()
    }

    /// Gives each pixel the colours of its block.
    pub fn spread(&self, blocks: &[u8]) -> Vec<u8> {
        let mut levels = vec![0; self.width * self.rows * 3];
        let lines = blocks.chunks_exact(self.blocks_across() * self.block_bytes());
        for (line, rows) in lines.zip(levels.chunks_mut(self.width * self.down * 3)) {
            for (y, row) in rows.chunks_exact_mut(self.width * 3).enumerate() {
                let blocks = line.chunks_exact(self.block_bytes());
                for (block, pixels) in blocks.zip(row.chunks_mut(self.across * 3)) {
                    let [brightness @ .., cb, cr] = block else { continue };
                    let brightness = brightness.chunks_exact(self.across).nth(y).unwrap_or_default();
                    for (pixel, brightness) in pixels.as_chunks_mut().0.iter_mut().zip(brightness) {
                        *pixel = [*brightness, *cb, *cr];
                    }
                }
            }
        }
        levels
    }
}

/// What each value of brightness and colour adds to red, green and blue.
#[derive(Debug, Clone)]
pub struct YCbCrTables {
    y: [i32; 256],
    cr_red: [i32; 256],
    cb_blue: [i32; 256],
    /// Both with so many bits behind the point.
    cb_green: [i32; 256],
    cr_green: [i32; 256],
    green_bits: u32,
}

impl YCbCrTables {
    /// Those of libtiff, with the coefficients and the range that the file tells.
    pub fn libtiff(directory: &TiffDirectory) -> Option<Self> {
        const BITS: u32 = 16;
        let tell = |tag, index, default: f32| match directory.values(tag) {
            Some(values) => values.real(index),
            None => Some(default),
        };
        let [red, green, blue] =
            [tell(COEFFICIENTS, 0, 0.299)?, tell(COEFFICIENTS, 1, 0.587)?, tell(COEFFICIENTS, 2, 0.114)?];
        let mut range = [0.0, 255.0, 128.0, 255.0, 128.0, 255.0];
        for (index, bound) in range.iter_mut().enumerate() {
            *bound = tell(REFERENCE_BLACK_WHITE, index, *bound)?;
            // Beyond this libtiff refuses as well.
            if !(-32768.0..=32768.0).contains(bound) {
                return None;
            }
        }
        if red.is_nan() || blue.is_nan() || green.is_nan() || green == 0.0 {
            return None;
        }
        let fixed = |value: f32| (f64::from(value.clamp(0.0, 2.0)) * 65536.0 + 0.5) as i32;
        let (red_factor, blue_factor) = (2.0 - 2.0 * red, 2.0 - 2.0 * blue);
        let (d1, d3) = (fixed(red_factor), fixed(blue_factor));
        let (d2, d4) = (-fixed(red * red_factor / green), -fixed(blue * blue_factor / green));
        let code = |code: i32, black: f32, white: f32, scale: f32| {
            let span = white - black;
            let value = (code - black as i32) as f32 * scale / if span == 0.0 { 1.0 } else { span };
            value.clamp(-128.0 * 32.0, 128.0 * 32.0) as i32
        };
        let half = 1 << (BITS - 1);
        let cb = |i: usize| code(i as i32 - 128, range[2] - 128.0, range[3] - 128.0, 127.0);
        let cr = |i: usize| code(i as i32 - 128, range[4] - 128.0, range[5] - 128.0, 127.0);
        Some(Self {
            y: std::array::from_fn(|i| code(i as i32, range[0], range[1], 255.0)),
            cr_red: std::array::from_fn(|i| d1.wrapping_mul(cr(i)).wrapping_add(half) >> BITS),
            cb_blue: std::array::from_fn(|i| d3.wrapping_mul(cb(i)).wrapping_add(half) >> BITS),
            cb_green: std::array::from_fn(|i| d4.wrapping_mul(cb(i)).wrapping_add(half)),
            cr_green: std::array::from_fn(|i| d2.wrapping_mul(cr(i))),
            green_bits: BITS,
        })
    }

    /// Those of Pillow: JFIF's coefficients in 6-bit fixed point.
    pub fn pillow() -> Self {
        const BITS: u32 = 6;
        // Rounded as a cast in C rounds: towards zero, after a half is added.
        let table = |factor: f64| {
            std::array::from_fn(|i| (factor * f64::from(1 << BITS) * (i as f64 - 128.0) + 0.5) as i32)
        };
        let whole = |table: [i32; 256]| table.map(|value| value >> BITS);
        Self {
            y: std::array::from_fn(|i| i as i32),
            cr_red: whole(table(1.402)),
            cb_blue: whole(table(1.772)),
            cb_green: table(-0.344_14),
            cr_green: table(-0.714_14),
            green_bits: BITS,
        }
    }

    pub fn rgb(&self, [y, cb, cr]: [u8; 3]) -> [u8; 3] {
        let [y, cb, cr] = [y, cb, cr].map(usize::from);
        let green = self.cb_green[cb].wrapping_add(self.cr_green[cr]) >> self.green_bits;
        let colours = [self.cr_red[cr], green, self.cb_blue[cb]];
        colours.map(|colour| (self.y[y] + colour).clamp(0, 255) as u8)
    }
}
