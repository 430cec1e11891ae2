//! What the control path asks of a shard.

use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;

use pagemesh_protocol::{AgentId, Incarnation, Input, RegionId};

use super::links::Receiver;
use super::poller::Token;
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
                assert_eq!(
                    Some(file.len()),
                    config.pages.checked_mul(page_size.into()),
                    "the file fits the region"
                );
                executor.regions.insert(region, Region { file, page_size });
                self.engine.step(Input::Region { region, config, placement }, &[]);
            }
            Command::Bind { attachment, region, uffd } => self.bind(attachment, region, uffd),
            Command::Map { attachment, range, done } => {
                executor.programs.map(attachment, range);
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

    fn bind(&mut self, id: AttachmentId, region: RegionId, uffd: Arc<Uffd>) {
        let executor = &mut self.engine.executor;
        let Some(page_size) = executor.regions.get(region).map(|r| r.page_size) else {
            return executor.programs.end(id, "its region is not known to the shard");
        };
        match self.poller.add(&*uffd, Token::Attachment(id)) {
            Ok(()) => executor.programs.insert(id, region, page_size, uffd),
            Err(error) => executor.programs.end(id, format!("cannot wait for its faults: {error}")),
        }
    }

    pub(super) fn detach(&mut self, id: AttachmentId) {
        let executor = &mut self.engine.executor;
        executor.waits.forget(id, 0, u64::MAX);
        if let Some(uffd) = executor.programs.end_service(id) {
            self.poller.remove(&*uffd);
        }
    }

    fn connect(&mut self, peer: AgentId, incarnation: Incarnation, number: u64, stream: TcpStream) {
        // Handshakes may end in another order than the connections were made in. What came over an earlier one must
        // not follow what came over a later one: the protocol relies on the order of messages.
        let last = self.numbers.entry(peer).or_default();
        if number <= *last {
            return tracing::debug!(peer = peer.0, number, last, "dropped a connection that was overtaken");
        }
        *last = number;
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
