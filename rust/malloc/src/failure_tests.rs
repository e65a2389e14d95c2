use super::{Failure, guard, haybarn_error, status};
use core::ffi::CStr;
use haybarn_core::Error;

fn text() -> String {
    // SAFETY: a text of this thread's.
    unsafe { CStr::from_ptr(haybarn_error()) }.to_str().unwrap().to_owned()
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

#[test]
fn a_failure_sets_number_and_text() {
    assert_eq!(text(), "");
    let busy = || Error::NotSetUp { cache: "frames".to_owned() };
    assert_eq!(guard(7, || Err(busy().into())), 7);
    assert_eq!(errno(), libc::ENXIO);
    assert!(text().contains("'frames'"), "{}", text());
    assert_eq!(status(|| Err(Failure::Ctor(5))), -5);
    assert_eq!(guard(0, || Ok(1)), 1, "and a success leaves it alone");
    assert!(text().contains('5'));
}

#[test]
fn a_panic_ends_at_the_wall() {
    assert_eq!(status(|| panic!("number {}", 12)), -libc::ENOTRECOVERABLE);
    assert_eq!(text(), "number 12");
    assert_eq!(guard(3, || std::panic::panic_any(5)), 3);
    assert_eq!(text(), "a panic without a text");
}

#[test]
fn a_text_that_is_too_long_is_cut_between_characters() {
    let long = "ä".repeat(600);
    status(|| Err(Error::NotSetUp { cache: long.clone() }.into()));
    assert!(text().len() < 512 && text().contains("ää"));
}
