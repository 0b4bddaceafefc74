//! Memory that kernels write their results to: not initialised before, and divided among tasks.

use rayon::prelude::*;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// `len` elements that `write` writes, without zeros in between: they take as long to write as a
/// layer's results.
///
/// # Panics
///
/// If `write` returns other elements than those that it was given.
pub fn collect(len: usize, write: impl FnOnce(&mut [MaybeUninit<f32>]) -> &mut [f32]) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    let memory = &mut values.spare_capacity_mut()[..len];
    let start = memory.as_ptr().cast::<f32>();
    let written = write(memory);
    assert!(written.as_ptr() == start && written.len() == len, "other memory was written");
    // SAFETY: the capacity is at least `len`, and a slice of f32 of all these elements was returned,
    // so they are initialised.
    unsafe { values.set_len(len) };
    values
}

/// Calls `write` in parallel with the position and the memory of each `len` elements, the last one
/// less, and gives all of them.
///
/// # Panics
///
/// If `write` returns other elements than those that it was given.
pub(super) fn write_chunks(
    y: &mut [MaybeUninit<f32>],
    len: usize,
    write: impl Fn(usize, &mut [MaybeUninit<f32>]) -> &mut [f32] + Sync,
) -> &mut [f32] {
    y.par_chunks_mut(len).enumerate().for_each(|(i, chunk)| {
        let (start, len) = (chunk.as_ptr().cast::<f32>(), chunk.len());
        let written = write(i, chunk);
        assert!(written.as_ptr() == start && written.len() == len, "other memory was written");
    });
    // SAFETY: a slice of f32 was returned for every chunk, so all elements are initialised.
    unsafe { y.assume_init_mut() }
}

/// Memory that is written from its beginning to its end.
pub(super) struct SliceWriter<'a> {
    memory: &'a mut [MaybeUninit<f32>],
    written: usize,
}

impl<'a> SliceWriter<'a> {
    pub(super) fn new(memory: &'a mut [MaybeUninit<f32>]) -> Self {
        Self { memory, written: 0 }
    }

    /// Writes one element.
    #[inline(always)]
    pub(super) fn push(&mut self, x: f32) {
        self.memory[self.written].write(x);
        self.written += 1;
    }

    /// Writes the lanes of a vector.
    #[inline(always)]
    pub(super) fn push_vector<S: super::simd::Simd>(&mut self, simd: S, x: S::F32) {
        simd.write_some(&mut self.memory[self.written..][..S::LANES], x);
        self.written += S::LANES;
    }

    /// The elements.
    ///
    /// # Panics
    ///
    /// If they are not all written.
    pub(super) fn finish(self) -> &'a mut [f32] {
        assert!(self.written == self.memory.len(), "{} elements are written", self.written);
        // SAFETY: all elements are written, one after the other.
        unsafe { self.memory.assume_init_mut() }
    }
}

/// A rectangle of a row-major matrix, which one task writes while others write the rest of it.
pub(super) struct Region<'a> {
    start: *mut MaybeUninit<f32>,
    rows: usize,
    columns: usize,
    /// From the beginning of a row to that of the next.
    stride: usize,
    matrix: PhantomData<&'a mut [MaybeUninit<f32>]>,
}

// SAFETY: no two regions have an element in common, so a region is a `&mut` of its elements.
unsafe impl Send for Region<'_> {}

impl<'a> Region<'a> {
    /// All rows of `columns` elements.
    ///
    /// # Panics
    ///
    /// If `y` is not made of whole rows.
    pub(super) fn of(y: &'a mut [MaybeUninit<f32>], columns: usize) -> Self {
        let rows = y.len().checked_div(columns).unwrap_or(0);
        assert!(y.len() == rows * columns);
        Self { start: y.as_mut_ptr(), rows, columns, stride: columns, matrix: PhantomData }
    }

    /// All rows of `columns` elements of a matrix to be changed.
    ///
    /// # Safety
    ///
    /// Nothing that is not initialised may be written to them.
    ///
    /// # Panics
    ///
    /// If `y` is not made of whole rows.
    pub(super) unsafe fn of_initialised(y: &'a mut [f32], columns: usize) -> Self {
        let len = y.len();
        // SAFETY: the memory is as large, and the caller keeps it initialised.
        Self::of(unsafe { std::slice::from_raw_parts_mut(y.as_mut_ptr().cast(), len) }, columns)
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Takes the first `rows` rows away and returns them.
    pub(super) fn take_rows(&mut self, rows: usize) -> Self {
        assert!(rows <= self.rows);
        let taken = Self { rows, ..*self };
        // A row beyond the last is never looked at, so its address need not be in the matrix.
        self.start = self.start.wrapping_add(rows * self.stride);
        self.rows -= rows;
        taken
    }

    /// Takes the first `columns` columns away and returns them.
    pub(super) fn take_columns(&mut self, columns: usize) -> Self {
        assert!(columns <= self.columns);
        let taken = Self { columns, ..*self };
        self.start = self.start.wrapping_add(columns);
        self.columns -= columns;
        taken
    }

    /// Some columns of some rows.
    ///
    /// # Panics
    ///
    /// If they are not all there.
    #[inline(always)]
    pub(super) fn part(&mut self, rows: Range<usize>, columns: Range<usize>) -> Region<'_> {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        assert!(columns.start <= columns.end && columns.end <= self.columns);
        let start = self.start.wrapping_add(rows.start * self.stride + columns.start);
        Region { start, rows: rows.len(), columns: columns.len(), ..*self }
    }

    /// One row.
    #[inline(always)]
    pub(super) fn row(&mut self, row: usize) -> &mut [MaybeUninit<f32>] {
        assert!(row < self.rows);
        // SAFETY: the row is within the matrix, and its elements are this region's alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride), self.columns) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_divide_a_matrix() {
        let y = collect(6 * 10, |y| {
            let mut rest = Region::of(y, 10);
            let top = rest.take_rows(2);
            let mut left = rest.take_columns(7);
            let mut regions = [top, left.take_columns(0), left, rest.take_rows(0), rest];
            std::thread::scope(|scope| {
                for (n, region) in regions.iter_mut().enumerate() {
                    scope.spawn(move || {
                        for row in 0..region.rows() {
                            region.row(row).fill(MaybeUninit::new(n as f32));
                        }
                    });
                }
            });
            // SAFETY: the regions are the matrix.
            unsafe { y.assume_init_mut() }
        });
        for (i, y) in y.iter().enumerate() {
            let want = if i < 20 {
                0.0
            } else if i % 10 < 7 {
                2.0
            } else {
                4.0
            };
            assert_eq!(*y, want, "{i}");
        }
    }

    #[test]
    #[should_panic(expected = "other memory was written")]
    fn memory_that_was_not_given_is_not_collected() {
        collect(4, |_| Vec::leak(vec![0.0; 4]));
    }

    #[test]
    #[should_panic(expected = "3 elements are written")]
    fn writer_that_did_not_come_to_the_end_panics() {
        collect(4, |y| {
            let mut writer = SliceWriter::new(y);
            (0..3).for_each(|i| writer.push(i as f32));
            writer.finish()
        });
    }

    #[test]
    fn chunks_are_written_where_they_lie() {
        let y = collect(10, |y| {
            write_chunks(y, 4, |i, chunk| {
                let len = chunk.len();
                let mut writer = SliceWriter::new(chunk);
                (0..len).for_each(|n| writer.push((4 * i + n) as f32));
                writer.finish()
            })
        });
        assert_eq!(y, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    }
}
