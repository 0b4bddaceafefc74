//! What this machine has, less what the environment forbids → the instruction sets in use.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::simd::amx::{AmxBf16, AmxInt8};
#[cfg(target_arch = "aarch64")]
use super::simd::neon::{Neon, NeonDot};
#[cfg(target_arch = "x86_64")]
use super::simd::{
    avx_vnni::AvxVnni, avx2::Avx2, avx512::Avx512, avx512_bf16::Avx512Bf16, avx512_vnni::Avx512Vnni,
};
use anyhow::{Result, anyhow, bail};
use std::env::{self, consts::ARCH};
use std::ffi::OsStr;
use std::fmt;
use std::sync::OnceLock;

/// The environment variable that limits the instructions.
pub const LIMIT_VARIABLE: &str = "CLIPCLASS_SIMD";

/// Instruction sets that a limit may name, on whatever processor, each above those it allows, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Limit {
    Portable,
    Neon,
    NeonDot,
    Avx2,
    AvxVnni,
    Avx512,
    Avx512Vnni,
    Avx512Bf16,
    Amx,
}

impl Limit {
    const ALL: [Self; 9] = [
        Self::Portable,
        Self::Neon,
        Self::NeonDot,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512,
        Self::Avx512Vnni,
        Self::Avx512Bf16,
        Self::Amx,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::NeonDot => "neon-dot",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Amx => "amx",
        }
    }

    /// The limit of that name; none where the variable is not set or empty.
    fn parse(value: Option<&OsStr>) -> Result<Option<Self>> {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
        let named = Self::ALL.into_iter().find(|limit| value == limit.name());
        let names = Self::ALL.map(Self::name).join(", ");
        named
            .map(Some)
            .ok_or_else(|| anyhow!("{LIMIT_VARIABLE} is {:?}; it may be one of {names}", value.display()))
    }
}

/// An instruction set with vectors of f32 that this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatSet {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

impl FloatSet {
    /// Those that this machine has, best first.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx512::detect().map(Self::Avx512));
            all.extend(Avx2::detect().map(Self::Avx2));
        }
        #[cfg(target_arch = "aarch64")]
        all.extend(Neon::detect().map(Self::Neon));
        all.push(Self::Portable);
        all
    }

    /// The best that may be used.
    pub fn in_use() -> Self {
        Instructions::in_use().float
    }

    fn limit(self) -> Limit {
        match self {
            Self::Portable => Limit::Portable,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => Limit::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => Limit::Avx512,
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => Limit::Neon,
        }
    }
}

/// An instruction set with products of 8-bit integers that this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Int8Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    AvxVnni(AvxVnni),
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512Vnni),
    #[cfg(target_arch = "aarch64")]
    NeonDot(NeonDot),
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Amx(AmxInt8),
}

impl Int8Set {
    /// Those that this machine has, best first.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            #[cfg(target_os = "linux")]
            all.extend(AmxInt8::detect().map(Self::Amx));
            all.extend(Avx512Vnni::detect().map(Self::Avx512Vnni));
            all.extend(AvxVnni::detect().map(Self::AvxVnni));
            all.extend(Avx2::detect().map(Self::Avx2));
        }
        #[cfg(target_arch = "aarch64")]
        all.extend(NeonDot::detect().map(Self::NeonDot));
        all.push(Self::Portable);
        all
    }

    /// The best that may be used.
    pub fn in_use() -> Self {
        Instructions::in_use().int8
    }

    fn limit(self) -> Limit {
        match self {
            Self::Portable => Limit::Portable,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => Limit::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni(_) => Limit::AvxVnni,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(_) => Limit::Avx512Vnni,
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot(_) => Limit::NeonDot,
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Amx(_) => Limit::Amx,
        }
    }
}

/// An instruction set with products of bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bf16Set {
    /// No machine's own, but the same numbers up to the order of sums.
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(Avx512Bf16),
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Amx(AmxBf16),
}

impl Bf16Set {
    /// Those that this machine has, best first, and the portable one.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            #[cfg(target_os = "linux")]
            all.extend(AmxBf16::detect().map(Self::Amx));
            all.extend(Avx512Bf16::detect().map(Self::Avx512Bf16));
        }
        all.push(Self::Portable);
        all
    }

    /// The best that may be used, if any may: see [`require_bf16`].
    pub fn in_use() -> Option<Self> {
        Instructions::in_use().bf16
    }

    fn limit(self) -> Limit {
        match self {
            Self::Portable => Limit::Portable,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16(_) => Limit::Avx512Bf16,
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Amx(_) => Limit::Amx,
        }
    }
}

/// The instruction sets that the kernels use, as `avx2 (f32, int8), no bf16` or `avx512 (f32), amx (int8,
/// bf16)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instructions {
    float: FloatSet,
    int8: Int8Set,
    /// The portable one only where the limit names it: it is slower than f32 is anywhere.
    bf16: Option<Bf16Set>,
}

impl Instructions {
    fn within(limit: Option<Limit>) -> Self {
        let allowed = |set| limit.is_none_or(|limit| set <= limit);
        let float = FloatSet::all().into_iter().find(|set| allowed(set.limit()));
        let int8 = Int8Set::all().into_iter().find(|set| allowed(set.limit()));
        let bf16 = Bf16Set::all().into_iter().find(|set| allowed(set.limit()));
        Self {
            float: float.unwrap_or(FloatSet::Portable),
            int8: int8.unwrap_or(Int8Set::Portable),
            bf16: bf16.filter(|set| *set != Bf16Set::Portable || limit == Some(Limit::Portable)),
        }
    }

    /// A limit that cannot be read is none here: what it should be is told where a run begins.
    fn in_use() -> Self {
        match from_environment() {
            Ok(instructions) => *instructions,
            Err(_) => Self::within(None),
        }
    }

    /// The sets' names, of f32, int8 and bf16.
    fn names(&self) -> (&'static str, &'static str, Option<&'static str>) {
        (self.float.limit().name(), self.int8.limit().name(), self.bf16.map(|set| set.limit().name()))
    }
}

impl fmt::Display for Instructions {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.names() {
            (float, int8, Some(bf16)) if float == int8 && int8 == bf16 => f.write_str(float),
            (float, int8, Some(bf16)) if int8 == bf16 => write!(f, "{float} (f32), {int8} (int8, bf16)"),
            (float, int8, Some(bf16)) => write!(f, "{float} (f32), {int8} (int8), {bf16} (bf16)"),
            (float, int8, None) if float == int8 => write!(f, "{float} (f32, int8), no bf16"),
            (float, int8, None) => write!(f, "{float} (f32), {int8} (int8), no bf16"),
        }
    }
}

/// The variable, read once: what is used must not change within a process.
fn from_environment() -> Result<&'static Instructions, &'static str> {
    static IN_USE: OnceLock<Result<Instructions, String>> = OnceLock::new();
    let read = || match Limit::parse(env::var_os(LIMIT_VARIABLE).as_deref()) {
        Ok(limit) => Ok(Instructions::within(limit)),
        Err(error) => Err(error.to_string()),
    };
    IN_USE.get_or_init(read).as_ref().map_err(String::as_str)
}

/// What the kernels use: the best that this machine has within the limit of `CLIPCLASS_SIMD`.
///
/// *Errors* when the variable has another value than the names of instruction sets.
pub fn instructions() -> Result<Instructions> {
    from_environment().copied().map_err(|error| anyhow!(error))
}

/// The names of the instruction sets that this machine has and the kernels know, the least first.
pub fn machine_instructions() -> Vec<&'static str> {
    let float = FloatSet::all().into_iter().map(FloatSet::limit);
    let int8 = Int8Set::all().into_iter().map(Int8Set::limit);
    let bf16 = Bf16Set::all().into_iter().map(Bf16Set::limit);
    let mut limits: Vec<_> = float.chain(int8).chain(bf16).collect();
    limits.sort_unstable();
    limits.dedup();
    limits.into_iter().map(Limit::name).collect()
}

/// Makes sure that products of bf16 can be computed.
///
/// *Errors* when this machine has no instructions for them, or may not use them. The portable ones have to
/// be asked for by name.
pub fn require_bf16() -> Result<()> {
    const NEEDED: &str = "a CPU computes bf16 with AVX512-BF16 or AMX-BF16";
    const INSTEAD: &str = "f32 and int8 run here; CLIPCLASS_SIMD=portable computes bf16 anywhere, but slowly";
    match (instructions()?.bf16, Instructions::within(None).bf16) {
        (Some(_), _) => Ok(()),
        (None, None) => bail!("{NEEDED}, and this one has neither; {INSTEAD}"),
        (None, Some(_)) => bail!("{NEEDED}, and {LIMIT_VARIABLE} allows neither; {INSTEAD}"),
    }
}

/// What the last digits of the kernels' results depend on: the same text, the same digits.
pub fn arithmetic() -> String {
    let (float, int8, bf16) = Instructions::in_use().names();
    let bf16 = bf16.map_or(String::new(), |bf16| format!(" {bf16}"));
    format!("{ARCH} {float} {int8}{bf16}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_allow_what_is_below_them_and_no_more_than_the_machine_has() {
        let portable = Instructions::within(Some(Limit::Portable));
        assert_eq!((portable.float, portable.int8), (FloatSet::Portable, Int8Set::Portable));
        assert_eq!(portable.to_string(), "portable");
        let best = Instructions::within(None);
        assert_eq!((best.float, best.int8), (FloatSet::all()[0], Int8Set::all()[0]));
        assert_eq!(Instructions::within(Some(Limit::Amx)), best);
        for limit in Limit::ALL {
            let within = Instructions::within(Some(limit));
            assert!(within.float.limit() <= limit && within.int8.limit() <= limit, "{limit:?}: {within}");
            assert!(within.bf16.is_none_or(|set| set.limit() <= limit), "{limit:?}: {within}");
        }
    }

    #[test]
    fn portable_products_of_bf16_are_used_only_where_they_are_named() {
        assert_eq!(Instructions::within(Some(Limit::Portable)).bf16, Some(Bf16Set::Portable));
        for limit in [Limit::Avx2, Limit::AvxVnni, Limit::Avx512, Limit::Avx512Vnni] {
            let within = Instructions::within(Some(limit));
            assert_eq!(within.bf16, None, "{limit:?}: {within}");
            assert!(within.to_string().ends_with(", no bf16"), "{within}");
        }
        let best = Bf16Set::all()[0];
        assert_eq!(Instructions::within(None).bf16, (best != Bf16Set::Portable).then_some(best));
    }

    #[test]
    fn limit_that_is_no_instruction_set_is_an_error_that_lists_them() {
        for name in Limit::ALL.map(Limit::name) {
            assert_eq!(Limit::parse(Some(OsStr::new(name))).unwrap().unwrap().name(), name);
        }
        assert_eq!(Limit::parse(None).unwrap(), None);
        assert_eq!(Limit::parse(Some(OsStr::new(""))).unwrap(), None);
        let error = Limit::parse(Some(OsStr::new("avx3"))).unwrap_err().to_string();
        assert_eq!(
            error,
            "CLIPCLASS_SIMD is \"avx3\"; it may be one of portable, neon, neon-dot, avx2, avx-vnni, avx512, \
             avx512-vnni, avx512-bf16, amx"
        );
    }
}
