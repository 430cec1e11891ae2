//! The loop of a shard: waits for whatever comes next, has it worked on, and sends what has come of it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nix::sys::eventfd::EventFd;
use nix::sys::prctl::set_timerslack;
use pagemesh_protocol::{AgentId, Incarnation, Input};
use tokio::sync::mpsc::UnboundedSender;

use super::engine::Engine;
use super::links::{Lost, Receiver};
use super::poller::{Poller, Ready, Token};
use super::precedence::Precedence;
use super::{AttachmentId, Command, Event, Setup, monotonic_nanos};
use crate::journal::Recovered;
use crate::metrics::Metrics;
use crate::peer::Received;

/// How soon to try again when a program's memory map was changing.
const BUSY_NANOS: u64 = 50_000;

pub(super) struct Worker {
    index: u16,
    pub(super) engine: Engine,
    pub(super) poller: Poller,
    pub(super) receivers: BTreeMap<AgentId, Receiver>,
    /// The life of each peer that connected last, and the number of its last connection.
    pub(super) numbers: BTreeMap<AgentId, (Incarnation, u64)>,
    pub(super) stopping: bool,
    precedence: Precedence,
    commands: mpsc::Receiver<Command>,
    bell: Arc<EventFd>,
    events: UnboundedSender<Event>,
    metrics: Arc<Metrics>,
}

impl Worker {
    pub(super) fn new(
        index: u16,
        setup: Setup,
        recovered: Option<Recovered>,
        events: UnboundedSender<Event>,
        commands: mpsc::Receiver<Command>,
        bell: Arc<EventFd>,
    ) -> io::Result<Worker> {
        let poller = Poller::new()?;
        poller.add(&*bell, Token::Commands)?;
        // A turn is 50 us; the kernel would by default wait as long again before it wakes us.
        set_timerslack(1)?;
        let (precedence, taken) = Precedence::take(monotonic_nanos());
        if let Err(error) = taken {
            tracing::warn!(
                shard = index,
                %error,
                "where programs keep processors busy, faults will wait for them: give the agent CAP_SYS_NICE, and its control \
                 group real-time run time if the kernel has CONFIG_RT_GROUP_SCHED"
            );
        }
        let metrics = setup.metrics.clone();
        let engine = Engine::new(index, setup, recovered)?;
        let (receivers, numbers, stopping) = (BTreeMap::new(), BTreeMap::new(), false);
        Ok(Worker {
            index,
            engine,
            poller,
            receivers,
            numbers,
            stopping,
            precedence,
            commands,
            bell,
            events,
            metrics,
        })
    }

    pub(super) fn run(mut self) {
        while !self.stopping {
            self.round();
        }
        self.engine.put_away();
    }

    fn round(&mut self) {
        let ready = self.poller.wait(self.patience()).expect("epoll works on descriptors of our own");
        for at in 0..ready {
            let ready = self.poller.ready(at);
            match ready.token {
                Token::Commands => self.take_commands(),
                Token::Attachment(id) => self.take_faults(id, ready),
                Token::Peer(peer) => self.take_frames(peer, ready),
            }
            self.engine.executor.map_pending();
        }
        if self.engine.nanos_to_deadline() == Some(0) {
            self.engine.step(Input::Tick, &[]);
        }
        self.engine.retry_busy();
        self.engine.revoke_some();
        self.settle();
        self.precedence.round(monotonic_nanos);
    }

    fn patience(&self) -> Option<Duration> {
        if self.engine.is_revoking() {
            return Some(Duration::ZERO);
        }
        let busy = self.engine.executor.waits.any_busy().then_some(BUSY_NANOS);
        let nanos = self.engine.nanos_to_deadline().into_iter().chain(busy).min();
        nanos.map(Duration::from_nanos)
    }

    fn take_commands(&mut self) {
        // Cleared before looking: what is sent after this rings again.
        let _ = self.bell.read();
        while let Ok(command) = self.commands.try_recv() {
            self.obey(command);
        }
    }

    fn take_faults(&mut self, id: AttachmentId, ready: Ready) {
        if ready.failed {
            // The kernel says so when the program has made the descriptor blocking, which could make us wait.
            return self.engine.executor.programs.end(id, "it has changed its userfaultfd");
        }
        self.engine.serve_faults(id, &self.poller);
    }

    /// Receives once from a peer and takes up all frames that are whole.
    fn take_frames(&mut self, peer: AgentId, ready: Ready) {
        let executor = &mut self.engine.executor;
        if ready.writable {
            executor.senders.flush_one(peer, &self.poller, &mut executor.pool);
        }
        let Some(receiver) = self.receivers.get_mut(&peer).filter(|_| ready.readable) else { return };
        match receiver.inbox.receive(&*receiver.stream) {
            Ok(Received::Bytes) => {}
            Ok(Received::Nothing) => return,
            Ok(Received::Closed) => {
                return executor.senders.lose(peer, "it closed the connection".into());
            }
            Err(errno) => return executor.senders.lose(peer, format!("cannot receive: {errno}")),
        }
        while !self.engine.executor.senders.is_lost(peer) {
            match receiver.take() {
                Ok(Some(frame)) => {
                    if let Err(misfit) = self.engine.on_frame(peer, frame) {
                        self.metrics.frame_refused(misfit.name());
                        // Where there is one there are more.
                        if !std::mem::replace(&mut receiver.misfit, true) {
                            tracing::warn!(peer = peer.0, "passing over messages: {misfit}");
                        }
                    }
                    self.engine.executor.send_many(&self.poller);
                }
                Ok(None) => return,
                Err(error) => {
                    self.metrics.frame_refused(error.name());
                    self.engine.executor.senders.lose(peer, error.to_string());
                }
            }
        }
    }

    /// Ends a round: sends what is queued and takes leave of connections and attachments that cannot go on. That one
    /// connection is gone may be reason to send something over another.
    fn settle(&mut self) {
        loop {
            self.engine.executor.map_pending();
            let executor = &mut self.engine.executor;
            executor.senders.flush(&self.poller, &mut executor.pool);
            let Some(lost) = executor.senders.lost.pop() else { break };
            if self.disconnect(lost.peer) {
                self.metrics.connection_lost();
            }
            let Lost { peer, reason, refused } = lost;
            self.tell(Event::PeerLost { shard: self.index, peer, reason, refused });
        }
        while let Some((region, attempt)) = self.engine.executor.left.pop() {
            self.tell(Event::Left { shard: self.index, region, attempt });
        }
        while let Some((attachment, reason)) = self.engine.executor.programs.ended.pop() {
            self.detach(attachment);
            self.tell(Event::AttachmentEnded { attachment, reason });
        }
    }

    fn tell(&self, event: Event) {
        // The control path outlives its shards but for the very end.
        let _ = self.events.send(event);
    }
}
