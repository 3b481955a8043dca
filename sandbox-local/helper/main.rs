//! The helper: builds one sandbox, supervises one job, leaves nothing behind.
//!
//! It is a static program without a C library, embedded in the library and started from a memfd.
//! Being small and single-threaded it can fork freely, which the application cannot, and its
//! start costs the same whatever the application's size.
//!
//! Three processes run this program's code. The *supervisor* stays outside the job's pid
//! namespace, where the job can neither see nor signal it. *PID 1* is a fresh exec with an empty
//! environment and no descriptors; it only reaps. The *job child* takes every privilege from
//! itself and executes the program.

#![no_std]
#![no_main]
#![no_builtins]
#![deny(unsafe_op_in_unsafe_fn)]

mod cgroup;
mod entry;
mod init;
mod job;
mod lent;
mod namespaces;
mod nr;
mod plan;
mod priority;
#[path = "../src/protocol.rs"]
mod protocol;
mod root;
mod supervise;
mod sys;
mod text;
mod tree;
mod usage;

use core::ffi::CStr;

use protocol::{MESSAGE_WORDS, Stage, kind};

/// The supervisor's end of the pair that connects it to the application.
const CONTROL: sys::Fd = protocol::descriptor::CONTROL;

/// A step of the set-up that failed: which, which of several, and the kernel's reason.
#[derive(Clone, Copy)]
pub struct Failure {
    pub stage: Stage,
    pub index: u64,
    pub errno: sys::Errno,
}

/// Gives a system call's error its place in the set-up.
pub trait At<T> {
    fn at(self, stage: Stage) -> Result<T, Failure>;
    fn at_index(self, stage: Stage, index: usize) -> Result<T, Failure>;
}

impl<T> At<T> for sys::Result<T> {
    fn at(self, stage: Stage) -> Result<T, Failure> {
        self.at_index(stage, 0)
    }

    fn at_index(self, stage: Stage, index: usize) -> Result<T, Failure> {
        self.map_err(|errno| Failure { stage, index: index as u64, errno })
    }
}

/// Sends a message to the application. It may be gone; the supervisor notices that by polling.
fn tell(words: &[u64], fds: &[sys::Fd]) -> sys::Result<usize> {
    let mut frame = [0u8; MESSAGE_WORDS * 8];
    for (slot, word) in frame.chunks_exact_mut(8).zip(words) {
        slot.copy_from_slice(&word.to_ne_bytes());
    }
    sys::send(CONTROL, &frame, fds)
}

fn main(argument: Option<&CStr>) -> ! {
    if argument == Some(init::ARGUMENT) {
        init::run();
    }
    match supervise::run() {
        Ok(()) => sys::exit(0),
        Err(failure) => {
            let _ = tell(&[kind::FAILED, failure.stage as u64, failure.index, failure.errno as u64], &[]);
            sys::exit(1);
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The application sees the socket close without a report and treats the job as lost; the
    // kernel kills the job's namespace because its PID 1 dies with this process.
    sys::exit(2)
}
