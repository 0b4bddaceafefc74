//! Rows of components → a row of RGB, with libjpeg's 16-bit constants and Pillow's way with inks.

use super::JpegError;
use super::frame::Frame;
use super::tables::Tables;

/// What the components of a picture are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    Grey,
    Rgb,
    YCbCr,
    /// Four inks, inverted as Adobe stores them.
    Cmyk,
    /// Cyan, magenta and yellow as brightness and colours, and black.
    Ycck,
    /// So many channels, which stay as they are.
    Stored(usize),
}

impl Colours {
    /// Decides as libjpeg does: JFIF before Adobe's transform, and that before the components' ids.
    ///
    /// *Errors* when there are two components, which may be anything.
    pub fn of(frame: &Frame, tables: &Tables) -> Result<Self, JpegError> {
        let ids = frame.components.iter().map(|component| component.id);
        Ok(match frame.components.len() {
            1 => Self::Grey,
            2 => return Err(JpegError::Unsupported("JPEG with 2 channels".into())),
            3 if tables.is_jfif => Self::YCbCr,
            3 => match tables.adobe {
                Some(0) => Self::Rgb,
                None if ids.eq(*b"RGB") => Self::Rgb,
                _ => Self::YCbCr,
            },
            // Pillow takes all inks for inverted, whether Adobe wrote them or not.
            _ if matches!(tables.adobe, None | Some(0)) => Self::Cmyk,
            _ => Self::Ycck,
        })
    }

    /// How many levels a pixel has.
    pub fn channels(self) -> usize {
        if let Self::Stored(channels) = self { channels } else { 3 }
    }

    /// Converts a row. The rows of the components are at least as long.
    #[inline(always)]
    pub fn convert(self, rows: [&[u8]; 4], to: &mut [u8]) {
        match self {
            Self::Grey => convert(to, rows, |[y, ..]| [y; 3]),
            Self::Rgb => convert(to, rows, |[r, g, b, _]| [r, g, b]),
            Self::YCbCr => convert(to, rows, |[y, cb, cr, _]| rgb(y, cb, cr)),
            Self::Cmyk => convert(to, rows, |[c, m, y, k]| [c, m, y].map(|light| under_black(light, k))),
            Self::Ycck => convert(to, rows, |[y, cb, cr, k]| {
                // These are the inks: what they let through is inverted once more.
                rgb(y, cb, cr).map(|ink| under_black(255 - ink, k))
            }),
            Self::Stored(channels) => {
                for (channel, row) in rows.iter().enumerate().take(channels) {
                    let to = to.iter_mut().skip(channel).step_by(channels);
                    to.zip(*row).for_each(|(to, level)| *to = *level);
                }
            }
        }
    }
}

/// Pixels that are converted together.
const STEP: usize = 32;

#[inline(always)]
fn convert(to: &mut [u8], rows: [&[u8]; 4], pixel: impl Fn([u8; 4]) -> [u8; 3]) {
    let chunks = rows.map(|row| row.as_chunks::<STEP>());
    let (to, to_rest) = to.as_chunks_mut::<{ 3 * STEP }>();
    let [a, b, c, d] = chunks.map(|(chunks, _)| chunks);
    let mut done = 0;
    for ((((to, a), b), c), d) in to.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        for i in 0..STEP {
            [to[3 * i], to[3 * i + 1], to[3 * i + 2]] = pixel([a[i], b[i], c[i], d[i]]);
        }
        done += STEP;
    }
    let [a, b, c, d] = rows.map(|row| row.iter().skip(done));
    for ((((to, a), b), c), d) in to_rest.as_chunks_mut().0.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *to = pixel([*a, *b, *c, *d]);
    }
}

/// JFIF's conversion. The factors are 1.402 and the like times 65,536, less whole multiples of that.
#[inline(always)]
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    const R_CR: i16 = (91_881 - 65_536) as i16;
    const B_CB: i16 = (116_130 - 131_072) as i16;
    const G_CB: i32 = -22_554;
    const G_CR: i32 = 65_536 - 46_802;
    const HALF: i32 = 1 << 15;
    /// (factor · colour + HALF) >> 16 within 16 bits, of which twice as many fit a vector as of 32.
    #[inline(always)]
    fn times(factor: i16, colour: i16) -> i16 {
        let twice = (i32::from(factor) * i32::from(2 * colour)) >> 16;
        (twice as i16 + 1) >> 1
    }
    let (y, cb, cr) = (i16::from(y), i16::from(cb) - 128, i16::from(cr) - 128);
    let green = (G_CB * i32::from(cb) + G_CR * i32::from(cr) + HALF) >> 16;
    let level = |level: i16| level.clamp(0, 255) as u8;
    [level(y + cr + times(R_CR, cr)), level(y - cr + green as i16), level(y + 2 * cb + times(B_CB, cb))]
}

/// What an ink and black leave of white, as Pillow computes it. Both are inverted.
#[inline(always)]
pub fn under_black(light: u8, black: u8) -> u8 {
    let product = i32::from(255 - light) * i32::from(black) + 128;
    (i32::from(black) - ((product + (product >> 8)) >> 8)) as u8
}
