//! Errors as numbers and as text, reports, and the wall that no panic passes.

use core::ffi::{CStr, c_char, c_int};
use core::fmt::{self, Write as _};
use core::ptr::null_mut;
use haybarn_core::sync::PublishedPtr;
use haybarn_core::sysfs::SysfsError;
use haybarn_core::{CtorError, Error, take_ctor_error};
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why a call failed.
#[derive(Debug)]
pub enum Failure {
    /// The core's reason.
    Core(Error),
    /// A number for errno, and the reason.
    Is(c_int, &'static str),
    /// What a program's constructor returned, made positive.
    Ctor(c_int),
    /// The tree of attributes' reason.
    Tree(SysfsError),
}

impl From<SysfsError> for Failure {
    fn from(error: SysfsError) -> Self {
        Self::Tree(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

impl Failure {
    /// The number for `errno`: see the table in docs/c.md.
    pub fn number(&self) -> c_int {
        match self {
            Self::Is(number, _) | Self::Ctor(number) => *number,
            Self::Tree(error) => error.errno.number(),
            Self::Core(error) => match error {
                Error::BadArgument { argument: "name", legal, .. } if legal.contains("no living cache") => libc::EEXIST,
                Error::OutOfMemory { .. } => libc::ENOMEM,
                Error::CacheBusy { .. } | Error::StorageInUse { .. } => libc::EBUSY,
                Error::SheafEmpty { .. } => libc::ENODATA,
                Error::WrongCache { .. } | Error::BadPointer { .. } => libc::EFAULT,
                Error::Corruption { .. } => libc::EUCLEAN,
                Error::Unavailable { .. } => libc::EOPNOTSUPP,
                Error::InReadSection { .. } | Error::InCallback { .. } | Error::Reentry { .. } => libc::EDEADLK,
                Error::AlreadySetUp { .. } => libc::EALREADY,
                Error::NotSetUp { .. } => libc::ENXIO,
                Error::Ctor { .. } => libc::ECANCELED,
                // What is wrong with an argument, and whatever the core may come to say.
                _ => libc::EINVAL,
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(error) => error.fmt(f),
            Self::Tree(error) => error.fmt(f),
            Self::Is(_, why) => f.write_str(why),
            Self::Ctor(number) => write!(f, "a constructor returned {number}"),
        }
    }
}

/// Why an allocation gave nothing.
pub fn no_object(what: &'static str) -> Failure {
    match take_ctor_error() {
        None => Failure::Core(Error::OutOfMemory { cache: String::new(), what }),
        Some(CtorError(reason)) => match reason.downcast::<Error>() {
            Ok(refused) => Failure::Core(*refused),
            Err(reason) => Failure::Ctor(reason.downcast_ref().copied().unwrap_or(libc::ECANCELED)),
        },
    }
}

const ROOM: usize = 512;

/// A text of at most [`ROOM`] bytes with its terminating null. Longer ones are cut: writing it takes no memory.
struct Text {
    bytes: [u8; ROOM],
    len: usize,
}

impl Text {
    const EMPTY: Self = Self { bytes: [0; ROOM], len: 0 };

    fn of(what: &dyn fmt::Display) -> Self {
        let mut text = Self::EMPTY;
        // It never fails: what does not fit is left out.
        let _always = write!(text, "{what}");
        text
    }

    fn as_ptr(&self) -> *const c_char {
        self.bytes.as_ptr().cast()
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let mut end = part.len().min(ROOM - 1 - self.len);
        while !part.is_char_boundary(end) {
            end -= 1;
        }
        // A null would end it before its end.
        for (to, from) in self.bytes[self.len..].iter_mut().zip(&part.as_bytes()[..end]) {
            *to = if *from == 0 { b'?' } else { *from };
        }
        self.len += end;
        Ok(())
    }
}

thread_local! {
    static LAST: UnsafeCell<Text> = const { UnsafeCell::new(Text::EMPTY) };
}

fn remember(number: c_int, what: &dyn fmt::Display) {
    let text = Text::of(what);
    // SAFETY: the cell is this thread's, and nobody holds a reference into it: C has a pointer, whose text is good until the
    // next failure.
    let _ending = LAST.try_with(|last| unsafe { *last.get() = text });
    set_errno(number);
}

fn set_errno(number: c_int) {
    // SAFETY: the address of this thread's errno.
    unsafe { *libc::__errno_location() = number };
}

/// Text of the error that a call of this thread ended with last; empty where none has failed yet. Good until the thread's next
/// failure. It says which argument of which cache was wrong, and what would have been legal.
#[unsafe(no_mangle)]
pub extern "C" fn haybarn_error() -> *const c_char {
    // SAFETY: nobody writes meanwhile: the cell is this thread's.
    LAST.try_with(|last| unsafe { (*last.get()).as_ptr() }).unwrap_or(c"".as_ptr())
}

/// Does what an entry has to do off its inlined path: its result, or `otherwise` with errno and the text set. A panic is
/// an error like another (ENOTRECOVERABLE): it ends here.
pub fn guard<T>(otherwise: T, call: impl FnOnce() -> Result<T, Failure>) -> T {
    attempt(call).unwrap_or(otherwise)
}

/// As [`guard`], for entries that return 0 or the error as a negative number.
pub fn status(call: impl FnOnce() -> Result<(), Failure>) -> c_int {
    match attempt(call) {
        Ok(()) => 0,
        Err(number) => -number,
    }
}

/// As [`guard`], for entries that return nothing: what is wrong is reported.
pub fn reporting(call: impl FnOnce() -> Result<(), Failure>) {
    if attempt(call).is_err() {
        // SAFETY: a text of this thread's, which nothing below changes.
        let text = unsafe { CStr::from_ptr(haybarn_error()) };
        report(text);
    }
}

/// Does something that leaves `errno` as it is.
pub fn keeping_errno(call: impl FnOnce()) {
    // SAFETY: the address of this thread's errno.
    let before = unsafe { *libc::__errno_location() };
    call();
    set_errno(before);
}

fn attempt<T>(call: impl FnOnce() -> Result<T, Failure>) -> Result<T, c_int> {
    let failure = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(failure)) => failure,
        Err(thrown) => {
            let text = thrown.downcast_ref::<String>().map(String::as_str);
            remember(
                libc::ENOTRECOVERABLE,
                &text.or(thrown.downcast_ref().copied()).unwrap_or("a panic without a text"),
            );
            // What was thrown may throw again where it is dropped.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(thrown))).map_err(core::mem::forget);
            return Err(libc::ENOTRECOVERABLE);
        }
    };
    remember(failure.number(), &failure);
    Err(failure.number())
}

/// What a program does with reports.
static REPORTER: PublishedPtr<()> = PublishedPtr::new(null_mut());

/// Has reports go to `reporter` in place of stderr; null for stderr again. Reports are what functions without a result have to
/// say: that a pointer is not the library's, say. It is called on the thread that made the mistake, and must return.
#[unsafe(no_mangle)]
pub extern "C" fn haybarn_set_reporter(reporter: Option<unsafe extern "C" fn(text: *const c_char)>) {
    REPORTER.publish(reporter.map_or(null_mut(), |reporter| reporter as *mut ()));
}

/// Reports what is no error.
pub fn say(what: &dyn fmt::Display) {
    let text = Text::of(what);
    // SAFETY: it ends with a null, and lives until the report is over.
    report(unsafe { CStr::from_ptr(text.as_ptr()) });
}

fn report(text: &CStr) {
    let reporter = REPORTER.read();
    if reporter.is_null() {
        let line = Text::of(&format_args!("haybarn: {}\n", text.to_string_lossy()));
        // SAFETY: so many bytes are there. Where stderr is closed, nobody wants to know.
        let _written = unsafe { libc::write(2, line.as_ptr().cast(), line.len) };
        return;
    }
    // SAFETY: only such functions are published.
    let reporter = unsafe { core::mem::transmute::<*mut (), unsafe extern "C" fn(*const c_char)>(reporter) };
    // SAFETY: the program's own, given for this.
    unsafe { reporter(text.as_ptr()) };
}

/// Ends the program for the reason that is the thread's last error.
pub fn panic_now(what: &str) -> ! {
    // SAFETY: a text of this thread's.
    let why = unsafe { CStr::from_ptr(haybarn_error()) }.to_string_lossy();
    let line = Text::of(&format_args!("haybarn: {what}: {why}\n"));
    // SAFETY: so many bytes are there.
    let _written = unsafe { libc::write(2, line.as_ptr().cast(), line.len) };
    std::process::abort()
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
