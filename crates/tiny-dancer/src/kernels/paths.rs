//! For tests: which path through the processor the kernels take, and taking each in turn.

use std::cell::Cell;
use std::fmt;

/// One compilation of the kernels. Wider ones are preferred; the order is from narrow to wide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Path {
    /// What every processor of this architecture has.
    Baseline,
    Avx2,
    Avx512,
}

impl fmt::Debug for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Baseline if cfg!(target_arch = "x86_64") => "SSE2",
            Self::Baseline if cfg!(target_arch = "aarch64") => "NEON",
            Self::Baseline if cfg!(target_feature = "simd128") => "simd128",
            Self::Baseline => "scalar",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
        })
    }
}

thread_local! {
    static WIDEST: Cell<Path> = const { Cell::new(Path::Avx512) };
}

/// Whether a kernel called on this thread may take this path.
#[cfg(target_arch = "x86_64")]
pub(crate) fn allow(path: Path) -> bool {
    path <= WIDEST.get()
}

/// The path that kernels called on this thread take now.
fn taken() -> Path {
    #[cfg(target_arch = "x86_64")]
    if super::has_avx512() {
        return Path::Avx512;
    } else if super::has_avx2() {
        return Path::Avx2;
    }
    Path::Baseline
}

/// Allows wider paths again, also where a test has failed.
struct Restore(Path);

impl Drop for Restore {
    fn drop(&mut self) {
        WIDEST.set(self.0);
    }
}

/// Runs `work` once on every path this processor has, narrow ones first, and gives the paths.
pub(crate) fn on_every_path(mut work: impl FnMut(Path)) -> Vec<Path> {
    let mut ran = Vec::new();
    for path in [Path::Baseline, Path::Avx2, Path::Avx512] {
        let _restore = Restore(WIDEST.replace(path));
        if taken() == path {
            work(path);
            ran.push(path);
        }
    }
    ran
}

/// The bits of numbers, with every NaN the same: which NaN comes of two is not defined.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }).collect()
}

/// Numbers of every kind: zeros of both signs, subnormal and extreme ones, infinities.
pub(crate) fn any_number() -> impl proptest::strategy::Strategy<Value = f32> {
    use proptest::prelude::*;
    prop_oneof![
        8 => -1f32..1.0,
        2 => prop::sample::select(vec![
            0.0, -0.0, 1.0, -1.0, f32::MIN_POSITIVE, 1e-45, -1e-45, f32::MAX, f32::MIN, f32::EPSILON,
            16_777_216.0, 127.5, -127.5, 0.5, 1.5, f32::INFINITY, f32::NEG_INFINITY, f32::NAN,
        ]),
        1 => any::<f32>(),
    ]
}

/// Lengths around whole vectors of every width, and others.
pub(crate) fn any_length() -> impl proptest::strategy::Strategy<Value = usize> {
    use proptest::prelude::*;
    prop_oneof![prop::sample::select(vec![0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65]), 0usize..300]
}

#[test]
fn the_paths_that_ran_are_named() {
    let ran = on_every_path(|path| assert_eq!(taken(), path));
    println!("kernels ran on: {ran:?}");
    assert_eq!(ran.first(), Some(&Path::Baseline), "{ran:?}");
    // Nothing is forced outside, and the widest path is the one that is taken.
    assert_eq!(ran.last(), Some(&taken()), "{ran:?}");
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected;
        assert_eq!(ran.contains(&Path::Avx2), is_x86_feature_detected!("avx2"), "{ran:?}");
        let widest = is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl");
        assert!(widest || !ran.contains(&Path::Avx512), "{ran:?}");
    }
    // A test that fails on a narrow path does not keep the next one there.
    let failed = std::panic::catch_unwind(|| on_every_path(|_| panic!("as a failing test does")));
    assert!(failed.is_err());
    assert_eq!(ran.last(), Some(&taken()));
}
