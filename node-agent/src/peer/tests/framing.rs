//! Whatever TCP makes of the bytes, the same frames come out.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use pagemesh_protocol::{Access, Body, DecodeError, MESSAGE_LEN, Message, PageId, RegionId, RequestId, Txn};

use crate::memory::{PAGE_SIZE_MAX, PAGE_SIZE_MIN, PageBuffer, PagePool};
use crate::peer::{Flushed, FrameError, Inbox, Outbox, Received};

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    one.set_nodelay(true).unwrap();
    (one, listener.accept().unwrap().0)
}

fn short(index: u64) -> Message {
    let page = PageId { region: RegionId(1), index };
    Message {
        page,
        epoch: 1,
        body: Body::Get { req: RequestId(index + 1), access: Access::Read, have: Txn::NONE },
    }
}

fn long(index: u64) -> Message {
    let body = Body::Update { txn: Txn(3), req: RequestId(4), version: Txn(2) };
    Message { body, ..short(index) }
}

/// Contents that tell pages and places in them apart.
fn contents(index: u64, len: u32) -> PageBuffer {
    (0..len).map(|at| (u64::from(at / 64) * 7 + index * 31) as u8).collect()
}

fn bytes_of(message: &Message, payload: &[u8]) -> Vec<u8> {
    [&message.encode(payload.len() as u32)[..], payload].concat()
}

/// Takes all frames that are whole.
fn drain(inbox: &mut Inbox, into: &mut Vec<(Message, Vec<u8>)>) {
    while let Some(frame) = inbox.take().unwrap() {
        into.push((frame.message, frame.payload.to_vec()));
    }
}

/// Waits until there is something to receive.
fn receive(inbox: &mut Inbox, stream: &TcpStream) -> Received {
    poll(&mut [PollFd::new(stream.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
    inbox.receive(stream).unwrap()
}

#[test]
fn a_frame_may_be_split_at_any_byte() {
    let (page, other) = (contents(1, PAGE_SIZE_MIN), contents(2, PAGE_SIZE_MIN));
    let want =
        vec![(long(1), page.to_vec()), (short(2), vec![]), (long(3), other.to_vec()), (short(4), vec![])];
    let bytes: Vec<u8> = want.iter().flat_map(|(message, payload)| bytes_of(message, payload)).collect();
    // Around both headers and the seams at every byte, within pages at some.
    let seam = MESSAGE_LEN + PAGE_SIZE_MIN as usize;
    let near = |at: usize| at.saturating_sub(2 * MESSAGE_LEN)..(at + 2 * MESSAGE_LEN).min(bytes.len());
    let splits = near(0).chain(near(seam)).chain(near(2 * seam)).chain((0..bytes.len()).step_by(97));

    let (mut sender, receiver) = pair();
    let mut inbox = Inbox::default();
    for split in splits {
        let mut got = Vec::new();
        for part in [&bytes[..split], &bytes[split..]].into_iter().filter(|part| !part.is_empty()) {
            sender.write_all(part).unwrap();
            let mut left = part.len();
            while left > 0 {
                let before = inbox.pending();
                assert_eq!(receive(&mut inbox, &receiver), Received::Bytes);
                left -= inbox.pending() - before;
                drain(&mut inbox, &mut got);
            }
        }
        assert_eq!(got, want, "split at {split}");
    }
}

#[test]
fn byte_by_byte() {
    let (mut sender, receiver) = pair();
    let bytes = [bytes_of(&short(1), &[]), bytes_of(&short(2), &[])].concat();
    let (mut inbox, mut got) = (Inbox::default(), Vec::new());
    for byte in bytes {
        sender.write_all(&[byte]).unwrap();
        assert_eq!(receive(&mut inbox, &receiver), Received::Bytes);
        drain(&mut inbox, &mut got);
    }
    assert_eq!(got, [(short(1), vec![]), (short(2), vec![])]);
}

#[test]
fn what_the_kernel_does_not_take_at_once_goes_out_later() {
    let (sender, receiver) = pair();
    // So small that the larger pages go out in several pieces.
    setsockopt(&sender, sockopt::SndBuf, &(16 << 10)).unwrap();
    let (mut outbox, mut inbox) = (Outbox::default(), Inbox::default());
    let mut pool = PagePool::default();
    let mut want = Vec::new();
    for index in 0..200 {
        let len = PAGE_SIZE_MIN << (index % 5);
        let page = contents(index, len);
        want.push((long(index), page.to_vec()));
        outbox.push(&long(index), Some(page));
        want.push((short(index), vec![]));
        outbox.push(&short(index), None);
    }
    let (mut got, mut blocked) = (Vec::new(), 0);
    while got.len() < want.len() {
        let room = match outbox.flush(&sender, &mut pool).unwrap() {
            Flushed::Blocked => PollFlags::POLLOUT,
            Flushed::All => PollFlags::empty(),
        };
        blocked += u32::from(!room.is_empty());
        let (sending, receiving) = (sender.as_fd(), receiver.as_fd());
        let mut ends = [PollFd::new(sending, room), PollFd::new(receiving, PollFlags::POLLIN)];
        poll(&mut ends, PollTimeout::NONE).unwrap();
        inbox.receive(&receiver).unwrap();
        drain(&mut inbox, &mut got);
    }
    assert!(blocked > 10, "the test is about partial writes");
    assert!(got == want, "frames differ from what was sent");
}

#[test]
fn the_largest_page_fits_behind_the_rest_of_another_frame() {
    let (mut sender, receiver) = pair();
    let page = contents(5, PAGE_SIZE_MAX);
    let want: Vec<_> = (0..6).map(|index| (long(index), page.to_vec())).collect();
    let bytes: Vec<u8> = want.iter().flat_map(|(message, payload)| bytes_of(message, payload)).collect();
    let writer = std::thread::spawn(move || sender.write_all(&bytes).unwrap());
    let (mut inbox, mut got) = (Inbox::default(), Vec::new());
    while receive(&mut inbox, &receiver) == Received::Bytes {
        drain(&mut inbox, &mut got);
    }
    writer.join().unwrap();
    assert!(got == want, "frames differ from what was sent");
}

#[test]
fn an_outbox_that_nobody_reads_from_says_so() {
    let (sender, receiver) = pair();
    let (mut outbox, mut pool) = (Outbox::default(), PagePool::default());
    let page = contents(0, PAGE_SIZE_MAX);
    while !outbox.is_overfull() {
        outbox.push(&long(0), Some(page.clone()));
    }
    assert_eq!(outbox.flush(&sender, &mut pool), Ok(Flushed::Blocked));
    drop(receiver);
    assert!(outbox.flush(&sender, &mut pool).is_err());
    outbox.discard(&mut pool);
    assert_eq!(std::rc::Rc::strong_count(&page), 1);
}

#[test]
fn hostile_frames_are_refused_before_their_payload_is_waited_for() {
    let hostile = |change: fn(&mut [u8; MESSAGE_LEN])| {
        let mut header = long(1).encode(PAGE_SIZE_MIN);
        change(&mut header);
        let (mut sender, receiver) = pair();
        sender.write_all(&header).unwrap();
        let mut inbox = Inbox::default();
        receive(&mut inbox, &receiver);
        inbox.take().map(|frame| frame.is_some())
    };
    assert_eq!(hostile(|_| ()), Ok(false), "a good one waits for its payload");
    for (change, error) in [
        (
            (|h| h[4] = 200) as fn(&mut [u8; MESSAGE_LEN]),
            FrameError::Malformed(DecodeError::UnknownKind(200)),
        ),
        (|h| h[60] = 1, FrameError::Malformed(DecodeError::NotCanonical)),
        (|h| h[0..4].fill(0), FrameError::Malformed(DecodeError::Payload)),
        (|h| h[0..4].fill(0xFF), FrameError::TooLong(u32::MAX)),
    ] {
        assert_eq!(hostile(change), Err(error));
        assert!(!error.name().is_empty() && !error.to_string().is_empty());
    }
}

#[test]
fn a_closed_connection_is_told_from_a_quiet_one() {
    let (mut sender, receiver) = pair();
    let mut inbox = Inbox::default();
    assert_eq!(inbox.receive(&receiver), Ok(Received::Nothing));
    sender.write_all(&bytes_of(&short(1), &[])[..10]).unwrap();
    assert_eq!(receive(&mut inbox, &receiver), Received::Bytes);
    drop(sender);
    assert_eq!(receive(&mut inbox, &receiver), Received::Closed);
    assert_eq!(inbox.take(), Ok(None), "half a frame is none");
    // Nothing was sent the other way.
    assert_eq!((&receiver).read(&mut [0; 1]).unwrap(), 0);
}
