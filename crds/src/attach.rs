//! How a pod says what it attaches to, and what it is given for that. These names are a contract between the chart's
//! admission policy, `pagemesh inject`, the node agent and the keeper.

use std::fmt;

use thiserror::Error;

use crate::names::check_label;

/// Annotation of a pod: the regions that it attaches to, as [`parse_attach`] reads them.
pub const ANNOTATION_ATTACH: &str = "pagemesh.io/attach";
/// Annotation of a pod: the containers that are attached, separated by commas; all of them without it.
pub const ANNOTATION_CONTAINERS: &str = "pagemesh.io/containers";
/// Annotation of a pod: the MountTable of its namespace in which its paths are looked up, as [`parse_mount_table`] reads it;
/// the namespace's default one without it.
pub const ANNOTATION_MOUNT_TABLE: &str = "pagemesh.io/mount-table";
/// Label of a pod, with any value: where an administrator wants it, the admission policy looks at no pod without it.
pub const LABEL_ATTACH: &str = "pagemesh.io/attach";

/// The CSI driver that the node agent is.
pub const CSI_DRIVER: &str = "csi.pagemesh.io";
/// Attribute of a volume: the regions, as [`parse_attach`] reads them.
pub const ATTRIBUTE_REGIONS: &str = "regions";
/// Attribute of a volume: the MountTable, as [`parse_mount_table`] reads it.
pub const ATTRIBUTE_MOUNT_TABLE: &str = "mountTable";
/// Name of the volume in an attached pod.
pub const VOLUME: &str = "pagemesh";
/// Where a container sees the volume.
pub const MOUNT_PATH: &str = "/run/pagemesh";
/// The variable that tells a program where its agent is.
pub const ENV_SOCKET: &str = "PAGEMESH_SOCKET";
/// Its value in an attached container.
pub const SOCKET_PATH: &str = "/run/pagemesh/agent.sock";
/// The variable that makes the loader load the preload library.
pub const ENV_PRELOAD: &str = "LD_PRELOAD";
/// Where the preload library is in an attached container.
pub const LIBRARY_PATH: &str = "/run/pagemesh/libpagemesh_preload.so";

/// Name of the keeper's container, an init container that goes on.
pub const KEEPER_CONTAINER: &str = "pagemesh-keeper";
/// The keeper's program in its image.
pub const KEEPER_PATH: &str = "/usr/local/bin/pagemesh-keeper";
/// Where the keeper serves its pod's metrics.
pub const KEEPER_PORT: u16 = 9747;

/// Most regions that one pod attaches to.
pub const ATTACHED_REGIONS_MAX: usize = 32;
/// Longest annotation.
pub const ATTACH_CHARS_MAX: usize = 8 << 10;

/// After the name of a region that is only read.
const READ_ONLY: &str = ":ro";
/// Characters of a bad entry that an error repeats.
const QUOTED_CHARS_MAX: usize = 64;

/// A region that a pod asks for. It is written as [`parse_attach`] reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedRegion {
    /// Its namespace; `None` is the pod's.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The pod asks to read only.
    pub read_only: bool,
}

impl fmt::Display for AttachedRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        write!(f, "{}{}", self.name, if self.read_only { READ_ONLY } else { "" })
    }
}

/// Why a text does not say what to attach to: what follows the name of what has the text. The admission policy says the same
/// in the same words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AttachError {
    /// Longer than [`ATTACH_CHARS_MAX`].
    #[error("has more than {ATTACH_CHARS_MAX} characters; name fewer regions")]
    TooLong,
    /// An entry has another form.
    #[error(
        "has {}, which is not a region; write [NAMESPACE/]NAME[:ro], such as table or other/weights:ro, with commas between",
        quoted(.0)
    )]
    NotARegion(String),
    /// No MountTable can be called so.
    #[error("has {}, which is no name of a MountTable; write that of one of the pod's namespace, such as main", quoted(.0))]
    NotATable(String),
    /// More than [`ATTACHED_REGIONS_MAX`].
    #[error("names {0} regions; a pod attaches to at most {ATTACHED_REGIONS_MAX}")]
    TooMany(usize),
    /// A region is named more than once.
    #[error("names {0} more than once; name each region once, with :ro or without")]
    Twice(String),
}

/// Reads a list of `[NAMESPACE/]NAME[:ro]`, separated by commas and as many blanks and ends of lines as one likes.
///
/// With the pod's own namespace, `table` and `NAMESPACE/table` are found to be one region.
///
/// # Errors
/// It is none: an entry of another form, no entry, more than [`ATTACHED_REGIONS_MAX`], or the same region twice.
pub fn parse_attach(text: &str, own_namespace: Option<&str>) -> Result<Vec<AttachedRegion>, AttachError> {
    if text.chars().nth(ATTACH_CHARS_MAX).is_some() {
        return Err(AttachError::TooLong);
    }
    // Before they are looked at, for the admission policy's sake: what it does for each of them costs.
    let count = text.split(',').count();
    if count > ATTACHED_REGIONS_MAX {
        return Err(AttachError::TooMany(count));
    }
    let entries = text.split(',').map(|entry| parse_entry(entry.trim_ascii()));
    let regions = entries.collect::<Result<Vec<_>, _>>()?;
    let whole = |region: &AttachedRegion| {
        (region.namespace.as_deref().or(own_namespace).map(str::to_owned), region.name.clone())
    };
    let is_there_twice =
        |region: &&AttachedRegion| regions.iter().filter(|other| whole(other) == whole(region)).count() > 1;
    if let Some(region) = regions.iter().find(is_there_twice) {
        return Err(AttachError::Twice(AttachedRegion { read_only: false, ..region.clone() }.to_string()));
    }
    Ok(regions)
}

/// Reads the name of a MountTable.
///
/// # Errors
/// It is none.
pub fn parse_mount_table(text: &str) -> Result<String, AttachError> {
    match check_label(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(_) => Err(AttachError::NotATable(text.to_owned())),
    }
}

fn parse_entry(entry: &str) -> Result<AttachedRegion, AttachError> {
    let (path, read_only) = match entry.strip_suffix(READ_ONLY) {
        Some(path) => (path, true),
        None => (entry, false),
    };
    let (namespace, name) = match path.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, path),
    };
    if namespace.is_some_and(|namespace| check_label(namespace).is_err()) || check_label(name).is_err() {
        return Err(AttachError::NotARegion(entry.to_owned()));
    }
    Ok(AttachedRegion { namespace: namespace.map(str::to_owned), name: name.to_owned(), read_only })
}

/// Somebody else's text in a sentence: in quotes, on one line, and not all of it.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let regions = parse_attach(text, Some("mine")).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        regions.iter().map(AttachedRegion::to_string).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn what_is_read_is_written_without_blanks() {
        let long = "a".repeat(63);
        for (text, expected) in [
            ("table", "table"),
            (" table , other/weights:ro ", "table,other/weights:ro"),
            ("table,\n\tother/table\r\n", "table,other/table"),
            ("0:ro", "0:ro"),
            (&format!("{long}/{long}:ro"), &format!("{long}/{long}:ro")),
        ] {
            assert_eq!(written(text), expected);
            assert_eq!(written(expected), expected);
        }
        let parsed = parse_attach("other/weights:ro", None).expect("good");
        let expected =
            AttachedRegion { namespace: Some("other".into()), name: "weights".into(), read_only: true };
        assert_eq!(parsed, [expected]);
    }

    #[test]
    fn what_is_no_list_of_regions_is_refused() {
        let long = "a".repeat(64);
        for bad in [
            "", " ", ",", "table,", ",table", "a,,b", "Table", "a b", "a/b/c", "/a", "a/", "a:rw", "a:ro:ro",
            ":ro", "a :ro", "a/ b", "../a", "a\0", "a\u{a0}", "\u{a0}a", "ä", "a;b", "-a", "a-", "a.b",
            "a\u{b}", &long,
        ] {
            let error = parse_attach(bad, None).expect_err(bad);
            assert!(matches!(error, AttachError::NotARegion(_)), "{bad:?}: {error}");
        }
    }

    #[test]
    fn a_mount_table_has_a_name() {
        assert_eq!(parse_mount_table("main"), Ok("main".into()));
        for bad in ["", " main", "a/b", "Main", "a,b", &"a".repeat(64)] {
            assert_eq!(parse_mount_table(bad), Err(AttachError::NotATable(bad.into())));
        }
    }

    #[test]
    fn errors_are_sentences_on_one_line() {
        let error = |text: &str| parse_attach(text, Some("mine")).expect_err("bad").to_string();
        assert_eq!(
            error("table, x\ny"),
            r#"has "x\ny", which is not a region; write [NAMESPACE/]NAME[:ro], such as table or other/weights:ro, with commas between"#
        );
        assert!(error(&"ä".repeat(70)).starts_with(&format!("has \"{}\"..., which", "ä".repeat(64))));
        assert_eq!(error(&"a,".repeat(5000)), "has more than 8192 characters; name fewer regions");
        assert_eq!(
            error("table:ro, mine/table"),
            "names table more than once; name each region once, with :ro or without"
        );
    }

    #[test]
    fn there_is_a_limit_to_how_many() {
        let list = |count: usize| (0..count).map(|k| format!("r{k}")).collect::<Vec<_>>().join(",");
        assert_eq!(parse_attach(&list(32), None).map(|regions| regions.len()), Ok(32));
        assert_eq!(parse_attach(&list(33), None), Err(AttachError::TooMany(33)));
        assert_eq!(parse_attach(&",".repeat(33), None), Err(AttachError::TooMany(34)));
    }

    #[test]
    fn a_region_twice_is_refused() {
        for (text, own_namespace, twice) in [
            ("a,a", None, true),
            ("a,a:ro", None, true),
            ("x/a,x/a", None, true),
            ("a,x/a", None, false),
            ("a,x/a", Some("x"), true),
            ("a,x/a", Some("y"), false),
        ] {
            let refused = matches!(parse_attach(text, own_namespace), Err(AttachError::Twice(_)));
            assert_eq!(refused, twice, "{text} in {own_namespace:?}");
        }
    }
}
