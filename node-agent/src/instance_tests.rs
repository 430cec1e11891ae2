use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::*;

/// A directory that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("pagemesh-instance-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn names(dir: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn a_directory_has_one_agent_at_a_time() {
    let scratch = Scratch::new("lock");
    let (dir, memory) = (scratch.0.join("run"), scratch.0.join("memory"));
    let first = Dirs::take(&dir, &memory, None).unwrap();
    for (dir, memory, taken) in
        [(&dir, &scratch.0.join("other"), &dir), (&scratch.0.join("another"), &memory, &memory)]
    {
        let error = Dirs::take(dir, memory, None).unwrap_err();
        assert!(matches!(&error, DirError::Taken(path) if path == taken), "{error}");
    }
    drop(first);
    Dirs::take(&dir, &memory, None).unwrap();
}

#[test]
fn one_directory_may_serve_as_both() {
    let scratch = Scratch::new("both");
    let dirs = Dirs::take(&scratch.0, &scratch.0, None).unwrap();
    assert!(matches!(Dirs::take(&scratch.0, &scratch.0, None), Err(DirError::Taken(_))));
    drop(dirs);
}

#[test]
fn what_a_killed_agent_left_is_removed_and_nothing_else() {
    let scratch = Scratch::new("left");
    for name in ["agent.json", "agent.sock", "region-default.table", "notes", "regional"] {
        fs::write(scratch.0.join(name), "x").unwrap();
    }
    fs::create_dir(scratch.0.join("region-dir")).unwrap();
    let dirs = Dirs::take(&scratch.0, &scratch.0, None).unwrap();
    assert_eq!(names(&scratch.0), ["agent.sock", "notes", "region-dir", "regional"]);
    drop(dirs);
}

#[test]
fn the_announcement_is_whole_and_goes_with_the_agent() {
    let scratch = Scratch::new("announce");
    let dirs = Dirs::take(&scratch.0, &scratch.0, None).unwrap();
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let (listen, http) = (address(1), address(2));
    let info = Info {
        pid: 7,
        name: "node-0".into(),
        id: 3,
        listen,
        http,
        names: address(3),
        socket: "/run/a.sock".into(),
    };
    dirs.announce(&info).unwrap();
    assert_eq!(names(&scratch.0), ["agent.json"]);
    let read: serde_json::Value =
        serde_json::from_slice(&fs::read(scratch.0.join("agent.json")).unwrap()).unwrap();
    assert_eq!(
        read,
        serde_json::json!({
            "pid": 7, "name": "node-0", "id": 3, "names": "127.0.0.1:3",
            "listen": "127.0.0.1:1", "http": "127.0.0.1:2", "socket": "/run/a.sock",
        })
    );
    drop(dirs);
    assert_eq!(names(&scratch.0), Vec::<String>::new());
}

#[test]
fn what_programs_still_hold_is_not_lent_again() {
    // A mount table of this thread's own.
    match unshare(CloneFlags::CLONE_NEWNS) {
        Ok(()) => {}
        Err(Errno::EPERM) => return eprintln!("not shown: to mount a tmpfs takes CAP_SYS_ADMIN"),
        Err(errno) => panic!("{errno}"),
    }
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    let scratch = Scratch::new("held");
    let (dir, memory) = (scratch.0.join("run"), scratch.0.join("memory"));
    let take = |lent_bytes| Dirs::take(&dir, &memory, Some(lent_bytes));
    assert_eq!(take(16 << 20).unwrap().held_bytes(), 0);
    let path = memory.join("region-default.table");
    fs::write(&path, vec![1; 70 << 20]).unwrap();
    let held = File::open(&path).unwrap();

    assert_eq!(take(16 << 20).unwrap().held_bytes(), 70 << 20);
    // There is room for 64 MiB of headers, too.
    let error = take(4 << 20).unwrap_err();
    let held_bytes = 70 << 20;
    assert!(matches!(error, DirError::TooFull { held_bytes: held, .. } if held == held_bytes), "{error}");
    assert!(error.to_string().contains("end these programs, or lend more"), "{error}");
    drop(held);
    assert_eq!(take(4 << 20).unwrap().held_bytes(), 0);
    // Else the directory could not be removed.
    umount2(&memory, MntFlags::MNT_DETACH).unwrap();
}
