//! What a C library would bring: the process's entry and the functions that compilers call.

use core::ffi::CStr;

// The process's entry: hands the initial stack to `start`.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start}",
    "ud2",
    start = sym start,
);

// The process's entry: hands the initial stack to `start`.
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x0, sp",
    "bl {start}",
    "brk #1",
    start = sym start,
);

extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: at process entry the stack holds argc followed by argc pointers to C strings.
    let argument = unsafe {
        if *stack > 1 { Some(CStr::from_ptr(*stack.add(2) as *const _)) } else { None }
    };
    crate::main(argument)
}

/// What the compiler expects of a C library. Loops stay loops because the crate is `no_builtins`.
mod memory {
    /// # Safety
    /// As C's `memcpy`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
        for i in 0..n {
            // SAFETY: the caller vouches for n bytes at both places.
            unsafe { *to.add(i) = *from.add(i) };
        }
        to
    }

    /// # Safety
    /// As C's `memmove`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
        if (to as usize) <= from as usize {
            for i in 0..n {
                // SAFETY: the caller vouches for n bytes at both places; forward order is safe
                // when the destination starts first.
                unsafe { *to.add(i) = *from.add(i) };
            }
        } else {
            for i in (0..n).rev() {
                // SAFETY: as above, backward order.
                unsafe { *to.add(i) = *from.add(i) };
            }
        }
        to
    }

    /// # Safety
    /// As C's `memset`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(to: *mut u8, value: i32, n: usize) -> *mut u8 {
        for i in 0..n {
            // SAFETY: the caller vouches for n bytes.
            unsafe { *to.add(i) = value as u8 };
        }
        to
    }

    /// # Safety
    /// As C's `memcmp`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
        for i in 0..n {
            // SAFETY: the caller vouches for n bytes at both places.
            let (x, y) = unsafe { (*a.add(i), *b.add(i)) };
            if x != y {
                return i32::from(x) - i32::from(y);
            }
        }
        0
    }

    /// # Safety
    /// As C's `bcmp`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
        // SAFETY: same contract.
        unsafe { memcmp(a, b, n) }
    }

    /// # Safety
    /// As C's `strlen`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn strlen(s: *const u8) -> usize {
        let mut n = 0;
        // SAFETY: the caller vouches for a terminating NUL.
        while unsafe { *s.add(n) } != 0 {
            n += 1;
        }
        n
    }

    /// `core` is built for unwinding and names its personality; this program aborts instead.
    #[unsafe(no_mangle)]
    extern "C" fn rust_eh_personality() {}
}
