//! What the kernel does, as far as the agent relies on it. One process is both program and agent.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering::SeqCst;

use nix::errno::Errno;

use super::testing::{Program, make_blocking, new_uffd};
use super::*;

const PAGE: u64 = KERNEL_PAGE;

fn page_of(word: u64) -> Vec<u8> {
    word.to_ne_bytes().repeat(PAGE as usize / 8)
}

fn fault(address: u64, write: bool, protected: bool) -> Fault {
    Fault { address, write, protected }
}

#[test]
fn a_load_then_a_store_of_the_same_page() {
    let program = Program::with_len(4 * PAGE);
    let base = program.memory.base();

    let load = program.touch(PAGE + 16, |word| word.load(SeqCst));
    assert_eq!(program.fault(), fault(PAGE + 16, false, false), "to the byte");
    program.file.write_page(PAGE, &page_of(7)).unwrap();
    program.uffd.continue_(base + PAGE, PAGE, true).unwrap();
    assert_eq!(load.join().unwrap(), 7);

    let store = program.touch(PAGE, |word| word.store(8, SeqCst));
    assert_eq!(program.fault(), fault(PAGE, true, true));
    program.uffd.write_protect(base + PAGE, PAGE, false).unwrap();
    store.join().unwrap();

    let mut bytes = [0; 8];
    program.file.read_page(PAGE, &mut bytes).unwrap();
    assert_eq!(u64::from_ne_bytes(bytes), 8, "the file is the memory");
}

#[test]
fn a_first_store_needs_one_fault() {
    let program = Program::with_len(PAGE);
    let store = program.touch(0, |word| word.swap(9, SeqCst));
    assert_eq!(program.fault(), fault(0, true, false));
    program.file.write_page(0, &page_of(3)).unwrap();
    program.uffd.continue_(program.memory.base(), PAGE, false).unwrap();
    assert_eq!(store.join().unwrap(), 3);
    assert_eq!(program.memory.word(0).load(SeqCst), 9);
}

#[test]
fn what_is_stored_between_mapping_and_protecting_is_read_and_punched_pages_fault_again() {
    let program = Program::with_len(PAGE);
    let base = program.memory.base();
    program.file.write_page(0, &page_of(0)).unwrap();
    program.uffd.continue_(base, PAGE, false).unwrap();
    program.memory.word(0).store(5, SeqCst);
    program.uffd.write_protect(base, PAGE, true).unwrap();

    // A store that comes too late waits, and goes on waiting while the page is taken away.
    let late = program.touch(0, |word| word.fetch_add(1, SeqCst));
    assert_eq!(program.fault(), fault(0, true, true));
    let mut bytes = [0; 8];
    program.file.read_page(0, &mut bytes).unwrap();
    assert_eq!(u64::from_ne_bytes(bytes), 5);
    program.file.punch(0, PAGE).unwrap();
    assert_eq!(program.uffd.continue_(base, PAGE, false), Err(OpError::NoPage));

    program.file.write_page(0, &page_of(40)).unwrap();
    program.uffd.continue_(base, PAGE, false).unwrap();
    assert_eq!(
        late.join().unwrap(),
        40,
        "it sees what was put there since, and the protection is gone with the page"
    );
    assert_eq!(program.memory.word(0).load(SeqCst), 41);
}

#[test]
fn a_woken_thread_faults_again() {
    let program = Program::with_len(PAGE);
    let load = program.touch(0, |word| word.load(SeqCst));
    assert_eq!(program.fault(), fault(0, false, false));
    program.uffd.wake(program.memory.base(), PAGE).unwrap();
    assert_eq!(program.fault(), fault(0, false, false));
    program.file.write_page(0, &page_of(1)).unwrap();
    program.uffd.continue_(program.memory.base(), PAGE, true).unwrap();
    assert_eq!(load.join().unwrap(), 1);
}

#[test]
fn a_page_that_is_mapped_in_parts_is_completed() {
    let len = 16 * PAGE;
    let program = Program::with_len(len);
    let base = program.memory.base();
    let contents = page_of(6).repeat(16);
    program.file.write_page(0, &contents).unwrap();
    for there in [0, 3, 4, 15] {
        program.uffd.continue_(base + there * PAGE, PAGE, true).unwrap();
    }
    assert_eq!(program.uffd.continue_(base, len, true), Err(OpError::Exists));
    for page in 0..16 {
        assert_eq!(program.memory.word(page * PAGE).load(SeqCst), 6, "no fault: page {page} is mapped");
    }
    assert_eq!(
        program.uffd.continue_(base, len, false),
        Err(OpError::Exists),
        "and nothing has become writable"
    );
    let store = program.touch(8 * PAGE, |word| word.store(1, SeqCst));
    assert_eq!(program.fault(), fault(8 * PAGE, true, true));
    program.uffd.write_protect(base, len, false).unwrap();
    store.join().unwrap();
}

#[test]
fn a_poisoned_page_is_an_error_and_not_zeros() {
    let program = Program::with_len(2 * PAGE);
    let base = program.memory.base();
    program.uffd.poison(base, PAGE).unwrap();
    assert_eq!(program.memory.read_by_kernel(0), Err(Errno::EFAULT));
    // It can be put right.
    program.file.write_page(0, &page_of(2)).unwrap();
    program.uffd.continue_(base, PAGE, true).unwrap();
    assert_eq!(program.memory.read_by_kernel(0), Ok(8));
}

#[test]
fn errors_tell_what_is_the_matter() {
    let program = Program::with_len(PAGE);
    let nowhere = 0x1000;
    assert_eq!(program.uffd.continue_(nowhere, PAGE, false), Err(OpError::Unmapped));
    assert_eq!(program.uffd.write_protect(nowhere, PAGE, true), Err(OpError::Unmapped));
    assert_eq!(program.uffd.wake(nowhere, PAGE), Ok(()));
    assert_eq!(OpError::from_errno(Errno::ESRCH), OpError::Gone);
    program.uffd.unregister(program.memory.base(), PAGE).unwrap();
    assert_eq!(program.memory.word(0).load(SeqCst), 0, "the kernel serves it now");
}

#[test]
fn only_a_fresh_userfaultfd_is_adopted() {
    let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    assert!(matches!(Uffd::adopt(file), Err(UffdError::NotUserfaultfd(what)) if what == "/dev/null"));
    let used = new_uffd().as_fd().try_clone_to_owned().unwrap();
    assert!(matches!(Uffd::adopt(used), Err(UffdError::AlreadyOpened)));
}

#[test]
fn a_program_cannot_make_a_read_wait() {
    let mut program = Program::with_len(PAGE);
    for nowait in [true, false] {
        program.uffd.nowait = nowait;
        make_blocking(&program.uffd);
        let mut faults = [Fault::default(); READ_BATCH];
        assert_eq!(program.uffd.read(&mut faults), Ok(Batch::default()));
    }
}

#[test]
fn faults_are_read_by_older_kernels_as_well() {
    let mut program = Program::with_len(PAGE);
    assert!(program.uffd.nowait, "tests run on Linux 6.10 or later");
    program.uffd.nowait = false;
    let thread = program.touch(0, |word| word.load(SeqCst));
    assert_eq!(program.fault(), fault(0, false, false));
    program.file.write_page(0, &page_of(6)).unwrap();
    program.uffd.continue_(program.memory.base(), PAGE, true).unwrap();
    assert_eq!(thread.join().unwrap(), 6);
}

#[test]
fn this_kernel_has_all_that_is_needed() {
    assert_eq!(probe().unwrap().missing().count(), 0);
}

#[test]
fn other_messages_are_not_taken_for_faults() {
    let mut message = [0; abi::MESSAGE_LEN];
    message[0] = abi::EVENT_PAGEFAULT;
    message[8] = abi::PAGEFAULT_WP as u8;
    message[16] = 0x30;
    assert_eq!(parse(&message), Some(fault(0x30, true, true)));
    message[0] = 0x13;
    assert_eq!(parse(&message), None);
}
