//! Where decoded coefficients are kept until they are transformed.
//!
//! Eight neighbouring blocks are a group, and the same coefficient of all eight stands together: the
//! transform works on eight blocks at once without turning anything over, and the early scans of a
//! progressive picture touch few cache lines.

/// Blocks in a group.
pub const LANES: usize = 8;

/// The coefficients of eight blocks, in zigzag order.
pub type Group = [[i16; LANES]; 64];

/// The blocks of one component, or of some of its rows.
#[derive(Debug, Clone, Default)]
pub struct Blocks {
    pub groups: Vec<Group>,
    /// For each block the last coefficient that may differ from 0.
    pub last: Vec<[u8; LANES]>,
    /// Groups in a row.
    pub groups_wide: usize,
}

/// One block in its group.
pub struct CoefficientBlock<'a> {
    pub group: &'a mut Group,
    /// Which one it is, below 8.
    pub lane: usize,
    pub last: &'a mut u8,
}

impl Blocks {
    /// Blocks of zeros.
    pub fn new(blocks_wide: usize, blocks_high: usize) -> Self {
        let groups_wide = blocks_wide.div_ceil(LANES);
        let groups = groups_wide * blocks_high;
        Self { groups: vec![[[0; LANES]; 64]; groups], last: vec![[0; LANES]; groups], groups_wide }
    }

    /// Makes all coefficients 0 again.
    pub fn clear(&mut self) {
        for (group, last) in self.groups.iter_mut().zip(&mut self.last) {
            let reach = last.iter().fold(0, |reach, last| reach.max(*last));
            group.iter_mut().take(usize::from(reach) + 1).for_each(|lanes| *lanes = [0; LANES]);
            *last = [0; LANES];
        }
    }

    /// The block at a place, unless it is outside.
    #[inline(always)]
    pub fn block(&mut self, row: usize, column: usize) -> Option<CoefficientBlock<'_>> {
        let index = row * self.groups_wide + column / LANES;
        let (group, last) = (self.groups.get_mut(index)?, self.last.get_mut(index)?);
        let lane = column % LANES;
        Some(CoefficientBlock { group, lane, last: last.get_mut(lane)? })
    }
}

impl CoefficientBlock<'_> {
    /// Coefficient `k`, below 64.
    #[inline(always)]
    pub fn get(&self, k: usize) -> i16 {
        self.group[k % 64][self.lane % LANES]
    }

    #[inline(always)]
    pub fn set(&mut self, k: usize, value: i16) {
        self.group[k % 64][self.lane % LANES] = value;
    }

    /// Notes that coefficients up to `k` may differ from 0.
    #[inline(always)]
    pub fn reach(&mut self, k: u8) {
        *self.last = k.max(*self.last);
    }
}
