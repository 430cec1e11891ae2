//! `pagemesh ls` and `pagemesh resolve` in a mesh on this machine, and programs that open what they show.
//!
//! Needs `pagemesh-agent` and the preload library beside `pagemesh`: `cargo build --workspace` makes them.

mod place;

use std::fs;
use std::process::{Command, Output};

use place::Place;

const OBJECTS: &str = "\
apiVersion: pagemesh.io/v1alpha1
kind: MountTable
metadata: {name: main}
spec:
  default: true
  mounts:
  - {path: models/now, region: t}
  - {path: models/theirs, region: u, namespace: other}
  - {path: models/gone, region: gone}
  contexts:
  - {path: other, namespace: other}
---
apiVersion: pagemesh.io/v1alpha1
kind: MountTable
metadata: {name: second}
spec: {default: true}
---
apiVersion: pagemesh.io/v1alpha1
kind: MountTable
metadata: {name: main, namespace: other}
spec:
  default: true
  mounts: [{path: deep/down, region: u}]
  contexts: [{path: back, namespace: default}]
";

impl Place {
    /// With the tables in it.
    fn with_tables(test: &str) -> Place {
        let place = Place::directory(test);
        fs::write(place.0.join("tables.yaml"), OBJECTS).expect("written");
        place
    }

    /// Runs a shell script in a mesh of two nodes.
    fn script(&self, script: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pagemesh"));
        command.env_remove("PAGEMESH_DIR").arg("dev").arg("--dir").arg(self.0.join("mesh"));
        command.args(["--nodes", "2", "--region", "t=1Mi", "--region", "other/u=64Ki", "--file"]);
        command.arg(self.0.join("tables.yaml")).args(["--", "sh", "-c", script]);
        command.output().expect("pagemesh runs")
    }
}

/// What a script that ended with 0 has printed, and what was said on standard error.
fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    (stdout, stderr)
}

#[test]
fn what_paths_stand_for_is_shown() {
    let place = Place::with_tables("names-shown");
    let (stdout, stderr) = printed(&place.script(
        "pagemesh resolve models/now && pagemesh resolve --trace other/deep/down --node 1 && \
         pagemesh resolve /other/u -o json && ! pagemesh resolve models/gone && ! pagemesh resolve ../x && \
         ! pagemesh resolve other/back/t && pagemesh ls models && ! pagemesh ls -R && pagemesh ls / -o yaml",
    ));
    for expected in [
        "default/t\n",
        "/default/other/deep/down -> /other/deep/down\nother/u   epoch 1\n",
        "\"region\": \"other/u\"",
        "models/theirs   other/u",
        "other/deep/down",
        "path: /other",
    ] {
        assert!(stdout.contains(expected), "no {expected:?} in {stdout}\n{stderr}");
    }
    for expected in [
        "models/gone is mounted on region default/gone, which is not declared",
        "`../x` is not a path",
        "the contexts lead in a circle, /default -> /other -> /default",
        "a part is missing: other/back: ",
        "MountTable default/second says that it is the default one, and main is already",
    ] {
        assert!(stderr.contains(expected), "no {expected:?} in {stderr}");
    }
}

#[test]
fn programs_may_ask_at_the_socket_that_they_attach_by() {
    let place = Place::with_tables("names-asked-by-socket");
    let (stdout, stderr) = printed(&place.script(
        "socket=$PAGEMESH_DIR/node-1/agent.sock; unset PAGEMESH_DIR; pagemesh resolve models/now --socket $socket && \
         export PAGEMESH_SOCKET=$socket && pagemesh resolve models && pagemesh ls models -o json && \
         ! pagemesh ls --socket $socket -n other && ! pagemesh ls --socket $socket.not",
    ));
    for expected in ["default/t\n", "/pagemesh/models is a context", "\"region\": \"other/u\""] {
        assert!(stdout.contains(expected), "no {expected:?} in {stdout}\n{stderr}");
    }
    for expected in ["cannot be used with", "agent.sock.not: no agent answers at the socket"] {
        assert!(stderr.contains(expected), "no {expected:?} in {stderr}");
    }
}

#[test]
fn unmodified_programs_open_paths() {
    let place = Place::with_tables("names-opened");
    let program = "
import mmap, os
with open('/pagemesh/models/now', 'r+b') as one, open('/pagemesh/t', 'r+b') as two:
    first, second = mmap.mmap(one.fileno(), 4096), mmap.mmap(two.fileno(), 4096)
    first[:5] = b'hello'
    print(bytes(second[:5]).decode())
    if os.fork() == 0:
        second[:5] = b'child'
        os._exit(0)
    os.wait()
    print(bytes(first[:5]).decode())
try:
    open('/pagemesh/models/gone')
except FileNotFoundError:
    print('nothing')
";
    fs::write(place.0.join("program.py"), program).expect("written");
    let script = format!("pagemesh run --node 1 -- python3 {}", place.0.join("program.py").display());
    let (stdout, stderr) = printed(&place.script(&script));
    assert_eq!(stdout, "hello\nchild\nnothing\n", "{stderr}");
    assert!(
        stderr.contains("models/gone is mounted on region default/gone, which is not declared"),
        "{stderr}"
    );
}

/// The path is bound to another region between the program's `open` and its `fork` and `exec`.
#[test]
fn what_is_open_stays_what_it_was_for_children_by_fork_and_exec() {
    let place = Place::with_tables("names-inherited");
    let program = r#"
import mmap, os, sys, time
if sys.argv[1] == 'after-exec':
    print(bytes(mmap.mmap(int(sys.argv[2]), 4096)[:5]).decode())
    sys.exit()
table, socket = sys.argv[1:]
file = os.open('/pagemesh/models/now', os.O_RDWR)
memory = mmap.mmap(file, 4096)
memory[:5] = b'first'
text = open(table).read()
# The table says something else of the path, and of the region's own name.
moved = text.replace('region: t\n', 'region: u\n    namespace: other\n').replace(
    'mounts:', 'mounts:\n  - {path: default/t, region: u, namespace: other}')
assert moved != text, text
open(table + '.new', 'w').write(moved)
os.rename(table + '.new', table)
deadline = time.time() + 20
while os.system(f'pagemesh resolve models/now --socket {socket} | grep -q other/u') != 0:
    assert time.time() < deadline, 'the table does not come into force'
    time.sleep(0.01)
if os.fork() == 0:
    memory[:5] = b'child'
    os._exit(0)
assert os.wait()[1] == 0
print(bytes(memory[:5]).decode(), flush=True)
os.set_inheritable(file, True)
os.execv(sys.executable, [sys.executable, sys.argv[0], 'after-exec', str(file)])
"#;
    fs::write(place.0.join("program.py"), program).expect("written");
    let script = format!(
        "pagemesh run --node 1 -- python3 {} $PAGEMESH_DIR/objects/mount-table-default.main.yaml \
         $PAGEMESH_DIR/node-1/agent.sock",
        place.0.join("program.py").display()
    );
    let (stdout, stderr) = printed(&place.script(&script));
    assert_eq!(stdout, "child\nchild\n", "{stderr}");
}
