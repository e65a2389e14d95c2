#![forbid(unsafe_code)]

use super::{CHUNK, lines, open};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Read, Write};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(text).unwrap();
    packer.finish().unwrap()
}

fn file_of(name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("haybarn-source-{}-{name}", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    path
}

fn read(name: &str, bytes: &[u8]) -> io::Result<String> {
    let path = file_of(name, bytes);
    let mut text = String::new();
    let result = open(&path).and_then(|mut source| source.read_to_string(&mut text));
    std::fs::remove_file(&path).unwrap();
    result.map(|_| text)
}

fn cut(source: impl Read) -> io::Result<Vec<String>> {
    let mut all = Vec::new();
    lines(source, |line| {
        all.push(String::from_utf8_lossy(line).into_owned());
        true
    })?;
    Ok(all)
}

/// Gives one byte at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.0.len().min(1).min(out.len());
        out[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

#[test]
fn gzip_is_told_by_its_content() {
    let mut twice = gzip(b"one\n");
    twice.extend(gzip(b"two\n"));
    for (name, bytes, text) in [
        ("plain.gz", b"a\nb\n".to_vec(), "a\nb\n"),
        ("packed.txt", gzip(b"a\nb\n"), "a\nb\n"),
        ("members.gz", twice, "one\ntwo\n"),
        ("empty", Vec::new(), ""),
        ("byte", b"x".to_vec(), "x"),
    ] {
        assert_eq!(read(name, &bytes).unwrap(), text, "{name}");
    }
}

#[test]
fn damaged_gzip_is_an_error() {
    let whole = gzip(&vec![b'x'; 10_000]);
    let mut flipped = whole.clone();
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    assert!(read("cut.gz", &whole[..whole.len() / 2]).is_err());
    assert!(read("flipped.gz", &flipped).is_err());
    let mut trailing = whole;
    trailing.extend(b"rubbish behind it");
    assert!(read("trailing.gz", &trailing).is_err());
}

#[test]
fn lines_are_cut_across_chunks() {
    let long = "y".repeat(CHUNK - 7);
    let text = format!("a\r\n\n{long}\nlast");
    let wanted = vec!["a".to_owned(), String::new(), long, "last".to_owned()];
    assert_eq!(cut(text.as_bytes()).unwrap(), wanted);
    assert_eq!(cut(Slow(b"ab\ncd\n")).unwrap(), ["ab", "cd"]);
}

#[test]
fn what_is_no_text_is_an_error() {
    assert!(cut(&b"PERFILE2\0\0\0"[..]).is_err());
    assert!(cut(vec![b'z'; 2 * CHUNK].as_slice()).is_err());
}
