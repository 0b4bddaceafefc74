//! A Radiance picture → whether its header is short enough. The image crate keeps each line of it, in far more
//! memory.

use crate::PixelsError;

const MAX_HEADER_BYTES: usize = 1 << 20;

/// *Errors* when the header is too long.
pub fn check_header(bytes: &[u8]) -> Result<(), PixelsError> {
    let begin = &bytes[..bytes.len().min(MAX_HEADER_BYTES)];
    if begin.len() < bytes.len() && !begin.windows(2).any(|pair| pair == b"\n\n") {
        return Err(PixelsError::Limit(
            "the header of the Radiance picture has more than a MiB; save the image anew".into(),
        ));
    }
    Ok(())
}
