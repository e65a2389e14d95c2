use super::*;

#[test]
fn what_is_held_cannot_be_claimed_again() {
    let claims = Claims::new();
    claims.claim(0x10_0000, 64).unwrap();
    assert_eq!(claims.claim(0x10_0000, 64), Err(Taken { first: 0x10_0000, an_object_begins_here: true }));
    claims.release(0x10_0000, 64).unwrap();
    claims.claim(0x10_0000, 64).unwrap();
}

#[test]
fn a_failed_claim_leaves_no_trace() {
    let claims = Claims::new();
    claims.claim(0x10_1000, 8).unwrap();
    // Begins two words of bits before the held grain and ends behind it.
    assert_eq!(claims.claim(0x10_0c00, 0x1000), Err(Taken { first: 0x10_1000, an_object_begins_here: false }));
    claims.claim(0x10_0c00, 0x400).unwrap();
    claims.claim(0x10_1008, 0xbf8).unwrap();
}

#[test]
fn neighbours_do_not_touch() {
    let claims = Claims::new();
    for object in 0..1000 {
        claims.claim(0x7fff_f000_0000 + object * 24, 24).unwrap();
    }
    assert_eq!(claims.claim(0x7fff_f000_0000 + 24 * 5 + 8, 24).unwrap_err().first, 0x7fff_f000_0000 + 24 * 5 + 8);
}

#[test]
fn stretches_that_hash_alike_are_kept_apart() {
    let claims = Claims::new();
    let far = STRETCH * SLOTS;
    claims.claim(0x4000, 64).unwrap();
    claims.claim(0x4000 + far, 64).unwrap();
    claims.release(0x4000, 64).unwrap();
    assert!(claims.claim(0x4000 + far, 64).is_err());
}

#[test]
fn a_claim_may_cross_a_stretch() {
    let claims = Claims::new();
    claims.claim(STRETCH - 4096, 8192).unwrap();
    assert!(claims.claim(STRETCH, 8).is_err());
    assert!(claims.claim(STRETCH + 4096, 8).is_ok());
    assert_eq!(claims.release(STRETCH - 4096, 8192), Ok(()));
    assert_eq!(claims.release(STRETCH, 8), Err(STRETCH));
}

#[test]
fn an_object_in_the_middle_of_another_does_not_begin_there() {
    let claims = Claims::new();
    claims.claim(0x20_0000, 4096).unwrap();
    assert_eq!(claims.claim(0x20_0800, 8), Err(Taken { first: 0x20_0800, an_object_begins_here: false }));
    claims.release(0x20_0000, 4096).unwrap();
    claims.claim(0x20_0800, 8).unwrap();
    assert_eq!(claims.claim(0x20_0800, 4096), Err(Taken { first: 0x20_0800, an_object_begins_here: true }));
}

#[test]
fn masks_cover_exactly_the_grains() {
    let all: Vec<_> = words(0x1008, 16).collect();
    assert_eq!(all, [(0x1000, 0b110)]);
    let odd: Vec<_> = words(0x1000, 12).collect();
    assert_eq!(odd, [(0x1000, 0b11)]);
    let two: Vec<_> = words(0x10f8, 16).collect();
    assert_eq!(two, [(0x1000, 1 << 31), (0x1100, 1)]);
    assert_eq!(begins(0x10f8, 0x1000), 1 << 63);
    assert_eq!(begins(0x10f8, 0x1100), 0);
}
