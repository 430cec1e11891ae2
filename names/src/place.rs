//! Where in the tree of names.

use std::fmt;

use pagemesh_crds::{PATH_BYTES_MAX, check_label, check_path};

use crate::{Problem, ProblemKind};

/// Longest path that is asked for: a namespace and a path below it, with their slashes.
pub const QUERY_BYTES_MAX: usize = PATH_BYTES_MAX + 65;

/// A place in the tree of names, whether something is there or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Address of the name server that describes it; `None` means the one that is asked.
    pub server: Option<String>,
    /// The namespace; empty means the root.
    pub namespace: String,
    /// The MountTable to look in; `None` means the namespace's default one.
    pub table: Option<String>,
    /// Below the namespace's context, without a slash in front or at the end; empty means that itself.
    pub path: String,
    /// It was asked for by somebody within the namespace. `NAMESPACE/NAME` means a Region of another one to them.
    pub own: bool,
}

impl Place {
    /// What `path` means to somebody in `namespace`: `/`, `/NAMESPACE`, `/NAMESPACE/PATH`, or `PATH` there. A slash at the end
    /// does no harm.
    ///
    /// # Errors
    /// Why it is no path.
    pub fn parse(namespace: &str, path: &str) -> Result<Place, Problem> {
        if path.len() > QUERY_BYTES_MAX {
            let reason = format!("the path has {} characters; write at most {QUERY_BYTES_MAX}", path.len());
            return Err(Problem::new(ProblemKind::BadPath, reason));
        }
        let (namespace, below, own) = match path.strip_prefix('/') {
            Some("") => return Ok(Place::root()),
            Some(absolute) => {
                let (namespace, below) = absolute.split_once('/').unwrap_or((absolute, ""));
                (namespace, below, false)
            }
            None => (namespace, path, true),
        };
        let below = below.strip_suffix('/').unwrap_or(below);
        let bad = |reason: String| Problem::new(ProblemKind::BadPath, reason);
        check_label(namespace)
            .map_err(|reason| bad(format!("the namespace in the path `{}` {reason}", path.escape_debug())))?;
        if !below.is_empty() {
            check_path(below).map_err(|reason| bad(format!("the path {reason}")))?;
        } else if own && !path.is_empty() {
            return Err(bad(format!("`{}` is not a path", path.escape_debug())));
        }
        Ok(Place { server: None, namespace: namespace.into(), table: None, path: below.into(), own })
    }

    /// The root, below which the namespaces are.
    #[must_use]
    pub fn root() -> Place {
        Place::in_namespace("", "")
    }

    /// What is at `path` in a namespace, for everybody.
    #[must_use]
    pub fn in_namespace(namespace: &str, path: &str) -> Place {
        Place { server: None, namespace: namespace.into(), table: None, path: path.into(), own: false }
    }

    /// The same with another table, if one is named.
    ///
    /// # Errors
    /// It is no name of a table.
    pub fn with_table(mut self, table: &str) -> Result<Place, Problem> {
        if table.is_empty() {
            return Ok(self);
        }
        check_label(table).map_err(|reason| {
            Problem::new(ProblemKind::BadPath, format!("the name of the MountTable {reason}"))
        })?;
        // A table is one of the namespace of who asks.
        self.table = self.own.then(|| table.to_owned());
        Ok(self)
    }

    /// What is called so in the context that this is.
    #[must_use]
    pub fn below(&self, name: &str) -> Place {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) };
        Place { path, ..self.clone() }
    }

    /// The same, as a path from the root.
    #[must_use]
    pub fn absolute(&self) -> String {
        match (self.namespace.as_str(), self.path.as_str()) {
            ("", _) => "/".into(),
            (namespace, "") => format!("/{namespace}"),
            (namespace, path) => format!("/{namespace}/{path}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.absolute())?;
        match &self.server {
            Some(server) => write!(f, " at {server}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_places() {
        for (path, place) in [
            ("/", "/"),
            ("", "/own"),
            ("/a", "/a"),
            ("/a/", "/a"),
            ("/a/b/c", "/a/b/c"),
            ("b", "/own/b"),
            ("b/c/", "/own/b/c"),
        ] {
            assert_eq!(Place::parse("own", path).map(|place| place.to_string()), Ok(place.into()), "{path}");
        }
        let long = "a/".repeat(200);
        for bad in [
            "//", "//a", "/a//b", "a//", "../a", "/a/../b", "/A/b", "a b", ".", "/.", "a\0", "ä", "/a/b\n",
            &long,
        ] {
            let problem = Place::parse("own", bad).expect_err(bad);
            assert_eq!(problem.kind, ProblemKind::BadPath, "{bad}");
        }
        assert!(Place::parse("", "a").is_err() && Place::parse("a/b", "a").is_err());
    }

    #[test]
    fn a_table_is_of_the_namespace_of_who_asks() {
        let own = Place::parse("own", "a").unwrap();
        assert_eq!(own.clone().with_table("t").unwrap().table.as_deref(), Some("t"));
        assert_eq!(own.clone().with_table("").unwrap().table, None);
        assert!(own.with_table("a/b").is_err());
        assert_eq!(Place::parse("own", "/own/a").unwrap().with_table("t").unwrap().table, None);
    }
}
