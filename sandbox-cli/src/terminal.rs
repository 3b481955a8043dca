//! Output of programs on a terminal.
//!
//! A terminal obeys control sequences: a program could rewrite lines that are there, change the
//! title, fill the clipboard or write what looks like this command's own line. So on a terminal
//! they are shown and not obeyed, and the command's own lines are bold, which no program's are.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

/// Makes the output of one stream harmless; characters may come in pieces.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// The beginning of a character whose rest has not come.
    held: Vec<u8>,
}

impl Filter {
    /// What to write instead of the next piece.
    pub(crate) fn pass(&mut self, piece: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(piece);
        let held = std::mem::take(&mut self.held);
        let mut text = String::with_capacity(held.len());
        let mut chunks = held.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            show(chunk.valid(), &mut text);
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && is_beginning(invalid) {
                self.held = invalid.to_vec();
            } else {
                show_bytes(invalid, &mut text);
            }
        }
        text.into_bytes()
    }

    /// What to write at the end.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut text = String::new();
        show_bytes(&std::mem::take(&mut self.held), &mut text);
        text.into_bytes()
    }
}

/// Whether more bytes could make a character of these.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

fn show(text: &str, into: &mut String) {
    for character in text.chars() {
        match character {
            // A carriage return leads to the start of the same line: progress bars.
            '\n' | '\t' | '\r' => into.push(character),
            '\0'..='\x1f' => into.extend(['^', char::from(character as u8 + b'@')]),
            '\x7f' => into.push_str("^?"),
            other if other.is_control() || turns_text(other) => {
                into.extend(other.escape_unicode());
            }
            other => into.push(other),
        }
    }
}

/// Marks that make a terminal show text in another order.
fn turns_text(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn show_bytes(bytes: &[u8], into: &mut String) {
    for byte in bytes {
        let _ = write!(into, "\\x{byte:02x}");
    }
}

/// The beginning of the command's own lines.
pub(crate) fn own_line() -> &'static str {
    if io::stderr().is_terminal() { "\x1b[1msandbox:\x1b[0m" } else { "sandbox:" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(pieces: &[&[u8]]) -> String {
        let mut filter = Filter::default();
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| filter.pass(piece)).collect();
        out.extend(filter.finish());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn text_stays_text_however_it_is_cut() {
        let text = "100 %\r\n\tcafé ☕ 漢字 👩‍🔬\n";
        assert_eq!(filtered(&[text.as_bytes()]), text);
        let bytes: Vec<_> = text.as_bytes().chunks(1).collect();
        assert_eq!(filtered(&bytes), text);
    }

    #[test]
    fn nothing_that_a_terminal_obeys_passes() {
        assert_eq!(filtered(&[b"\x1b]0;title\x07"]), "^[]0;title^G");
        assert_eq!(filtered(&[b"\x1b", b"]52;c;aGk=\x1b\\"]), "^[]52;c;aGk=^[\\");
        assert_eq!(filtered(&[b"\x1b[1msandbox:\x1b[0m ok"]), "^[[1msandbox:^[[0m ok");
        assert_eq!(filtered(&["\u{9b}2J".as_bytes()]), "\\u{9b}2J");
        assert_eq!(filtered(&[b"\x9b2J\xff"]), "\\x9b2J\\xff");
        assert_eq!(filtered(&["\u{202e}gpj".as_bytes()]), "\\u{202e}gpj");
        assert_eq!(filtered(&[b"\x08\x7f\0"]), "^H^?^@");
        for byte in 0..=255u8 {
            let shown = filtered(&[&[byte]]);
            let obeyed = shown.bytes().any(|b| b < 0x20 && !b"\n\t\r".contains(&b) || b == 0x7f);
            assert!(!obeyed, "{byte:#x}: {shown:?}");
        }
    }

    #[test]
    fn half_a_character_at_the_end_is_shown() {
        assert_eq!(filtered(&[b"a\xe2\x98"]), "a\\xe2\\x98");
    }
}
