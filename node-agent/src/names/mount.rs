//! Which region a program means by a path that a MountTable binds.

use std::time::Duration;

use pagemesh_crds::{NAMESPACE_DEFAULT, ValidRegion};
use pagemesh_names::{End, Place, Problem, ProblemKind, Region, Remote, Tree, Walk, follow};
use tokio::time::timeout;
use tracing::warn;

use super::Names;
use crate::config::Objects;
use crate::control::{Denied, named};
use crate::volume::Volume;

/// How long a program waits for other servers. It may hold up its other threads meanwhile.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(3);

/// The region that a table binds a path to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meant {
    /// `namespace/name`.
    pub name: String,
    /// The mount is for reading.
    pub read_only: bool,
}

impl From<Problem> for Denied {
    fn from(Problem { kind, reason }: Problem) -> Denied {
        if kind.may_pass() { Denied::NotKnownYet(reason) } else { Denied::LeadsNowhere(reason) }
    }
}

/// Where `name` is for a program of the node, or of a volume's pod.
fn place(name: &str, volume: Option<&Volume>) -> Result<Place, Problem> {
    let namespace = volume.map_or(NAMESPACE_DEFAULT, |volume| &volume.pod.namespace);
    let table = volume.and_then(|volume| volume.table.as_deref()).unwrap_or_default();
    Place::parse(namespace, name)?.with_table(table)
}

/// Whether a table says what is at a place. Where the table of a volume's pod is not known yet, what the volume names is there
/// all the same, and what is no path is a name of the node's own `/dev/shm` as ever.
fn binds(tree: &Tree, place: &Place, name: &str, volume: Option<&Volume>) -> Result<bool, Denied> {
    match tree.binds(place) {
        Ok(binds) => Ok(binds),
        Err(problem) if !problem.kind.may_pass() => Err(problem.into()),
        Err(_) if volume.is_some_and(|volume| named(volume, name).is_some()) => Ok(false),
        Err(_) if !name.contains('/') => Err(Denied::NotInVolume(name.to_owned())),
        Err(problem) => Err(problem.into()),
    }
}

impl Names {
    /// What a program of the node, or of a volume's pod, means by `name`; `None` if no table says anything of it, so that it is a
    /// region's own name. Where the path leads to other name servers, they are asked.
    ///
    /// # Errors
    /// The path is bound, and leads nowhere.
    pub async fn meant(&self, name: &str, volume: Option<&Volume>) -> Result<Option<Meant>, Denied> {
        // What is no path is no bound one either; who admits programs says what is wrong with it.
        let Ok(place) = place(name, volume) else { return Ok(None) };
        let tree = self.tree();
        if !place.own || !binds(&tree, &place, name, volume)? {
            return Ok(None);
        }
        let pod = volume.map(|volume| volume.pod.uid.as_str());
        let (end, walk) = self.follow_for_program(&tree, place, pod).await?;
        match end {
            End::Region { region, read_only } => {
                self.check_declared(&region, &walk).inspect_err(|_| self.hints.forget(&region))?;
                Ok(Some(Meant { name: format!("{}/{}", region.namespace, region.name), read_only }))
            }
            End::Context | End::Elsewhere(_) => Err(Denied::Context(name.to_owned())),
        }
    }

    /// Follows a path, and goes by hints where others do not answer.
    async fn follow_for_program(
        &self,
        tree: &Tree,
        place: Place,
        pod: Option<&str>,
    ) -> Result<(End, Walk), Problem> {
        let mut walk = Walk::new(place.clone());
        let end = tree.resolve(&mut walk)?;
        if !matches!(end, End::Elsewhere(_)) {
            return Ok((end, walk));
        }
        let server = walk.place().server.clone().unwrap_or_default();
        let asked = timeout(FOLLOW_TIMEOUT, async {
            let _share = self.attaching.wait(pod).await;
            follow::resolve(tree, &self.hints.noting(&Remote), &mut walk).await
        });
        let asked = asked.await.unwrap_or_else(|_| {
            let why = "the servers on the way to it have taken too long, or too many programs wait for them";
            Err(pagemesh_names::explain(&server, why))
        });
        match asked {
            Ok(end) => Ok((end, walk)),
            Err(problem) if problem.kind.may_pass() => {
                let shown = place.to_string();
                let mut walk = Walk::new(place);
                let said = follow::resolve(tree, &self.hints.alone(problem.clone()), &mut walk).await?;
                warn!("{problem}; a program that opens {shown} gets what was said before");
                Ok((said, walk))
            }
            Err(problem) => Err(problem),
        }
    }

    /// Whether the table is there in which a volume's pod looks names up, so that it may start.
    ///
    /// # Errors
    /// It is not.
    pub fn check_table(&self, volume: &Volume) -> Result<(), Denied> {
        if volume.table.is_some() {
            self.tree().look(&place("", Some(volume))?)?;
        }
        Ok(())
    }

    /// What another server says may be of another mesh: there can be a Region of the same name here, which is not meant.
    fn check_declared(&self, region: &Region, walk: &Walk) -> Result<(), Problem> {
        let Some(server) = &walk.place().server else { return Ok(()) };
        if declared(region, &self.objects.borrow()).is_some() {
            return Ok(());
        }
        let Region { namespace, name, .. } = region;
        let reason = format!(
            "name server {server} says, or has said, that it is region {namespace}/{name}, which is not one of this mesh: programs \
             can attach only to regions whose agents know each other"
        );
        Err(Problem::new(ProblemKind::NotFound, reason))
    }
}

/// The same as it is declared, if it is one of this mesh.
pub(super) fn declared<'o>(region: &Region, objects: &'o Objects) -> Option<&'o ValidRegion> {
    let (_, declared) = objects.named(&region.namespace, &region.name)?;
    (declared.uid == region.uid).then_some(declared)
}
