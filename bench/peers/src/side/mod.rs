//! Those that are compared: ours, and its peers. Each has two clients; what is read and written is held by the second, or by a server.

mod memcached;
mod mpi;
mod nfs;
mod ours;
mod redis;

use std::any::Any;
use std::path::Path;

use anyhow::Result;

use crate::order::{Line, Order};
use crate::process::Process;

/// A way to share pages, and two clients that do.
pub(crate) struct Side {
    clients: [Line; 2],
    /// Whether what a client wants takes the other's help.
    needs_both: bool,
    /// Whether it has a counter.
    pub(crate) counts: bool,
    /// Ended after the clients' connections are closed.
    _running: Vec<Box<dyn Any>>,
}

/// What is printed of a way.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    /// How it is run.
    pub(crate) flags: String,
}

impl Side {
    fn of(clients: [(Process, Line); 2], mut running: Vec<Box<dyn Any>>) -> Side {
        let clients = clients.map(|(process, line)| {
            // Clients end before their server does.
            running.insert(0, Box::new(process));
            line
        });
        Side { clients, needs_both: false, counts: true, _running: running }
    }

    /// Has one client do something, to its end.
    pub(crate) fn ask(&mut self, client: usize, order: &Order) -> Result<Vec<u64>> {
        if self.needs_both {
            self.clients[1 - client].tell(&Order::Serve)?;
        }
        self.clients[client].tell(order)?;
        let answer = self.clients[client].answer()?;
        if self.needs_both {
            self.clients[1 - client].answer()?;
        }
        Ok(answer)
    }

    /// Has both do something at a time.
    pub(crate) fn both(&mut self, orders: [&Order; 2]) -> Result<[Vec<u64>; 2]> {
        for (client, order) in self.clients.iter_mut().zip(orders) {
            client.tell(order)?;
        }
        let [first, second] = &mut self.clients;
        Ok([first.answer()?, second.answer()?])
    }
}

/// Ours, in the mesh whose directory it is.
pub(crate) fn ours(mesh: &Path) -> Result<(About, Side)> {
    ours::start(mesh)
}

/// All peers, in a directory for what they need, or why one could not be started.
pub(crate) fn peers(place: &Path) -> Vec<(&'static str, Result<(About, Side)>)> {
    type Start = fn(&Path) -> Result<(About, Side)>;
    let all: [(&'static str, Start); 4] =
        [("MPI", mpi::start), ("Redis", redis::start), ("memcached", memcached::start), ("NFS", nfs::start)];
    all.map(|(name, start)| (name, start(place))).into()
}

/// Undoes what a run that was killed could not, and which would not go with its directory or its processes.
pub(crate) fn tidy(place: &Path) {
    nfs::tidy(place);
}
