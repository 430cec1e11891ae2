//! What the control path asks of a shard.

use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;

use pagemesh_protocol::{AgentId, Incarnation, Input, RegionId};

use super::links::Receiver;
use super::poller::Token;
use super::programs::Bound;
use super::regions::Region;
use super::worker::Worker;
use super::{AttachmentId, Command};
use crate::peer::Inbox;
use crate::uffd::Uffd;

impl Worker {
    pub(super) fn obey(&mut self, command: Command) {
        let executor = &mut self.engine.executor;
        match command {
            Command::Region { region, file, page_size, config, placement } => {
                // Longer if the region has grown again since.
                let len = config.pages.checked_mul(page_size.into());
                assert!(len.is_some_and(|len| len <= file.len()), "the file holds the region");
                executor.regions.insert(region, Region { file, page_size });
                self.engine.step(Input::Region { region, config, placement }, &[]);
            }
            Command::Reopen { region, file, page_size } => {
                executor.regions.insert(region, Region { file, page_size });
            }
            Command::TakeOver => {
                self.engine.take_over();
                let attached: Vec<_> = self.engine.executor.programs.userfaultfds().collect();
                for (attachment, uffd) in attached {
                    self.await_faults(attachment, &uffd);
                }
                self.engine.executor.programs.wake_all();
            }
            Command::Leave { region, attempt } => {
                executor.leaving.insert(region, attempt);
                self.engine.step(Input::Leave { region }, &[]);
            }
            Command::Drop { region } => self.drop_region(region),
            Command::Bind { attachment, region, uffd, read_only, counts } => {
                self.bind(attachment, region, Bound { uffd, read_only, counts });
            }
            Command::Revoke { attachment } => self.engine.revoke(attachment),
            Command::Map { attachment, range, done } => {
                self.engine.map(attachment, range);
                // Whoever asked may be gone; then it does not matter. The same goes for the answers below.
                let _ = done.send(());
            }
            Command::Unmap { attachment, base, len, done } => {
                executor.waits.forget(attachment, base, len);
                executor.programs.unmap(attachment, base, len);
                let _ = done.send(());
            }
            Command::Detach { attachment } => self.detach(attachment),
            Command::Peer { peer, incarnation, number, stream } => {
                self.connect(peer, incarnation, number, stream);
            }
            Command::Report { reply } => {
                executor.programs.bury();
                let _ = reply.send(self.engine.report());
            }
            Command::Stop => self.stopping = true,
        }
    }

    fn drop_region(&mut self, region: RegionId) {
        self.engine.step(Input::Drop { region }, &[]);
        let executor = &mut self.engine.executor;
        executor.leaving.remove(&region);
        executor.waits.forget_region(region);
        executor.ahead.forget_region(region);
        executor.regions.remove(region);
        // Whoever still has it mapped keeps that, and waits in its next fault: it holds its userfaultfds itself.
        for uffd in executor.programs.drop_region(region) {
            self.poller.remove(&*uffd);
        }
    }

    fn bind(&mut self, id: AttachmentId, region: RegionId, bound: Bound) {
        let executor = &mut self.engine.executor;
        let Some(page_size) = executor.regions.get(region).map(|r| r.page_size) else {
            return executor.programs.end(id, "its region is not known to the shard");
        };
        let uffd = Arc::clone(&bound.uffd);
        executor.programs.insert(id, region, page_size, bound);
        // What an earlier process has begun comes first.
        if !self.engine.is_waiting() {
            self.await_faults(id, &uffd);
        }
    }

    fn await_faults(&mut self, id: AttachmentId, uffd: &Uffd) {
        if let Err(error) = self.poller.add(uffd, Token::Attachment(id)) {
            self.engine.executor.programs.end(id, format!("cannot wait for its faults: {error}"));
        }
    }

    pub(super) fn detach(&mut self, id: AttachmentId) {
        let executor = &mut self.engine.executor;
        executor.waits.forget(id, 0, u64::MAX);
        executor.ahead.forget(id);
        if let Some(uffd) = executor.programs.end_service(id) {
            self.poller.remove(&*uffd);
        }
    }

    fn connect(&mut self, peer: AgentId, incarnation: Incarnation, number: u64, stream: TcpStream) {
        // Handshakes may end in another order than the connections were made in. What came over an earlier one must
        // not follow what came over a later one: the protocol relies on the order of messages.
        // Another life of the peer counts anew.
        let last =
            self.numbers.get(&peer).filter(|(life, _)| *life == incarnation).map_or(0, |(_, last)| *last);
        if number <= last {
            return tracing::debug!(peer = peer.0, number, last, "dropped a connection that was overtaken");
        }
        self.numbers.insert(peer, (incarnation, number));
        // The other side has given up the earlier connection, whether or not we know already.
        self.disconnect(peer);
        let stream = Rc::new(stream);
        let added = stream.set_nonblocking(true).and_then(|()| self.poller.add(&*stream, Token::Peer(peer)));
        let receiver =
            Receiver { stream: stream.clone(), inbox: Inbox::default(), resumed: false, misfit: false };
        self.receivers.insert(peer, receiver);
        self.engine.executor.senders.insert(peer, stream);
        match added {
            Ok(()) => self.engine.peer_up(peer, incarnation),
            Err(error) => {
                self.engine.executor.senders.lose(peer, format!("cannot use the connection: {error}"));
            }
        }
    }

    /// Forgets a connection, and tells the protocol. Returns whether there was one.
    pub(super) fn disconnect(&mut self, peer: AgentId) -> bool {
        let executor = &mut self.engine.executor;
        executor.senders.remove(peer, &mut executor.pool);
        let Some(receiver) = self.receivers.remove(&peer) else { return false };
        self.poller.remove(&*receiver.stream);
        self.engine.peer_down(peer);
        true
    }
}
