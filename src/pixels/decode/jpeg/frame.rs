//! A frame header → the picture's size, its components and how they are sampled.

use super::segments::{SOF0, Segment};
use super::{Broken, JpegError};

/// Blocks are 8 × 8 samples.
pub const SIDE: usize = 8;

/// How coefficients become bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntropyCoding {
    Huffman,
    Arithmetic,
}

/// In how many goes a coefficient is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    Sequential,
    Progressive,
}

/// What a frame header says.
#[derive(Debug, Clone)]
pub struct Frame {
    pub coding: EntropyCoding,
    pub passes: Passes,
    /// In pixels, not 0.
    pub width: usize,
    pub height: usize,
    /// The greatest sampling factors of all components.
    pub max_h: usize,
    pub max_v: usize,
    pub components: Vec<Component>,
}

/// One component: brightness, a colour, or an ink.
#[derive(Debug, Clone)]
pub struct Component {
    pub id: u8,
    /// Sampling factors, 1 to 4.
    pub h: usize,
    pub v: usize,
    /// The number of its quantisation table.
    pub quantisation: usize,
    /// In samples.
    pub width: usize,
    pub height: usize,
}

impl Component {
    pub fn blocks_wide(&self) -> usize {
        self.width.div_ceil(SIDE)
    }

    pub fn blocks_high(&self) -> usize {
        self.height.div_ceil(SIDE)
    }
}

impl Frame {
    /// Reads the segment of a start-of-frame marker.
    ///
    /// *Errors* when it is not made as T.81 B.2.2 wants it, or of a kind that is not decoded.
    pub fn read(segment: Segment) -> Result<Self, JpegError> {
        let unsupported = |feature: &str| Err(JpegError::Unsupported(feature.to_owned()));
        let (coding, passes) = match segment.marker - SOF0 {
            0 | 1 => (EntropyCoding::Huffman, Passes::Sequential),
            2 => (EntropyCoding::Huffman, Passes::Progressive),
            9 => (EntropyCoding::Arithmetic, Passes::Sequential),
            10 => (EntropyCoding::Arithmetic, Passes::Progressive),
            3 | 11 => return unsupported("lossless JPEG"),
            _ => return unsupported("hierarchical JPEG"),
        };
        let (header, listed) =
            segment.body.split_first_chunk::<6>().ok_or(Broken("a frame header is cut short"))?;
        let [precision, height_high, height_low, width_high, width_low, count] = *header;
        if precision != 8 {
            return unsupported(&format!("JPEG with {precision} bits a channel"));
        }
        let width = u16::from_be_bytes([width_high, width_low]).into();
        let height = u16::from_be_bytes([height_high, height_low]).into();
        if width == 0 || height == 0 {
            return Err(Broken("the picture has no pixels"));
        }
        let (listed, excess) = listed.as_chunks::<3>();
        if listed.len() != usize::from(count) || !excess.is_empty() {
            return Err(Broken("a frame header is of the wrong length"));
        }
        if !matches!(count, 1..=4) {
            return unsupported(&format!("JPEG with {count} channels"));
        }
        let mut components = Vec::new();
        for [id, factors, quantisation] in listed.iter().copied() {
            let (h, v) = (usize::from(factors >> 4), usize::from(factors & 15));
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) {
                return Err(Broken("a channel has no valid sampling factors"));
            }
            // A single component is sent block by block, whatever its factors are.
            let (h, v) = if count == 1 { (1, 1) } else { (h, v) };
            components.push(Component { id, h, v, quantisation: quantisation.into(), width, height });
        }
        let max = |factor: fn(&Component) -> usize| components.iter().map(factor).max().unwrap_or(1);
        let (max_h, max_v) = (max(|component| component.h), max(|component| component.v));
        for component in &mut components {
            if !max_h.is_multiple_of(component.h) || !max_v.is_multiple_of(component.v) {
                return unsupported("JPEG with channels whose sizes are no multiples of each other");
            }
            component.width = (width * component.h).div_ceil(max_h);
            component.height = (height * component.v).div_ceil(max_v);
        }
        Ok(Self { coding, passes, width, height, max_h, max_v, components })
    }

    /// Minimum coded units in a row, with a block of the smallest component in each.
    pub fn mcus_wide(&self) -> usize {
        self.width.div_ceil(SIDE * self.max_h)
    }

    /// Rows of minimum coded units.
    pub fn mcus_high(&self) -> usize {
        self.height.div_ceil(SIDE * self.max_v)
    }
}
