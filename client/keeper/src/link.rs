//! The connection to the agent: made again when it breaks, for the agent may be started again at any time.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use pagemesh_attach::Error;
use pagemesh_attach::socket::{Socket, SocketPath};
use pagemesh_attach::wire::keeper::{KEEP, Told};

use crate::holdings::Holdings;
use crate::metrics::Metrics;

/// How often an agent is looked for that does not answer.
const TRY_EVERY: Duration = Duration::from_millis(200);

/// For how long an agent may be away until the pod is not ready any more: it is being started again.
const AWAY_MAX: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Link {
    path: SocketPath,
    socket: Option<Socket>,
    /// When to try again, and since when there has been nobody.
    next_try: Instant,
    away_since: Instant,
    /// Why nobody is there, as it was said last.
    away: String,
    /// What the agent has said last about the pod's regions: nothing yet, or why they cannot be attached.
    state: Option<Option<String>>,
}

impl Link {
    pub(crate) fn new(path: SocketPath, now: Instant) -> Link {
        Link {
            path,
            socket: None,
            next_try: now,
            away_since: now,
            away: "no agent has been asked yet".into(),
            state: None,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// To be waited for, while there is a connection.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: the descriptor is open as long as the socket, which is borrowed.
        self.socket.as_ref().map(|socket| unsafe { BorrowedFd::borrow_raw(socket.descriptor().raw()) })
    }

    /// When there is something to do, though nobody says anything.
    pub(crate) fn next_try(&self) -> Option<Instant> {
        self.socket.is_none().then_some(self.next_try)
    }

    /// Why the pod's regions cannot be used now, if they cannot.
    pub(crate) fn trouble(&self, now: Instant) -> Option<String> {
        let away = self.socket.is_none() && now.duration_since(self.away_since) >= AWAY_MAX;
        match &self.state {
            Some(trouble) if !away => trouble.clone(),
            _ => Some(self.away.clone()),
        }
    }

    /// Looks for the agent, if it is time.
    pub(crate) fn connect(&mut self, now: Instant) {
        if self.socket.is_some() || now < self.next_try {
            return;
        }
        let connected =
            Socket::connect(&self.path).and_then(|socket| socket.send(&KEEP, &[]).map(|()| socket));
        match connected {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => self.lose(now, &error),
        }
    }

    /// Takes what the agent says, which is there.
    pub(crate) fn receive(&mut self, now: Instant, holdings: &mut Holdings, metrics: &Metrics) {
        let Some(socket) = &self.socket else { return };
        let mut packet = match socket.receive() {
            Ok(packet) => packet,
            Err(error @ Error::Descriptors(_)) => return eprintln!("cannot hold an attachment: {error}"),
            Err(error) => return self.lose(now, &error),
        };
        let done = Told::decode(packet.bytes()).and_then(|told| match told {
            Told::Life { life, process } => {
                holdings.begin(life, process);
                Ok(())
            }
            Told::Kept { attachment, region } => {
                let descriptors = packet.descriptors().iter_mut().filter_map(Option::take);
                holdings.keep(attachment, region, descriptors)
            }
            Told::Released { attachment } => holdings.release(attachment),
            Told::Counts { attachment, counted } => holdings.count(attachment, counted, metrics),
            Told::State { trouble } => holdings.all_told().map(|()| self.note(trouble.as_ref())),
            Told::Refuse(refusal) => {
                self.lose(now, &Error::Refused(refusal));
                Ok(())
            }
        });
        if let Err(strange) = done {
            self.lose(now, &Error::Strange(strange));
        }
    }

    fn note(&mut self, trouble: Option<&pagemesh_attach::wire::Refusal>) {
        let trouble = trouble.map(|trouble| trouble.text().to_owned());
        self.away.clear();
        if self.state.as_ref() != Some(&trouble) {
            match &trouble {
                Some(trouble) => eprintln!("{trouble}"),
                None => eprintln!("every region of this pod can be attached"),
            }
            self.state = Some(trouble);
        }
    }

    fn lose(&mut self, now: Instant, error: &Error) {
        if self.away.is_empty() {
            self.away_since = now;
        }
        let why = error.to_string();
        if why != self.away {
            eprintln!("{why}");
            self.away = why;
        }
        self.socket = None;
        self.next_try = now + TRY_EVERY;
    }
}
