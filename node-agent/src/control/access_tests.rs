use std::path::PathBuf;

use pagemesh_crds::{Object, parse_objects, validate};
use pagemesh_protocol::RegionId;

use super::*;
use crate::volume::ByVolume;

fn pod(namespace: &str, service_account: &str) -> PodIdentity {
    let (name, uid) = ("p".into(), "u".into());
    PodIdentity { namespace: namespace.into(), name, uid, service_account: service_account.into() }
}

#[test]
fn a_name_means_what_the_volume_says() {
    let region = |name: &str| VolumeRegion { name: name.into(), read_only: false };
    let regions =
        ["other/table", "team/table", "other/weights", "third/weights"].map(region).into_iter().collect();
    let volume = Volume { id: "v".into(), dir: PathBuf::new(), pod: pod("team", "s"), regions, table: None };
    for (name, expected) in [
        ("table", Some("team/table")),
        ("team/table", Some("team/table")),
        ("other/table", Some("other/table")),
        ("weights", Some("other/weights")),
        ("third/weights", Some("third/weights")),
        ("team/weights", None),
        ("default/table", None),
        ("tabl", None),
        ("", None),
        ("/", None),
        ("/table", None),
        ("team/table/", None),
        ("other/", None),
    ] {
        assert_eq!(named(&volume, name).map(|region| region.name.as_str()), expected, "{name}");
    }
}

fn declared(access: &str) -> ValidRegion {
    let text = format!(
        "apiVersion: pagemesh.io/v1alpha1\nkind: Region\nmetadata: {{name: t, namespace: team}}\nspec: {{size: 4Ki{access}}}\n"
    );
    let Object::Region(region) = parse_objects(&text).unwrap().remove(0) else { panic!("a region") };
    validate(&region).unwrap()
}

#[test]
fn what_is_granted_and_what_is_lost() {
    use AccessMode::{ReadOnly, ReadWrite};
    let (absent, nobody) = ("", ", access: []");
    let reader = ", access: [{serviceAccount: s, mode: ReadOnly}]";
    let both = ", access: [{serviceAccount: s, mode: ReadOnly}, {serviceAccount: s}]";
    let foreign = ", access: [{namespace: other, mode: ReadOnly}, {namespace: other, serviceAccount: s}]";
    for (access, namespace, account, asked, writing, reading) in [
        // What one that asks to write gets, what one that asks to read gets; whether one that writes, one that reads loses it.
        (absent, "team", "s", (Some(ReadWrite), Some(ReadOnly)), None, None),
        (absent, "other", "s", (None, None), Some("any more"), Some("any more")),
        (nobody, "team", "s", (None, None), Some("any more"), Some("any more")),
        (reader, "team", "s", (Some(ReadOnly), Some(ReadOnly)), Some("only read"), None),
        (reader, "team", "default", (None, None), Some("any more"), Some("any more")),
        (both, "team", "s", (Some(ReadWrite), Some(ReadOnly)), None, None),
        (foreign, "other", "s", (Some(ReadWrite), Some(ReadOnly)), None, None),
        (foreign, "other", "t", (Some(ReadOnly), Some(ReadOnly)), Some("only read"), None),
        (foreign, "team", "s", (None, None), Some("any more"), Some("any more")),
    ] {
        let region = declared(access);
        let pod = pod(namespace, account);
        let granted = |read_only| granted(&region.access, &pod, read_only);
        assert_eq!((granted(false), granted(true)), asked, "{namespace}/{account} of {access}");
        for (read_only, expected) in [(false, writing), (true, reading)] {
            let by_volume = Some(ByVolume { volume: "v".into(), pod: pod.clone() });
            let attached = Attached { by_volume, read_only, ..of_the_node() };
            let why = lost(&attached, &region);
            let as_expected = match (&why, expected) {
                (Some(why), Some(expected)) => why.contains(expected),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            assert!(as_expected, "{namespace}/{account} of {access}: {why:?}");
        }
        assert_eq!(lost(&of_the_node(), &region), None, "who came by the node's own socket is nobody's pod");
    }
}

fn of_the_node() -> Attached {
    Attached {
        id: RegionId(1),
        region: "team/t".into(),
        pid: 1,
        uid: 0,
        command: String::new(),
        pod: None,
        by_volume: None,
        read_only: false,
        revoked: None,
        mapped_bytes: 0,
    }
}
