//! Encoded image bytes → [`Pixels`]: decode, orient, RGB, resize, crop, normalise.

/// How an encoded image becomes the network's input; read from `preprocessor_config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct Transform {
    /// Target of the resize, absent when the model's configuration turns resizing off.
    pub resize: Option<Resize>,
    /// Interpolation of the resize.
    pub filter: Filter,
    /// Height and width of the centre crop in pixels, absent when turned off.
    pub crop: Option<(u32, u32)>,
    /// What a byte is multiplied with; `1.0` when rescaling is turned off.
    pub rescale: f32,
    /// Mean subtracted from each channel after rescaling.
    pub mean: [f32; 3],
    /// Standard deviation each channel is divided by.
    pub std: [f32; 3],
}

/// Target of the resize.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resize {
    /// The short side becomes this many pixels; the aspect ratio stays.
    ShortestEdge(u32),
    /// Both sides are given; the aspect ratio may change.
    Exact { height: u32, width: u32 },
}

/// Interpolation filters, with Pillow's definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    Nearest,
    Lanczos,
    Bilinear,
    Bicubic,
    Box,
    Hamming,
}

/// One normalised image: `[3, H, W]` f32, channel by channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Pixels {
    pub height: usize,
    pub width: usize,
    pub values: Vec<f32>,
}
