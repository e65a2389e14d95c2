use super::{Block, Damage};
use std::ptr::NonNull;

fn on(memory: &mut [u8], id: u32) -> Block {
    let address = NonNull::new(memory.as_mut_ptr()).unwrap();
    // SAFETY: the slice is exclusively borrowed here and outlives every use of the block in these tests.
    unsafe { Block::stamped(address, memory.len(), id) }
}

#[test]
fn every_byte_is_stamped_and_verified() {
    for bytes in [1, 7, 8, 9, 24, 61, 4096] {
        for at in [0, bytes / 2, bytes - 1] {
            let mut memory = vec![0u8; bytes];
            let block = on(&mut memory, 42);
            assert_eq!(block.verify(), Ok(()));
            // SAFETY: within the memory; the block only reads it.
            unsafe { *NonNull::new(block.address() as *mut u8).unwrap().add(at).as_ptr() ^= 0x10 };
            assert_eq!(block.verify(), Err(Damage { address: block.address(), offset: at / 8 * 8 }), "{bytes} {at}");
        }
    }
}

#[test]
fn the_same_memory_for_two_objects_is_seen() {
    let mut memory = vec![0u8; 64];
    let first = on(&mut memory, 1);
    let second = on(&mut memory[32..], 2);
    assert_eq!(second.verify(), Ok(()));
    assert_eq!(first.verify(), Err(Damage { address: first.address(), offset: 32 }));
}
