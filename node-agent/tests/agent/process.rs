//! An agent under test.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// An Agent object for the agent under test.
pub(crate) const NODE_0: &str =
    "apiVersion: pagemesh.io/v1alpha1\nkind: Agent\nmetadata: {name: node-0}\nspec: {id: 0}\n";

/// A Region object that the agent under test homes alone.
pub(crate) fn region(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: pagemesh.io/v1alpha1\nkind: Region\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n\
         status: {{placement: {{epoch: 1, homes: [{{agent: node-0}}]}}}}\n"
    )
}

/// Directories of a test, removed with everything in it.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(test: &str) -> Scratch {
        let dir = PathBuf::from(format!("/dev/shm/pagemesh-test-{}-{test}", std::process::id()));
        fs::create_dir_all(dir.join("objects")).unwrap();
        Scratch(dir)
    }

    pub(crate) fn object(&self, file: &str, text: &str) {
        let objects = self.0.join("objects");
        let hidden = objects.join(format!(".{file}"));
        fs::write(&hidden, text).unwrap();
        fs::rename(hidden, objects.join(file)).unwrap();
    }

    /// The agent with its usual flags, but for those that `flags` gives.
    pub(crate) fn command(&self, flags: &[&str]) -> Command {
        let dir = |name| self.0.join(name).into_os_string().into_string().unwrap();
        let usual = [
            ("--name", "node-0".to_owned()),
            ("--id", "0".to_owned()),
            ("--shards", "2".to_owned()),
            ("--log", "debug".to_owned()),
            ("--log-format", "json".to_owned()),
            ("--objects", dir("objects")),
            ("--dir", dir("run")),
            ("--memory-dir", dir("memory")),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_pagemesh-agent"));
        for (flag, value) in usual.iter().filter(|(flag, _)| !flags.contains(flag)) {
            command.args([flag, value.as_str()]);
        }
        command.args(flags);
        // SAFETY: only one system call is made between fork and exec.
        unsafe {
            // A test that is killed must not leave an agent behind.
            command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?));
        }
        command
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running agent of two shards. Killed when dropped.
pub(crate) struct Agent {
    child: Child,
    log: Receiver<Value>,
    info: Value,
    pub(crate) scratch: Scratch,
}

impl Agent {
    /// Starts an agent with a region `table` of 1 MiB and waits until it is up.
    pub(crate) fn start(test: &str) -> Agent {
        let scratch = Scratch::new(test);
        scratch.object("node-0.yaml", NODE_0);
        scratch.object("table.yaml", &region("table", "size: 1Mi"));
        Agent::start_in(scratch, &[])
    }

    pub(crate) fn start_in(scratch: Scratch, flags: &[&str]) -> Agent {
        let mut child = scratch.command(flags).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = mpsc::channel();
        // Reads all the time, so that the agent never waits for us to read its log.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                let _ = sender.send(line);
            }
        });
        let mut agent = Agent { child, log, info: Value::Null, scratch };
        agent.await_log("the agent is up");
        agent.info = serde_json::from_slice(&fs::read(agent.run_dir().join("agent.json")).unwrap()).unwrap();
        agent
    }

    /// Waits for the next line of the log whose message contains `part`.
    pub(crate) fn await_log(&self, part: &str) -> Value {
        let mut before = Vec::new();
        loop {
            let line = self.log.recv().unwrap_or_else(|_| panic!("no {part:?} in the log: {before:#?}"));
            if line["message"].as_str().is_some_and(|message| message.contains(part)) {
                return line;
            }
            before.push(line);
        }
    }

    pub(crate) fn info(&self) -> &Value {
        &self.info
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.scratch.0.join("run")
    }

    pub(crate) fn memory_dir(&self) -> PathBuf {
        self.scratch.0.join("memory")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.run_dir().join("agent.sock")
    }

    /// Status and body of a page. An answer to this means that the shards have done all they were told before.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.info["http"].as_str().unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(crate) fn status(&self) -> Value {
        let (code, body) = self.get("/status");
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The descriptors that the agent has open, by kind. Network sockets are left out: our own questions make some.
    pub(crate) fn descriptors(&self) -> BTreeMap<String, usize> {
        assert_eq!(self.get("/healthz"), (200, "ok\n".into()));
        let mut descriptors = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap() {
            // It may have been closed since.
            let Ok(link) = fs::read_link(entry.unwrap().path()) else { continue };
            let kind = link.to_string_lossy().into_owned();
            if !kind.starts_with("socket:") {
                *descriptors.entry(kind).or_default() += 1;
            }
        }
        descriptors
    }

    /// Lets the agent open only `more` descriptors than it has now; returns the limit that it had.
    pub(crate) fn limit_descriptors(&self, more: u64) -> libc::rlimit {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count() as u64;
        // The hard limit stays, so that it can be undone.
        let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a limit is read into `old`, which lives through the call.
        let done = unsafe {
            libc::prlimit(self.pid().cast_signed(), libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut old)
        };
        assert_eq!(done, 0);
        self.set_descriptor_limit(libc::rlimit { rlim_cur: open + more, ..old });
        old
    }

    pub(crate) fn set_descriptor_limit(&self, limit: libc::rlimit) {
        let pid = self.pid().cast_signed();
        // SAFETY: `limit` lives through the call, and nothing is read back.
        let done = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
        assert_eq!(done, 0);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).unwrap();
    }

    /// Ends the agent as a service manager does.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.child.wait().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Names in a directory, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
