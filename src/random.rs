//! Numbers without any regularity, for the tests of every package.

// Each of them uses some of it.
#![allow(dead_code)]

/// Numbers that look random and are the same for the same seed: the linear congruence of
/// Numerical Recipes, of which the upper bits are used.
pub struct Random(pub u32);

impl Random {
    fn step(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0
    }

    /// A number less than `limit`, which is at most 2²⁴.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.step() >> 8) as usize % limit
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        (self.step() >> 24) as u8
    }

    /// A number between −1 and 1.
    pub fn value(&mut self) -> f32 {
        (self.step() >> 8) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// So many values between −1 and 1.
pub fn random(count: usize, seed: u32) -> Vec<f32> {
    let mut random = Random(seed);
    std::iter::repeat_with(|| random.value()).take(count).collect()
}
