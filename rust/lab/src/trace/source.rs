//! Opening a trace, gzip or plain, and cutting it into lines without keeping it whole.

#![forbid(unsafe_code)]

use flate2::bufread::MultiGzDecoder;
use memchr::{memchr, memrchr};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

/// Bytes read at once; also the longest line that is not an error times two.
const CHUNK: usize = 1 << 18;

/// Bytes of a gzip file's head.
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// Opens `path`; gzip is told by its first bytes, not by the file's name.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = BufReader::with_capacity(CHUNK / 4, File::open(path)?);
    // A pipe may give its first bytes one at a time.
    let mut magic = Vec::with_capacity(GZIP_MAGIC.len());
    while magic.len() < GZIP_MAGIC.len() {
        let seen = file.fill_buf()?;
        let Some(&byte) = seen.first() else { break };
        magic.push(byte);
        file.consume(1);
    }
    let gzip = magic == GZIP_MAGIC;
    let whole = BufReader::with_capacity(CHUNK / 4, Cursor::new(magic).chain(file));
    Ok(if gzip { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) })
}

/// Calls `each` with every line of `source`, without its line end, until it gives false.
///
/// # Errors
/// What reading gives (a gzip file that is cut or damaged too); `InvalidData` for a byte 0 (not a text) or an endless line.
pub(super) fn lines(mut source: impl Read, mut each: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut buffer = vec![0u8; CHUNK];
    let mut kept = 0;
    loop {
        let got = match source.read(&mut buffer[kept..]) {
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if got == 0 {
            if kept > 0 {
                each(line_of(&buffer[..kept]));
            }
            return Ok(());
        }
        let filled = kept + got;
        if memchr(0, &buffer[kept..filled]).is_some() {
            return Err(invalid(
                "not a text (a perf.data or trace.dat file? print it with perf script or trace-cmd report)",
            ));
        }
        let whole = memrchr(b'\n', &buffer[kept..filled]).map_or(0, |at| kept + at + 1);
        let mut at = 0;
        while at < whole {
            let end = at + memchr(b'\n', &buffer[at..whole]).unwrap_or(whole - at - 1);
            if !each(line_of(&buffer[at..end])) {
                return Ok(());
            }
            at = end + 1;
        }
        buffer.copy_within(whole..filled, 0);
        kept = filled - whole;
        if kept == buffer.len() {
            return Err(invalid("a line longer than 256 KiB: not a trace"));
        }
    }
}

fn line_of(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
