//! `y ≈ x · wᵀ + b` in 8-bit integers.
//!
//! A weight matrix has one scale for each output, found when it is loaded; `x` has one for each
//! row, found when it comes. Products of integers are summed exactly, so every instruction set
//! gives the same sums, and a row the same result alone as among others.

use super::matmul::{Target, Weight, load_some, store_some};
use super::simd::{self, Kernel, Portable, Simd, dispatch};
use rayon::prelude::*;
use std::sync::OnceLock;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx;

/// Columns of a panel.
pub(super) const PANEL: usize = 32;
/// Summed elements that AMX takes at a time; depths are padded to it with zeros.
pub(super) const DEPTH_STEP: usize = 64;
/// Rows that AMX takes at a time; quantised rows are padded to it.
pub(super) const ROW_STEP: usize = 16;
/// Rows of `x` in one task at most.
const TASK_ROWS: usize = 512;
/// The most elements whose products, each at most 255 · 127, an i32 can sum.
const MAX_DEPTH: usize = 1 << 16;

/// Bytes in lines of the cache, as the widest vectors like them.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read as bytes, through pointers")] [i8; 64]);

fn bytes(lines: &mut [Line]) -> &mut [i8] {
    // SAFETY: lines are bytes and nothing else.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 64) }
}

/// Weight matrices side by side, quantised.
///
/// The values lie in panels of `PANEL` outputs: four consecutive inputs of each output, then the
/// next four, which is how `vpdpbusd` and AMX take them.
pub struct Int8Matrix {
    lines: Vec<Line>,
    /// What a sum is multiplied with, for each output.
    scales: Vec<f32>,
    /// −128 times the sum of each output's values: where sums start if `x` is taken as `x + 128`.
    offsets: Vec<i32>,
    bias: Option<Vec<f32>>,
    inputs: usize,
    outputs: usize,
}

impl Int8Matrix {
    /// Quantises matrices whose outputs follow one another; absent where the sums could overflow.
    pub fn quantize(weights: &[Weight]) -> Option<Self> {
        let inputs = weights[0].inputs;
        assert!(weights.iter().all(|w| w.inputs == inputs && w.values.len() % inputs == 0));
        if inputs > MAX_DEPTH {
            return None;
        }
        let rows: Vec<_> = weights.iter().flat_map(|w| w.values.chunks_exact(inputs)).collect();
        let outputs = rows.len();
        let panel_lines = depth(inputs) / 4 * PANEL * 4 / 64;
        let panels = outputs.div_ceil(PANEL);
        let mut lines = vec![Line([0; 64]); panels * panel_lines];
        let mut scales = vec![0.0; panels * PANEL];
        let mut offsets = vec![0; panels * PANEL];
        lines
            .par_chunks_mut(panel_lines)
            .zip(scales.par_chunks_mut(PANEL))
            .zip(offsets.par_chunks_mut(PANEL))
            .zip(rows.par_chunks(PANEL))
            .for_each(|(((lines, scales), offsets), rows)| {
                dispatch(simd::Isa::of_this_machine(), FillPanel { rows, lines, scales, offsets });
            });
        let bias = weights.iter().any(|w| w.bias.is_some()).then(|| {
            let bias =
                |w: &Weight| w.bias.map_or_else(|| vec![0.0; w.values.len() / inputs], <[f32]>::to_vec);
            weights.iter().flat_map(bias).collect()
        });
        Some(Self { lines, scales, offsets, bias, inputs, outputs })
    }

    fn panel(&self, index: usize) -> &[Line] {
        let lines = depth(self.inputs) / 4 * PANEL * 4 / 64;
        &self.lines[index * lines..][..lines]
    }
}

/// The padded depth of a row.
fn depth(inputs: usize) -> usize {
    inputs.next_multiple_of(DEPTH_STEP)
}

/// Quantises some rows of weights into one panel.
struct FillPanel<'a> {
    rows: &'a [&'a [f32]],
    lines: &'a mut [Line],
    scales: &'a mut [f32],
    offsets: &'a mut [i32],
}

impl Kernel for FillPanel<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut values = vec![0; depth(self.rows[0].len())];
        for (n, row) in self.rows.iter().enumerate() {
            self.scales[n] = quantize(row, &mut values[..row.len()], 0);
            let sum: i32 = values.iter().map(|&v| i32::from(v)).sum();
            self.offsets[n] = -128 * sum;
            let places = bytes(self.lines).chunks_exact_mut(4).skip(n).step_by(PANEL);
            places.zip(values.chunks_exact(4)).for_each(|(place, four)| place.copy_from_slice(four));
        }
    }
}

/// Rounds `x / scale` to −127 … 127 and returns the scale. `flip` is an exclusive or on each value.
#[inline(always)]
fn quantize(x: &[f32], to: &mut [i8], flip: i8) -> f32 {
    // As integers, so that the compiler may reorder; a NaN is the largest and stays one.
    let largest = x.iter().fold(0, |most, x| most.max(x.to_bits() & 0x7fff_ffff));
    let largest = f32::from_bits(largest);
    let factor = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    // Adding 1.5 · 2²³ leaves the rounded number in the lowest bits, two's complement.
    const ROUND: f32 = 12_582_912.0;
    for (x, to) in x.iter().zip(to) {
        *to = (x * factor + ROUND).to_bits() as i8 ^ flip;
    }
    largest / 127.0
}

/// Multiplies the rows of `x` with a matrix.
///
/// *Shape* `x [R, inputs]`, `y [R, outputs]`, row-major.
pub fn matmul_int8(x: &[f32], w: &Int8Matrix, y: &mut [f32], target: Target) {
    multiply(Isa::of_this_machine(), x, w, y, target);
}

fn multiply(isa: Isa, x: &[f32], w: &Int8Matrix, y: &mut [f32], target: Target) {
    let rows = x.len() / w.inputs;
    assert!(x.len() == rows * w.inputs && y.len() == rows * w.outputs);
    let depth = depth(w.inputs);
    let mut values = vec![Line([0; 64]); rows.next_multiple_of(ROW_STEP) * depth / 64];
    let mut scales = vec![0.0; rows];
    let group = 16;
    values
        .par_chunks_mut(group * depth / 64)
        .zip(scales.par_chunks_mut(group))
        .zip(x.par_chunks(group * w.inputs))
        .for_each(|((values, scales), x)| {
            dispatch(
                simd::Isa::of_this_machine(),
                QuantizeRows { x, inputs: w.inputs, values, scales, flip: isa.flip() },
            );
        });

    let panels = w.outputs.div_ceil(PANEL);
    let groups = rows.div_ceil(TASK_ROWS);
    let y = Output(y.as_mut_ptr());
    (0..groups * panels).into_par_iter().for_each(|task| {
        let (group, panel) = (task / panels, task % panels);
        // Whole tiles, so that none reaches into the next group.
        let tiles = rows.div_ceil(ROW_STEP);
        let first = tiles * group / groups * ROW_STEP;
        let last = (tiles * (group + 1) / groups * ROW_STEP).min(rows);
        let column = panel * PANEL;
        let y = &y;
        let block = Block {
            x: values[first * depth / 64..].as_ptr().cast(),
            x_scales: &scales[first..last],
            depth,
            w: w.panel(panel).as_ptr().cast(),
            scales: &w.scales[column..][..PANEL],
            offsets: &w.offsets[column..][..PANEL],
            bias: w.bias.as_ref().map(|bias| &bias[column..]),
            // SAFETY: within `y`, whose rows are `outputs` long.
            y: unsafe { y.0.add(first * w.outputs + column) },
            columns: PANEL.min(w.outputs - column),
            width: w.outputs,
            target,
        };
        isa.run(&block);
    });
}

struct Output(*mut f32);

// SAFETY: every task writes to a block of its own.
unsafe impl Sync for Output {}

struct QuantizeRows<'a> {
    x: &'a [f32],
    inputs: usize,
    values: &'a mut [Line],
    scales: &'a mut [f32],
    flip: i8,
}

impl Kernel for QuantizeRows<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let lines = depth(self.inputs) / 64;
        let rows = self.x.chunks_exact(self.inputs).zip(self.values.chunks_exact_mut(lines));
        for ((x, values), scale) in rows.zip(self.scales) {
            *scale = quantize(x, &mut bytes(values)[..self.inputs], self.flip);
        }
    }
}

/// The product of some rows of `x` with one panel.
pub(super) struct Block<'a> {
    /// Padded rows, `depth` apart.
    pub(super) x: *const i8,
    x_scales: &'a [f32],
    pub(super) depth: usize,
    pub(super) w: *const i8,
    scales: &'a [f32],
    /// Read where `x` is flipped.
    offsets: &'a [i32],
    bias: Option<&'a [f32]>,
    y: *mut f32,
    columns: usize,
    width: usize,
    target: Target,
}

/// Sums of a register tile.
#[repr(align(64))]
pub(super) struct Sums(pub(super) [[i32; PANEL]; 32]);

impl Block<'_> {
    pub(super) fn rows(&self) -> usize {
        self.x_scales.len()
    }

    /// Scales the sums of `rows` rows from `first`, and writes them to `y`.
    #[inline(always)]
    pub(super) unsafe fn keep<S: Simd>(&self, sums: &Sums, first: usize, rows: usize) {
        for column in (0..self.columns).step_by(S::LANES) {
            let columns = (self.columns - column).min(S::LANES);
            // SAFETY: panels have a scale for each of their columns; `y` is the block's own part.
            unsafe {
                let scale = S::load(self.scales.as_ptr().add(column));
                let bias = match self.bias {
                    Some(bias) => load_some::<S>(bias.as_ptr().add(column), columns),
                    None => S::splat(0.0),
                };
                for (m, sums) in sums.0.iter().enumerate().take(rows) {
                    let y = self.y.add((first + m) * self.width + column);
                    let scale = S::mul(scale, S::splat(self.x_scales[first + m]));
                    let mut sum = S::mul_add(S::load_i32(sums.as_ptr().add(column)), scale, bias);
                    match self.target {
                        Target::Overwrite => {}
                        Target::Add => sum = S::add(load_some::<S>(y, columns), sum),
                        Target::Activate(activation) => sum = activation.apply::<S>(sum),
                    }
                    store_some::<S>(y, sum, columns);
                }
            }
        }
    }
}

/// Instruction sets with integer products of their own here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Isa {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Amx,
    #[cfg(target_arch = "x86_64")]
    Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Isa {
    /// Those that this machine has, best first.
    fn all_of_this_machine() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let vnni = is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw");
            #[cfg(target_os = "linux")]
            if vnni && amx::available() {
                all.push(Self::Amx);
            }
            if vnni {
                all.push(Self::Vnni);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Self::Avx2);
            }
        }
        all.push(Self::Portable);
        all
    }

    fn of_this_machine() -> Self {
        static ISA: OnceLock<Isa> = OnceLock::new();
        *ISA.get_or_init(|| Self::all_of_this_machine()[0])
    }

    /// What turns a value of `x` into what the instructions take: `vpdpbusd` has `x + 128`, unsigned.
    fn flip(self) -> i8 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => i8::MIN,
            _ => 0,
        }
    }

    fn run(self, block: &Block) {
        match self {
            // SAFETY: the instructions were detected.
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Amx => unsafe { amx::run(block) },
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => unsafe { x86::run_vnni(block) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { x86::run_avx2(block) },
            Self::Portable => unsafe { run_portable(block) },
        }
    }
}

unsafe fn run_portable(block: &Block) {
    let mut tile = Sums([[0; PANEL]; 32]);
    for row in 0..block.rows() {
        let mut sums = [0i32; PANEL];
        // SAFETY: the block's padded row and its panel.
        let (x, w) = unsafe {
            (
                std::slice::from_raw_parts(block.x.add(row * block.depth), block.depth),
                std::slice::from_raw_parts(block.w, block.depth * PANEL),
            )
        };
        for (x, w) in x.chunks_exact(4).zip(w.chunks_exact(4 * PANEL)) {
            for (sum, w) in sums.iter_mut().zip(w.chunks_exact(4)) {
                for (x, w) in x.iter().zip(w) {
                    *sum += i32::from(*x) * i32::from(*w);
                }
            }
        }
        tile.0[0] = sums;
        // SAFETY: `row` is one of the block's.
        unsafe { block.keep::<Portable>(&tile, row, 1) };
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::simd::x86::{Avx2, Avx512};
    use super::{Block, PANEL, Sums};
    use std::arch::x86_64::*;

    /// Calls `$tile::<M>` for all rows of `$block`, at most `$most` at a time, evenly.
    macro_rules! all_rows {
        ($block:ident, $simd:ty, $most:literal, $tile:ident, $($m:literal)*) => {
            let mut sums = Sums([[0; PANEL]; 32]);
            let rows = $block.rows();
            let tiles = rows.div_ceil($most);
            for tile in 0..tiles {
                let first = rows * tile / tiles;
                let count = rows * (tile + 1) / tiles - first;
                // SAFETY: the block's own rows.
                unsafe {
                    match count {
                        $($m => $tile::<$m>($block, first, &mut sums),)*
                        _ => unreachable!("tiles have at most {} rows", $most),
                    }
                    $block.keep::<$simd>(&sums, first, count);
                }
            }
        };
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    pub(super) unsafe fn run_vnni(block: &Block) {
        all_rows!(block, Avx512, 12, vnni, 1 2 3 4 5 6 7 8 9 10 11 12);
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    unsafe fn vnni<const M: usize>(block: &Block, first: usize, to: &mut Sums) {
        unsafe {
            let x = block.x.add(first * block.depth);
            let start = block.offsets.as_ptr();
            let start = [_mm512_loadu_si512(start.cast()), _mm512_loadu_si512(start.add(16).cast())];
            let mut sums = [start; M];
            for k in (0..block.depth).step_by(4) {
                let w = block.w.add(k * PANEL);
                let w = [_mm512_loadu_si512(w.cast()), _mm512_loadu_si512(w.add(64).cast())];
                for m in 0..M {
                    let x = _mm512_set1_epi32(x.add(m * block.depth + k).cast::<i32>().read_unaligned());
                    sums[m][0] = _mm512_dpbusd_epi32(sums[m][0], x, w[0]);
                    sums[m][1] = _mm512_dpbusd_epi32(sums[m][1], x, w[1]);
                }
            }
            for m in 0..M {
                let to = to.0[m].as_mut_ptr();
                _mm512_storeu_si512(to.cast(), sums[m][0]);
                _mm512_storeu_si512(to.add(16).cast(), sums[m][1]);
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn run_avx2(block: &Block) {
        all_rows!(block, Avx2, 2, avx2, 1 2);
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<const M: usize>(block: &Block, first: usize, to: &mut Sums) {
        unsafe {
            let x = block.x.add(first * block.depth);
            let ones = _mm256_set1_epi16(1);
            let mut sums = [[_mm256_setzero_si256(); 4]; M];
            for k in (0..block.depth).step_by(4) {
                let w = block.w.add(k * PANEL);
                let w: [__m256i; 4] = std::array::from_fn(|n| _mm256_loadu_si256(w.add(32 * n).cast()));
                for m in 0..M {
                    let x = _mm256_set1_epi32(x.add(m * block.depth + k).cast::<i32>().read_unaligned());
                    let size = _mm256_abs_epi8(x);
                    for n in 0..4 {
                        // |x| · (w with the sign of x): two products of at most 127 · 127 fit an i16.
                        let pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(w[n], x));
                        sums[m][n] = _mm256_add_epi32(sums[m][n], _mm256_madd_epi16(pairs, ones));
                    }
                }
            }
            for m in 0..M {
                for n in 0..4 {
                    _mm256_storeu_si256(to.0[m].as_mut_ptr().add(8 * n).cast(), sums[m][n]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::activation::Activation;
    use super::super::tests::random;
    use super::*;

    fn exact(x: &[f32], w: &[f32], inputs: usize, outputs: usize) -> Vec<f64> {
        let row = |r: &[f32], c: &[f32]| r.iter().zip(c).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        x.chunks_exact(inputs)
            .flat_map(|r| w.chunks_exact(inputs).take(outputs).map(move |c| row(r, c)))
            .collect()
    }

    #[test]
    fn every_instruction_set_gives_the_same_sums_close_to_the_exact_ones() {
        for (rows, inputs, outputs) in [(1, 1, 1), (5, 67, 33), (50, 768, 96), (17, 130, 31), (33, 64, 32)] {
            let (x, w) = (random(rows * inputs, 1), random(outputs * inputs, 2));
            let bias = random(outputs, 3);
            let weight = Weight { values: &w, bias: Some(&bias), inputs };
            let matrix = Int8Matrix::quantize(&[weight]).expect("few inputs");
            let exact = exact(&x, &w, inputs, outputs);
            let before = random(rows * outputs, 4);
            let product = |isa, target| {
                let mut y = before.clone();
                multiply(isa, &x, &matrix, &mut y, target);
                y
            };
            for target in [Target::Overwrite, Target::Add, Target::Activate(Activation::QuickGelu)] {
                let portable = product(Isa::Portable, target);
                for isa in Isa::all_of_this_machine() {
                    for (y, portable) in product(isa, target).iter().zip(&portable) {
                        // Less than a step of the sums, 1 / 127²; scaling them rounds.
                        assert!((y - portable).abs() < 2e-5, "{isa:?} {rows} × {inputs} × {outputs}");
                    }
                }
                // Half a step of each operand, summed over `inputs` products: three deviations.
                let tolerance = 3.0 * (2.0f64 * inputs as f64 / 3.0 / 12.0).sqrt() / 127.0 + 0.01;
                for (i, y) in portable.iter().enumerate() {
                    let sum = exact[i] + f64::from(bias[i % outputs]);
                    let want = match target {
                        Target::Overwrite => sum,
                        Target::Add => sum + f64::from(before[i]),
                        Target::Activate(_) => sum / (1.0 + (-1.702 * sum).exp()),
                    };
                    assert!((f64::from(*y) - want).abs() < tolerance * 2.0, "{y} is not {want}");
                }
            }
        }
    }

    #[test]
    fn extreme_values_do_not_saturate() {
        let (inputs, outputs) = (256, 32);
        for (x, w) in [(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)] {
            let (xs, ws) = (vec![x; inputs], vec![w; inputs * outputs]);
            let matrix =
                Int8Matrix::quantize(&[Weight { values: &ws, bias: None, inputs }]).expect("few inputs");
            for isa in Isa::all_of_this_machine() {
                let mut y = vec![0.0; outputs];
                multiply(isa, &xs, &matrix, &mut y, Target::Overwrite);
                assert!(y.iter().all(|y| (y - x * w * 256.0).abs() < 1e-3), "{isa:?}: {y:?}");
            }
        }
    }

    #[test]
    fn row_is_the_same_alone_as_among_others() {
        let (rows, inputs, outputs) = (1100, 64, 40);
        let (x, w) = (random(rows * inputs, 5), random(outputs * inputs, 6));
        let matrix = Int8Matrix::quantize(&[Weight { values: &w, bias: None, inputs }]).expect("few inputs");
        let mut all = vec![0.0; rows * outputs];
        matmul_int8(&x, &matrix, &mut all, Target::Overwrite);
        for row in [0, 511, 512, 1099] {
            let mut alone = vec![0.0; outputs];
            matmul_int8(&x[row * inputs..][..inputs], &matrix, &mut alone, Target::Overwrite);
            assert_eq!(alone, all[row * outputs..][..outputs]);
        }
    }

    #[test]
    fn zero_rows_give_the_bias() {
        let weight = [0.0; 8];
        let matrix = Int8Matrix::quantize(&[Weight { values: &weight, bias: Some(&[3.0, 4.0]), inputs: 4 }]);
        let mut y = [0.0; 2];
        matmul_int8(&[0.0; 4], &matrix.expect("few inputs"), &mut y, Target::Overwrite);
        assert_eq!(y, [3.0, 4.0]);
    }

    #[test]
    fn matrix_too_deep_for_exact_sums_is_refused() {
        let values = vec![1.0; MAX_DEPTH + 1];
        let weight = Weight { values: &values, bias: None, inputs: MAX_DEPTH + 1 };
        assert!(Int8Matrix::quantize(&[weight]).is_none());
    }
}
