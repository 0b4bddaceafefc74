//! Encoded image bytes → [`Pixels`]: decode, orient, RGB, resize, crop, normalise.

/// A decoded picture: upright, RGB, 8 bits a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture(pub(crate) image::RgbImage);

impl Picture {
    /// Decodes the first frame of an encoded image and applies its EXIF orientation.
    pub fn decode(_bytes: &[u8]) -> Result<Self, PixelsError> {
        todo!()
    }
}

/// Why bytes give no pixels.
#[derive(Debug, thiserror::Error)]
pub enum PixelsError {
    #[error("the file is empty")]
    Empty,
    #[error("not an image in a format clipclass reads")]
    Format,
    #[error("{0}")]
    Decode(String),
    #[error("{0}")]
    Limit(String),
    #[error("{0}")]
    Size(String),
}

impl PixelsError {
    /// The word for it in a record.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Format => "format",
            Self::Decode(_) => "decode",
            Self::Limit(_) => "limit",
            Self::Size(_) => "size",
        }
    }
}

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

impl Transform {
    /// Resizes, crops and normalises.
    ///
    /// *Errors* when the result is not of the network's size.
    pub fn apply(&self, _picture: &Picture) -> Result<Pixels, PixelsError> {
        todo!()
    }
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

impl Picture {
    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.0.dimensions()
    }

    /// The pixels.
    pub fn image(&self) -> &image::RgbImage {
        &self.0
    }
}
