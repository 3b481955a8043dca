//! The answer as a stream of frames.

use bytes::{Bytes, BytesMut};
use sandbox_core::Event;
use sandbox_core::remote::frame::Frame;
use tokio::sync::mpsc;

/// Bytes of output that are sent live; the platform ends a stream at 200 MiB, and the answer has
/// to fit in too. What comes later is in the answer, within the job's own cap.
const MOST: usize = 150 << 20;
/// Frames up to this size are one piece with their header.
const SMALL: usize = 16 << 10;

/// Sends frames, until nobody takes them any more.
#[derive(Debug)]
pub(crate) struct Live {
    sender: mpsc::Sender<Bytes>,
    sent: usize,
}

impl Live {
    /// Goes on with an answer that has begun with [`MAGIC`](sandbox_core::remote::frame::MAGIC).
    pub(crate) fn new(sender: mpsc::Sender<Bytes>) -> Self {
        Self { sender, sent: 0 }
    }

    /// Shows that the job is silent, and not the line.
    pub(crate) async fn heartbeat(&mut self) {
        self.send(Frame::Stderr(Bytes::new())).await;
    }

    /// Whether the platform has stopped taking the answer.
    pub(crate) fn is_gone(&self) -> bool {
        self.sender.is_closed()
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
        if !matches!(frame, Frame::Answer(_)) {
            if self.sent + payload.len() > MOST {
                self.sent = MOST;
                return;
            }
            self.sent += payload.len();
        }
        let mut piece = BytesMut::new();
        piece.extend_from_slice(&header);
        let rest = if payload.len() <= SMALL {
            piece.extend_from_slice(&payload);
            None
        } else {
            Some(payload)
        };
        for bytes in [Some(piece.freeze()), rest].into_iter().flatten() {
            // Nobody takes it any more: the caller of this notices that too.
            let _ = self.sender.send(bytes).await;
        }
    }
}
