//! The C ABI. `include/pagemesh.h` is its documentation; `tests/header.rs` checks that the two agree.

use std::cell::RefCell;
use std::ffi::{CStr, CString, OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::Error;
use crate::mapped::{Access, Mapped};

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// Hands a result to C: a pointer, or null and a sentence for `pagemesh_last_error`.
fn hand_over(result: Result<Mapped, Error>) -> *mut Mapped {
    match result {
        Ok(region) => Box::into_raw(Box::new(region)),
        Err(error) => {
            let sentence = CString::new(error.to_string()).unwrap_or_default();
            LAST_ERROR.with_borrow_mut(|last| *last = sentence);
            std::ptr::null_mut()
        }
    }
}

/// # Safety
///
/// `text` is null or a string that ends with NUL.
unsafe fn text<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: the caller answers for it.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// # Safety
///
/// `name` is null or a string that ends with NUL.
unsafe fn attach(name: *const c_char, access: Access) -> *mut Mapped {
    // SAFETY: the caller answers for it.
    let name = unsafe { text(name) }.and_then(|name| name.to_str().ok());
    hand_over(name.ok_or(Error::Name).and_then(|name| Mapped::attach(name, access)))
}

/// # Safety
///
/// Each argument is null or a string that ends with NUL.
unsafe fn attach_to(socket: *const c_char, name: *const c_char, access: Access) -> *mut Mapped {
    // SAFETY: the caller answers for it.
    let (socket, name) = unsafe { (text(socket), text(name)) };
    let name = name.and_then(|name| name.to_str().ok()).ok_or(Error::Name);
    let socket = socket.map(|path| Path::new(OsStr::from_bytes(path.to_bytes()))).ok_or(Error::SocketPath);
    hand_over(name.and_then(|name| Mapped::attach_to(socket?, name, access)))
}

/// Attaches to a region at the agent that `PAGEMESH_SOCKET` names.
///
/// # Safety
///
/// `name` is null or a string that ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagemesh_attach(name: *const c_char) -> *mut Mapped {
    // SAFETY: the caller answers for it.
    unsafe { attach(name, Access::ReadWrite) }
}

/// Attaches to a region at the agent that listens at `socket`.
///
/// # Safety
///
/// Each argument is null or a string that ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagemesh_attach_to(socket: *const c_char, name: *const c_char) -> *mut Mapped {
    // SAFETY: the caller answers for it.
    unsafe { attach_to(socket, name, Access::ReadWrite) }
}

/// Attaches to a region for reading alone, at the agent that `PAGEMESH_SOCKET` names.
///
/// # Safety
///
/// `name` is null or a string that ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagemesh_attach_read_only(name: *const c_char) -> *mut Mapped {
    // SAFETY: the caller answers for it.
    unsafe { attach(name, Access::Read) }
}

/// Attaches to a region for reading alone, at the agent that listens at `socket`.
///
/// # Safety
///
/// Each argument is null or a string that ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagemesh_attach_read_only_to(
    socket: *const c_char,
    name: *const c_char,
) -> *mut Mapped {
    // SAFETY: the caller answers for it.
    unsafe { attach_to(socket, name, Access::Read) }
}

/// Unmaps a region and ends the attachment.
///
/// # Safety
///
/// `region` is null, or came from an attach function and is used no more, nor is its memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagemesh_detach(region: *mut Mapped) {
    if !region.is_null() {
        // SAFETY: it came from `Box::into_raw`, and the caller gives it up.
        drop(unsafe { Box::from_raw(region) });
    }
}

/// First byte of a region's data.
///
/// # Safety
///
/// `region` is null, or came from an attach function and is not detached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagemesh_data(region: *const Mapped) -> *mut c_void {
    // SAFETY: the caller answers for it.
    unsafe { region.as_ref() }.map_or(std::ptr::null_mut(), |region| region.as_ptr().cast())
}

/// Bytes of a region's data.
///
/// # Safety
///
/// `region` is null, or came from an attach function and is not detached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagemesh_size(region: *const Mapped) -> usize {
    // SAFETY: the caller answers for it.
    unsafe { region.as_ref() }.map_or(0, Mapped::len)
}

/// Bytes of a page of a region.
///
/// # Safety
///
/// `region` is null, or came from an attach function and is not detached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagemesh_page_size(region: *const Mapped) -> usize {
    // SAFETY: the caller answers for it.
    unsafe { region.as_ref() }.map_or(0, Mapped::page_size)
}

/// Why the last attach in this thread failed.
#[unsafe(no_mangle)]
pub extern "C" fn pagemesh_last_error() -> *const c_char {
    LAST_ERROR.with_borrow(|last| last.as_ptr())
}
