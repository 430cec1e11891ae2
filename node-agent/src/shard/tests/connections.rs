//! What a shard makes of its connections: which one counts, how each begins, what is kept for one that is lost.

use std::io::{Read, Write};
use std::rc::Rc;

use pagemesh_protocol::{Access, AgentId, Body, MESSAGE_LEN, Message, PageId, RegionId, RequestId, Txn};

use super::hostile::{Alone, data, resumed};
use super::mesh::{REGION, tcp_pair};
use crate::memory::{PAGE_SIZE_MAX, PageBuffer, PagePool};
use crate::peer::QUEUED_BYTES_MAX;
use crate::shard::Event;
use crate::shard::links::Senders;

/// Reads what a shard says first on a connection that it has taken up.
fn welcomed(stream: &mut impl Read) {
    let mut frame = [0; MESSAGE_LEN];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame[..], resumed());
}

#[test]
fn another_life_is_refused_as_long_as_something_refers_to_the_one_before() {
    let mut alone = Alone::start();
    let mut first = alone.connect(1, 1);
    welcomed(&mut first);
    // From now on the directory says that the first life has a copy.
    let page = PageId { region: REGION, index: 0 };
    let body = Body::Get { req: RequestId(1), access: Access::Read, have: Txn::NONE };
    let get = Message { page, epoch: 1, body }.encode(0);
    first.write_all(&[resumed(), get.to_vec()].concat()).unwrap();
    let mut frame = [0; MESSAGE_LEN];
    first.read_exact(&mut frame).unwrap();
    assert!(matches!(Message::decode(&frame).unwrap().0.body, Body::Grant { .. }));

    let lost = |alone: &mut Alone| {
        let Event::PeerLost { refused, .. } = alone.event() else { panic!("the peer is not lost") };
        refused
    };
    let _second = alone.connect(2, 1);
    assert!(lost(&mut alone));
    // The one that has the copy may come again.
    let mut again = alone.connect(1, 2);
    welcomed(&mut again);
    drop(again);
    assert!(!lost(&mut alone));

    alone.drop_region();
    // Its connections are counted from 1 again.
    let mut second = alone.connect(2, 1);
    welcomed(&mut second);
}

/// A placement may name an agent before it has connected in the life that is meant.
#[test]
fn another_life_that_is_a_home_is_let_in() {
    let mut alone = Alone::start();
    let first = alone.connect(1, 7);
    drop(first);
    let Event::PeerLost { refused: false, .. } = alone.event() else { panic!("the peer is not lost") };
    alone.place(2, &[AgentId(0), AgentId(9)]);
    let mut second = alone.connect(2, 1);
    welcomed(&mut second);
}

#[test]
fn a_connection_that_was_overtaken_is_dropped() {
    let mut alone = Alone::start();
    let mut later = alone.connect(1, 2);
    for number in [1, 2] {
        let mut earlier = alone.connect(1, number);
        assert_eq!(earlier.read(&mut [0; MESSAGE_LEN]).unwrap(), 0, "number {number} is not listened to");
    }
    // The later one goes on.
    let mut frame = [0; MESSAGE_LEN];
    later.read_exact(&mut frame).unwrap();
    assert_eq!(frame[..], resumed());
    later.write_all(&[resumed(), data(RegionId(1), 0, 8192)].concat()).unwrap();
    later.read_exact(&mut frame).unwrap();
    assert_eq!(Message::decode(&frame).unwrap().0.body, Body::Refused);
}

#[test]
fn every_connection_begins_with_resumed_and_says_it_once() {
    let mut alone = Alone::start();
    for (bytes, reason, name) in [
        (data(RegionId(1), 0, 8192), "the first frame is not", "not_resumed"),
        ([resumed(), resumed()].concat(), "came again", "resumed_again"),
    ] {
        // On the second of them too: each begins anew.
        for count in 1..3 {
            let fate = alone.fate_of(&bytes);
            assert!(fate.contains(reason), "{fate}");
            assert_eq!(alone.refused(name), count);
        }
    }
}

#[test]
fn nothing_more_is_kept_for_a_peer_that_is_lost() {
    let (peer, mut senders) = (AgentId(9), Senders::default());
    let (mine, _theirs) = tcp_pair();
    senders.insert(peer, Rc::new(mine));
    let page = PageId { region: RegionId(1), index: 0 };
    let body = Body::Get { req: RequestId(1), access: Access::Read, have: Txn::NONE };
    let message = Message { page, epoch: 1, body };
    let contents: PageBuffer = vec![0; PAGE_SIZE_MAX as usize].into();

    // Without a flush in between, as within one round.
    let frames = QUEUED_BYTES_MAX / PAGE_SIZE_MAX as usize;
    for _ in 0..frames {
        assert_eq!(senders.push(peer, &message, Some(contents.clone())), Ok(()));
    }
    assert!(senders.is_lost(peer));
    let unsent = senders.push(peer, &message, Some(contents.clone()));
    assert!(unsent.is_err_and(|payload| payload.is_some()), "the payload comes back");
    assert_eq!(Rc::strong_count(&contents), 1 + frames);
    senders.remove(peer, &mut PagePool::default());
}
