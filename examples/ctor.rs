#![forbid(unsafe_code)]
//! Objects that are costly to make, made once per slab: `cargo run --example ctor`.
//!
//! A decoder needs a window of 32 KiB, a table that takes a while to compute, and a lock. A `CtorCache` constructs decoders when
//! it makes a slab, hands the same ones out again and again, and drops them when the slab's memory goes back. The constructor may
//! fail; the error comes out of `alloc`.

use haybarn::{AllocError, Arena, CacheArgs, CtorCache, DtorMode, Stat};
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;

/// What is costly to make.
struct Decoder {
    window: Vec<u8>,
    table: Box<[u32; 256]>,
    statistics: Mutex<u64>,
    licence: Licence,
}

impl Decoder {
    fn new(licences: &Arc<Mutex<u32>>) -> Result<Self, NoLicence> {
        let licence = Licence::take(licences)?;
        let table = core::array::from_fn(|n| (0..8).fold(n as u32, |crc, _| (crc >> 1) ^ ((crc & 1) * 0xedb8_8320)));
        Ok(Self { window: Vec::with_capacity(32 << 10), table: Box::new(table), statistics: Mutex::new(0), licence })
    }

    /// Every owner starts from a window that is empty; its memory is there already.
    fn checksum(&mut self, data: &[u8]) -> u32 {
        self.window.clear();
        self.window.extend_from_slice(data);
        *self.statistics.lock().expect("nobody panics here") += 1;
        let step = |crc: u32, byte: &u8| (crc >> 8) ^ self.table[(crc as u8 ^ byte) as usize];
        !self.window.iter().fold(!0, step)
    }
}

/// There are only so many; each decoder holds one for as long as it exists.
struct Licence(Arc<Mutex<u32>>);

impl Licence {
    fn take(left: &Arc<Mutex<u32>>) -> Result<Self, NoLicence> {
        let mut count = left.lock().expect("nobody panics here");
        *count = count.checked_sub(1).ok_or(NoLicence)?;
        Ok(Self(left.clone()))
    }
}

impl Drop for Licence {
    fn drop(&mut self) {
        *self.0.lock().expect("nobody panics here") += 1;
    }
}

#[derive(Debug, PartialEq)]
struct NoLicence;

impl fmt::Display for NoLicence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no licence is left")
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let licences = Arc::new(Mutex::new(200));
    let left = licences.clone();
    // Destructors run on the service thread: a free never pays for them.
    let args = CacheArgs { dtor_mode: DtorMode::Service, ..CacheArgs::default() };
    let ctor = move || Decoder::new(&left);
    let last_words = |decoder: &mut Decoder| drop(decoder.statistics.get_mut());
    let decoders = CtorCache::<Decoder, NoLicence>::create_in(Arena::global()?, "decoders", &args, ctor, last_words)?;

    for round in 0..10_000 {
        let mut decoder = decoders.alloc().map_err(|error| error.to_string())?;
        assert_eq!(decoder.checksum(b"123456789"), 0xcbf4_3926, "round {round}");
        assert!(decoder.window.capacity() >= 32 << 10);
    }
    let stats = decoders.stats();
    println!("10000 allocations, {} decoders made", stats.get(Stat::CtorObject));

    // More than there are licences for: the slab that could not be made whole is unwound, its licences are there again.
    let mut busy = Vec::new();
    let error = loop {
        match decoders.alloc() {
            Ok(decoder) => busy.push(decoder),
            Err(error) => break error,
        }
    };
    let AllocError::Ctor(said) = error else { return Err(error.to_string().into()) };
    assert_eq!(said, NoLicence);
    println!("{} decoders at work, then: {said}", busy.len());
    assert!(busy.iter().all(|decoder| Arc::ptr_eq(&decoder.licence.0, &licences)));

    // Given back, shrunk and ended: every licence is there, since the end waits for every destructor.
    drop(busy);
    println!("shrink gave back {} slabs", decoders.shrink());
    decoders.destroy().map_err(|(error, _)| error)?;
    assert_eq!(*licences.lock().expect("nobody panics here"), 200);
    println!("all licences are back");
    Ok(())
}

#[test]
fn runs() {
    main().unwrap();
}
