use std::fs::File;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr};

use super::packet::{Answer, Ask};
use super::*;
use crate::instance::{DirError, Dirs};
use crate::uffd::testing::Directory;

#[tokio::test]
async fn the_locks_go_from_one_agent_to_the_next_and_are_never_free() {
    let directory = Directory::new();
    let (dir, memory) = (directory.0.join("run"), directory.0.join("memory"));
    let dirs = Dirs::take(&dir, &memory, None).unwrap();
    let door = Door::open(&dir, 2).unwrap();
    let predecessor = async {
        let heir = door.heir().await;
        assert_eq!(heir.release(), env!("CARGO_PKG_VERSION"));
        heir.give(dirs.into_locks(), 7).await.unwrap();
    };
    let (inherited, ()) = tokio::join!(ask(&dir, 2), predecessor);
    let Inheritance { locks, stopped_nanos } = inherited.unwrap();
    assert_eq!(stopped_nanos, 7);
    for other in [(&dir, &directory.0.join("other")), (&directory.0.join("another"), &memory)] {
        assert!(matches!(Dirs::take(other.0, other.1, None), Err(DirError::Taken(_))));
    }
    let dirs = Dirs::inherit(&dir, &memory, None, locks).unwrap();
    assert!(matches!(Dirs::take(&dir, &memory, None), Err(DirError::Taken(_))));
    drop(dirs);
    Dirs::take(&dir, &memory, None).unwrap();
}

#[tokio::test]
async fn who_cannot_go_on_with_what_is_kept_is_refused_and_the_next_one_is_not() {
    let directory = Directory::new();
    let door = Door::open(&directory.0, 2).unwrap();
    let successors = async {
        let refused = ask(&directory.0, 4).await.unwrap_err();
        assert!(matches!(&refused, CannotSucceed::Refused(why) if why.contains("4 shards")), "{refused}");
        // One that says nothing, and one that speaks another language.
        for said in [&b""[..], b"hello"] {
            let connection = crate::attach::connect(&directory.0.join(SOCKET)).unwrap();
            if !said.is_empty() {
                connection.send(said, &[]).await.unwrap();
                let answer = connection.receive().await.unwrap().unwrap();
                assert!(matches!(serde_json::from_slice(&answer.bytes), Ok(Answer::Refused(_))));
            }
        }
        ask(&directory.0, 2).await
    };
    let predecessor = async {
        let heir = door.heir().await;
        let lock = || File::open(&directory.0).unwrap();
        heir.give([lock(), lock()], 0).await.unwrap();
    };
    let (inherited, ()) = tokio::join!(successors, predecessor);
    inherited.unwrap();
}

#[tokio::test]
async fn an_agent_that_takes_no_successors_is_not_waited_for_here() {
    let directory = Directory::new();
    assert!(matches!(ask(&directory.0, 2).await, Err(CannotSucceed::Unreachable(_))));
    // One that is gone before it answers.
    let flags = SockFlag::SOCK_CLOEXEC;
    let listener = nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    let address = UnixAddr::new(&directory.0.join(SOCKET)).unwrap();
    nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&listener), &address).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
    let asked = async { tokio::join!(ask(&directory.0, 2), async { drop(listener) }).0 };
    assert!(matches!(asked.await, Err(CannotSucceed::Gone(_))));
}

#[test]
fn state_that_a_successor_cannot_read_is_not_handed_to_it() {
    let ask = Ask::of_this_agent(2);
    assert_eq!(ask.misfit(2), None);
    let newer = Ask { state_version: ask.state_version + 1, ..ask.clone() };
    assert_eq!(newer.misfit(2), None, "it reads the version before its own");
    let version = ask.state_version + 1;
    for strange in [
        Ask { state_version: version, state_version_min: version, ..ask.clone() },
        Ask { state_version: 0, state_version_min: 0, ..ask.clone() },
        Ask { note_version: ask.note_version + 1, ..ask },
    ] {
        let why = strange.misfit(2).unwrap();
        let answer = serde_json::to_vec(&Answer::Refused(why)).unwrap();
        assert!(answer.len() <= crate::attach::packet::PACKET_MAX, "{} bytes", answer.len());
    }
}
