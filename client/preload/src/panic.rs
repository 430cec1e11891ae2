//! What takes the place of the standard library's panics: one of our own assertions that fails is a line, and the end of the
//! process. Nothing of ours unwinds, but what libc unwinds when a thread is cancelled passes through.

use core::arch::global_asm;
use core::panic::PanicInfo;

use crate::report::say;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("the preload library has a mistake, please report it: {info}");
    // SAFETY: always allowed.
    unsafe { libc::abort() }
}

// Two functions of an unwinder, for code of other crates that was compiled to be unwound. Hidden, and so in assembly: a
// program that unwinds must go on finding its own.
//
// Whoever unwinds through a frame asks the first what is to be done there: `_URC_CONTINUE_UNWIND`, nothing. So the second,
// which ends what is done there, is never called.
macro_rules! unwinder {
    ($($instruction:literal)*; $trap:literal) => {
        global_asm!(
            ".globl rust_eh_personality",
            ".hidden rust_eh_personality",
            ".type rust_eh_personality, @function",
            "rust_eh_personality:",
            $($instruction,)*
            ".globl _Unwind_Resume",
            ".hidden _Unwind_Resume",
            ".type _Unwind_Resume, @function",
            "_Unwind_Resume:",
            $trap
        );
    };
}

#[cfg(target_arch = "x86_64")]
unwinder!("mov eax, 8" "ret"; "ud2");
#[cfg(target_arch = "aarch64")]
unwinder!("mov w0, #8" "ret"; "brk #1");
