//! Indices → colours.

/// The colours of up to 256 indices. Those that a file does not give are black, as in Pillow.
#[derive(Debug, Clone)]
pub struct Palette([[u8; 3]; 256]);

impl Palette {
    /// Takes the colours of the first indices.
    pub fn new(colours: impl IntoIterator<Item = [u8; 3]>) -> Self {
        let mut palette = [[0; 3]; 256];
        palette.iter_mut().zip(colours).for_each(|(to, colour)| *to = colour);
        Self(palette)
    }

    /// Every index is a level of grey.
    pub fn grey() -> Self {
        Self::new((0..=255).map(|level| [level; 3]))
    }

    pub fn colour(&self, index: u8) -> [u8; 3] {
        self.0[usize::from(index)]
    }
}
