//! The connections of a shard to its peers. Receiving and sending halves are kept apart, so that a frame can be
//! worked on in the buffer in which it arrived while answers to it are queued.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::rc::Rc;

use pagemesh_protocol::{AgentId, Body, Message};

use super::poller::{Poller, Token};
use crate::memory::{PageBuffer, PagePool};
use crate::peer::{Flushed, Frame, FrameError, Inbox, Outbox};

/// A connection that is to be given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) peer: AgentId,
    pub(super) reason: String,
    /// The protocol does not believe the peer, or not yet.
    pub(super) refused: bool,
}

/// The receiving half.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) stream: Rc<TcpStream>,
    pub(super) inbox: Inbox,
    /// The peer has come over to this connection.
    pub(super) resumed: bool,
    /// A frame had to be passed over, and that has been said.
    pub(super) misfit: bool,
}

impl Receiver {
    /// The next whole frame. The first one says `resumed` and no other does: for each, all that is under way is sent
    /// again, which a peer must not be able to ask for at will.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub(super) fn take(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let Some(frame) = self.inbox.take()? else { return Ok(None) };
        match (std::mem::replace(&mut self.resumed, true), frame.message.body == Body::Resumed) {
            (false, true) | (true, false) => Ok(Some(frame)),
            (false, false) => Err(FrameError::NotResumed),
            (true, true) => Err(FrameError::ResumedAgain),
        }
    }
}

/// Messages, pages included, that make a system call worth its while.
const QUEUED_MANY: usize = 16;

/// The sending half.
#[derive(Debug)]
struct Sender {
    stream: Rc<TcpStream>,
    outbox: Outbox,
    /// The kernel took no more; we are told when it does.
    blocked: bool,
}

/// The sending halves of all connections.
#[derive(Debug, Default)]
pub(super) struct Senders {
    by_peer: BTreeMap<AgentId, Sender>,
    /// Those with something to send that are not blocked.
    unsent: Vec<AgentId>,
    /// Messages that were queued since they were last sent.
    queued: usize,
    /// Those to be given up.
    pub(super) lost: Vec<Lost>,
}

impl Senders {
    pub(super) fn insert(&mut self, peer: AgentId, stream: Rc<TcpStream>) {
        self.by_peer.insert(peer, Sender { stream, outbox: Outbox::default(), blocked: false });
    }

    pub(super) fn remove(&mut self, peer: AgentId, pool: &mut PagePool) {
        if let Some(sender) = self.by_peer.remove(&peer) {
            sender.outbox.discard(pool);
        }
        self.unsent.retain(|p| *p != peer);
        self.lost.retain(|l| l.peer != peer);
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = AgentId> {
        self.by_peer.keys().copied()
    }

    /// Whether much is queued.
    pub(super) fn has_many(&self) -> bool {
        self.queued >= QUEUED_MANY
    }

    /// Queues a message. Returns the payload if there is no connection, or one that is to be given up: whatever a round
    /// still has to say, no more is kept for it.
    pub(super) fn push(
        &mut self,
        to: AgentId,
        message: &Message,
        payload: Option<PageBuffer>,
    ) -> Result<(), Option<PageBuffer>> {
        if self.is_lost(to) {
            return Err(payload);
        }
        let Some(sender) = self.by_peer.get_mut(&to) else { return Err(payload) };
        if sender.outbox.is_empty() {
            self.unsent.push(to);
        }
        sender.outbox.push(message, payload);
        self.queued += 1;
        if sender.outbox.is_overfull() {
            self.lose(to, "it does not take our messages".into());
        }
        Ok(())
    }

    /// Gives a connection up when the round ends.
    pub(super) fn lose(&mut self, peer: AgentId, reason: String) {
        self.give_up(Lost { peer, reason, refused: false });
    }

    /// Gives a connection up when the round ends, since the protocol does not believe the peer.
    pub(super) fn refuse(&mut self, peer: AgentId, reason: String) {
        self.give_up(Lost { peer, reason, refused: true });
    }

    fn give_up(&mut self, lost: Lost) {
        // The first reason is the cause.
        if !self.is_lost(lost.peer) {
            self.lost.push(lost);
        }
    }

    pub(super) fn is_lost(&self, peer: AgentId) -> bool {
        self.lost.iter().any(|l| l.peer == peer)
    }

    /// Sends what has been queued since the last time: one system call for each peer, if the kernel takes it.
    pub(super) fn flush(&mut self, poller: &Poller, pool: &mut PagePool) {
        self.queued = 0;
        while let Some(peer) = self.unsent.pop() {
            self.flush_one(peer, poller, pool);
        }
    }

    /// The kernel takes more for a peer that was blocked.
    pub(super) fn flush_one(&mut self, peer: AgentId, poller: &Poller, pool: &mut PagePool) {
        let Some(sender) = self.by_peer.get_mut(&peer) else { return };
        let sent =
            sender.outbox.flush(&*sender.stream, pool).map_err(std::io::Error::from).and_then(|flushed| {
                let blocked = flushed == Flushed::Blocked;
                if blocked != sender.blocked {
                    poller.watch_writable(&*sender.stream, Token::Peer(peer), blocked)?;
                    sender.blocked = blocked;
                }
                Ok(())
            });
        if let Err(error) = sent {
            self.lose(peer, format!("cannot send: {error}"));
        }
    }
}
