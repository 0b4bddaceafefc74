//! Prints what clipclass makes of pictures: for each path that standard input lists, the size and the
//! FNV-1a hash of the RGB levels, or why there are none. Run by benches/pictures.py.

use clipclass::pixels::Picture;
use std::{fs, io};

fn main() -> anyhow::Result<()> {
    for path in io::stdin().lines() {
        let path = path?;
        match Picture::decode(&fs::read(&path)?) {
            Ok(picture) => {
                let hash = picture.levels().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                    (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
                });
                println!("{path}\t{} {} {hash:016x}", picture.width(), picture.height());
            }
            Err(error) => println!("{path}\t{}: {error}", error.kind()),
        }
    }
    Ok(())
}
