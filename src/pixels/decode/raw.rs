//! A TIFF → whether it is a camera raw. Those begin with a small picture for the camera's screen, and a
//! reader of TIFF that does not know better shows that.

use crate::formats::{self, Foreign};
use crate::pixels::orient::TiffReader;

/// Says what a TIFF is if its directories hold samples of a sensor.
pub fn in_tiff(bytes: &[u8]) -> Option<Foreign> {
    const PHOTOMETRIC: u64 = 262;
    const SUB_DIRECTORIES: u64 = 330;
    const DNG_VERSION: u64 = 50706;
    /// Samples under a filter of colours, and such that were taken from under it.
    const OF_A_SENSOR: [u64; 2] = [32803, 34892];
    /// The most directories that are looked into.
    const MAX_DIRECTORIES: usize = 32;
    let reader = TiffReader::new(bytes)?;
    let mut directories: Vec<u64> = reader.first_directory(bytes).into_iter().collect();
    let mut looked_into = 0;
    while let Some(directory) =
        directories.get(looked_into).copied().filter(|_| looked_into < MAX_DIRECTORIES)
    {
        looked_into += 1;
        let numbers = |tag| reader.numbers(bytes, directory, tag);
        if !numbers(DNG_VERSION).is_empty() {
            return Some(formats::raw("a camera raw (DNG)"));
        }
        if numbers(PHOTOMETRIC).iter().any(|kind| OF_A_SENSOR.contains(kind)) {
            return Some(formats::raw("a camera raw (NEF, ARW or another kind of TIFF)"));
        }
        directories.extend(numbers(SUB_DIRECTORIES).into_iter().take(MAX_DIRECTORIES));
        directories.extend(reader.next_directory(bytes, directory));
    }
    None
}
