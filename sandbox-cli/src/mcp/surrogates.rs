//! JSON of clients whose strings are UTF-16, of which half a character can be left.
//!
//! The parser refuses such a message whole, and then nobody knows which call to answer. So a half
//! becomes U+FFFD, as JavaScript's `toWellFormed` has it. Nothing is lost: no file holds a half.

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

const REPLACEMENT: &[u8] = br"\ufffd";

/// Messages without halves.
pub(crate) fn mended(messages: impl AsyncRead + Unpin) -> impl AsyncRead + Unpin {
    let mut held = Vec::new();
    let pieces = ReaderStream::new(messages);
    StreamReader::new(pieces.map(move |piece| piece.map(|piece| mend(&mut held, piece))))
}

/// The same of the next piece. What can only be judged with what follows is held back for it; at
/// the end of a message there is nothing of the kind.
pub(crate) fn mend(held: &mut Vec<u8>, piece: Bytes) -> Bytes {
    if held.is_empty() && !piece.contains(&b'\\') {
        return piece;
    }
    held.extend_from_slice(&piece);
    let mut mended = Vec::with_capacity(held.len());
    let mut rest = &held[..];
    while let Some(escape) = rest.iter().position(|byte| *byte == b'\\') {
        mended.extend_from_slice(&rest[..escape]);
        rest = &rest[escape..];
        let (length, is_half) = match (unit(rest), rest.get(6..).map(unit)) {
            (Unit::Unknown, _) | (Unit::First, None | Some(Unit::Unknown)) => break,
            (Unit::First, Some(Unit::Second)) => (12, false),
            (Unit::First | Unit::Second, _) => (6, true),
            (Unit::Whole(length), _) => (length, false),
        };
        mended.extend_from_slice(if is_half { REPLACEMENT } else { &rest[..length] });
        rest = &rest[length..];
    }
    if !rest.starts_with(b"\\") {
        mended.extend_from_slice(rest);
        rest = &[];
    }
    let length = rest.len();
    held.drain(..held.len() - length);
    mended.into()
}

enum Unit {
    /// Not an escape sequence that is half a character; so many bytes of it.
    Whole(usize),
    First,
    Second,
    /// More bytes will say.
    Unknown,
}

/// What text begins with.
fn unit(text: &[u8]) -> Unit {
    let digits = match text {
        [] | [b'\\'] => return Unit::Unknown,
        [b'\\', b'u', digits @ ..] => &digits[..digits.len().min(4)],
        [b'\\', _, ..] => return Unit::Whole(2),
        _ => return Unit::Whole(1),
    };
    let is_number = digits.iter().all(u8::is_ascii_hexdigit);
    let number = std::str::from_utf8(digits).map(|digits| u16::from_str_radix(digits, 16));
    match number {
        // Not JSON; the parser will say so.
        _ if !is_number => Unit::Whole(2),
        _ if digits.len() < 4 => Unit::Unknown,
        Ok(Ok(0xd800..=0xdbff)) => Unit::First,
        Ok(Ok(0xdc00..=0xdfff)) => Unit::Second,
        _ => Unit::Whole(6),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn in_pieces(text: &str, size: usize) -> String {
        let mut held = Vec::new();
        let pieces = text.as_bytes().chunks(size);
        let mended: Vec<_> =
            pieces.flat_map(|piece| mend(&mut held, Bytes::copy_from_slice(piece))).collect();
        assert!(held.is_empty(), "{text} leaves {held:?}");
        String::from_utf8(mended).expect("text")
    }

    #[test]
    fn halves_are_replaced_and_nothing_else_is() {
        for (text, expected) in [
            (r#"{"a":"\ud83d"}"#, r#"{"a":"\ufffd"}"#),
            (r#"["\ude00\n"]"#, r#"["\ufffd\n"]"#),
            (r#"["\ud83d\ude00"]"#, r#"["\ud83d\ude00"]"#),
            (r#"["\uD83D\uD83D\uDE00"]"#, r#"["\ufffd\uD83D\uDE00"]"#),
            (r#"["\ud83d\n\\ud83d\\\ud83d"]"#, r#"["\ufffd\n\\ud83d\\\ufffd"]"#),
            (r#"["\ud83dx\u00e9é"]"#, r#"["\ufffdx\u00e9é"]"#),
            (r#"["\u12"]"#, r#"["\u12"]"#),
        ] {
            for size in 1..20 {
                assert_eq!(in_pieces(text, size), expected, "pieces of {size}");
            }
        }
    }

    proptest! {
        #[test]
        fn json_stays_what_it_is(text in any::<String>(), size in 1usize..9) {
            let json = serde_json::to_string(&text).expect("JSON");
            prop_assert_eq!(in_pieces(&json, size), json);
        }

        #[test]
        fn strings_of_utf16_can_be_read(units in prop::collection::vec(0xd7f0u16..0xe010, 0..9)) {
            let escapes: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let mended = in_pieces(&format!("\"{escapes}\""), 5);
            let read: String = serde_json::from_str(&mended).expect("JSON");
            prop_assert_eq!(read, String::from_utf16_lossy(&units));
        }
    }
}
