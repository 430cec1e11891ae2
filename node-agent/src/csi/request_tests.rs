use super::*;
use crate::csi::proto::csi::volume_capability::access_mode::Mode;
use crate::csi::proto::csi::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use tonic::Code;

const PODS: &str = "/var/lib/kubelet/pods";
const UID: &str = "0cca0a3c-8ac4-4a2f-9f4d-0e0b2ab3dbb9";

fn good() -> NodePublishVolumeRequest {
    let attributes = [
        (EPHEMERAL, "true"),
        (POD_NAMESPACE, "team-a"),
        (POD_NAME, "trainer-0"),
        (POD_UID, UID),
        (SERVICE_ACCOUNT, "trainer"),
        (REGIONS, "table, other/weights:ro"),
    ];
    NodePublishVolumeRequest {
        volume_id: "csi-1f".into(),
        target_path: format!("{PODS}/{UID}/volumes/kubernetes.io~csi/pagemesh/mount"),
        volume_capability: Some(VolumeCapability {
            access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
            access_type: Some(AccessType::Mount(MountVolume::default())),
        }),
        readonly: true,
        volume_context: attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..NodePublishVolumeRequest::default()
    }
}

fn read(change: impl FnOnce(&mut NodePublishVolumeRequest)) -> Result<Request, Status> {
    let mut request = good();
    change(&mut request);
    Request::read(request, Path::new(PODS))
}

fn with(key: &str, value: &str) -> Result<Request, Status> {
    read(|request| drop(request.volume_context.insert(key.into(), value.into())))
}

#[track_caller]
fn refused(result: Result<Request, Status>, words: &str) {
    let status = result.expect_err(words);
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains(words), "{words:?} is not in {:?}", status.message());
}

#[test]
fn what_the_kubelet_asks_for() {
    let region = |name: &str, read_only| VolumeRegion { name: name.into(), read_only };
    let expected = Request {
        id: "csi-1f".into(),
        target: format!("{PODS}/{UID}/volumes/kubernetes.io~csi/pagemesh/mount").into(),
        pod: PodIdentity {
            namespace: "team-a".into(),
            name: "trainer-0".into(),
            uid: UID.into(),
            service_account: "trainer".into(),
        },
        regions: vec![region("team-a/table", false), region("other/weights", true)],
        table: None,
    };
    assert_eq!(read(|_| ()).unwrap(), expected);
    // A path that says the same in more words, and what else the kubelet may add.
    let wordy = read(|request| {
        request.target_path = request.target_path.replace("/volumes/", "//volumes/./");
        request.volume_context.insert("csi.storage.k8s.io/serviceAccount.tokens".into(), "{}".into());
    });
    assert_eq!(wordy.unwrap(), expected);
}

#[test]
fn a_mount_table_in_place_of_regions_and_beside_them() {
    let table = with("mountTable", " main ").unwrap();
    assert_eq!((table.table.as_deref(), table.regions.len()), (Some("main"), 2));
    let alone = read(|request| {
        request.volume_context.insert("mountTable".into(), "main".into());
        request.volume_context.remove("regions");
    });
    assert_eq!((alone.unwrap().regions, with("mountTable", "").unwrap().table), (vec![], None));
    refused(
        with("mountTable", "team-b/main"),
        "volumeAttributes.mountTable has \"team-b/main\", which is no name",
    );
    refused(read(|request| drop(request.volume_context.remove("regions"))), "`mountTable: main`");
}

#[test]
fn ids_and_paths() {
    for id in ["", "a\nb", "a\0", &"x".repeat(129)] {
        refused(read(|request| request.volume_id = id.into()), "volume_id");
        assert!(read_unpublish(id.into(), &good().target_path, Path::new(PODS)).is_err());
    }
    for path in [
        "",
        "/",
        "relative",
        PODS,
        &format!("{PODS}/{UID}"),
        &format!("{PODS}/{UID}/../../../../../etc"),
        &format!("{PODS}/{UID}/volumes/../../other/mount"),
        &format!("{PODS}2/{UID}/mount"),
        &format!("{PODS}/{UID}/a\0b"),
        &format!("{PODS}/{UID}/a\nb"),
        &format!("{PODS}/{UID}/{}", "x".repeat(4096)),
        "/var/lib/kubelet/plugins/a/b",
    ] {
        refused(read(|request| request.target_path = path.into()), "target");
        let status = read_unpublish("id".into(), path, Path::new(PODS)).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{path:?}");
    }
}

#[test]
fn capabilities() {
    let changed = |change: fn(&mut VolumeCapability)| {
        read(|request| change(request.volume_capability.as_mut().expect("it has one")))
    };
    refused(read(|request| request.volume_capability = None), "volume_capability");
    refused(changed(|capability| capability.access_type = None), "mount");
    refused(changed(|capability| capability.access_mode = None), "access mode");
    refused(changed(|capability| capability.access_mode = Some(AccessMode { mode: 0 })), "access mode");
    refused(changed(|capability| capability.access_mode = Some(AccessMode { mode: 99 })), "access mode");
    refused(
        changed(|capability| capability.access_type = Some(AccessType::Block(BlockVolume {}))),
        "block device",
    );
    let mount = |mount| Some(AccessType::Mount(mount));
    let (fs_type, mount_flags) = ("ext4".to_owned(), vec!["suid".to_owned()]);
    let other = MountVolume { fs_type, ..MountVolume::default() };
    let result = read(|request| request.volume_capability.as_mut().unwrap().access_type = mount(other));
    refused(result, "fsType");
    let other = MountVolume { mount_flags, ..MountVolume::default() };
    let result = read(|request| request.volume_capability.as_mut().unwrap().access_type = mount(other));
    refused(result, "mount options");
}

#[test]
fn pods_are_whom_the_kubelet_names() {
    for value in ["false", "", "True"] {
        refused(with(EPHEMERAL, value), "PersistentVolume");
    }
    for key in [POD_NAMESPACE, POD_NAME, POD_UID, SERVICE_ACCOUNT] {
        refused(read(|request| drop(request.volume_context.remove(key))), key);
        for value in ["", "..", ".", "a/b", "A", "a\n", "ä", &"a".repeat(254)] {
            refused(with(key, value), key);
        }
    }
    // Somebody has written who it wants to be, and the kubelet has not said otherwise.
    refused(with(POD_UID, "1cca0a3c-8ac4-4a2f-9f4d-0e0b2ab3dbb9"), "podInfoOnMount");
    refused(with(POD_UID, &UID[..8]), "podInfoOnMount");
}

#[test]
fn regions_are_named_once_and_by_their_names() {
    refused(read(|request| drop(request.volume_context.remove(REGIONS))), "names no region");
    for value in ["", " "] {
        refused(with(REGIONS, value), "names no region");
    }
    for value in [
        ",",
        "table,",
        "Table",
        "a/b/c",
        "/table",
        "team/",
        "table:rw",
        "table:ro:ro",
        "../x",
        "t able",
        "tablé",
    ] {
        refused(with(REGIONS, value), "write [NAMESPACE/]NAME[:ro]");
    }
    for value in ["table,table", "table,table:ro", "table,team-a/table"] {
        refused(with(REGIONS, value), "table more than once");
    }
    let many = |count| (0..count).map(|at| format!("r{at}")).collect::<Vec<_>>().join(",");
    assert_eq!(with(REGIONS, &many(32)).unwrap().regions.len(), 32);
    refused(with(REGIONS, &many(33)), "at most 32");
    refused(with("region", "table"), "`region`, which means nothing");
}

#[test]
fn noise_is_refused_and_nothing_else_happens() {
    // Whatever people write into the attribute: it is taken only if each name is a name.
    let letters = ['a', '0', '-', '.', '/', ':', 'r', 'o', ',', ' ', '\\', '\0', 'é', '%'];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..20_000 {
        let text: String = (0..next(12)).map(|_| letters[next(letters.len())]).collect();
        if let Ok(request) = with(REGIONS, &text) {
            for region in &request.regions {
                let (namespace, name) = region.name.split_once('/').unwrap();
                let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
                let is_name = |name: &str| !name.is_empty() && name.bytes().all(plain);
                assert!(is_name(namespace) && is_name(name), "{text:?}");
            }
        }
    }
}
