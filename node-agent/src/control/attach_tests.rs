//! What changes between an admission and the attachment.

use super::*;
use crate::config::{Files, accept, of_files};
use crate::uffd::testing::Directory;
use crate::volume::{ByVolume, PodIdentity, Volume, VolumeRegion};

fn control(memory_dir: PathBuf) -> Arc<Control> {
    Kept::of(&memory_dir).make().unwrap();
    let me = Me { name: "node-0".into(), id: AgentId(0) };
    let control = Arc::new(Control::new(me, "11".into(), Vec::new(), memory_dir));
    control.begin_volume("v");
    declare(&control, "", false);
    control
}

/// Has the control act on one region that is homed here, with these fields in its `spec`.
fn declare(control: &Control, spec: &str, deleting: bool) {
    let text = format!(
        "apiVersion: pagemesh.io/v1alpha1\nkind: Agent\nmetadata: {{name: node-0}}\nspec: {{id: 0}}\n---\n\
         apiVersion: pagemesh.io/v1alpha1\nkind: Region\nmetadata: {{name: table}}\nspec: {{size: 64Ki{spec}}}\n\
         status: {{placement: {{epoch: 1, homes: [{{agent: node-0}}]}}}}\n"
    );
    let files = Files::from([("mesh.yaml".to_owned(), Ok(text))]);
    let (mut objects, refusals) = accept(&Objects::default(), &of_files(&files), control.me());
    assert_eq!(refusals, []);
    // Files know of no deletion that is under way.
    objects.regions.values_mut().for_each(|declared| declared.object.deleting = deleting);
    control.apply(Arc::new(objects));
}

fn volume() -> Volume {
    let pod = PodIdentity {
        namespace: "default".into(),
        name: "p".into(),
        uid: "u".into(),
        service_account: "s".into(),
    };
    let regions = vec![VolumeRegion { name: "default/table".into(), read_only: false }];
    Volume { id: "v".into(), dir: PathBuf::new(), pod, regions, table: None }
}

fn attached(admission: &Admission, by_volume: Option<ByVolume>) -> Attached {
    Attached {
        id: admission.region,
        region: admission.name.clone(),
        pid: 1,
        uid: 0,
        command: String::new(),
        pod: None,
        by_volume,
        read_only: admission.read_only,
        revoked: None,
        mapped_bytes: 0,
    }
}

#[test]
fn who_was_admitted_is_not_attached_to_what_was_taken_away_meanwhile() {
    type Meanwhile<'a> = &'a dyn Fn(&Control);
    let cases: [(Meanwhile<'_>, String); 8] = [
        (
            &|control| declare(control, ", access: []", false),
            "may not use region default/table any more".into(),
        ),
        (
            &|control| declare(control, ", access: [{mode: ReadOnly}]", false),
            "may only read region default/table now".into(),
        ),
        (&|control| declare(control, "", true), "region default/table is being deleted".into()),
        (&|control| control.apply(Arc::default()), "region default/table is not declared".into()),
        (
            &|control| {
                control.apply(Arc::default());
                declare(control, "", false);
            },
            "region default/table is not ready: it was closed while the program attached to it".into(),
        ),
        (&|control| control.end_volume("v"), "the pod's volume is gone".into()),
        (&Control::stop_admitting, "the agent of this node is ending".into()),
        (&|_| {}, String::new()),
    ];
    for (meanwhile, refused) in cases {
        let directory = Directory::new();
        let control = control(directory.0.clone());
        let volume = volume();
        let admission = control.admit(Asked::named("table"), Who::OfVolume(&volume)).unwrap();
        meanwhile(&control);
        let result = control.attach(&admission, attached(&admission, Some(ByVolume::from(&volume))));
        match result {
            Ok(_) => assert_eq!(refused, ""),
            Err(denied) => {
                assert!(!refused.is_empty() && denied.to_string().contains(&refused), "{denied}");
                assert!(control.is_detached());
            }
        }
    }
}

#[test]
fn who_is_attached_is_told_of_what_is_taken_away() {
    let directory = Directory::new();
    let control = control(directory.0.clone());
    let volume = volume();
    let attach = |who: Who<'_>, by_volume| {
        let admission = control.admit(Asked::named("default/table"), who).unwrap();
        control.attach(&admission, attached(&admission, by_volume)).unwrap()
    };
    let (of_pod, mut pod_told) = attach(Who::OfVolume(&volume), Some(ByVolume::from(&volume)));
    let (of_node, mut node_told) = attach(Who::OfTheNode, None);
    declare(&control, ", access: []", false);
    assert!(of_pod.revoked().unwrap().contains("any more"));
    assert_eq!(of_node.revoked(), None);
    control.end_volume("v");
    assert_eq!(pod_told.try_recv().unwrap(), VOLUME_GONE);
    assert!(node_told.try_recv().is_err());
    control.apply(Arc::default());
    assert_eq!(node_told.try_recv().unwrap(), DELETED);
}
