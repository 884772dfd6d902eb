//! The C library's own functions, behind those that are taken over.

use std::ffi::CStr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The next definition of a function after ours. Looked up once.
pub struct Real {
    name: &'static CStr,
    place: AtomicPtr<libc::c_void>,
}

impl Real {
    /// By its name.
    pub const fn new(name: &'static CStr) -> Self {
        Self { name, place: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// Where it is.
    ///
    /// # Panics
    /// When there is none: then the C library is no C library.
    pub fn place(&self) -> *mut libc::c_void {
        let known = self.place.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        // SAFETY: the name is a C string; the answer is looked at before it is used.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        assert!(!found.is_null(), "the C library has no {:?}", self.name);
        self.place.store(found, Ordering::Relaxed);
        found
    }
}

/// Calls the C library's own function of that name and type.
macro_rules! real {
    ($name:ident, ($($kind:ty),*) -> $answer:ty, ($($argument:expr),*)) => {{
        static REAL: $crate::real::Real = $crate::real::Real::new(
            // SAFETY: a name has no zero in it, and one is put behind it.
            unsafe { std::ffi::CStr::from_bytes_with_nul_unchecked(concat!(stringify!($name), "\0").as_bytes()) },
        );
        type Function = unsafe extern "C" fn($($kind),*) -> $answer;
        // SAFETY: the function of this name has this type in the C library's manual.
        let function: Function = unsafe { std::mem::transmute::<*mut libc::c_void, Function>(REAL.place()) };
        // SAFETY: the arguments are the caller's own or made for this call.
        unsafe { function($($argument),*) }
    }};
}

pub(crate) use real;
