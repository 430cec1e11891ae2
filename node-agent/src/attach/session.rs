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
use crate::control::{Admission, Attached, Attachment, Denied, GivenUp, Who};
use crate::kept::{KeptAttachment, Process};
use crate::shard::{self, Command, Range, ShardHandle};
use crate::uffd::{OpError, Uffd};
use crate::volume::{ByVolume, Volume};

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
            Denied::Unknown(_) | Denied::NotInVolume(_) => Reason::UnknownRegion,
            Denied::Forbidden { .. } => Reason::Forbidden,
            Denied::NotReady { .. } | Denied::Stopping => Reason::NotReady,
        };
        End::Refused(reason, denied.to_string())
    }
}

fn bad<T>(text: impl Into<String>) -> Result<T, End> {
    Err(End::Refused(Reason::BadRequest, text.into()))
}

/// Whom a connection is of.
#[derive(Clone, Copy, Debug)]
struct Client<'a> {
    credentials: PeerCredentials,
    /// The volume that it came by; the node's own socket if it came by none.
    volume: Option<&'a Volume>,
    knows_read_only: bool,
}

impl Client<'_> {
    fn who(&self) -> Who<'_> {
        self.volume.map_or(Who::OfTheNode, Who::OfVolume)
    }
}

/// Serves a connection until it ends.
pub(super) async fn serve(connection: &Connection, volume: Option<&Volume>, shared: &Shared) {
    let credentials = match connection.credentials() {
        Ok(credentials) => credentials,
        Err(error) => return debug!(%error, "a program was gone before it said anything"),
    };
    let PeerCredentials { pid, uid } = credentials;
    let client = Client { credentials, volume, knows_read_only: false };
    let Err(end) = attach(connection, shared, client).await;
    match end {
        End::Closed(how) => info!(pid, uid, "a connection ended: {how}"),
        End::GivenUp(reason) => info!(pid, uid, "an attachment was given up: {reason}"),
        End::Io(error) => info!(pid, uid, "a connection broke: {error}"),
        End::Refused(reason, text) => {
            info!(pid, uid, ?reason, "refused a program: {text}");
            if let (Some(volume), Some(event)) = (volume, event(reason)) {
                shared.control.tell(&volume.pod, event, text.clone());
            }
            connection.send_last(&Reply::Refuse { reason, text }.encode());
        }
    }
}

/// What people are told of a pod whose program is refused for this reason, in one word.
fn event(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::UnknownRegion => Some("RegionUnknown"),
        Reason::NotReady => Some("RegionNotReady"),
        Reason::Forbidden => Some("AttachForbidden"),
        // The program's own trouble, which its log tells.
        Reason::BadRequest | Reason::TooMany | Reason::Version | Reason::Internal => None,
    }
}

/// Tells a program that there is no place for it.
pub(super) fn turn_away(connection: &Connection, text: String) {
    connection.send_last(&Reply::Refuse { reason: Reason::TooMany, text }.encode());
}

/// From the first packet to the end. The [`Attachment`] goes before the refusal is sent, and takes all it has with it.
async fn attach(connection: &Connection, shared: &Shared, client: Client<'_>) -> Result<Infallible, End> {
    let process = connection.process()?;
    let (mut session, given_up) = tokio::select! {
        session = handshake(connection, shared, client) => session?,
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
    client: Client<'_>,
) -> Result<(Session, GivenUp), End> {
    let received = connection.receive().await?;
    let descriptors = received.as_ref().map_or(0, |received| received.descriptors.len());
    let (name, knows_read_only) = match decode(received, descriptors)? {
        (Request::Hello { name, knows_read_only }, descriptors) if descriptors.is_empty() => {
            (name, knows_read_only)
        }
        (Request::Resume { attachment }, descriptors) => {
            return resume(connection, shared, client, attachment, descriptors).await;
        }
        (Request::Hello { .. } | Request::Bind | Request::Map { .. } | Request::Unmap { .. }, _) => {
            return bad("the first packet must be Hello, without descriptors, or Resume");
        }
    };
    let client = Client { knows_read_only, ..client };
    let admission = shared.control.admit(&name, client.who())?;
    let span = info_span!("attach", region = admission.name, pid = client.credentials.pid);
    if let Some(traceparent) = &admission.traceparent {
        continue_from(&span, traceparent);
    }
    welcome(connection, shared, client, admission).instrument(span).await
}

/// A program that was attached to an earlier process of this agent.
async fn resume(
    connection: &Connection,
    shared: &Shared,
    client: Client<'_>,
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
    let pid = client.credentials.pid;
    let volume = client.volume.map(|volume| volume.id.as_str());
    let Some(adopted) = shared.parked.claim(attachment, pid, volume).await else {
        return bad(format!("attachment {attachment} of this process is not known here: attach anew"));
    };
    // The userfaultfds that it brings are those that its number led to.
    let Adopted { admission, attachment, given_up, kept, ranges, uffds, .. } = adopted;
    connection.send(&Reply::Ok.encode(), &[]).await?;
    info!(attachment = attachment.id().0, region = admission.name, pid, "attached again");
    let shards = shards.to_vec();
    Ok((Session { shards, admission, attachment, uffds, ranges, kept: Some(kept) }, given_up))
}

/// From the answer to `Hello` on.
async fn welcome(
    connection: &Connection,
    shared: &Shared,
    client: Client<'_>,
    admission: Admission,
) -> Result<(Session, GivenUp), End> {
    let PeerCredentials { pid, uid } = client.credentials;
    let pod = match client.volume {
        // Whatever control group the process is in: it was given the pod's socket.
        Some(volume) => Some(volume.pod.uid.clone()),
        None => std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok().and_then(|text| pod_uid(&text)),
    };
    let (by_volume, read_only) = (client.volume.map(ByVolume::from), admission.read_only);
    let file = region_file(&admission, client.knows_read_only)?;
    let (attachment, given_up) = shared.control.attach(Attached {
        id: admission.region,
        region: admission.name.clone(),
        pid,
        uid,
        command: command(pid),
        pod: pod.clone(),
        by_volume: by_volume.clone(),
        read_only,
        revoked: None,
        mapped_bytes: 0,
    });
    let shards = shared.control.shards();
    let welcome = Reply::Welcome {
        size: admission.size,
        page_size: admission.page_size,
        userfaultfds: shards.len() as u32,
        attachment: attachment.id().0,
        read_only,
    };
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
        shard.send(Command::Bind { attachment: attachment.id(), region: admission.region, uffd, read_only });
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
        by_volume,
        read_only,
        revoked: None,
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

/// The descriptor that the program gets: with what it is allowed to do, nobody can do more.
fn region_file(admission: &Admission, knows_read_only: bool) -> Result<OwnedFd, End> {
    let name = &admission.name;
    if !admission.read_only {
        return Ok(reopen(admission.file.fd())?);
    }
    if !knows_read_only {
        return Err(End::Refused(
            Reason::Forbidden,
            format!(
                "region {name} is to be read only by this pod, and the program's library does not know how: install the \
                 library of this release"
            ),
        ));
    }
    let opened = admission.file.open_read_only();
    opened.map(OwnedFd::from).map_err(|error| {
        internal(format!(
            "region {name} cannot be opened to read only ({error}): the agent needs CAP_SYS_ADMIN, for a read-only mount"
        ))
    })
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
            Err(No(reason, text)) => Reply::Refuse { reason, text },
        })
    }

    /// Notes what is mapped, for a successor.
    fn keep(&mut self) -> io::Result<()> {
        let Some(kept) = &mut self.kept else { return Ok(()) };
        kept.ranges = self.ranges.all().collect();
        self.attachment.keep(kept)
    }

    async fn map(&mut self, range: Range) -> Result<Result<(), No>, End> {
        if let Some(reason) = self.attachment.revoked() {
            return Ok(Err(No(Reason::Forbidden, reason)));
        }
        if self.ranges.has(range) {
            // The answer was lost with an earlier process.
            return Ok(Ok(()));
        }
        let Some(file_len) = self.attachment.file_len(self.admission.region) else {
            return Ok(Err(No::bad("the region is gone")));
        };
        if let Err(error) = self.ranges.map(range, file_len) {
            return Ok(Err(No::bad(error)));
        }
        // Before anything of it can be served: what a successor does not know, it cannot take from the program.
        self.keep()?;
        let page_size = self.admission.page_size;
        let shards = self.shards.len() as u16;
        let parts = shard::split(range, self.admission.region, page_size, shards);
        let uffds = Arc::clone(&self.uffds);
        let read_only = self.admission.read_only;
        // The ioctl waits for the lock of the program's address space, which the program can hold for long.
        let registered = tokio::task::spawn_blocking(move || register_all(&uffds, parts, read_only)).await;
        let parts = match registered.map_err(|error| internal(error.to_string()))? {
            Ok(parts) => parts,
            Err(text) => {
                self.ranges.unmap(range.base, range.len).expect("what was just added can be removed");
                self.keep()?;
                return Ok(Err(No::bad(text)));
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

    async fn unmap(&mut self, base: u64, len: u64) -> Result<Result<(), No>, End> {
        if let Err(error) = self.ranges.unmap(base, len) {
            return Ok(Err(No::bad(error)));
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

/// Why a request is refused, after which the attachment goes on.
struct No(Reason, String);

impl No {
    fn bad(text: impl ToString) -> No {
        No(Reason::BadRequest, text.to_string())
    }
}

/// Asks for the faults in a span of an attachment.
pub(super) fn register(uffd: &Uffd, Range { base, len, .. }: Range, read_only: bool) -> Result<(), OpError> {
    if read_only { uffd.register_read_only(base, len) } else { uffd.register(base, len) }
}

/// Registers each part with the userfaultfd of its shard: all of them or none.
fn register_all(
    uffds: &[Arc<Uffd>],
    parts: Vec<(u16, Range)>,
    read_only: bool,
) -> Result<Vec<(u16, Range)>, String> {
    for (done, (shard, part)) in parts.iter().enumerate() {
        let Err(error) = register(&uffds[usize::from(*shard)], *part, read_only) else { continue };
        for (shard, part) in &parts[..done] {
            // Nobody waits there: the program may not touch what has not been answered with Ok.
            let _ = uffds[usize::from(*shard)].unregister(part.base, part.len);
        }
        let how = if read_only { "MAP_PRIVATE and to read" } else { "MAP_SHARED and writable" };
        return Err(format!(
            "the span cannot be watched ({error}): map the region file there first, {how}; for very large regions raise \
             vm.max_map_count"
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
