//! AMX: tiles of 8-bit integers or bf16, of Intel's server processors since 2023.
//!
//! The instructions are written in assembly, as Rust has no stable functions for them. The compiler
//! knows nothing of what tile registers hold, so one block of assembly configures them, multiplies
//! all rows that it is given, stores the sums and releases them: nothing lives in them in between.
//! What the numbers are makes no difference but to the one instruction that multiplies.

use super::avx512::Avx512;
use crate::panels::{PANEL, ROW_STEP, STEP_BYTES};
use bytemuck::Pod;
use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

/// The token of AMX for one kind of numbers, and of AVX-512 for their sums.
pub trait MatrixUnit: Copy {
    /// A sum.
    type Sum: Pod;

    /// The token of the vectors of f32, to go on with.
    fn float(self) -> Avx512;
    /// The products of the rows of `x` with a panel, 32 rows at a time.
    ///
    /// The lines of `ahead` are asked for on the way.
    ///
    /// *Shape* `x [R, bytes]`, `panel [bytes / 4, PANEL, 4]`, `sums [R, PANEL]`; `R` and `bytes` are
    /// whole steps.
    ///
    /// # Panics
    ///
    /// If they are not, or if there are fewer rows of `x` or less of a panel than that.
    fn multiply(self, x: &[u8], panel: &[u8], ahead: &[u8], sums: &mut [[Self::Sum; PANEL]]);
}

/// Defines the token of AMX for numbers whose sums are `$sum`: bit `$feature` of EDX in leaf 7 of CPUID
/// (Intel's manual, volume 2) tells of the instruction `$multiply`.
macro_rules! matrix_unit {
    ($(#[$doc:meta])* $name:ident: $sum:ty, $feature:literal, $multiply:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            float: Avx512,
        }

        impl $name {
            /// The token, if the processor has the instructions and the system lets this process use
            /// them.
            pub fn detect() -> Option<Self> {
                let float = Avx512::detect()?;
                (has($feature) && tiles()).then_some(Self { float })
            }
        }

        impl MatrixUnit for $name {
            type Sum = $sum;

            fn float(self) -> Avx512 {
                self.float
            }

            fn multiply(self, x: &[u8], panel: &[u8], ahead: &[u8], sums: &mut [[$sum; PANEL]]) {
                let rows = sums.len();
                if rows == 0 {
                    return;
                }
                let bytes = panel.len() / PANEL;
                assert!(bytes > 0 && panel.len() == bytes * PANEL && bytes.is_multiple_of(STEP_BYTES));
                assert!(rows.is_multiple_of(ROW_STEP) && x.len() >= rows * bytes);
                let steps = rows / ROW_STEP * (bytes / STEP_BYTES);
                // Lines for each step, so that all have been asked for in the end.
                let lines = (ahead.len() / 64).div_ceil(steps);
                // SAFETY: the token proves the instructions and the system's permission. Tiles are 16 rows
                // of 64 bytes, as configured: `x` has two of them, one below the other, for each pass and
                // step, the panel two, side by side, for each step, and `sums` four for each pass, by the
                // assertions. A prefetch may go beyond `ahead`: it does not fault. All registers that are
                // written are named, the tile registers among them, and they are free again at the end.
                unsafe {
                    asm!(
                        "ldtilecfg [{tmp}]",
                        "2:",
                        "tilezero tmm0",
                        "tilezero tmm1",
                        "tilezero tmm2",
                        "tilezero tmm3",
                        "mov {w}, {panel}",
                        "mov {k}, {bytes}",
                        "3:",
                        "mov {tmp}, {lines}",
                        "test {tmp}, {tmp}",
                        "jz 5f",
                        "4:",
                        "prefetcht1 [{ahead}]",
                        "add {ahead}, 64",
                        "dec {tmp}",
                        "jnz 4b",
                        "5:",
                        "lea {tmp}, [{x} + {half}]",
                        "tileloadd tmm4, [{x} + {bytes}]",
                        "tileloadd tmm6, [{w} + {stride}]",
                        "tileloadd tmm7, [{w} + {stride} + 64]",
                        "tileloadd tmm5, [{tmp} + {bytes}]",
                        concat!($multiply, " tmm0, tmm4, tmm6"),
                        concat!($multiply, " tmm1, tmm4, tmm7"),
                        concat!($multiply, " tmm2, tmm5, tmm6"),
                        concat!($multiply, " tmm3, tmm5, tmm7"),
                        "add {x}, {step}",
                        "add {w}, {panel_step}",
                        "sub {k}, {step}",
                        "jnz 3b",
                        "lea {tmp}, [{to} + {sums_step} / 2]",
                        "tilestored [{to} + {stride}], tmm0",
                        "tilestored [{to} + {stride} + 64], tmm1",
                        "tilestored [{tmp} + {stride}], tmm2",
                        "tilestored [{tmp} + {stride} + 64], tmm3",
                        "add {to}, {sums_step}",
                        // From the end of this pass's first row to the beginning of the next pass's.
                        "lea {x}, [{x} + 2 * {half}]",
                        "sub {x}, {bytes}",
                        "dec {passes}",
                        "jnz 2b",
                        "tilerelease",
                        tmp = inout(reg) &raw const CONFIGURATION => _,
                        x = inout(reg) x.as_ptr() => _,
                        panel = in(reg) panel.as_ptr(),
                        w = out(reg) _,
                        k = out(reg) _,
                        bytes = in(reg) bytes,
                        half = in(reg) bytes * ROW_STEP / 2,
                        stride = in(reg) 4 * PANEL,
                        lines = in(reg) lines,
                        ahead = inout(reg) ahead.as_ptr() => _,
                        to = inout(reg) sums.as_mut_ptr() => _,
                        passes = inout(reg) rows / ROW_STEP => _,
                        step = const STEP_BYTES,
                        panel_step = const STEP_BYTES * PANEL,
                        sums_step = const ROW_STEP * PANEL * 4,
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack),
                    );
                }
            }
        }
    };
}

matrix_unit! {
    /// The token of AMX for 8-bit integers.
    AmxInt8: i32, 25, "tdpbssd"
}

matrix_unit! {
    /// The token of AMX for bf16.
    AmxBf16: f32, 22, "tdpbf16ps"
}

/// Whether that bit of EDX in leaf 7 is set.
fn has(feature: u32) -> bool {
    __cpuid_count(7, 0).edx & 1 << feature != 0
}

/// Whether the processor has tiles, and the system lets this process use them.
fn tiles() -> bool {
    const AMX_TILE: u32 = 24;
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    has(AMX_TILE) && *PERMITTED.get_or_init(permitted)
}

/// Linux gives the large registers only to processes that ask (kernel documentation, x86/xstate).
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: the call changes nothing but what this process may use; the kernel overwrites the
    // registers that are named.
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

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Configuration([u8; 64]);

/// Eight tiles of 16 rows of 64 bytes.
static CONFIGURATION: Configuration = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = 16;
        tile += 1;
    }
    Configuration(bytes)
};

const _: () = assert!(STEP_BYTES == 64 && ROW_STEP == 32 && PANEL == 32, "the assembly's tiles");
