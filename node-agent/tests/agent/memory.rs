//! The memory that an agent lends.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;

use crate::client::{Client, Mapping, PAGE, map};
use crate::process::{Agent, NODE_0, Scratch, names, region};

/// Gives this thread, and so the agents that it starts, a mount table of its own. `false` where that is not allowed.
fn own_mounts() -> bool {
    match unshare(CloneFlags::CLONE_NEWNS) {
        Ok(()) => {}
        Err(Errno::EPERM) => return false,
        Err(errno) => panic!("{errno}"),
    }
    // Else what is mounted here would be mounted everywhere.
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
    true
}

/// The options of the file system that is mounted on `dir`.
fn mounted(agent: &Agent, dir: &Path) -> String {
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", agent.pid())).unwrap();
    let here = |line: &&str| line.split(' ').nth(4) == dir.to_str();
    let lines: Vec<_> = table.lines().filter(here).collect();
    assert_eq!(lines.len(), 1, "one mount on {}: {lines:?}", dir.display());
    let filesystem = lines[0].split_once(" - ").unwrap().1;
    assert!(filesystem.starts_with("tmpfs "), "{filesystem}");
    filesystem.to_owned()
}

#[test]
fn an_agent_lends_a_tmpfs_that_outlives_it() {
    if !own_mounts() {
        return eprintln!("not shown: to mount a tmpfs takes CAP_SYS_ADMIN");
    }
    let start = |scratch: Scratch, size| {
        scratch.object("node-0.yaml", NODE_0);
        scratch.object("table.yaml", &region("table", "size: 1Mi"));
        Agent::start_in(scratch, &["--memory", size])
    };
    let mut agent = start(Scratch::new("memory"), "256Mi");
    let dir = agent.memory_dir();
    assert!(mounted(&agent, &dir).contains("size=327680k"), "what is lent, and 64 MiB for headers");
    let client = Client::connect(&agent.socket());
    let (welcome, _uffds) = client.attach();
    let mapping = Mapping::new(&welcome.file, PAGE, PAGE);
    client.ask(&map(mapping.base, mapping.len, PAGE), &[]).unwrap();
    mapping.store(0, 4711);

    agent.signal(Signal::SIGKILL);
    agent.stop();
    let names = names(&dir);
    assert_eq!(names, ["region-default.table", "region-default.table.asides", "state"], "it is there still");
    // The next one lends less, and goes on with the memory of the one before.
    let scratch = std::mem::replace(&mut agent.scratch, Scratch::new("memory-unused"));
    let next = start(scratch, "128Mi");
    assert!(mounted(&next, &dir).contains("size=196608k"));
    let other = Client::connect(&next.socket());
    let (welcome, _uffds) = other.attach();
    let fresh = Mapping::new(&welcome.file, PAGE, PAGE);
    other.ask(&map(fresh.base, fresh.len, PAGE), &[]).unwrap();
    assert_eq!(fresh.load(0), 4711);
    let metrics = next.get("/metrics").1;
    assert!(metrics.contains("pagemesh_region_resident_bytes{region=\"default/table\"} 4096"), "{metrics}");
    mapping.store(8, 815);
    assert_eq!(fresh.load(8), 815, "who had it mapped has it still, and is served");
    // Else the directory could not be removed.
    umount2(&dir, MntFlags::MNT_DETACH).unwrap();
}
