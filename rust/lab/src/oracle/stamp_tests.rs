use super::*;

fn stamped(bytes: usize, tag: Tag) -> Vec<u8> {
    let mut memory = vec![0; bytes];
    // SAFETY: the vector is that long.
    unsafe { write(NonNull::new(memory.as_mut_ptr()).unwrap(), bytes, tag) };
    memory
}

fn verified(memory: &mut [u8], tag: Tag) -> Result<(), Mismatch> {
    // SAFETY: the slice is that long.
    unsafe { verify(NonNull::new(memory.as_mut_ptr()).unwrap(), memory.len(), tag) }
}

#[test]
fn a_stamp_verifies_at_every_size() {
    for bytes in (1..80).chain([511, 512, 513, 520, 1000, 4096, 8192]) {
        let tag = Tag::new(3, 99);
        let mut memory = stamped(bytes, tag);
        assert_eq!(verified(&mut memory, tag), Ok(()), "{bytes}");
        if bytes >= 8 {
            assert!(verified(&mut memory, Tag::new(3, 100)).is_err(), "{bytes}");
        }
    }
}

#[test]
fn any_changed_byte_of_a_small_object_is_found() {
    let tag = Tag::new(0, 1);
    for bytes in [9, 64, 100, 512] {
        for at in 0..bytes {
            let mut memory = stamped(bytes, tag);
            memory[at] ^= 1;
            assert_eq!(verified(&mut memory, tag).unwrap_err().offset, at / 8 * 8);
        }
    }
}

#[test]
fn the_last_byte_and_each_line_of_a_large_object_are_watched() {
    let tag = Tag::new(0, 1);
    for at in [0, 64, 128, 4032, 4090, 4095] {
        let mut memory = stamped(4096, tag);
        memory[at] ^= 0x80;
        assert!(verified(&mut memory, tag).is_err(), "{at}");
    }
}

#[test]
fn a_stamp_names_its_holder_and_holds_at_its_own_address_only() {
    let tag = Tag::new(5, 12);
    let mut memory = stamped(64, tag);
    let object = NonNull::new(memory.as_mut_ptr()).unwrap();
    // SAFETY: 64 bytes long.
    assert_eq!(unsafe { holder(object, 64) }, Some(tag));
    // SAFETY: the middle of the same object.
    assert_eq!(unsafe { holder(object.add(8), 56) }, None);
    let mut large = stamped(4096, tag);
    // SAFETY: 4096 bytes long.
    assert_eq!(unsafe { holder(NonNull::new(large.as_mut_ptr()).unwrap(), 4096) }, Some(tag));
    assert_eq!(tag.to_string(), "the stamp of thread 5, object number 12");
    let mut copy = vec![0; 64];
    copy.copy_from_slice(&memory);
    assert!(verified(&mut copy, tag).is_err());
}

#[test]
fn zeroes_are_checked_to_the_last_byte() {
    let mut memory = vec![0; 40];
    let object = NonNull::new(memory.as_mut_ptr()).unwrap();
    // SAFETY: 40 bytes long.
    assert_eq!(unsafe { first_nonzero(object, 40) }, None);
    memory[39] = 7;
    // SAFETY: 40 bytes long.
    assert_eq!(unsafe { first_nonzero(object, 40) }, Some((39, 7)));
}
