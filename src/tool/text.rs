//! A program's output as a model can use it.

use std::borrow::Cow;

use anstream::adapter::strip_str;
use sandbox_core::{Output, Size, printable};

use super::python::last_traceback;

/// The first `most` bytes of a text, as far as they are whole characters.
pub(crate) fn first(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// The same, with a sign that there is more.
pub(crate) fn short(text: &str, most: usize) -> Cow<'_, str> {
    match first(text, most) {
        whole if whole.len() == text.len() => whole.into(),
        part => format!("{part}...").into(),
    }
}

/// What was kept of a stream, as text.
pub(crate) struct Stream {
    start: String,
    /// The end of a stream whose middle was not kept.
    end: Option<String>,
    total: u64,
}

impl Stream {
    pub(crate) fn new(output: &Output) -> Self {
        let start = String::from_utf8_lossy(&output.head);
        if !output.is_truncated() {
            return Self { start: clean(&start), end: None, total: output.total };
        }
        // Characters that the sandbox cut in two.
        let cut = char::REPLACEMENT_CHARACTER;
        let end = String::from_utf8_lossy(&output.tail);
        let (start, end) = (start.trim_end_matches(cut), end.trim_start_matches(cut));
        Self { start: clean(start), end: Some(clean(end)), total: output.total }
    }

    pub(crate) fn map(self, change: impl Fn(&str) -> String) -> Self {
        let Self { start, end, total } = self;
        Self { start: change(&start), end: end.map(|end| change(&end)), total }
    }

    /// Cuts it to `budget` bytes: of what is longer, `head` percent go to the beginning and the
    /// rest to the end.
    pub(crate) fn fit(self, budget: usize, head: usize) -> String {
        let end = match &self.end {
            None if self.start.len() <= budget => return self.start,
            None => &self.start,
            Some(end) => end,
        };
        let head = budget * head / 100;
        let room = budget - head;
        let (start, mut end) = (first_lines(&self.start, head), last_lines(end, room).to_owned());
        // A long message must not push the place of the error out.
        if last_traceback(&end).is_none()
            && let Some(traceback) = last_traceback(self.end.as_ref().unwrap_or(&self.start))
        {
            let traceback = &self.end.as_ref().unwrap_or(&self.start)[traceback..];
            let first = first_lines(traceback, room / 2);
            end = format!("{first}\n[... more of the message ...]\n{}", last_lines(&end, room / 2));
        }
        format!(
            "{start}\n[... {} of {} left out; print less, or write to a file and print parts of \
             it ...]\n{end}",
            Size::b(self.total.saturating_sub((start.len() + end.len()) as u64)),
            Size::b(self.total)
        )
    }
}

/// At most `room` bytes from the beginning, whole lines if there are any.
fn first_lines(text: &str, room: usize) -> &str {
    let end = (0..=room.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    let cut = &text[..end.unwrap_or(0)];
    match cut.rfind('\n') {
        Some(end) if cut.len() < text.len() && end > cut.len() / 2 => &cut[..end],
        _ => cut.trim_end_matches('\n'),
    }
}

/// At most `room` bytes from the end.
fn last_lines(text: &str, room: usize) -> &str {
    let from = text.len().saturating_sub(room);
    let start = (from..text.len()).find(|start| text.is_char_boundary(*start));
    let cut = &text[start.unwrap_or(text.len())..];
    match cut.find('\n') {
        Some(start) if cut.len() < text.len() && start < cut.len() / 2 => &cut[start + 1..],
        _ => cut,
    }
}

/// As a terminal would show it in the end: without colours, and of a line that is drawn again and
/// again, such as a progress bar, the last state.
fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    // Line by line: an escape without an end must not take the rest of the output with it.
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            clean.push('\n');
        }
        let line = strip_str(line).to_string();
        let last = line.rsplit('\r').find(|state| !state.trim().is_empty());
        clean.push_str(last.unwrap_or_default());
    }
    printable(&clean).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sandbox_core::Capture;

    use super::*;

    fn output(text: &[u8], cap: u64) -> Output {
        let mut capture = Capture::new(cap);
        capture.push(text);
        capture.finish()
    }

    fn fit(output: &Output, budget: usize, head: usize) -> String {
        Stream::new(output).fit(budget, head)
    }

    #[test]
    fn a_short_stream_is_as_it_was() {
        let text = "größer\n\tx = 1\n";
        assert_eq!(fit(&output(text.as_bytes(), 1 << 20), 1024, 50), text);
    }

    #[test]
    fn a_long_stream_keeps_whole_lines_of_both_ends() {
        let text: String = (0..10_000).map(|n| format!("line {n}\n")).collect();
        for cap in [1 << 20, 10_000] {
            let short = fit(&output(text.as_bytes(), cap), 1024, 25);
            assert!(short.starts_with("line 0\nline 1\n"), "{short}");
            assert!(short.ends_with("line 9998\nline 9999\n"), "{short}");
            assert!(short.contains("left out") && short.contains("of 96.6 KiB"), "{short}");
            let lines: Vec<_> = short.lines().filter(|line| !line.starts_with("[...")).collect();
            assert!(lines.iter().all(|line| line.starts_with("line ")), "{short}");
        }
    }

    #[test]
    fn terminals_are_not_models() {
        let text = "\x1b[31mred\x1b[0m\n 10%|#   |\r 50%|##  |\r100%|####|\nnext\r\n\x07\0";
        let clean = fit(&output(text.as_bytes(), 1 << 20), 1024, 50);
        assert_eq!(clean, "red\n100%|####|\nnext\n");
        for unended in ["\x1b_G", "\x1b]0;title", "\x1bP"] {
            let text = format!("{unended} lost\nValueError: kept");
            let clean = fit(&output(text.as_bytes(), 1 << 20), 1024, 50);
            assert!(clean.ends_with("\nValueError: kept"), "{clean:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind_fit(bytes in proptest::collection::vec(any::<u8>(), 0..5000),
                                 cap in 0u64..6000) {
            let text = fit(&output(&bytes, cap), 1024, 50);
            prop_assert!(text.len() <= 1024 + 200, "{} bytes", text.len());
        }
    }
}
