//! A program of a pod: this test program, started once more, which does what it is told line by line.

use std::ffi::c_void;
use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap};

use crate::client::{Client, PAGE, Welcome, bind, borrow, hello, map, uffds};
use crate::read_only::attack;

const SOCKET: &str = "PAGEMESH_TEST_DOOR_SOCKET";
/// Pages that it maps: the header and those behind it.
pub(crate) const PAGES: u64 = 64;

/// A running program. Killed when dropped.
pub(crate) struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    pub(crate) fn start(socket: &Path) -> Program {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "program::not_a_test_but_a_program", "--nocapture", "--test-threads=1"])
            .env(SOCKET, socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Program { child, input, output }
    }

    /// One that has attached to `table` and mapped it.
    pub(crate) fn attached(socket: &Path) -> Program {
        let mut program = Program::start(socket);
        let answer = program.ask("attach table");
        assert!(answer.starts_with("attached"), "{answer}");
        program
    }

    /// Has it do something, and does not wait for it.
    pub(crate) fn tell(&mut self, order: &str) {
        writeln!(self.input, "{order}").unwrap();
        self.input.flush().unwrap();
    }

    /// What it says next: it begins with `> `, since the test harness says things, too. None if it has ended.
    pub(crate) fn answer(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some((_, answer)) = line.trim_end().split_once("> ") {
                return Some(answer.to_owned());
            }
        }
    }

    pub(crate) fn ask(&mut self, order: &str) -> String {
        self.tell(order);
        self.answer().unwrap_or_else(|| panic!("it has ended at {order:?}: {:?}", self.child.wait()))
    }

    /// Has it do something that ends it.
    pub(crate) fn ends_at(mut self, order: &str) -> ExitStatus {
        self.tell(order);
        self.end()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> ExitStatus {
        assert_eq!(self.answer(), None);
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program has once it is attached.
pub(crate) struct Attached {
    client: Client,
    welcome: Welcome,
    _uffds: Vec<OwnedFd>,
    pub(crate) read_only: bool,
    pub(crate) base: u64,
}

impl Attached {
    pub(crate) fn word(&self, page: u64) -> &AtomicU64 {
        assert!(page < PAGES);
        // SAFETY: it lies in the mapping, which is there as long as the program; others change it atomically.
        unsafe { AtomicU64::from_ptr((self.base + page * PAGE) as *mut u64) }
    }

    fn count(&self, pages: Range<u64>) {
        for page in pages {
            self.word(page).fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(crate) fn file(&self) -> &OwnedFd {
        &self.welcome.file
    }

    pub(crate) fn device(&self) -> &OwnedFd {
        &self.welcome.device
    }

    fn map(&self, base: u64, pages: u64) -> Result<(), (u32, String)> {
        self.client.ask(&map(base, pages * PAGE, 0), &[])
    }
}

/// Attaches with these flags in `Hello`.
fn attach(client: Client, name: &str, flags: u8) -> Result<Attached, String> {
    let mut packet = hello(name);
    packet[8] = flags;
    client.send(&packet, &[]);
    let (packet, mut descriptors) = client.receive().expect("an answer");
    let number = |at: usize| u64::from_le_bytes(packet[at..at + 8].try_into().unwrap());
    if packet[6] != 2 {
        let (reason, len) = (number(8) as u32, (number(8) >> 32) as usize);
        return Err(format!("refused {reason} {}", String::from_utf8_lossy(&packet[16..16 + len])));
    }
    let (device, file) = (descriptors.pop().unwrap(), descriptors.pop().unwrap());
    let (userfaultfds, flags) = (number(24) as u32, (number(24) >> 32) as u32);
    let welcome = Welcome { size: number(8), page_size: number(16), userfaultfds, file, device };
    let uffds = uffds(&welcome, userfaultfds as usize);
    client.ask(&bind(), &borrow(&uffds)).map_err(|(_, text)| text)?;
    let mut attached = Attached { client, welcome, _uffds: uffds, read_only: flags & 1 != 0, base: 0 };
    attached.base = mapping(&attached);
    attached.map(attached.base, PAGES).map_err(|(_, text)| text)?;
    Ok(attached)
}

pub(crate) fn mapping(attached: &Attached) -> u64 {
    let (protection, flags) = if attached.read_only {
        (ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE)
    } else {
        (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED)
    };
    let len = NonZeroUsize::new((PAGES * PAGE) as usize).unwrap();
    // SAFETY: a new mapping at an address that the kernel chooses touches no memory that is in use.
    let base = unsafe { mmap(None, len, protection, flags, attached.file(), 0) }.unwrap();
    base.cast::<c_void>().as_ptr() as u64
}

#[test]
fn not_a_test_but_a_program() {
    let Some(socket) = std::env::var_os(SOCKET) else { return };
    let mut attached = None;
    println!();
    let mut orders = std::io::stdin().lines().map(Result::unwrap);
    while let Some(order) = orders.next() {
        let words: Vec<&str> = order.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        let has = || attached.as_ref().expect("it is attached");
        let answer = match words[0] {
            "attach" => {
                // An old library sets no flags; a later one more than this agent knows.
                let flag = |word: &str, flag: u8| if words.contains(&word) { flag } else { 0 };
                let flags = 0xf9 | flag("inherited", 2) | flag("reads", 4);
                let flags = if words.contains(&"old") { 0 } else { flags };
                match attach(Client::connect(socket.as_ref()), words[1], flags) {
                    Ok(new) => {
                        let how = if new.read_only { "attached to read" } else { "attached" };
                        attached = Some(new);
                        how.to_owned()
                    }
                    Err(refusal) => refusal,
                }
            }
            "load" => has().word(number(1)).load(Ordering::SeqCst).to_string(),
            "store" => {
                has().word(number(1)).store(number(2), Ordering::SeqCst);
                "stored".into()
            }
            // Adds one to the words of some pages, from one to another, so often.
            "count" => {
                (0..number(1)).for_each(|_| has().count(1..PAGES));
                "counted".into()
            }
            // The same until it is told to stop, when it says how often.
            "run" => {
                let (has, pages) = (has(), number(1)..number(2));
                let stop = AtomicBool::new(false);
                println!("> running");
                let rounds = std::thread::scope(|scope| {
                    let runner = scope.spawn(|| {
                        let mut rounds = 0;
                        while !stop.load(Ordering::SeqCst) {
                            has.count(pages.clone());
                            rounds += 1;
                        }
                        rounds
                    });
                    let _stop = orders.next();
                    stop.store(true, Ordering::SeqCst);
                    runner.join().unwrap()
                });
                format!("{rounds}")
            }
            "map" => match has().map(mapping(has()), PAGES) {
                Ok(()) => "mapped".into(),
                Err((reason, text)) => format!("refused {reason} {text}"),
            },
            "closed" => {
                has().client.assert_closed();
                "closed".into()
            }
            "resume" => {
                let client = Client::connect(socket.as_ref());
                let packet = crate::client::packet(8, &[number(1)]);
                match client.ask(&packet, &borrow(&has()._uffds)) {
                    Ok(()) => {
                        attached.as_mut().expect("it is attached").client = client;
                        "resumed".into()
                    }
                    Err((reason, text)) => format!("refused {reason} {text}"),
                }
            }
            "attack" => attack(has()),
            other => panic!("{other}?"),
        };
        println!("> {answer}");
    }
    // Its descriptors go with the process.
    std::mem::forget(attached);
}
