//! Who may only read: it sees what others write, and writes nothing, whatever it does, as root.

use std::ffi::{CString, c_void};
use std::fs::File;
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate, open};
use nix::sys::mman::{ProtFlags, mprotect};
use nix::sys::stat::Mode;
use nix::sys::uio::{RemoteIoVec, process_vm_writev};
use nix::unistd::{Pid, ftruncate};
use pagemesh_agent::uffd::{Uffd, create};

use crate::client::PAGE;
use crate::node::Mesh;
use crate::program::{Attached, PAGES, Program, mapping};

#[test]
fn it_sees_what_others_write_and_cannot_write_whatever_it_does() {
    let mesh = Mesh::start();
    let writer = mesh.nodes[0].volume("writer", &["team/table"]);
    let local = mesh.nodes[1].volume("local", &["team/table"]);
    let reading = mesh.nodes[1].volume("reader", &["team/table:ro"]);
    let (mut writer, mut local) = (Program::attached(&writer), Program::attached(&local));
    let mut reader = Program::attached(&reading);
    assert_eq!(reader.ask("load 1"), "0");
    for value in 1..200_u64 {
        // From another node, and from beside it; pages that nobody has read here and pages that all have.
        let page = 1 + value % 5;
        let who = if value % 3 == 0 { &mut local } else { &mut writer };
        assert_eq!(who.ask(&format!("store {page} {value}")), "stored");
        assert_eq!(reader.ask(&format!("load {page}")), value.to_string());
        if value % 7 == 0 {
            assert_eq!(local.ask(&format!("load {page}")), value.to_string());
        }
    }
    for page in 1..PAGES {
        assert_eq!(writer.ask(&format!("store {page} {}", 1000 + page)), "stored");
    }
    // What is not yet here, and what is.
    assert_eq!(reader.ask("load 5"), "1005");
    assert_eq!(reader.ask("attack"), "nothing could be written");
    for page in 1..PAGES {
        for program in [&mut writer, &mut local] {
            assert_eq!(program.ask(&format!("load {page}")), (1000 + page).to_string(), "page {page}");
        }
    }
    let mut fresh = Program::attached(&reading);
    assert_eq!(fresh.ask("load 5"), "1005");
    assert_eq!(fresh.ask("load 40"), "1040");
    // A load that the kernel serves from what the attack has left would not see this.
    assert_eq!(writer.ask("store 50 7"), "stored");
    assert_eq!(fresh.ask("load 50"), "7");
}

#[test]
fn the_next_agent_goes_on_with_it() {
    let mut mesh = Mesh::start();
    let writer = mesh.nodes[0].volume("writer", &["team/table"]);
    let reading = mesh.nodes[1].volume("reader", &["team/table:ro"]);
    let other = mesh.nodes[1].volume("other", &["team/table"]);
    let (mut writer, mut reader) = (Program::attached(&writer), Program::attached(&reading));
    let number = mesh.nodes[1].control().attachments()[0].0.0;
    assert_eq!(writer.ask("store 1 1"), "stored");
    assert_eq!(reader.ask("load 1"), "1");
    mesh.restart(1, "");
    assert_eq!(writer.ask("store 1 2"), "stored");
    assert_eq!(writer.ask("store 2 3"), "stored");
    assert_eq!(reader.ask("load 1"), "2");
    assert_eq!(reader.ask("load 2"), "3");
    let (_, attached) = mesh.nodes[1].control().attachments().pop().unwrap();
    assert!(attached.read_only);
    assert_eq!(attached.by_volume.unwrap().pod.name, "reader-0");
    // It is that program's, and that volume's.
    let mut stranger = Program::attached(&other);
    assert!(stranger.ask(&format!("resume {number}")).starts_with("refused 3"));
    assert_eq!(reader.ask(&format!("resume {number}")), "resumed");
    assert_eq!(reader.ask("map"), "mapped");
    assert_eq!(reader.ask("load 3"), "0");
    assert_eq!(reader.ask("attack"), "nothing could be written");
}

/// Everything that we know of, by the program itself. A word for what could be written.
pub(crate) fn attack(attached: &Attached) -> String {
    let file = attached.file();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // The file anew: for root its mode forbids nothing.
    for flags in
        [OFlag::O_RDWR, OFlag::O_WRONLY, OFlag::O_WRONLY | OFlag::O_TRUNC, OFlag::O_RDWR | OFlag::O_APPEND]
    {
        let opened = open(path.as_str(), flags, Mode::empty());
        if opened.as_ref().err() != Some(&Errno::EROFS) {
            return format!("it was opened with {flags:?}: {opened:?}");
        }
    }
    let by_map = std::fs::read_dir("/proc/self/map_files")
        .unwrap()
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{:x}-", attached.base)));
    let by_map = by_map.expect("the mapping is there").path();
    if let Ok(file) = File::options().write(true).open(&by_map) {
        return format!("it was opened by its mapping: {file:?}");
    }
    let written = std::fs::File::from(file.try_clone().unwrap()).write_at(b"x", 0);
    if written.is_ok()
        || ftruncate(file, 0).is_ok()
        || fallocate(
            file,
            FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE,
            0,
            4096,
        )
        .is_ok()
    {
        return "the descriptor writes".into();
    }
    let name = CString::new(path.clone()).unwrap();
    // SAFETY: a path and a number.
    if unsafe { libc::chmod(name.as_ptr(), 0o777) } == 0 {
        return "its mode was changed".into();
    }
    // SAFETY: a new mapping at an address that the kernel chooses, which is not touched.
    let shared = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if shared != libc::MAP_FAILED {
        return "it was mapped to write".into();
    }
    // Its own memory, by the kernel and by a debugger, before and after it is made writable: all of that is a copy.
    let memory = File::options().read(true).write(true).open("/proc/self/mem").unwrap();
    let me = Pid::this();
    let poke = |page: u64| {
        let at = attached.base + page * PAGE;
        // A debugger may; the kernel gives it a copy.
        let _ = memory.write_at(&666_u64.to_ne_bytes(), at);
        let remote = [RemoteIoVec { base: at as usize, len: 8 }];
        let _ = process_vm_writev(me, &[IoSlice::new(&667_u64.to_ne_bytes())], &remote);
    };
    (5..10).for_each(poke);
    debugged(attached.base + 11 * PAGE);
    let base = NonNull::new(attached.base as *mut c_void).unwrap();
    // SAFETY: memory of our own, to which there are only atomic references.
    unsafe { mprotect(base, (PAGES * PAGE) as usize, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE) }.unwrap();
    for page in 8..30 {
        attached.word(page).store(668, Ordering::SeqCst);
        attached.word(page).fetch_add(1, Ordering::SeqCst);
        if attached.word(page).load(Ordering::SeqCst) != 669 {
            return "it does not see its own copy".into();
        }
    }
    (30..33).for_each(poke);
    // Another userfaultfd where there is one, and where there is none.
    let own = Uffd::adopt(create(attached.device()).unwrap()).unwrap();
    let len = PAGES * PAGE;
    if own.register(attached.base, len).is_ok() || own.register_read_only(attached.base, len).is_ok() {
        return "it has another userfaultfd over its mapping".into();
    }
    let second = mapping(attached);
    if own.register_read_only(second, len).is_ok() {
        // Nothing is there to be mapped by it but what is there already, and that not to write.
        let _ = own.continue_(second, 4096, false);
        let _ = own.continue_(second + 12 * PAGE, 4096, false);
        let _ = own.poison(second + 13 * PAGE, 4096);
        let _ = own.unregister(second, len);
    }
    // Where nobody watches, what is a hole reads as zeros; that is the program's own loss, and nobody else's.
    // SAFETY: a mapping of our own.
    unsafe {
        mprotect(
            NonNull::new(second as *mut c_void).unwrap(),
            len as usize,
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        )
    }
    .unwrap();
    for page in 40..PAGES {
        // SAFETY: it lies in that mapping.
        let word = unsafe { std::sync::atomic::AtomicU64::from_ptr((second + page * PAGE) as *mut u64) };
        word.load(Ordering::SeqCst);
        word.store(670, Ordering::SeqCst);
    }
    "nothing could be written".into()
}

/// Has a child of this process write into it as a debugger does.
fn debugged(address: u64) {
    // SAFETY: the child makes nothing but system calls until it ends.
    unsafe {
        // Yama lets only ancestors in where nobody else is named.
        libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0);
        let parent = libc::getpid();
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let mut status = 0;
            if libc::ptrace(libc::PTRACE_ATTACH, parent, 0, 0) == 0 {
                libc::waitpid(parent, &raw mut status, libc::__WALL);
                libc::ptrace(libc::PTRACE_POKEDATA, parent, address, 671_u64);
                libc::ptrace(libc::PTRACE_DETACH, parent, 0, 0);
            }
            libc::_exit(0);
        }
        let mut status = 0;
        while libc::waitpid(child, &raw mut status, 0) != child {}
    }
}
