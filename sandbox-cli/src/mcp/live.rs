//! A program's output on its way to a client while the program runs.

use std::pin::{Pin, pin};
use std::time::Duration;

use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::{Peer, RoleServer};
use sandbox::{Call, Event, printable};
use tokio::time::{Instant, sleep};

/// Bytes that wait for a client that is slow. More is left out, so that no client can stop a
/// program, and no program can fill this process.
const MOST_WAITING: usize = 64 * 1024;
/// Pieces that come faster go together.
const PAUSE: Duration = Duration::from_millis(10);
/// A client that hears nothing for a minute gives up.
pub(crate) const BEAT: Duration = Duration::from_secs(10);
/// How long a notification may keep a result back. To a client that has closed its output none can
/// be sent, and it still waits for the result.
pub(crate) const PATIENCE: Duration = Duration::from_millis(250);

/// Follows a call to its end, or cancels it; returns whether it was cancelled. `step`: the last that a
/// client was told.
pub(crate) async fn follow(
    call: &mut Call,
    progress: Option<Progress>,
    mut step: f64,
    cancelled: impl Future<Output = ()>,
) -> bool {
    let mut cancelled = pin!(cancelled);
    let mut is_cancelled = false;
    let mut running = true;
    let mut live = Live::default();
    let mut sending: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
    let mut pause = pin!(sleep(Duration::ZERO));
    let mut beat = pin!(sleep(BEAT));
    // Begins when the program has ended: what is left to say is in the result, too.
    let mut patience = pin!(sleep(PATIENCE));
    while running || (!is_cancelled && (sending.is_some() || !live.is_empty())) {
        let waiting = sending.is_none() && !live.is_empty();
        if let Some(progress) = &progress
            && waiting
            && (pause.is_elapsed() || !running)
        {
            step += 1.0;
            sending = Some(Box::pin(progress.clone().send(step, live.take())));
        }
        tokio::select! {
            event = call.next_event(), if running => match event {
                Some(event) if progress.is_some() => live.push(&event),
                Some(_) => {}
                None => {
                    running = false;
                    patience.as_mut().reset(Instant::now() + PATIENCE);
                }
            },
            () = async {
                match &mut sending {
                    Some(sending) => sending.await,
                    None => std::future::pending().await,
                }
            } => {
                sending = None;
                pause.as_mut().reset(Instant::now() + PAUSE);
                beat.as_mut().reset(Instant::now() + BEAT);
            }
            () = &mut beat, if running && sending.is_none() => {
                if let Some(progress) = &progress {
                    step += 1.0;
                    let still = "[still running]".to_owned();
                    sending = Some(Box::pin(progress.clone().send(step, still)));
                }
                beat.as_mut().reset(Instant::now() + BEAT);
            }
            () = &mut pause, if waiting && sending.is_none() => {}
            () = &mut cancelled, if !is_cancelled => {
                is_cancelled = true;
                call.cancel_handle().cancel();
            }
            () = &mut patience, if !running => break,
        }
    }
    is_cancelled
}

/// What waits to be sent.
#[derive(Debug, Default)]
struct Live {
    text: String,
    left_out: usize,
    /// The beginning of a character of each stream.
    cut: [Vec<u8>; 2],
}

impl Live {
    fn push(&mut self, event: &Event) {
        let (stream, bytes) = match event {
            Event::Stdout(bytes) => (0, bytes),
            Event::Stderr(bytes) => (1, bytes),
            _ => return,
        };
        let text = whole(&mut self.cut[stream], bytes);
        if self.text.len() + text.len() > MOST_WAITING {
            self.left_out += text.len();
        } else {
            self.text.push_str(&text);
        }
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.left_out == 0
    }

    /// What is sent next.
    fn take(&mut self) -> String {
        let mut text = std::mem::take(&mut self.text);
        if self.left_out > 0 {
            text.push_str(&format!("\n[... {} bytes are not shown live ...]\n", self.left_out));
            self.left_out = 0;
        }
        printable(&text).into_owned()
    }
}

/// The characters of a stream that are whole; `cut` keeps the beginning of one that is not.
fn whole(cut: &mut Vec<u8>, bytes: &[u8]) -> String {
    cut.extend_from_slice(bytes);
    let keep = match cut.utf8_chunks().last().map(|chunk| chunk.invalid()) {
        Some(end)
            if end.len() < 4
                && std::str::from_utf8(end).is_err_and(|e| e.error_len().is_none()) =>
        {
            end.len()
        }
        _ => 0,
    };
    let rest = cut.split_off(cut.len() - keep);
    let text = String::from_utf8_lossy(cut).into_owned();
    *cut = rest;
    text
}

/// Where a client wants to hear of progress.
#[derive(Clone)]
pub(crate) struct Progress {
    pub(crate) peer: Peer<RoleServer>,
    pub(crate) token: ProgressToken,
}

impl Progress {
    /// Sends a piece as the step of that number. A client that is gone is noticed elsewhere.
    pub(crate) async fn send(self, step: f64, text: String) {
        let progress = ProgressNotificationParam::new(self.token, step).with_message(text);
        let _ = self.peer.notify_progress(progress).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_whole_however_they_are_cut() {
        for size in 1..6 {
            let mut live = Live::default();
            for piece in "größer 温度 🎉\n".as_bytes().chunks(size) {
                live.push(&Event::Stdout(piece.to_vec().into()));
                live.push(&Event::Stderr("é".as_bytes()[..1].to_vec().into()));
                live.push(&Event::Stderr("é".as_bytes()[1..].to_vec().into()));
            }
            assert_eq!(live.take().replace('é', ""), "größer 温度 🎉\n", "pieces of {size}");
        }
        let mut live = Live::default();
        live.push(&Event::Stdout(b"a\xff\xfeb\x1b".to_vec().into()));
        assert_eq!(live.take(), "a\u{fffd}\u{fffd}b\\u{1b}");
    }

    #[test]
    fn what_waits_is_bounded_and_the_rest_is_counted() {
        let mut live = Live::default();
        for _ in 0..100 {
            live.push(&Event::Stdout(vec![b'x'; 1024].into()));
        }
        let text = live.take();
        assert!(text.ends_with("[... 36864 bytes are not shown live ...]\n"), "{}", text.len());
        assert!(live.is_empty());
    }
}
