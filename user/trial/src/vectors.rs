//! Vector registers of every width that the processor may have, held and scrambled.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use core::sync::atomic::AtomicU64;

/// Which registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// 16 registers of 16 bytes: every 64-bit processor has them.
    Sse,
    /// 16 registers of 32 bytes.
    Avx,
    /// 32 registers of 64 bytes, and 7 of masks.
    Avx512,
}

/// All bytes that the widest have: registers first, masks behind.
#[repr(C, align(64))]
struct State([u8; 32 * 64 + 64]);

impl Width {
    /// All, the narrowest first.
    pub const ALL: [Width; 3] = [Width::Sse, Width::Avx, Width::Avx512];

    /// Whether the processor has them and the kernel keeps them.
    pub fn usable(self) -> bool {
        const XSAVE_AND_AVX: u32 = 1 << 27 | 1 << 28;
        const AVX_STATES: u64 = 0x6;
        const AVX_512_STATES: u64 = 0xe6;
        const AVX_512: u32 = 1 << 16;
        if self == Width::Sse {
            return true;
        }
        if __cpuid(1).ecx & XSAVE_AND_AVX != XSAVE_AND_AVX {
            return false;
        }
        let states = states();
        match self {
            Width::Avx512 => {
                let has = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ebx & AVX_512 != 0;
                has && states & AVX_512_STATES == AVX_512_STATES
            }
            _ => states & AVX_STATES == AVX_STATES,
        }
    }

    /// How many bytes [`disturbed`] looks at.
    pub fn covered(self) -> usize {
        match self {
            Width::Sse => 16 * 16,
            Width::Avx => 16 * 32,
            Width::Avx512 => 32 * 64 + 16,
        }
    }
}

/// What the kernel has switched on.
fn states() -> u64 {
    #[target_feature(enable = "xsave")]
    fn read() -> u64 {
        // SAFETY: the register exists where XSAVE is on.
        unsafe { _xgetbv(0) }
    }
    // SAFETY: the caller has seen that XSAVE is on.
    unsafe { read() }
}

/// Loops until `stop` is not 0 with a different known byte in each place of all these registers, and says how many bytes
/// had changed; `None` where there are no such registers.
pub fn disturbed(width: Width, stop: &AtomicU64) -> Option<usize> {
    if !width.usable() {
        return None;
    }
    let mut pattern = State([0; 32 * 64 + 64]);
    for (place, byte) in pattern.0.iter_mut().enumerate() {
        *byte = (place % 251) as u8;
    }
    let mut seen = State([0; 32 * 64 + 64]);
    match width {
        Width::Sse => hold_sse(stop, &pattern, &mut seen),
        Width::Avx => hold_avx(stop, &pattern, &mut seen),
        Width::Avx512 => hold_avx_512(stop, &pattern, &mut seen),
    }
    // The first mask cannot be used as one: it is not looked at.
    seen.0[2048..2050].copy_from_slice(&pattern.0[2048..2050]);
    let both = pattern.0.iter().zip(&seen.0).take(width.covered());
    Some(both.filter(|(left, right)| left != right).count())
}

fn hold_sse(stop: &AtomicU64, pattern: &State, seen: &mut State) {
    // SAFETY: the caller has seen that the instructions exist; memory is read from `pattern` and written to `seen` alone,
    // which have room for all registers, and what the compiler may use of them is named.
    unsafe {
        asm!(
            "movdqu xmm0, [{pattern} + 0]", "movdqu xmm1, [{pattern} + 16]", "movdqu xmm2, [{pattern} + 32]",
            "movdqu xmm3, [{pattern} + 48]", "movdqu xmm4, [{pattern} + 64]", "movdqu xmm5, [{pattern} + 80]",
            "movdqu xmm6, [{pattern} + 96]", "movdqu xmm7, [{pattern} + 112]", "movdqu xmm8, [{pattern} + 128]",
            "movdqu xmm9, [{pattern} + 144]", "movdqu xmm10, [{pattern} + 160]",
            "movdqu xmm11, [{pattern} + 176]", "movdqu xmm12, [{pattern} + 192]",
            "movdqu xmm13, [{pattern} + 208]", "movdqu xmm14, [{pattern} + 224]",
            "movdqu xmm15, [{pattern} + 240]",
            "3:",
            "cmp qword ptr [{stop}], 0",
            "je 3b",
            "movdqu [{seen} + 0], xmm0", "movdqu [{seen} + 16], xmm1", "movdqu [{seen} + 32], xmm2",
            "movdqu [{seen} + 48], xmm3", "movdqu [{seen} + 64], xmm4", "movdqu [{seen} + 80], xmm5",
            "movdqu [{seen} + 96], xmm6", "movdqu [{seen} + 112], xmm7", "movdqu [{seen} + 128], xmm8",
            "movdqu [{seen} + 144], xmm9", "movdqu [{seen} + 160], xmm10", "movdqu [{seen} + 176], xmm11",
            "movdqu [{seen} + 192], xmm12", "movdqu [{seen} + 208], xmm13", "movdqu [{seen} + 224], xmm14",
            "movdqu [{seen} + 240], xmm15",
            pattern = in(reg) pattern.0.as_ptr(),
            seen = in(reg) seen.0.as_mut_ptr(),
            stop = in(reg) stop.as_ptr(),
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
            out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
        );
    }
}

fn hold_avx(stop: &AtomicU64, pattern: &State, seen: &mut State) {
    // SAFETY: the caller has seen that the instructions exist; memory is read from `pattern` and written to `seen` alone,
    // which have room for all registers, and what the compiler may use of them is named.
    unsafe {
        asm!(
            "vmovdqu ymm0, [{pattern} + 0]", "vmovdqu ymm1, [{pattern} + 32]", "vmovdqu ymm2, [{pattern} + 64]",
            "vmovdqu ymm3, [{pattern} + 96]", "vmovdqu ymm4, [{pattern} + 128]",
            "vmovdqu ymm5, [{pattern} + 160]", "vmovdqu ymm6, [{pattern} + 192]",
            "vmovdqu ymm7, [{pattern} + 224]", "vmovdqu ymm8, [{pattern} + 256]",
            "vmovdqu ymm9, [{pattern} + 288]", "vmovdqu ymm10, [{pattern} + 320]",
            "vmovdqu ymm11, [{pattern} + 352]", "vmovdqu ymm12, [{pattern} + 384]",
            "vmovdqu ymm13, [{pattern} + 416]", "vmovdqu ymm14, [{pattern} + 448]",
            "vmovdqu ymm15, [{pattern} + 480]",
            "3:",
            "cmp qword ptr [{stop}], 0",
            "je 3b",
            "vmovdqu [{seen} + 0], ymm0", "vmovdqu [{seen} + 32], ymm1", "vmovdqu [{seen} + 64], ymm2",
            "vmovdqu [{seen} + 96], ymm3", "vmovdqu [{seen} + 128], ymm4", "vmovdqu [{seen} + 160], ymm5",
            "vmovdqu [{seen} + 192], ymm6", "vmovdqu [{seen} + 224], ymm7", "vmovdqu [{seen} + 256], ymm8",
            "vmovdqu [{seen} + 288], ymm9", "vmovdqu [{seen} + 320], ymm10", "vmovdqu [{seen} + 352], ymm11",
            "vmovdqu [{seen} + 384], ymm12", "vmovdqu [{seen} + 416], ymm13", "vmovdqu [{seen} + 448], ymm14",
            "vmovdqu [{seen} + 480], ymm15",
            "vzeroupper",
            pattern = in(reg) pattern.0.as_ptr(),
            seen = in(reg) seen.0.as_mut_ptr(),
            stop = in(reg) stop.as_ptr(),
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
            out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
        );
    }
}

fn hold_avx_512(stop: &AtomicU64, pattern: &State, seen: &mut State) {
    // SAFETY: the caller has seen that the instructions exist; memory is read from `pattern` and written to `seen` alone,
    // which have room for all registers, and what the compiler may use of them is named.
    unsafe {
        asm!(
            "vmovdqu64 zmm0, [{pattern} + 0]", "vmovdqu64 zmm1, [{pattern} + 64]",
            "vmovdqu64 zmm2, [{pattern} + 128]", "vmovdqu64 zmm3, [{pattern} + 192]",
            "vmovdqu64 zmm4, [{pattern} + 256]", "vmovdqu64 zmm5, [{pattern} + 320]",
            "vmovdqu64 zmm6, [{pattern} + 384]", "vmovdqu64 zmm7, [{pattern} + 448]",
            "vmovdqu64 zmm8, [{pattern} + 512]", "vmovdqu64 zmm9, [{pattern} + 576]",
            "vmovdqu64 zmm10, [{pattern} + 640]", "vmovdqu64 zmm11, [{pattern} + 704]",
            "vmovdqu64 zmm12, [{pattern} + 768]", "vmovdqu64 zmm13, [{pattern} + 832]",
            "vmovdqu64 zmm14, [{pattern} + 896]", "vmovdqu64 zmm15, [{pattern} + 960]",
            "vmovdqu64 zmm16, [{pattern} + 1024]", "vmovdqu64 zmm17, [{pattern} + 1088]",
            "vmovdqu64 zmm18, [{pattern} + 1152]", "vmovdqu64 zmm19, [{pattern} + 1216]",
            "vmovdqu64 zmm20, [{pattern} + 1280]", "vmovdqu64 zmm21, [{pattern} + 1344]",
            "vmovdqu64 zmm22, [{pattern} + 1408]", "vmovdqu64 zmm23, [{pattern} + 1472]",
            "vmovdqu64 zmm24, [{pattern} + 1536]", "vmovdqu64 zmm25, [{pattern} + 1600]",
            "vmovdqu64 zmm26, [{pattern} + 1664]", "vmovdqu64 zmm27, [{pattern} + 1728]",
            "vmovdqu64 zmm28, [{pattern} + 1792]", "vmovdqu64 zmm29, [{pattern} + 1856]",
            "vmovdqu64 zmm30, [{pattern} + 1920]", "vmovdqu64 zmm31, [{pattern} + 1984]",
            "kmovw k1, [{pattern} + 2050]", "kmovw k2, [{pattern} + 2052]", "kmovw k3, [{pattern} + 2054]",
            "kmovw k4, [{pattern} + 2056]", "kmovw k5, [{pattern} + 2058]", "kmovw k6, [{pattern} + 2060]",
            "kmovw k7, [{pattern} + 2062]",
            "3:",
            "cmp qword ptr [{stop}], 0",
            "je 3b",
            "vmovdqu64 [{seen} + 0], zmm0", "vmovdqu64 [{seen} + 64], zmm1", "vmovdqu64 [{seen} + 128], zmm2",
            "vmovdqu64 [{seen} + 192], zmm3", "vmovdqu64 [{seen} + 256], zmm4",
            "vmovdqu64 [{seen} + 320], zmm5", "vmovdqu64 [{seen} + 384], zmm6",
            "vmovdqu64 [{seen} + 448], zmm7", "vmovdqu64 [{seen} + 512], zmm8",
            "vmovdqu64 [{seen} + 576], zmm9", "vmovdqu64 [{seen} + 640], zmm10",
            "vmovdqu64 [{seen} + 704], zmm11", "vmovdqu64 [{seen} + 768], zmm12",
            "vmovdqu64 [{seen} + 832], zmm13", "vmovdqu64 [{seen} + 896], zmm14",
            "vmovdqu64 [{seen} + 960], zmm15", "vmovdqu64 [{seen} + 1024], zmm16",
            "vmovdqu64 [{seen} + 1088], zmm17", "vmovdqu64 [{seen} + 1152], zmm18",
            "vmovdqu64 [{seen} + 1216], zmm19", "vmovdqu64 [{seen} + 1280], zmm20",
            "vmovdqu64 [{seen} + 1344], zmm21", "vmovdqu64 [{seen} + 1408], zmm22",
            "vmovdqu64 [{seen} + 1472], zmm23", "vmovdqu64 [{seen} + 1536], zmm24",
            "vmovdqu64 [{seen} + 1600], zmm25", "vmovdqu64 [{seen} + 1664], zmm26",
            "vmovdqu64 [{seen} + 1728], zmm27", "vmovdqu64 [{seen} + 1792], zmm28",
            "vmovdqu64 [{seen} + 1856], zmm29", "vmovdqu64 [{seen} + 1920], zmm30",
            "vmovdqu64 [{seen} + 1984], zmm31",
            "kmovw [{seen} + 2050], k1", "kmovw [{seen} + 2052], k2", "kmovw [{seen} + 2054], k3",
            "kmovw [{seen} + 2056], k4", "kmovw [{seen} + 2058], k5", "kmovw [{seen} + 2060], k6",
            "kmovw [{seen} + 2062], k7",
            "vzeroupper",
            pattern = in(reg) pattern.0.as_ptr(),
            seen = in(reg) seen.0.as_mut_ptr(),
            stop = in(reg) stop.as_ptr(),
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
            out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
        );
    }
}

/// Changes every vector register, as a handler may.
pub fn scramble() {
    // SAFETY: all registers that change and that the compiler may use are named.
    unsafe {
        asm!(
            "pcmpeqd xmm0, xmm0", "pcmpeqd xmm1, xmm1", "pcmpeqd xmm2, xmm2", "pcmpeqd xmm3, xmm3",
            "pcmpeqd xmm4, xmm4", "pcmpeqd xmm5, xmm5", "pcmpeqd xmm6, xmm6", "pcmpeqd xmm7, xmm7",
            "pcmpeqd xmm8, xmm8", "pcmpeqd xmm9, xmm9", "pcmpeqd xmm10, xmm10", "pcmpeqd xmm11, xmm11",
            "pcmpeqd xmm12, xmm12", "pcmpeqd xmm13, xmm13", "pcmpeqd xmm14, xmm14", "pcmpeqd xmm15, xmm15",
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
            out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
        );
    }
    if Width::Avx.usable() {
        // SAFETY: as above, and the instruction exists.
        unsafe {
            asm!(
                "vzeroall",
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            );
        }
    }
    if Width::Avx512.usable() {
        // SAFETY: the instructions exist; code that was compiled without them uses none of these registers.
        unsafe {
            asm!(
                "vpternlogd zmm16, zmm16, zmm16, 0xff",
                "vpternlogd zmm17, zmm17, zmm17, 0xff",
                "vpternlogd zmm18, zmm18, zmm18, 0xff",
                "vpternlogd zmm19, zmm19, zmm19, 0xff",
                "vpternlogd zmm20, zmm20, zmm20, 0xff",
                "vpternlogd zmm21, zmm21, zmm21, 0xff",
                "vpternlogd zmm22, zmm22, zmm22, 0xff",
                "vpternlogd zmm23, zmm23, zmm23, 0xff",
                "vpternlogd zmm24, zmm24, zmm24, 0xff",
                "vpternlogd zmm25, zmm25, zmm25, 0xff",
                "vpternlogd zmm26, zmm26, zmm26, 0xff",
                "vpternlogd zmm27, zmm27, zmm27, 0xff",
                "vpternlogd zmm28, zmm28, zmm28, 0xff",
                "vpternlogd zmm29, zmm29, zmm29, 0xff",
                "vpternlogd zmm30, zmm30, zmm30, 0xff",
                "vpternlogd zmm31, zmm31, zmm31, 0xff",
                "kxnorw k1, k1, k1",
                "kxnorw k2, k2, k2",
                "kxnorw k3, k3, k3",
                "kxnorw k4, k4, k4",
                "kxnorw k5, k5, k5",
                "kxnorw k6, k6, k6",
                "kxnorw k7, k7, k7",
            );
        }
    }
}
