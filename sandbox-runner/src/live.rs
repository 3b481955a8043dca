//! The answer as a stream of frames.

use std::collections::VecDeque;

use bytes::Bytes;
use lambda_runtime::streaming::Sender;
use sandbox_core::Event;
use sandbox_core::remote::frame::{Frame, MAGIC, MAX_FRAME};

/// Bytes of output that are sent live; the platform ends a stream at 200 MiB, and the answer has
/// to fit in too. What comes later is in the answer, within the job's own cap.
const MOST: usize = 150 << 20;

/// Sends frames, until nobody reads them any more.
pub(crate) struct Live {
    sender: Option<Sender>,
    begun: bool,
    sent: usize,
}

impl Live {
    pub(crate) fn new(sender: Sender) -> Self {
        Self { sender: Some(sender), begun: false, sent: 0 }
    }

    /// Whether the platform has stopped reading.
    pub(crate) fn is_gone(&self) -> bool {
        self.sender.is_none()
    }

    /// Passes an event on.
    pub(crate) async fn event(&mut self, event: Event) {
        let frame = match event {
            Event::Started => Frame::Started,
            Event::Stdout(bytes) => Frame::Stdout(bytes),
            Event::Stderr(bytes) => Frame::Stderr(bytes),
            _ => return,
        };
        self.send(frame).await;
    }

    /// Ends the stream.
    pub(crate) async fn answer(mut self, json: Bytes) {
        self.send(Frame::Answer(json)).await;
    }

    async fn send(&mut self, frame: Frame) {
        let (header, payload) = frame.encode();
        debug_assert!(payload.len() <= MAX_FRAME);
        if !matches!(frame, Frame::Answer(_)) {
            if self.sent + payload.len() > MOST {
                self.sent = MOST;
                return;
            }
            self.sent += payload.len();
        }
        let mut chunks = VecDeque::new();
        if !self.begun {
            self.begun = true;
            chunks.push_back(Bytes::from_static(&MAGIC));
        }
        // One chunk for a small frame, so that it arrives in one piece.
        let small = payload.len() <= 16 << 10;
        match small {
            true => chunks.push_back([header.as_ref(), payload.as_ref()].concat().into()),
            false => chunks.extend([header, payload]),
        }
        while let Some(chunk) = chunks.pop_front() {
            let Some(sender) = &mut self.sender else { return };
            if sender.send_data(chunk).await.is_err() {
                self.sender = None;
            }
        }
    }
}
