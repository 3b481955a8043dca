//! What a model is shown of a file.

use sandbox_core::{Size, printable};

use super::files::{File, KeptFile};
use super::images;
use super::reply::{Part, Reply};
use super::report::{list, quoted};
use super::text::first;

/// The file as an image or as text, or what else there is.
pub(crate) fn file(
    path: &str,
    found: Option<File>,
    offset: u64,
    files: &[KeptFile],
    room: usize,
    image_bytes: u64,
) -> Reply {
    let Some(file) = found else {
        let there = match files {
            [] => "There are no files.".to_owned(),
            files => format!("There are:\n{}", list(files, &[])),
        };
        return Reply::refusal(format!("There is no file {}. {there}", quoted(path)), None);
    };
    let (bytes, length) = (&file.bytes, file.bytes.len() as u64);
    if file.media_type.starts_with("image/")
        && let Ok((media_type, ..)) = images::check(bytes)
    {
        if length > image_bytes {
            let size = Size::b(length);
            let text = format!("{path:?} has {size}, too much for a reply; make it smaller.");
            return Reply::refusal(text, None);
        }
        return Reply::found(vec![Part::Image { media_type, data: bytes.clone() }]);
    }
    if bytes.is_empty() {
        return Reply::found(vec![Part::Text(format!("{path:?} is empty."))]);
    }
    if offset >= length {
        let text = format!("{path:?} has {length} bytes; give a smaller offset.");
        return Reply::refusal(text, None);
    }
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let to = bytes.len().min(from.saturating_add(room));
    // An offset may be inside a character.
    let inside = |byte: &&u8| from > 0 && **byte & 0xc0 == 0x80;
    let from = from + bytes[from..to].iter().take(3).take_while(inside).count();
    match text(&bytes[from..to], to < bytes.len()) {
        Some(mut text) => {
            // Control characters become longer.
            let mut shown = printable(text);
            while shown.len() > room {
                text = first(text, text.len() * room / shown.len());
                shown = printable(text);
            }
            let end = from + text.len();
            let rest = if end < bytes.len() {
                format!("; the rest begins at offset {end}")
            } else {
                String::new()
            };
            let what = format!("Bytes {from} to {end} of {length}{rest}.");
            Reply::found(vec![Part::Text(what), Part::Text(shown.into_owned())])
        }
        None => Reply::refusal(
            format!(
                "{path:?} is no text ({}, {}); read it with a program.",
                file.media_type,
                Size::b(length)
            ),
            None,
        ),
    }
}

/// The bytes as text, without a character that is cut at the end.
fn text(bytes: &[u8], is_cut: bool) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Some(text),
        Err(error) if is_cut && error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()
        }
        _ => None,
    }
}
