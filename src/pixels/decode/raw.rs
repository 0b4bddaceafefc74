//! A TIFF → whether it is a camera raw. Those begin with a small picture for the camera's screen, and a
//! reader of TIFF that does not know better shows that.

use super::TiffDirectory;
use crate::formats::{self, Foreign};

/// Says what a TIFF is if its directories hold samples of a sensor.
pub fn in_tiff(bytes: &[u8]) -> Option<Foreign> {
    const PHOTOMETRIC: u16 = 262;
    const SUB_DIRECTORIES: u16 = 330;
    const DNG_VERSION: u16 = 50706;
    /// Samples under a filter of colours, and such that were taken from under it.
    const OF_A_SENSOR: [u64; 2] = [32803, 34892];
    /// The most directories that are looked into.
    const MAX_DIRECTORIES: usize = 32;
    let first = TiffDirectory::first(bytes)?;
    let mut directories = vec![first];
    let mut looked_into = 0;
    while let Some(directory) =
        directories.get(looked_into).copied().filter(|_| looked_into < MAX_DIRECTORIES)
    {
        looked_into += 1;
        if directory.values(DNG_VERSION).is_some() {
            return Some(formats::raw("a camera raw (DNG)"));
        }
        if directory.whole(PHOTOMETRIC).is_some_and(|kind| OF_A_SENSOR.contains(&kind)) {
            return Some(formats::raw("a camera raw (NEF, ARW or another kind of TIFF)"));
        }
        let subs = directory.values(SUB_DIRECTORIES);
        let subs = (0..MAX_DIRECTORIES).map_while(|index| subs?.whole(index));
        directories.extend(subs.chain(directory.next()).filter_map(|place| first.at(place)));
    }
    None
}
