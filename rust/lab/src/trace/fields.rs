//! The `key=value` fields that the kernel prints for its kmem events (`TP_printk` in `include/trace/events/kmem.h`).
//!
//! Order differs between kernels, and two values may hold spaces: `call_site=ext4_find_entry+0x1/0x2 [ext4]`, and a cache's
//! name that its author wrote with a space. So fields are found by their keys.

#![forbid(unsafe_code)]

use super::format::{Line, Reason};
use super::head::{Head, head};
use super::{Event, Kind, MAX_BYTES, MAX_OBJECT, NameId, Names};
use memchr::memchr;

/// Classifies a line that is neither a comment nor one of the format's special lines.
pub(super) fn event_line(line: &[u8], names: &mut Names) -> Line {
    match head(line) {
        Err(reason) => Line::Malformed(reason),
        Ok(None) => Line::Ignored,
        Ok(Some(head)) => {
            let bare = head.event.strip_prefix(b"kmem:").unwrap_or(head.event);
            match Kind::from_name(bare) {
                None => Line::Ignored,
                Some(kind) => parse(kind, &head, names).map_or_else(Line::Malformed, Line::Event),
            }
        }
    }
}

fn parse(kind: Kind, head: &Head<'_>, names: &mut Names) -> Result<Event, Reason> {
    let found = Fields::find(head.fields);
    let mut event = Event {
        kind,
        accounted: found.accounted == Some(b"true"),
        cpu: head.cpu,
        name: NameId::NONE,
        pointer: pointer(found.ptr.ok_or(Reason::Missing("ptr"))?)?,
        bytes_req: 0,
        bytes_alloc: 0,
    };
    if matches!(kind, Kind::CacheAlloc | Kind::CacheFree) {
        let name = found.name.filter(|name| !name.is_empty()).ok_or(Reason::Missing("name"))?;
        event.name = names.intern(str::from_utf8(name).map_err(|_| Reason::Bad("name"))?);
    }
    if kind.is_alloc() {
        let req = bytes(found.bytes_req, "bytes_req")?;
        let alloc = bytes(found.bytes_alloc, "bytes_alloc")?;
        // Printed behind the sizes by every kernel: a line that was cut within a size is not taken for a smaller one.
        found.gfp_flags.ok_or(Reason::Missing("gfp_flags"))?;
        let too_large = kind == Kind::CacheAlloc && u64::from(alloc) > MAX_OBJECT;
        if req == 0 || req > alloc || too_large {
            return Err(Reason::Sizes);
        }
        (event.bytes_req, event.bytes_alloc) = (req, alloc);
    }
    Ok(event)
}

/// The values that matter, as they stand in the line.
#[derive(Default)]
struct Fields<'a> {
    ptr: Option<&'a [u8]>,
    name: Option<&'a [u8]>,
    bytes_req: Option<&'a [u8]>,
    bytes_alloc: Option<&'a [u8]>,
    gfp_flags: Option<&'a [u8]>,
    accounted: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn find(text: &'a [u8]) -> Fields<'a> {
        let mut fields = Fields::default();
        let mut at = 0;
        while at < text.len() {
            let end = memchr(b' ', &text[at..]).map_or(text.len(), |step| at + step);
            let token = &text[at..end];
            if let Some(value) = token.strip_prefix(b"ptr=") {
                fields.ptr = Some(value);
            } else if token.starts_with(b"name=") {
                fields.name = Some(until_next_key(&text[at + b"name=".len()..]));
            } else if let Some(value) = token.strip_prefix(b"bytes_req=") {
                fields.bytes_req = Some(value);
            } else if let Some(value) = token.strip_prefix(b"bytes_alloc=") {
                fields.bytes_alloc = Some(value);
            } else if let Some(value) = token.strip_prefix(b"gfp_flags=") {
                fields.gfp_flags = Some(value);
            } else if let Some(value) = token.strip_prefix(b"accounted=") {
                fields.accounted = Some(value);
            }
            at = end + 1;
        }
        fields
    }
}

/// A value that may hold spaces: it ends before the next word with a `=`, or with the line.
fn until_next_key(text: &[u8]) -> &[u8] {
    let mut end = memchr(b' ', text).unwrap_or(text.len());
    while end < text.len() {
        let word = &text[end + 1..];
        let word_end = memchr(b' ', word).unwrap_or(word.len());
        if word[..word_end].contains(&b'=') {
            break;
        }
        end += 1 + word_end;
    }
    text[..end].trim_ascii_end()
}

/// `000000004b4089df`, `0xffff888102418e20`, `(nil)`, `(null)`.
fn pointer(text: &[u8]) -> Result<u64, Reason> {
    if matches!(text, b"(nil)" | b"(null)") {
        return Ok(0);
    }
    let digits = text.strip_prefix(b"0x").unwrap_or(text);
    if digits.is_empty() || digits.len() > 16 {
        return Err(Reason::Bad("ptr"));
    }
    digits.iter().try_fold(0u64, |n, &byte| {
        let digit = (byte as char).to_digit(16).ok_or(Reason::Bad("ptr"))?;
        Ok(n << 4 | u64::from(digit))
    })
}

fn bytes(value: Option<&[u8]>, key: &'static str) -> Result<u32, Reason> {
    let text = value.ok_or(Reason::Missing(key))?;
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return Err(Reason::Bad(key));
    }
    let number = text.iter().fold(0u64, |n, &digit| n * 10 + u64::from(digit - b'0'));
    if number > MAX_BYTES { Err(Reason::Sizes) } else { Ok(number as u32) }
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
