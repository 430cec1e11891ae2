//! Which region a program means by a path that a MountTable binds.

use pagemesh_crds::NAMESPACE_DEFAULT;
use pagemesh_names::{End, Place, Problem, ProblemKind, Region, Remote, Walk};
use tracing::warn;

use super::Names;
use crate::volume::Volume;

/// What a program means by the name that it attaches to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// No table says anything of it: the name itself.
    Name,
    /// What a table binds it to.
    Bound {
        /// `namespace/name`.
        region: String,
        /// The mount is for reading.
        read_only: bool,
    },
}

/// Why a path that a table binds leads to no region of this mesh: a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoName(pub String);

impl From<Problem> for NoName {
    fn from(problem: Problem) -> NoName {
        NoName(problem.reason)
    }
}

/// Where `name` is for a program of the node, or of a volume's pod.
fn place(name: &str, volume: Option<&Volume>) -> Result<Place, Problem> {
    let namespace = volume.map_or(NAMESPACE_DEFAULT, |volume| &volume.pod.namespace);
    let table = volume.and_then(|volume| volume.table.as_deref()).unwrap_or_default();
    Place::parse(namespace, name)?.with_table(table)
}

impl Names {
    /// What a program of the node, or of a volume's pod, means by `name`. Where the path leads to other name servers, they are
    /// asked.
    ///
    /// # Errors
    /// The path is bound, and leads nowhere.
    pub async fn meant(&self, name: &str, volume: Option<&Volume>) -> Result<Meant, NoName> {
        // What is no path is no bound one either; who admits programs says what is wrong with it.
        let Ok(place) = place(name, volume) else { return Ok(Meant::Name) };
        let (tree, _) = self.now();
        if !place.own || !tree.binds(&place)? {
            return Ok(Meant::Name);
        }
        let mut walk = Walk::new(place);
        let servers = self.hints.over(&Remote);
        let end = self.resolve(&tree, &mut walk, &servers).await?;
        if let Some(problem) = servers.unanswered() {
            warn!("{problem}; a program that opens {name} gets what it was told before");
        }
        match end {
            End::Region { region, read_only } => {
                self.check_declared(&region, &walk).inspect_err(|_| self.hints.forget(&region))?;
                Ok(Meant::Bound { region: format!("{}/{}", region.namespace, region.name), read_only })
            }
            End::Context | End::Elsewhere(_) => {
                let reason =
                    format!("`{name}` is a context, and no region: `pagemesh ls {name}` shows what is in it");
                Err(Problem::new(ProblemKind::NotFound, reason).into())
            }
        }
    }

    /// Whether the table is there in which a volume's pod looks names up, so that it may start.
    ///
    /// # Errors
    /// It is not.
    pub fn check_table(&self, volume: &Volume) -> Result<(), NoName> {
        if volume.table.is_some() {
            self.now().0.look(&place("", Some(volume))?)?;
        }
        Ok(())
    }

    /// What another server says may be of another mesh: there can be a Region of the same name here, which is not meant.
    fn check_declared(&self, region: &Region, walk: &Walk) -> Result<(), NoName> {
        let Some(server) = &walk.place().server else { return Ok(()) };
        let Region { namespace, name, uid, .. } = region;
        let objects = self.objects.borrow();
        let declared = objects.named(namespace, name).map(|(_, declared)| &declared.uid);
        if declared == Some(uid) {
            return Ok(());
        }
        Err(NoName(format!(
            "name server {server} says that it is region {namespace}/{name}, which is not one of this mesh: programs can attach \
             only to regions whose agents know each other"
        )))
    }
}
