//! An attachment while its program is connected: `Map` and `Unmap`.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::end::{End, bad, internal};
use super::keeper::HeldOn;
use super::packet::{Reason, Reply, Request};
use super::ranges::Ranges;
use super::session::decode;
use super::socket::Connection;
use crate::control::{Admission, Attachment};
use crate::kept::KeptAttachment;
use crate::shard::{self, Command, Range, ShardHandle};
use crate::uffd::{OpError, Uffd};

/// An attachment whose userfaultfds the shards have.
pub(super) struct Session {
    pub(super) shards: Vec<ShardHandle>,
    pub(super) admission: Admission,
    pub(super) attachment: Attachment,
    pub(super) uffds: Arc<[Arc<Uffd>]>,
    pub(super) ranges: Ranges,
    /// What a successor of this process would have to know. None if the process cannot be seen from here.
    pub(super) kept: Option<KeptAttachment>,
    /// What keeps it held by a keeper, if it came by a volume.
    pub(super) held: Option<HeldOn>,
}

impl Session {
    pub(super) async fn run(&mut self, connection: &Connection) -> Result<Infallible, End> {
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
            Request::Hello(_)
            | Request::Bind
            | Request::Resume { .. }
            | Request::Keep
            | Request::Ask
            | Request::Names => {
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
    pub(super) fn keep(&mut self) -> io::Result<()> {
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
