//! Tiles of 8-bit integers: AMX, the matrix unit of Intel's server processors since 2023.
//!
//! The instructions are written in assembly, as Rust has no stable functions for them. The tile
//! registers are configured and released within one task, and no other code here knows them.

use super::int8::{Block, DEPTH_STEP, PANEL, ROW_STEP, Sums};
use super::simd::x86::Avx512;
use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _MM_HINT_T1, _mm_prefetch};
use std::ops::Range;
use std::sync::OnceLock;

/// Lines of the cache that a panel's tiles take at one depth.
const STEP_LINES: usize = DEPTH_STEP * PANEL / 64;

/// Whether the processor has AMX for 8-bit integers and the system lets this process use it.
pub(super) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| detected() && permitted())
}

fn detected() -> bool {
    /// `AMX-TILE` and `AMX-INT8` in EDX of leaf 7 (Intel's manual, volume 2, CPUID).
    const TILE_AND_INT8: u32 = 0b11 << 24;
    is_x86_feature_detected!("avx512f") && __cpuid_count(7, 0).edx & TILE_AND_INT8 == TILE_AND_INT8
}

/// Linux gives the large registers only to processes that ask (kernel documentation, x86/xstate).
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: the call changes nothing but what this process may use.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// What `ldtilecfg` reads: eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration([u8; 64]);

const CONFIGURATION: Configuration = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = DEPTH_STEP as u8;
        bytes[48 + tile] = ROW_STEP as u8;
        tile += 1;
    }
    Configuration(bytes)
};

/// Multiplies a block, 32 rows at a time.
///
/// # Safety
///
/// AMX must be [`available`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn run(block: &Block) {
    let mut sums = Sums([[0; PANEL]; 32]);
    let rows = block.rows();
    // SAFETY: rows are padded to whole tiles; the registers are this function's alone.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &CONFIGURATION, options(nostack, readonly));
        let passes = rows.div_ceil(2 * ROW_STEP);
        for (pass, first) in (0..rows).step_by(2 * ROW_STEP).enumerate() {
            let left = rows - first;
            let ahead = STEP_LINES * pass / passes..STEP_LINES * (pass + 1) / passes;
            if left > ROW_STEP {
                two_tiles(block, first, ahead, &mut sums);
            } else {
                one_tile(block, first, ahead, &mut sums);
            }
            block.keep::<Avx512>(&sums, first, left.min(2 * ROW_STEP));
        }
        asm!("tilerelease", options(nostack, nomem));
    }
}

/// Asks for `lines` of what the next panel has at depth `k`: tiles are loaded too fast for the
/// processor to see what comes.
#[inline(always)]
fn prefetch(block: &Block, k: usize, lines: Range<usize>) {
    for line in lines {
        let next = block.w.wrapping_add((block.depth + k) * PANEL + 64 * line);
        // SAFETY: a prefetch does not fault.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(next) };
    }
}

/// 32 rows from `first` with all columns.
#[inline(always)]
unsafe fn two_tiles(block: &Block, first: usize, ahead: Range<usize>, sums: &mut Sums) {
    unsafe {
        asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, nomem));
        let x = block.x.add(first * block.depth);
        for k in (0..block.depth).step_by(DEPTH_STEP) {
            prefetch(block, k, ahead.clone());
            asm!(
                "tileloadd tmm4, [{upper} + {depth}]",
                "tileloadd tmm6, [{w} + {stride}]",
                "tileloadd tmm7, [{w} + {stride} + 64]",
                "tileloadd tmm5, [{lower} + {depth}]",
                "tdpbssd tmm0, tmm4, tmm6",
                "tdpbssd tmm1, tmm4, tmm7",
                "tdpbssd tmm2, tmm5, tmm6",
                "tdpbssd tmm3, tmm5, tmm7",
                upper = in(reg) x.add(k),
                lower = in(reg) x.add(ROW_STEP * block.depth + k),
                depth = in(reg) block.depth,
                w = in(reg) block.w.add(k * PANEL),
                stride = in(reg) 4 * PANEL,
                options(nostack, readonly),
            );
        }
        asm!(
            "tilestored [{to} + {stride}], tmm0",
            "tilestored [{to} + {stride} + 64], tmm1",
            "tilestored [{lower} + {stride}], tmm2",
            "tilestored [{lower} + {stride} + 64], tmm3",
            to = in(reg) sums.0.as_mut_ptr(),
            lower = in(reg) sums.0[ROW_STEP..].as_mut_ptr(),
            stride = in(reg) 4 * PANEL,
            options(nostack),
        );
    }
}

/// 16 rows from `first` with all columns.
#[inline(always)]
unsafe fn one_tile(block: &Block, first: usize, ahead: Range<usize>, sums: &mut Sums) {
    unsafe {
        asm!("tilezero tmm0", "tilezero tmm1", options(nostack, nomem));
        let x = block.x.add(first * block.depth);
        for k in (0..block.depth).step_by(DEPTH_STEP) {
            prefetch(block, k, ahead.clone());
            asm!(
                "tileloadd tmm4, [{x} + {depth}]",
                "tileloadd tmm6, [{w} + {stride}]",
                "tileloadd tmm7, [{w} + {stride} + 64]",
                "tdpbssd tmm0, tmm4, tmm6",
                "tdpbssd tmm1, tmm4, tmm7",
                x = in(reg) x.add(k),
                depth = in(reg) block.depth,
                w = in(reg) block.w.add(k * PANEL),
                stride = in(reg) 4 * PANEL,
                options(nostack, readonly),
            );
        }
        asm!(
            "tilestored [{to} + {stride}], tmm0",
            "tilestored [{to} + {stride} + 64], tmm1",
            to = in(reg) sums.0.as_mut_ptr(),
            stride = in(reg) 4 * PANEL,
            options(nostack),
        );
    }
}
