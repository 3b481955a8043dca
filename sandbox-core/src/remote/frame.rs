//! Frames of a live answer: a kind, a length, that many bytes.
//!
//! A stream begins with [`MAGIC`], which also finds the beginning behind what a transport puts in
//! front. Frames may be cut anywhere on the way.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Begins every stream.
pub const MAGIC: [u8; 8] = *b"\0sandbox";
/// A longer frame is no frame.
pub const MAX_FRAME: usize = 8 << 20;
/// What a transport may put in front of the stream.
const MAX_PREAMBLE: usize = 64 << 10;
const HEADER: usize = 5;

/// What a frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The program was executed.
    Started,
    /// Bytes of standard output.
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// The answer as JSON; nothing follows.
    Answer(Bytes),
}

impl Frame {
    /// The frame's header; the payload follows it.
    pub fn encode(&self) -> (Bytes, Bytes) {
        let (kind, payload) = match self {
            Self::Started => (b'S', Bytes::new()),
            Self::Stdout(bytes) => (b'O', bytes.clone()),
            Self::Stderr(bytes) => (b'E', bytes.clone()),
            Self::Answer(bytes) => (b'A', bytes.clone()),
        };
        let mut header = BytesMut::with_capacity(HEADER);
        header.put_u8(kind);
        header.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        (header.freeze(), payload)
    }
}

/// Why bytes are not a stream of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No beginning was found.
    #[error("the stream does not begin as a runner's does")]
    NoMagic,
    /// A kind of frame that does not exist.
    #[error("unknown kind of frame {0:#04x}")]
    UnknownKind(u8),
    /// A frame that claims to be longer than any.
    #[error("a frame claims {0} bytes")]
    TooLong(usize),
    /// Bytes behind the answer.
    #[error("bytes follow the answer")]
    AfterAnswer,
}

/// Puts frames together from pieces of any size. Memory is bounded by one frame.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    begun: bool,
    answered: bool,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    ///
    /// The bytes are not a runner's.
    #[expect(clippy::should_implement_trait, reason = "an iterator that can go on after None")]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if !self.begun {
            let found = self.buffer.windows(MAGIC.len()).position(|window| window == MAGIC);
            match found {
                Some(start) => self.buffer.advance(start + MAGIC.len()),
                None if self.buffer.len() > MAX_PREAMBLE => return Err(FrameError::NoMagic),
                None => return Ok(None),
            }
            self.begun = true;
        }
        if self.answered {
            return if self.buffer.is_empty() { Ok(None) } else { Err(FrameError::AfterAnswer) };
        }
        let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let [kind, length @ ..] = *header;
        let length = u32::from_be_bytes(length) as usize;
        if !b"SOEA".contains(&kind) {
            return Err(FrameError::UnknownKind(kind));
        }
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        let payload = self.buffer.split_to(length).freeze();
        Ok(Some(match kind {
            b'S' => Frame::Started,
            b'O' => Frame::Stdout(payload),
            b'E' => Frame::Stderr(payload),
            _ => {
                self.answered = true;
                Frame::Answer(payload)
            }
        }))
    }

    /// Whether the whole answer was seen.
    pub fn is_complete(&self) -> bool {
        self.answered && self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(preamble: &[u8]) -> (Vec<u8>, Vec<Frame>) {
        let frames = vec![
            Frame::Started,
            Frame::Stdout(Bytes::from_static(b"hello")),
            Frame::Stderr(Bytes::new()),
            Frame::Stdout(Bytes::from(vec![0; 300])),
            Frame::Answer(Bytes::from_static(b"{}")),
        ];
        let mut bytes = [preamble, &MAGIC].concat();
        for frame in &frames {
            let (header, payload) = frame.encode();
            bytes.extend_from_slice(&header);
            bytes.extend_from_slice(&payload);
        }
        (bytes, frames)
    }

    #[test]
    fn a_stream_split_at_every_byte_is_the_same_stream() {
        for preamble in [&b""[..], b"{\"statusCode\":200}\0\0\0\0\0\0\0\0"] {
            let (bytes, frames) = stream(preamble);
            for split in 0..=bytes.len() {
                let mut decoder = Decoder::new();
                let mut seen = Vec::new();
                for part in [&bytes[..split], &bytes[split..]] {
                    decoder.push(part);
                    while let Some(frame) = decoder.next().expect("frame") {
                        seen.push(frame);
                    }
                }
                assert_eq!(seen, frames, "split at {split}");
                assert!(decoder.is_complete());
            }
        }
    }

    #[test]
    fn a_stream_that_ends_early_is_not_complete() {
        let (bytes, frames) = stream(b"");
        for end in 0..bytes.len() {
            let mut decoder = Decoder::new();
            decoder.push(&bytes[..end]);
            let mut seen = Vec::new();
            while let Some(frame) = decoder.next().expect("frame") {
                seen.push(frame);
            }
            assert!(!decoder.is_complete(), "cut at {end}");
            assert!(frames.starts_with(&seen));
        }
    }

    #[test]
    fn what_is_not_a_stream_is_an_error() {
        let cases: [(&[u8], FrameError); 3] = [
            (b"\0sandboxX\0\0\0\0", FrameError::UnknownKind(b'X')),
            (b"\0sandboxO\xff\xff\xff\xff", FrameError::TooLong(u32::MAX as usize)),
            (b"\0sandboxA\0\0\0\0S\0\0\0\0", FrameError::AfterAnswer),
        ];
        for (bytes, expected) in cases {
            let mut decoder = Decoder::new();
            decoder.push(bytes);
            let error = loop {
                match decoder.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("no error for {bytes:?}"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error, expected);
        }
        let mut decoder = Decoder::new();
        decoder.push(&vec![b'x'; MAX_PREAMBLE + 1]);
        assert_eq!(decoder.next(), Err(FrameError::NoMagic));
    }
}
