use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::config::{Files, accept, of_files};
use crate::uffd::testing::Directory;

fn control(memory_dir: PathBuf) -> Control {
    if memory_dir.exists() {
        Kept::of(&memory_dir).make().unwrap();
    }
    Control::new(Me { name: "node-0".into(), id: AgentId(0) }, "11".into(), Vec::new(), memory_dir)
}

/// Has the control act on one region, as of this epoch and with these homes.
fn place(control: &Control, epoch: u64, homes: &[&str]) {
    let agent = |id: u16| {
        format!(
            "---\napiVersion: pagemesh.io/v1alpha1\nkind: Agent\nmetadata: {{name: node-{id}}}\nspec: {{id: {id}}}\n"
        )
    };
    let homes: Vec<String> = homes.iter().map(|home| format!("{{agent: {home}}}")).collect();
    let region = format!(
        "---\napiVersion: pagemesh.io/v1alpha1\nkind: Region\nmetadata: {{name: table}}\nspec: {{size: 64Ki}}\n\
         status: {{placement: {{epoch: {epoch}, homes: [{}]}}}}\n",
        homes.join(", ")
    );
    let files = Files::from([("mesh.yaml".to_owned(), Ok(agent(0) + &agent(1) + &region))]);
    let (objects, refusals) = accept(&control.objects(), &of_files(&files), control.me());
    assert_eq!(refusals, []);
    control.apply(Arc::new(objects));
}

#[test]
fn a_leave_goes_on_under_another_placement() {
    let directory = Directory::new();
    let control = control(directory.0.clone());
    place(&control, 1, &["node-1"]);
    let admission = control.admit(Asked::named("table"), Who::OfTheNode).unwrap();
    control.leave_all();
    assert_eq!(control.leaving(), 1);
    place(&control, 2, &["node-1", "node-1"]);
    assert_eq!(control.regions()[0].open.unwrap().epoch, 2);
    assert_eq!((control.leaving(), control.has_left()), (1, false));
    // The answer to what was asked under the placement before.
    control.left(0, admission.region, 1);
    assert_eq!((control.leaving(), control.has_left()), (0, true));

    // Who is made a home stays.
    control.admit(Asked::named("table"), Who::OfTheNode).unwrap();
    control.leave_all();
    place(&control, 3, &["node-0"]);
    control.left(0, admission.region, 2);
    assert_eq!((control.leaving(), control.has_left()), (0, true));
    assert!(control.regions()[0].open.unwrap().home);
}

#[test]
fn a_region_stays_idle_under_another_placement() {
    let directory = Directory::new();
    let control = control(directory.0.clone());
    place(&control, 1, &["node-1"]);
    control.admit(Asked::named("table"), Who::OfTheNode).unwrap();
    let start = Instant::now();
    control.tidy(start);
    place(&control, 2, &["node-1", "node-1"]);
    control.tidy(start + Duration::from_secs(29));
    assert_eq!(control.leaving(), 0);
    control.tidy(start + Duration::from_secs(30));
    assert_eq!(control.leaving(), 1);
}

#[test]
fn a_home_whose_file_cannot_be_made_tries_again() {
    let directory = Directory::new();
    let control = control(directory.0.join("later"));
    place(&control, 1, &["node-0"]);
    let start = Instant::now();
    let is_open = |seconds| {
        control.tidy(start + Duration::from_secs(seconds));
        let state = control.regions().remove(0);
        assert_eq!(state.problem.is_none(), state.open.is_some(), "{state:?}");
        state.open.is_some()
    };
    assert!(!is_open(0));
    Kept::of(&directory.0.join("later")).make().unwrap();
    assert!(!is_open(1), "not all the time");
    assert!(is_open(10));
}

#[test]
fn nobody_attaches_to_a_region_whose_home_is_away() {
    let directory = Directory::new();
    let control = control(directory.0.clone());
    place(&control, 1, &["node-0", "node-1"]);
    let start = Instant::now();
    let connected = |seconds, agents: &[u16]| {
        let connected = agents.iter().copied().map(AgentId).collect();
        let survey = Survey { connected, regions: BTreeMap::new() };
        control.note_survey(&survey, start + Duration::from_secs(seconds));
        control.regions().remove(0)
    };
    connected(0, &[]);
    control.admit(Asked::named("table"), Who::OfTheNode).unwrap();
    let state = connected(10, &[]);
    let Err(Denied::NotReady { reason, .. }) = control.admit(Asked::named("table"), Who::OfTheNode) else {
        panic!("its pages cannot be had")
    };
    assert!(reason.contains("its home node-1:"), "{reason}");
    assert_eq!((state.away.as_ref(), state.not_ready.as_ref()), (Some(&reason), Some(&reason)));
    assert_eq!(state.problem, None, "this agent is what the placement says");
    assert_eq!(connected(11, &[1]).away, None);
    control.admit(Asked::named("table"), Who::OfTheNode).unwrap();
}
