//! Bytes that begin with a line of the cache, as the widest vectors like them.

use bytemuck::{Zeroable, zeroed_vec};
use std::ops::{Deref, DerefMut};

#[derive(Clone, Copy, Zeroable)]
#[repr(align(64))]
struct CacheLine(#[expect(dead_code, reason = "read as bytes, through pointers")] [u8; 64]);

/// Aligned bytes.
pub(super) struct Bytes {
    lines: Vec<CacheLine>,
    len: usize,
}

impl Bytes {
    /// `len` zeros.
    pub(super) fn zeros(len: usize) -> Self {
        Self { lines: zeroed_vec(len.div_ceil(64)), len }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: lines are bytes and nothing else, at least `len` of them.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
