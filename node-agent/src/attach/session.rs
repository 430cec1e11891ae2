//! The life of one connection: `Hello`, `Bind`, then any number of `Map` and `Unmap`.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use pagemesh_telemetry::continue_from;
use tokio::sync::oneshot;
use tracing::{Instrument, debug, info, info_span};

use super::Shared;
use super::adopted::Adopted;
use super::packet::{PacketError, Reason, Reply, Request};
use super::pod::pod_uid;
use super::ranges::Ranges;
use super::socket::{Connection, PeerCredentials, Received};
use crate::control::{Admission, Attached, Attachment, Denied, GivenUp};
use crate::kept::{KeptAttachment, Process};
use crate::shard::{self, Command, Range, ShardHandle};
use crate::uffd::Uffd;

/// How long a program may take to introduce itself, so that idle connections do not take the places of others.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The program has closed it or is gone.
    Closed(&'static str),
    /// It was told why.
    Refused(Reason, String),
    /// A shard gave the attachment up.
    GivenUp(String),
    /// The socket does not work.
    Io(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Io(error)
    }
}

impl From<PacketError> for End {
    fn from(error: PacketError) -> End {
        let reason = match error {
            PacketError::Version(_) => Reason::Version,
            PacketError::Foreign
            | PacketError::Kind(_)
            | PacketError::Length { .. }
            | PacketError::Reserved
            | PacketError::Name => Reason::BadRequest,
        };
        End::Refused(reason, error.to_string())
    }
}

impl From<Denied> for End {
    fn from(denied: Denied) -> End {
        let reason = match denied {
            Denied::Unknown(_) => Reason::UnknownRegion,
            Denied::NotReady { .. } | Denied::Stopping => Reason::NotReady,
        };
        End::Refused(reason, denied.to_string())
    }
}

fn bad<T>(text: impl Into<String>) -> Result<T, End> {
    Err(End::Refused(Reason::BadRequest, text.into()))
}

/// Serves a connection until it ends.
pub(super) async fn serve(connection: &Connection, shared: &Shared) {
    let credentials = match connection.credentials() {
        Ok(credentials) => credentials,
        Err(error) => return debug!(%error, "a program was gone before it said anything"),
    };
    let PeerCredentials { pid, uid } = credentials;
    let Err(end) = attach(connection, shared, credentials).await;
    match end {
        End::Closed(how) => info!(pid, uid, "a connection ended: {how}"),
        End::GivenUp(reason) => info!(pid, uid, "an attachment was given up: {reason}"),
        End::Io(error) => info!(pid, uid, "a connection broke: {error}"),
        End::Refused(reason, text) => {
            info!(pid, uid, ?reason, "refused a program: {text}");
            connection.send_last(&Reply::Refuse { reason, text }.encode());
        }
    }
}

/// Tells a program that there is no place for it.
pub(super) fn turn_away(connection: &Connection, shared: &Shared) {
    let max = shared.attachments_max;
    let text = format!("this node has {max} attachments already: raise --attachments, or end some programs");
    connection.send_last(&Reply::Refuse { reason: Reason::TooMany, text }.encode());
}

/// From the first packet to the end. The [`Attachment`] goes before the refusal is sent, and takes all it has with it.
async fn attach(
    connection: &Connection,
    shared: &Shared,
    credentials: PeerCredentials,
) -> Result<Infallible, End> {
    let process = connection.process()?;
    let (mut session, given_up) = tokio::select! {
        session = handshake(connection, shared, credentials) => session?,
        _ = process.readable() => return Err(End::Closed("the process ended")),
        () = tokio::time::sleep(HANDSHAKE_TIMEOUT) => return bad("the program took too long to attach"),
    };
    // Whatever the session waits for, even for a program that takes no answers, these end it.
    let (ended, gone) = tokio::select! {
        ended = session.run(connection) => (ended, false),
        Ok(reason) = given_up => (Err(End::GivenUp(reason)), false),
        _ = process.readable() => (Err(End::Closed("the process ended")), true),
    };
    // What a process that lives on has mapped, a successor must be able to take from it.
    if gone || session.ranges.bytes() == 0 {
        session.attachment.end();
    }
    ended
}

/// `Hello` and `Bind`.
async fn handshake(
    connection: &Connection,
    shared: &Shared,
    credentials: PeerCredentials,
) -> Result<(Session, GivenUp), End> {
    let received = connection.receive().await?;
    let descriptors = received.as_ref().map_or(0, |received| received.descriptors.len());
    let name = match decode(received, descriptors)? {
        (Request::Hello { name, knows_read_only: _ }, descriptors) if descriptors.is_empty() => name,
        (Request::Resume { attachment }, descriptors) => {
            return resume(connection, shared, credentials, attachment, descriptors).await;
        }
        (Request::Hello { .. } | Request::Bind | Request::Map { .. } | Request::Unmap { .. }, _) => {
            return bad("the first packet must be Hello, without descriptors, or Resume");
        }
    };
    let admission = shared.control.admit(&name)?;
    let span = info_span!("attach", region = admission.name, pid = credentials.pid);
    if let Some(traceparent) = &admission.traceparent {
        continue_from(&span, traceparent);
    }
    welcome(connection, shared, credentials, admission).instrument(span).await
}

/// A program that was attached to an earlier process of this agent.
async fn resume(
    connection: &Connection,
    shared: &Shared,
    credentials: PeerCredentials,
    attachment: u64,
    descriptors: Vec<OwnedFd>,
) -> Result<(Session, GivenUp), End> {
    let shards = shared.control.shards();
    if descriptors.len() != shards.len() {
        return bad(format!(
            "Resume must carry {} descriptors and carries {}",
            shards.len(),
            descriptors.len()
        ));
    }
    let Some(adopted) = shared.parked.claim(attachment, credentials.pid).await else {
        return bad(format!("attachment {attachment} of this process is not known here: attach anew"));
    };
    // The userfaultfds that it brings are those that its number led to.
    let Adopted { admission, attachment, given_up, kept, ranges, uffds, .. } = adopted;
    connection.send(&Reply::Ok.encode(), &[]).await?;
    info!(attachment = attachment.id().0, region = admission.name, pid = credentials.pid, "attached again");
    let shards = shards.to_vec();
    Ok((Session { shards, admission, attachment, uffds, ranges, kept: Some(kept) }, given_up))
}

/// From the answer to `Hello` on.
async fn welcome(
    connection: &Connection,
    shared: &Shared,
    credentials: PeerCredentials,
    admission: Admission,
) -> Result<(Session, GivenUp), End> {
    let PeerCredentials { pid, uid } = credentials;
    let pod = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok().and_then(|text| pod_uid(&text));
    let (attachment, given_up) = shared.control.attach(Attached {
        id: admission.region,
        region: admission.name.clone(),
        pid,
        uid,
        command: command(pid),
        pod: pod.clone(),
        mapped_bytes: 0,
    });
    let shards = shared.control.shards();
    let welcome = Reply::Welcome {
        size: admission.size,
        page_size: admission.page_size,
        userfaultfds: shards.len() as u32,
        attachment: attachment.id().0,
        read_only: false,
    };
    let file = reopen(admission.file.fd())?;
    connection.send(&welcome.encode(), &[file.as_fd(), shared.device.as_fd()]).await?;

    let (Request::Bind, descriptors) = decode(connection.receive().await?, shards.len())? else {
        return bad("the second packet must be Bind");
    };
    let mut uffds = Vec::new();
    for descriptor in descriptors {
        uffds.push(Arc::new(
            Uffd::adopt(descriptor).map_err(|error| End::Refused(Reason::BadRequest, error.to_string()))?,
        ));
    }
    for (shard, uffd) in shards.iter().zip(&uffds) {
        let uffd = Arc::clone(uffd);
        shard.send(Command::Bind { attachment: attachment.id(), region: admission.region, uffd });
    }
    let userfaultfds = uffds.iter().map(|uffd| uffd.inode()).collect::<Result<_, _>>();
    let userfaultfds = userfaultfds.map_err(|errno| internal(errno.to_string()))?;
    let kept = Process::of(pid).map(|process| KeptAttachment {
        userfaultfds,
        id: attachment.id().0,
        region: admission.region.0,
        name: admission.name.clone(),
        process,
        uid,
        command: command(pid),
        pod,
        ranges: Vec::new(),
    });
    let ranges = Ranges::new(admission.page_size);
    let shards = shards.to_vec();
    let mut session = Session { shards, admission, attachment, uffds: uffds.into(), ranges, kept };
    session.keep()?;
    if let Err(error) = connection.send(&Reply::Ok.encode(), &[]).await {
        session.attachment.end();
        return Err(error.into());
    }
    info!(attachment = session.attachment.id().0, region = session.admission.name, pid, "attached");
    Ok((session, given_up))
}

/// Reads a packet that must carry just so many descriptors.
fn decode(received: Option<Received>, descriptors: usize) -> Result<(Request, Vec<OwnedFd>), End> {
    let Some(received) = received else {
        return Err(End::Closed("the program closed it"));
    };
    let request = Request::decode(&received.bytes)?;
    if received.descriptors_lost {
        let text = "the agent has no room for more descriptors: raise its RLIMIT_NOFILE";
        return Err(End::Refused(Reason::TooMany, text.into()));
    }
    let have = received.descriptors.len();
    if have != descriptors {
        return bad(format!("the packet must carry {descriptors} descriptors and carries {have}"));
    }
    Ok((request, received.descriptors))
}

/// Opens the region file once more. A descriptor that is passed shares its flags with the one that it was made from:
/// a program that set `O_APPEND` would make all that the agent writes go to the end of the file.
fn reopen(file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(File::options().read(true).write(true).open(path)?.into())
}

/// The name of a process, if it can be seen from here.
fn command(pid: u32) -> String {
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(name.trim_ascii_end()).into_owned()
}

/// An attachment whose userfaultfds the shards have.
struct Session {
    shards: Vec<ShardHandle>,
    admission: Admission,
    attachment: Attachment,
    uffds: Arc<[Arc<Uffd>]>,
    ranges: Ranges,
    /// What a successor of this process would have to know. None if the process cannot be seen from here.
    kept: Option<KeptAttachment>,
}

impl Session {
    async fn run(&mut self, connection: &Connection) -> Result<Infallible, End> {
        loop {
            let (request, _) = decode(connection.receive().await?, 0)?;
            let reply = self.answer(request).await?;
            connection.send(&reply.encode(), &[]).await?;
        }
    }

    async fn answer(&mut self, request: Request) -> Result<Reply, End> {
        let result = match request {
            Request::Map { base, len, offset } => self.map(Range { base, len, offset }).await?,
            Request::Unmap { base, len } => self.unmap(base, len).await?,
            Request::Hello { .. } | Request::Bind | Request::Resume { .. } => {
                return bad("the program is attached already");
            }
        };
        self.attachment.set_mapped_bytes(self.ranges.bytes());
        Ok(match result {
            Ok(()) => Reply::Ok,
            // The attachment goes on after this.
            Err(text) => Reply::Refuse { reason: Reason::BadRequest, text },
        })
    }

    /// Notes what is mapped, for a successor.
    fn keep(&mut self) -> io::Result<()> {
        let Some(kept) = &mut self.kept else { return Ok(()) };
        kept.ranges = self.ranges.all().collect();
        self.attachment.keep(kept)
    }

    async fn map(&mut self, range: Range) -> Result<Result<(), String>, End> {
        if self.ranges.has(range) {
            // The answer was lost with an earlier process.
            return Ok(Ok(()));
        }
        let Some(file_len) = self.attachment.file_len(self.admission.region) else {
            return Ok(Err("the region is gone".into()));
        };
        if let Err(error) = self.ranges.map(range, file_len) {
            return Ok(Err(error.to_string()));
        }
        // Before anything of it can be served: what a successor does not know, it cannot take from the program.
        self.keep()?;
        let page_size = self.admission.page_size;
        let shards = self.shards.len() as u16;
        let parts = shard::split(range, self.admission.region, page_size, shards);
        let uffds = Arc::clone(&self.uffds);
        // The ioctl waits for the lock of the program's address space, which the program can hold for long.
        let registered = tokio::task::spawn_blocking(move || register(&uffds, parts)).await;
        let parts = match registered.map_err(|error| internal(error.to_string()))? {
            Ok(parts) => parts,
            Err(text) => {
                self.ranges.unmap(range.base, range.len).expect("what was just added can be removed");
                self.keep()?;
                return Ok(Err(text));
            }
        };
        let attachment = self.attachment.id();
        let mut answers = Vec::new();
        for (shard, range) in parts {
            let (done, answer) = oneshot::channel();
            self.shards[usize::from(shard)].send(Command::Map { attachment, range, done });
            answers.push(answer);
        }
        await_all(answers).await.map(Ok)
    }

    async fn unmap(&mut self, base: u64, len: u64) -> Result<Result<(), String>, End> {
        if let Err(error) = self.ranges.unmap(base, len) {
            return Ok(Err(error.to_string()));
        }
        let attachment = self.attachment.id();
        let mut answers = Vec::new();
        for shard in &self.shards {
            let (done, answer) = oneshot::channel();
            shard.send(Command::Unmap { attachment, base, len, done });
            answers.push(answer);
        }
        await_all(answers).await?;
        self.keep()?;
        Ok(Ok(()))
    }
}

/// Registers each part with the userfaultfd of its shard: all of them or none.
fn register(uffds: &[Arc<Uffd>], parts: Vec<(u16, Range)>) -> Result<Vec<(u16, Range)>, String> {
    for (done, (shard, part)) in parts.iter().enumerate() {
        let Err(error) = uffds[usize::from(*shard)].register(part.base, part.len) else { continue };
        for (shard, part) in &parts[..done] {
            // Nobody waits there: the program may not touch what has not been answered with Ok.
            let _ = uffds[usize::from(*shard)].unregister(part.base, part.len);
        }
        return Err(format!(
            "the span cannot be watched ({error}): map the region file there first, MAP_SHARED and writable; for very \
             large regions raise vm.max_map_count"
        ));
    }
    Ok(parts)
}

/// A shard that drops the question has given the attachment up, or is gone.
async fn await_all(answers: Vec<oneshot::Receiver<()>>) -> Result<(), End> {
    for answer in answers {
        answer.await.map_err(|_| internal("the agent gave the attachment up: its log says why".into()))?;
    }
    Ok(())
}

fn internal(text: String) -> End {
    End::Refused(Reason::Internal, text)
}
