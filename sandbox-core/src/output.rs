//! Output streams, kept within a cap.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;

/// What is left of one output stream: its beginning, its end, and how long it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The first bytes; the whole stream when it stayed within its cap.
    pub head: Bytes,
    /// The last bytes of a stream that passed its cap.
    pub tail: Bytes,
    /// Bytes that the program wrote.
    pub total: u64,
}

impl Output {
    /// A stream that is there from its beginning to its end.
    pub fn whole(bytes: impl AsRef<[u8]>) -> Self {
        let head = Bytes::copy_from_slice(bytes.as_ref());
        Self { total: head.len() as u64, head, tail: Bytes::new() }
    }

    /// Whether bytes between head and tail were dropped.
    pub fn is_truncated(&self) -> bool {
        self.omitted() > 0
    }

    /// How many bytes were dropped.
    pub fn omitted(&self) -> u64 {
        self.total.saturating_sub((self.head.len() + self.tail.len()) as u64)
    }

    /// Head and tail in one piece, without a mark between them.
    pub fn bytes(&self) -> Bytes {
        if self.tail.is_empty() {
            return self.head.clone();
        }
        [self.head.as_ref(), self.tail.as_ref()].concat().into()
    }

    /// The stream as text: invalid bytes become U+FFFD, and a line says what was dropped.
    pub fn text(&self) -> String {
        if !self.is_truncated() {
            return String::from_utf8_lossy(&self.bytes()).into_owned();
        }
        let head = String::from_utf8_lossy(whole_start(&self.head));
        let tail = String::from_utf8_lossy(whole_end(&self.tail));
        format!("{head}\n[... {} bytes omitted ...]\n{tail}", self.omitted())
    }

    /// Whether every kept byte is UTF-8, characters that the cap cut in two aside.
    pub(crate) fn is_utf8(&self) -> bool {
        if !self.is_truncated() {
            return std::str::from_utf8(&self.bytes()).is_ok();
        }
        std::str::from_utf8(whole_start(&self.head)).is_ok()
            && std::str::from_utf8(whole_end(&self.tail)).is_ok()
    }
}

/// `bytes` without a character that was cut at its end.
fn whole_start(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    }
}

/// `bytes` without the rest of a character that was cut at its start.
fn whole_end(bytes: &[u8]) -> &[u8] {
    let rest = bytes.iter().take(3).take_while(|b| **b & 0xc0 == 0x80).count();
    &bytes[rest..]
}

/// Collects a stream into an [`Output`] in memory that never exceeds the cap.
#[derive(Debug)]
pub struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    cap: usize,
    total: u64,
}

impl Capture {
    /// A collector that keeps `cap` bytes.
    pub fn new(cap: u64) -> Self {
        let cap = usize::try_from(cap).unwrap_or(usize::MAX);
        Self { head: Vec::new(), tail: VecDeque::new(), cap, total: 0 }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, mut chunk: &[u8]) {
        self.total += chunk.len() as u64;
        // Until the stream passes its cap nobody knows that it will, so the first half fills,
        // then the second half rolls.
        let head_cap = self.cap - self.cap / 2;
        let room = (head_cap - self.head.len()).min(chunk.len());
        self.head.extend_from_slice(&chunk[..room]);
        chunk = &chunk[room..];
        let tail_cap = self.cap / 2;
        if chunk.len() >= tail_cap {
            self.tail.clear();
            chunk = &chunk[chunk.len() - tail_cap..];
        }
        let excess = (self.tail.len() + chunk.len()).saturating_sub(tail_cap);
        self.tail.drain(..excess);
        self.tail.extend(chunk);
    }

    /// Bytes seen so far.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether the stream has passed its cap.
    pub fn is_over(&self) -> bool {
        self.total > self.cap as u64
    }

    /// Ends the stream.
    pub fn finish(self) -> Output {
        let mut head = self.head;
        let tail = Vec::from(self.tail);
        if self.total <= self.cap as u64 {
            head.extend_from_slice(&tail);
            return Output { head: head.into(), tail: Bytes::new(), total: self.total };
        }
        Output { head: head.into(), tail: tail.into(), total: self.total }
    }
}

/// Text for people: control characters except newline and tab become escapes.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t') {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| match c {
        '\n' | '\t' => c.to_string(),
        c if c.is_control() => c.escape_unicode().to_string(),
        c => c.to_string(),
    };
    Cow::Owned(text.chars().map(escape).collect())
}

/// A name that a program chose, in quotes: letters of every language and emoji stay as they are, and
/// what would be another line, turn the text around or be seen by nobody becomes an escape.
pub fn quoted_name(name: &str) -> String {
    let escape = |c: char| match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        c if c.is_control() || is_invisible(c) => c.escape_unicode().to_string(),
        c => c.to_string(),
    };
    let escaped: String = name.chars().map(escape).collect();
    format!("\"{escaped}\"")
}

/// Characters that show nothing or move others; the joiners of emoji and of some languages' letters
/// are none of them.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' | '\u{e000}'..='\u{f8ff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(cap: u64, chunks: &[&[u8]]) -> Output {
        let mut capture = Capture::new(cap);
        chunks.iter().for_each(|chunk| capture.push(chunk));
        capture.finish()
    }

    #[test]
    fn a_stream_within_its_cap_is_whole_however_it_is_cut() {
        for size in 1..=10 {
            let data = b"0123456789";
            let chunks: Vec<&[u8]> = data.chunks(size).collect();
            let output = capture(10, &chunks);
            assert_eq!(output.bytes().as_ref(), data);
            assert!(!output.is_truncated());
        }
    }

    #[test]
    fn a_longer_stream_keeps_both_ends_and_the_count() {
        for size in 1..=20 {
            let chunks: Vec<&[u8]> = b"0123456789abcdefghij".chunks(size).collect();
            let output = capture(7, &chunks);
            assert_eq!(output.head.as_ref(), b"0123", "chunks of {size}");
            assert_eq!(output.tail.as_ref(), b"hij", "chunks of {size}");
            assert_eq!((output.total, output.omitted()), (20, 13));
        }
    }

    #[test]
    fn a_cap_of_nothing_only_counts() {
        let output = capture(0, &[b"abc"]);
        assert_eq!((output.bytes().len(), output.total), (0, 3));
        assert!(output.is_truncated());
    }

    #[test]
    fn characters_cut_by_the_cap_do_not_make_the_text_invalid() {
        let output = capture(4, &["ééééé".as_bytes()]);
        assert!(output.is_utf8());
        let output = capture(5, &["ééééé".as_bytes()]);
        assert!(output.is_utf8(), "{output:?}");
        assert!(!capture(9, &[b"\xff\xfe"]).is_utf8());
    }
}
