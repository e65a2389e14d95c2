//! The tree of caches and their attributes: see docs/sysfs.md.

use crate::failure::{Failure, guard, status};
use crate::process;
use core::ffi::{CStr, c_char, c_int, c_long};
use haybarn_core::sysfs;

/// # Errors
/// EINVAL for NULL and for what is no UTF-8.
///
/// # Safety
/// `text` is null or a text.
unsafe fn text<'a>(text: *const c_char) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::Is(libc::EINVAL, "a path or a text is NULL"));
    }
    // SAFETY: the caller's word.
    let text = unsafe { CStr::from_ptr(text) }.to_str();
    text.map_err(|_| Failure::Is(libc::EINVAL, "a path or a text is not UTF-8"))
}

/// As snprintf: writes what fits with a null behind it, and returns how long all of it is; -1 with errno where there is none.
///
/// # Safety
/// `buffer` has room for `room` bytes; it may be null if that is 0.
unsafe fn printed(buffer: *mut c_char, room: usize, what: impl FnOnce() -> Result<String, Failure>) -> c_long {
    guard(-1, || {
        let what = what()?;
        let fits = what.len().min(room.saturating_sub(1));
        if room > 0 && !buffer.is_null() {
            // SAFETY: the caller's word; so many bytes are in both, which are apart.
            unsafe {
                buffer.cast::<u8>().copy_from_nonoverlapping(what.as_ptr(), fits);
                buffer.add(fits).write(0);
            }
        }
        Ok(what.len() as c_long)
    })
}

/// What the attribute at a path like "/frame/order" holds: its text's length, as snprintf; -1 with errno ENOENT, EISDIR, ..
///
/// # Safety
/// `path` is null or a text; `buffer` has room for `room` bytes, and may be null if that is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn haybarn_sysfs_read(path: *const c_char, buffer: *mut c_char, room: usize) -> c_long {
    // SAFETY: the caller's word.
    unsafe { printed(buffer, room, || Ok(sysfs::read(process::arena()?, text(path)?)?)) }
}

/// Where a link (a cache's "primary") leads; otherwise as haybarn_sysfs_read.
///
/// # Safety
/// As haybarn_sysfs_read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn haybarn_sysfs_readlink(path: *const c_char, buffer: *mut c_char, room: usize) -> c_long {
    // SAFETY: the caller's word.
    unsafe { printed(buffer, room, || Ok(sysfs::readlink(process::arena()?, text(path)?)?)) }
}

/// The names in a folder, each on a line: of "/" the caches, oldest first; otherwise as haybarn_sysfs_read.
///
/// # Safety
/// As haybarn_sysfs_read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn haybarn_sysfs_list(path: *const c_char, buffer: *mut c_char, room: usize) -> c_long {
    let lines = || {
        // SAFETY: the caller's word.
        let names = sysfs::listdir(process::arena()?, unsafe { text(path) }?)?;
        Ok(names.into_iter().map(|name| name + "\n").collect())
    };
    // SAFETY: as above.
    unsafe { printed(buffer, room, lines) }
}

/// Writes to an attribute: 0, or -EACCES, -EINVAL, -ENOENT, ..
///
/// # Safety
/// `path` and `value` are null or texts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn haybarn_sysfs_write(path: *const c_char, value: *const c_char) -> c_int {
    status(|| {
        // SAFETY: the caller's word.
        let (path, value) = unsafe { (text(path)?, text(value)?) };
        Ok(sysfs::write(process::arena()?, path, value)?)
    })
}

/// All caches in the form of /proc/slabinfo; otherwise as haybarn_sysfs_read.
///
/// # Safety
/// As haybarn_sysfs_read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn haybarn_slabinfo(buffer: *mut c_char, room: usize) -> c_long {
    // SAFETY: the caller's word.
    unsafe { printed(buffer, room, || Ok(sysfs::slabinfo(process::arena()?))) }
}
