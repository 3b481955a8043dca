//! Which images a model is shown.

use bytes::Bytes;
use imagesize::ImageType;
use sandbox_core::{Outcome, Size};

use super::files::File;

/// Bytes of one image: as base64 they stay below the 5 MB that APIs take.
pub(crate) const MOST_BYTES: usize = 3_700_000;
/// Pixels a side that APIs take.
const MOST_PIXELS: usize = 8000;

/// An image that every API takes.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) media_type: &'static str,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) data: Bytes,
}

#[derive(Debug, Default)]
pub(crate) struct Images {
    pub(crate) shown: Vec<Image>,
    /// Those that are not, and why.
    pub(crate) left_out: Vec<(String, String)>,
}

/// How much of images one reply has room for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) images: usize,
    pub(crate) bytes: u64,
}

/// The first images of what the program displayed, then of the files that it made.
pub(crate) fn choose(outcome: &Outcome, files: &[File], mut room: Room) -> Images {
    let displays = outcome.displays.iter().enumerate();
    let displays = displays.map(|(index, display)| {
        (format!("figure {}", index + 1), display.media_type.as_str(), &display.data)
    });
    let files = files
        .iter()
        .map(|file| (format!("{:?}", file.path.as_str()), file.media_type.as_str(), &file.bytes));
    let mut images = Images::default();
    for (name, media_type, data) in displays.chain(files) {
        if !media_type.starts_with("image/") {
            continue;
        }
        match check(data) {
            _ if images.shown.len() >= room.images => {
                let why = format!("a reply has at most {} images", room.images);
                images.left_out.push((name, why));
            }
            Ok(_) if data.len() as u64 > room.bytes => {
                let why = format!(
                    "with {} it does not fit into this reply; save it with a lower dpi",
                    Size::b(data.len() as u64)
                );
                images.left_out.push((name, why));
            }
            Ok((media_type, width, height)) => {
                room.bytes -= data.len() as u64;
                let data = data.clone();
                images.shown.push(Image { name, media_type, width, height, data });
            }
            Err(why) => images.left_out.push((name, why)),
        }
    }
    images
}

/// An API refuses a whole conversation for one image that it cannot read, so what the job says an
/// image is does not count.
pub(crate) fn check(data: &[u8]) -> Result<(&'static str, usize, usize), String> {
    let media_type = match imagesize::image_type(data) {
        Ok(ImageType::Png) => "image/png",
        Ok(ImageType::Jpeg) => "image/jpeg",
        Ok(ImageType::Gif) => "image/gif",
        Ok(ImageType::Webp) => "image/webp",
        _ => return Err("it is not PNG, JPEG, GIF or WebP; save it as PNG".into()),
    };
    // Before its header is read further, which a large one may take long for.
    if data.len() > MOST_BYTES {
        return Err(format!(
            "it has {}, more than {}; draw fewer points or save it with a lower dpi",
            Size::b(data.len() as u64),
            Size::b(MOST_BYTES as u64)
        ));
    }
    if !is_whole(media_type, data) {
        return Err("it is cut off or broken".into());
    }
    let size = imagesize::blob_size(data).map_err(|_| "it is cut off or broken".to_owned())?;
    if size.width == 0 || size.height == 0 || size.width.max(size.height) > MOST_PIXELS {
        return Err(format!(
            "it has {} x {} pixels; a side may have 1 to {MOST_PIXELS}",
            size.width, size.height
        ));
    }
    Ok((media_type, size.width, size.height))
}

/// Whether a file has all of its parts. What is in them is not looked at.
fn is_whole(media_type: &str, data: &[u8]) -> bool {
    match media_type {
        "image/png" => png_is_whole(data),
        "image/jpeg" => data.ends_with(b"\xff\xd9"),
        "image/gif" => data.ends_with(b";"),
        // RIFF says how long it is.
        _ => data.get(4..8).and_then(|size| size.try_into().ok()).is_some_and(|size| {
            u64::from(u32::from_le_bytes(size)) + 8 == data.len() as u64 && data.len() > 30
        }),
    }
}

/// Chunks, each with a length, a kind, data and a sum: the first is IHDR, the last is IEND, and
/// between them is some IDAT.
fn png_is_whole(data: &[u8]) -> bool {
    let mut rest = data.get(8..).unwrap_or_default();
    let (mut drawn, mut first) = (false, true);
    while let Some((head, body)) = rest.split_at_checked(8) {
        let length = head[..4].try_into().map_or(u32::MAX, u32::from_be_bytes) as usize;
        let Some((chunk, next)) = length.checked_add(4).and_then(|n| body.split_at_checked(n))
        else {
            return false;
        };
        match &head[4..] {
            b"IHDR" if first => {}
            _ if first => return false,
            // A stream of zlib's begins so, and has two bytes at least.
            b"IDAT" if !drawn && (chunk.len() < 6 || chunk[0] & 0x0f != 8) => return false,
            b"IDAT" => drawn = true,
            b"IEND" => return drawn && next.is_empty(),
            _ => {}
        }
        (first, rest) = (false, next);
    }
    false
}
