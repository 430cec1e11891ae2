//! This agent as a name server: gRPC `pagemesh.v1.Directory` for everybody, and what programs mean by the paths that they open.
//!
//! [`Names`] is what the agent knows, taken from the objects in force; `serve` answers from it, as far as `asker` may see it,
//! `listen` makes the sockets, `mount` says which region a program means. All of it is off the data path, and nothing here
//! waits for another name server but within a deadline.

mod asker;
mod listen;
mod mount;
mod serve;
mod shares;

pub use listen::{CannotListen, Listeners, SOCKET};
pub use mount::Meant;

use std::sync::{Arc, Mutex, PoisonError};

use pagemesh_names::{Hints, Tree, proto};
use tokio::sync::watch;
use tracing::warn;

use crate::config::Objects;
use shares::Shares;

/// What this agent knows of names.
#[derive(Debug)]
pub struct Names {
    server: String,
    incarnation: String,
    objects: watch::Receiver<Arc<Objects>>,
    known: Mutex<Known>,
    /// What other servers have said, for programs that attach.
    hints: Hints,
    /// Programs that wait for other servers.
    attaching: Shares,
    /// Questions that wait for them, and those of these that ask for lists, which may be long.
    asking: Shares,
    listing: Shares,
    watches: Shares,
    /// Connections that came by the attach socket.
    connections: Shares,
}

#[derive(Debug)]
struct Known {
    /// What the tree is made of.
    of: Arc<Objects>,
    tree: Arc<Tree>,
    generation: u64,
    notes: Vec<String>,
}

impl Names {
    /// Of an agent of this name, in this life, with these objects as they follow on each other.
    #[must_use]
    pub fn new(server: String, incarnation: String, objects: watch::Receiver<Arc<Objects>>) -> Names {
        let of = Arc::clone(&objects.borrow());
        let tree = Arc::new(of.names());
        let notes = note(&tree, &[]);
        let known = Mutex::new(Known { of, tree, generation: 1, notes });
        Names {
            server,
            incarnation,
            objects,
            known,
            hints: Hints::default(),
            attaching: Shares::new(64, 8),
            asking: Shares::new(64, 4),
            listing: Shares::new(4, 1),
            watches: Shares::new(1024, 32),
            connections: Shares::new(64, 4),
        }
    }

    /// The tree as of now.
    fn tree(&self) -> Arc<Tree> {
        self.now().0
    }

    /// The same, and which of those that were it is, for who is told of it.
    fn told(&self) -> (Arc<Tree>, proto::Version) {
        let (tree, generation) = self.now();
        let (server, incarnation) = (self.server.clone(), self.incarnation.clone());
        (tree, proto::Version { server, incarnation, generation })
    }

    fn now(&self) -> (Arc<Tree>, u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let objects = Arc::clone(&self.objects.borrow());
        if !Arc::ptr_eq(&known.of, &objects) {
            let tree = objects.names();
            known.of = objects;
            if *known.tree != tree {
                known.notes = note(&tree, &known.notes);
                known.tree = Arc::new(tree);
                known.generation += 1;
            }
        }
        (Arc::clone(&known.tree), known.generation)
    }

    /// Whether what is known here follows the world no more, since another agent has taken over.
    fn is_stale(&self) -> bool {
        self.objects.has_changed().is_err()
    }
}

/// Says what is wrong with tables, once.
fn note(tree: &Tree, before: &[String]) -> Vec<String> {
    let notes: Vec<String> = tree.notes().collect();
    for note in notes.iter().filter(|note| !before.contains(note)) {
        warn!("{note}");
    }
    notes
}
