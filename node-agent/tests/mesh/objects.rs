//! The objects of a mesh, as text.

use std::fmt;
use std::net::SocketAddr;

use super::RegionSpec;

pub fn agent(node: usize, address: SocketAddr) -> String {
    format!(
        "---\napiVersion: pagemesh.io/v1alpha1\nkind: Agent\nmetadata: {{name: node-{node}}}\nspec: {{id: {node}}}\n\
         status: {{address: \"{address}\"}}\n"
    )
}

/// A region and its placement.
#[derive(Clone, Debug)]
pub struct Placed {
    pub name: &'static str,
    pub uid: Option<&'static str>,
    pub size: &'static str,
    pub coherence: &'static str,
    pub epoch: u64,
    pub homes: Vec<usize>,
    pub previous: Vec<usize>,
}

impl Placed {
    pub fn first(spec: &RegionSpec, homes: &[usize]) -> Placed {
        let RegionSpec { name, size, coherence } = *spec;
        Placed { name, uid: None, size, coherence, epoch: 1, homes: homes.to_vec(), previous: Vec::new() }
    }

    /// The next epoch, in which pages move to other homes.
    pub fn moved(&self, homes: &[usize]) -> Placed {
        let (epoch, previous) = (self.epoch + 1, self.homes.clone());
        Placed { epoch, homes: homes.to_vec(), previous, ..self.clone() }
    }

    /// The same epoch, in which nothing moves any more.
    pub fn done(&self) -> Placed {
        Placed { previous: Vec::new(), ..self.clone() }
    }

    /// The next epoch, in which the region is larger.
    pub fn grown(&self, size: &'static str) -> Placed {
        Placed { epoch: self.epoch + 1, size, ..self.clone() }
    }
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Placed { name, uid, size, coherence, epoch, homes, previous } = self;
        let list = |homes: &[usize]| {
            let homes: Vec<String> = homes.iter().map(|home| format!("{{agent: node-{home}}}")).collect();
            format!("[{}]", homes.join(", "))
        };
        let uid = uid.map_or(String::new(), |uid| format!(", uid: {uid}"));
        write!(
            f,
            "---\napiVersion: pagemesh.io/v1alpha1\nkind: Region\nmetadata: {{name: {name}{uid}}}\n\
             spec: {{size: {size}, coherence: {coherence}}}\n\
             status: {{placement: {{epoch: {epoch}, homes: {}, previous: {}}}}}\n",
            list(homes),
            list(previous)
        )
    }
}
