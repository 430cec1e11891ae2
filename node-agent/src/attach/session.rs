//! The life of one connection: `Hello`, `Bind`, then any number of `Map` and `Unmap`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use pagemesh_telemetry::continue_from;
use tracing::{Instrument, debug, info, info_span};

use super::Shared;
use super::adopted::Adopted;
use super::attached::Session;
use super::end::{End, bad, internal};
use super::keeper::{self, HeldOn, Holding, Told, open_to_hold};
use super::names;
use super::packet::{Hello, Reason, Reply, Request};
use super::pod::pod_uid;
use super::ranges::Ranges;
use super::rest::Rest;
use super::socket::{Connection, PeerCredentials, Received};
use crate::control::{Admission, Asked, Attached, By, Denied, GivenUp, Who};
use crate::kept::{KeptAttachment, Process};
use crate::names::Meant;
use crate::shard::{Command, Counts};
use crate::uffd::Uffd;
use crate::volume::{ByVolume, Volume};

/// How long a program may take to introduce itself, so that idle connections do not take the places of others.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

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

/// Serves a connection until it ends. Returns what outlives it.
pub(super) async fn serve(connection: &Connection, volume: Option<&Volume>, shared: &Shared) -> Option<Rest> {
    let credentials = match connection.credentials() {
        Ok(credentials) => credentials,
        Err(error) => {
            debug!(%error, "a program was gone before it said anything");
            return None;
        }
    };
    let PeerCredentials { pid, uid } = credentials;
    let client = Client { credentials, volume, knows_read_only: false };
    let (end, rest) = attach(connection, shared, client).await;
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
        End::Unremarkable(text) => {
            debug!(pid, uid, "refused a program: {text}");
            connection.send_last(&Reply::Refuse { reason: Reason::UnknownRegion, text }.encode());
        }
    }
    rest
}

/// Tells people of a pod why its programs would get nothing.
pub(super) fn tell_pod(shared: &Shared, volume: &Volume, denied: Denied) {
    if let End::Refused(reason, text) = End::from(denied)
        && let Some(event) = event(reason)
    {
        shared.control.tell(&volume.pod, event, text);
    }
}

/// What people are told of a pod whose program is refused for this reason, in one word.
fn event(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::UnknownRegion => Some("RegionUnknown"),
        Reason::NotReady | Reason::Deleting => Some("RegionNotReady"),
        Reason::Forbidden => Some("AttachForbidden"),
        // The program's own trouble, which its log tells.
        Reason::BadRequest | Reason::TooMany | Reason::Version | Reason::Internal => None,
    }
}

/// Tells a program that there is no place for it.
pub(super) fn turn_away(connection: &Connection, text: String) {
    connection.send_last(&Reply::Refuse { reason: Reason::TooMany, text }.encode());
}

/// From the first packet to the end. The [`crate::control::Attachment`] goes before the refusal is sent, and takes all it has with it.
async fn attach(connection: &Connection, shared: &Shared, client: Client<'_>) -> (End, Option<Rest>) {
    let process = match connection.process() {
        Ok(process) => process,
        Err(error) => return (error.into(), None),
    };
    let first = tokio::select! {
        first = handshake(connection, shared, client) => first,
        _ = process.readable() => Err(End::Closed("the process ended")),
        () = tokio::time::sleep(HANDSHAKE_TIMEOUT) => bad("the program took too long to attach"),
    };
    let (mut session, mut given_up) = match first {
        Ok(First::Attached(session, given_up)) => (session, given_up),
        Ok(First::Keeper(volume)) => {
            let end = tokio::select! {
                Err(end) = keeper::serve(connection, shared, volume, client.credentials) => end,
                _ = process.readable() => End::Closed("the process ended"),
            };
            return (end, None);
        }
        Ok(First::Names) => {
            let end = tokio::select! {
                Err(end) = names::serve(connection, shared, client.volume) => end,
                _ = process.readable() => End::Closed("the process ended"),
            };
            return (end, None);
        }
        Err(end) => return (end, None),
    };
    // Whatever the session waits for, even for a program that takes no answers, these end it.
    let (end, gone) = tokio::select! {
        Err(end) = session.run(connection) => (end, false),
        Ok(reason) = &mut given_up => (End::GivenUp(reason), false),
        _ = process.readable() => (End::Closed("the process ended"), true),
    };
    // What a process that lives on has mapped, a successor must be able to take from it.
    if gone || session.ranges.bytes() == 0 {
        session.attachment.end();
        session.held.into_iter().for_each(HeldOn::release);
        return (end, None);
    }
    let process = process.into_inner();
    let Some(held) = session.held else { return (end, None) };
    let rest = match (&end, session.kept) {
        (End::Closed(_) | End::Io(_), Some(kept)) => Rest::Served(Box::new(Adopted {
            admission: session.admission,
            attachment: session.attachment,
            given_up,
            kept,
            ranges: session.ranges,
            uffds: session.uffds,
            held: Some(held),
            process,
        })),
        (End::Closed(_) | End::Io(_) | End::Refused(..) | End::Unremarkable(_) | End::GivenUp(_), _) => {
            Rest::Held(held, process)
        }
    };
    (end, Some(rest))
}

/// What a connection has begun.
enum First<'a> {
    Attached(Box<Session>, GivenUp),
    /// Of the volume.
    Keeper(&'a Volume),
    /// Asks for names.
    Names,
}

/// `Hello` and `Bind`, or what else a connection may begin with.
async fn handshake<'a>(
    connection: &Connection,
    shared: &Shared,
    client: Client<'a>,
) -> Result<First<'a>, End> {
    let hello = loop {
        let received = connection.receive().await?;
        let descriptors = received.as_ref().map_or(0, |received| received.descriptors.len());
        match (decode(received, descriptors)?, client.volume) {
            ((Request::Hello(hello), descriptors), _) if descriptors.is_empty() => break hello,
            ((Request::Resume { attachment }, descriptors), _) => {
                let resumed = resume(connection, shared, client, attachment, descriptors).await?;
                return Ok(First::Attached(Box::new(resumed.0), resumed.1));
            }
            ((Request::Ask, descriptors), Some(volume)) if descriptors.is_empty() => {
                let state =
                    Told::State { trouble: keeper::trouble(shared, volume).map(|denied| denied.to_string()) };
                connection.send(&state.encode(), &[]).await?;
            }
            ((Request::Keep, descriptors), Some(volume)) if descriptors.is_empty() => {
                return Ok(First::Keeper(volume));
            }
            ((Request::Names, descriptors), _) if descriptors.is_empty() => return Ok(First::Names),
            ((Request::Names, _), _) => return bad("Names carries no descriptors"),
            ((Request::Keep | Request::Ask, _), _) => {
                return bad("Keep and Ask are for the socket of a pod's volume, and carry no descriptors");
            }
            ((Request::Hello(_) | Request::Bind | Request::Map { .. } | Request::Unmap { .. }, _), _) => {
                return bad("the first packet must be Hello or Names, without descriptors, or Resume");
            }
        }
    };
    let Hello { name, knows_read_only, inherited, read_only } = hello;
    let client = Client { knows_read_only, ..client };
    let who = client.who();
    let (meant, by) = if inherited {
        (Meant { name, read_only }, By::Inheritance)
    } else {
        match shared.names.meant(&name, client.volume).await? {
            Some(meant) => (meant, By::Mount),
            None => (Meant { name, read_only: false }, By::Name),
        }
    };
    let asked = Asked { name: &meant.name, by, read_only: meant.read_only || read_only };
    let admission = shared.control.admit(asked, who)?;
    let span = info_span!("attach", region = admission.name, pid = client.credentials.pid);
    if let Some(traceparent) = &admission.traceparent {
        continue_from(&span, traceparent);
    }
    let (session, given_up) = welcome(connection, shared, client, admission).instrument(span).await?;
    Ok(First::Attached(Box::new(session), given_up))
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
    let Adopted { admission, attachment, given_up, kept, ranges, uffds, held, .. } = adopted;
    if let Err(error) = connection.send(&Reply::Ok.encode(), &[]).await {
        held.into_iter().for_each(HeldOn::release);
        return Err(error.into());
    }
    info!(attachment = attachment.id().0, region = admission.name, pid, "attached again");
    let shards = shards.to_vec();
    Ok((Session { shards, admission, attachment, uffds, ranges, kept: Some(kept), held }, given_up))
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
    let attached = Attached {
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
    };
    let (attachment, given_up) = shared.control.attach(&admission, attached)?;
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
    let uffds: Arc<[Arc<Uffd>]> = uffds.into();
    let counts: Arc<[Arc<Counts>]> = uffds.iter().map(|_| Arc::default()).collect();
    for ((shard, uffd), counts) in shards.iter().zip(&*uffds).zip(&*counts) {
        let (uffd, counts, region) = (Arc::clone(uffd), Arc::clone(counts), admission.region);
        shard.send(Command::Bind { attachment: attachment.id(), region, uffd, read_only, counts });
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
    let to_hold = client.volume.map(|volume| (volume, open_to_hold(&admission.file, read_only)));
    let ranges = Ranges::new(admission.page_size);
    let shards = shards.to_vec();
    let mut session = Session { shards, admission, attachment, uffds, ranges, kept, held: None };
    session.keep()?;
    if let Some((volume, file)) = to_hold {
        let (region, uffds) = (session.admission.name.clone(), Arc::clone(&session.uffds));
        let holding = Holding { region, file, uffds, counts };
        session.held = Some(shared.holdings.hold(&volume.id, session.attachment.id().0, holding));
    }
    if let Err(error) = connection.send(&Reply::Ok.encode(), &[]).await {
        session.attachment.end();
        session.held.into_iter().for_each(HeldOn::release);
        return Err(error.into());
    }
    info!(attachment = session.attachment.id().0, region = session.admission.name, pid, "attached");
    Ok((session, given_up))
}

/// Reads a packet that must carry just so many descriptors.
pub(super) fn decode(received: Option<Received>, descriptors: usize) -> Result<(Request, Vec<OwnedFd>), End> {
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
