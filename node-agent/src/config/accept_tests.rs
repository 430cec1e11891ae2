use pagemesh_protocol::AgentId;

use super::*;
use crate::config::{Files, Life, Part, Unplaced, changes, of_files};

pub(super) fn me() -> Me {
    Me { name: "node-0".into(), id: AgentId(0) }
}

/// This agent in its present life.
pub(super) fn life() -> Life {
    Life { name: "node-0".into(), incarnation: "11".into() }
}

fn files(files: &[(&str, &str)]) -> Sources {
    let files: Files =
        files.iter().map(|(name, text)| ((*name).to_owned(), Ok((*text).to_owned()))).collect();
    of_files(&files)
}

/// A Region object; `more` are lines of its spec, `placement` is `EPOCH HOME...` or nothing.
fn region(name: &str, spec: &str, placement: &str) -> String {
    let mut text = format!(
        "---\napiVersion: pagemesh.io/v1alpha1\nkind: Region\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    );
    if let Some((epoch, homes)) = placement.split_once(' ') {
        let homes: Vec<String> = homes.split(' ').map(|home| format!("{{agent: {home}}}")).collect();
        let homes = homes.join(", ");
        text.push_str(&format!("status: {{placement: {{epoch: {epoch}, homes: [{homes}]}}}}\n"));
    }
    text
}

fn agent(name: &str, id: u16, address: &str) -> String {
    let mut text = format!(
        "---\napiVersion: pagemesh.io/v1alpha1\nkind: Agent\nmetadata: {{name: {name}}}\nspec: {{id: {id}}}\n"
    );
    if !address.is_empty() {
        text.push_str(&format!("status: {{address: '{address}'}}\n"));
    }
    text
}

/// What is in force after the directory has held each of `states` in turn, and what the last was refused for.
fn follow(states: &[&[(&str, &str)]]) -> (Objects, Vec<String>) {
    let mut objects = Objects::default();
    let mut refusals = Vec::new();
    for state in states {
        (objects, refusals) = accept(&objects, &files(state), &me());
    }
    (objects, refusals.iter().map(ToString::to_string).collect())
}

/// The names of what is in force.
pub(super) fn names(objects: &Objects) -> Vec<String> {
    changes(&Objects::default(), objects).into_iter().map(|change| change.name).collect()
}

#[test]
fn all_objects_of_all_good_files_are_in_force() {
    let mesh = agent("node-0", 0, "127.0.0.1:1") + &agent("node-1", 1, "");
    let table = region("table", "size: 64Mi", "1 node-0 node-1");
    let (objects, refusals) = follow(&[&[("mesh.yaml", &mesh), ("table.yaml", &table), ("empty.yaml", "")]]);
    assert_eq!(refusals, Vec::<String>::new());
    assert_eq!(names(&objects), ["node-0", "node-1", "default/table"]);
    let region = objects.region(RegionId(pagemesh_crds::region_id("default", "table", None))).unwrap();
    let Part { placement, home } = objects.part(region, &life()).unwrap();
    assert_eq!((placement.epoch, placement.homes, home), (1, vec![AgentId(0), AgentId(1)], true));
    assert_eq!(objects.peers(AgentId(1)).into_keys().collect::<Vec<_>>(), [AgentId(0)]);
    assert!(objects.peers(AgentId(0)).is_empty());
}

#[test]
fn a_bad_file_is_refused_with_place_field_and_reason() {
    let text = |spec: &str, placement: &str| region("t", spec, placement);
    let cases = [
        ("{", "a.yaml", ""),
        ("kind: Region\n", "a.yaml", "field apiVersion"),
        ("apiVersion: pagemesh.io/v1alpha1\nkind: Pod\n", "a.yaml", "field kind: is `Pod`"),
        (&text("size: 64Mi, colour: red", ""), "a.yaml, line ", "colour"),
        (&text("size: 0", ""), "a.yaml, Region default/t, field spec.size", "at least one page"),
        (&text("size: 5Ki", ""), "a.yaml, Region default/t, field spec.size", "multiple of the page size"),
        (
            &text("size: 64Mi, pageSize: 5Ki", ""),
            "a.yaml, Region default/t, field spec.pageSize",
            "power of two",
        ),
        (
            &text("size: 64Mi", "0 node-0"),
            "a.yaml, Region default/t, field status.placement.epoch",
            "begin with 1",
        ),
        (&agent("node-1", 1024, ""), "a.yaml, Agent node-1, field spec.id", "1024"),
        (&agent("node-1", 1, "example"), "a.yaml, Agent node-1, field status.address", "example"),
        (&agent("node-0", 7, ""), "a.yaml, Agent node-0, field spec.id", "which is node-0 with id 0"),
        (&agent("node-9", 0, ""), "a.yaml, Agent node-9, field spec.id", "which is node-0 with id 0"),
    ];
    for (text, start, part) in cases {
        let (objects, refusals) = follow(&[&[("a.yaml", text)]]);
        assert_eq!(names(&objects), Vec::<String>::new(), "{text}");
        assert_eq!(refusals.len(), 1, "{text}");
        assert!(refusals[0].starts_with(start) && refusals[0].contains(part), "{} for {text}", refusals[0]);
        assert!(!refusals[0].contains('\n'), "one line: {}", refusals[0]);
    }
}

#[test]
fn all_that_is_wrong_with_an_object_is_one_refusal() {
    let text = region("t", "size: 0, pageSize: 1Ki", "");
    let (_, refusals) = follow(&[&[("a.yaml", &text)]]);
    assert_eq!(refusals.len(), 1);
    assert!(refusals[0].contains("spec.size") && refusals[0].contains("spec.pageSize"), "{}", refusals[0]);
}

#[test]
fn a_placed_region_changes_with_its_epoch_and_keeps_its_shape() {
    let old = region("t", "size: 64Mi", "2 node-0 node-1");
    for (spec, placement, field) in [
        ("size: 64Mi", "2 node-0 node-1", None),
        ("size: 64Mi", "3 node-0 node-1", None),
        ("size: 64Mi", "3 node-1 node-0", None),
        ("size: 64Mi", "3 node-0", None),
        ("size: 128Mi", "3 node-0 node-1", None),
        ("size: 65536Ki", "2 node-0 node-1", None),
        ("size: 64Mi, coherence: WriteUpdate", "3 node-0 node-1", None),
        ("size: 64Mi, coherence: WriteUpdate", "2 node-0 node-1", Some("spec.coherence")),
        ("size: 32Mi", "2 node-0 node-1", Some("spec.size")),
        ("size: 32Mi", "3 node-0 node-1", Some("spec.size")),
        ("size: 128Mi", "2 node-0 node-1", Some("spec.size")),
        ("size: 64Mi, pageSize: 8Ki", "3 node-0 node-1", Some("spec.pageSize")),
        ("size: 64Mi", "1 node-0 node-1", Some("status.placement.epoch")),
        ("size: 64Mi", "2 node-1 node-0", Some("status.placement.homes")),
        ("size: 64Mi", "2 node-0", Some("status.placement.homes")),
        ("size: 64Mi", "", Some("status.placement")),
    ] {
        let new = region("t", spec, placement);
        let (objects, refusals) = follow(&[&[("t.yaml", &old)], &[("t.yaml", &new)]]);
        match field {
            None => {
                assert_eq!(refusals, Vec::<String>::new(), "{new}");
                assert_eq!(objects, follow(&[&[("t.yaml", &new)]]).0, "{new}");
            }
            Some(field) => {
                let start = format!("t.yaml, Region default/t, field {field}: ");
                assert!(refusals.len() == 1 && refusals[0].starts_with(&start), "{refusals:?} for {new}");
                assert_eq!(objects, follow(&[&[("t.yaml", &old)]]).0, "{new}");
            }
        }
        // It makes no difference that the region was away for a while.
        let (_, again) = follow(&[&[("t.yaml", &old)], &[], &[("t.yaml", &new)]]);
        assert_eq!(again, refusals);
    }
}

#[test]
fn a_region_that_is_not_placed_may_change_freely() {
    let old = region("t", "size: 64Mi", "");
    let new = region("t", "size: 32Mi, pageSize: 64Ki", "1 node-0");
    let (_, refusals) = follow(&[&[("t.yaml", &old)], &[("t.yaml", &new)]]);
    assert_eq!(refusals, Vec::<String>::new());
}

#[test]
fn an_agent_keeps_its_number_and_may_move() {
    let old = agent("node-1", 1, "127.0.0.1:1");
    for (new, ok) in [
        (agent("node-1", 1, "127.0.0.1:2"), true),
        (agent("node-1", 1, ""), true),
        (agent("node-1", 2, "127.0.0.1:1"), false),
        (agent("node-2", 1, "127.0.0.1:1"), true),
    ] {
        let (objects, refusals) = follow(&[&[("a.yaml", &old)], &[("a.yaml", &new)]]);
        assert_eq!(refusals.is_empty(), ok, "{refusals:?}");
        let in_force = if ok { &new } else { &old };
        let expected = follow(&[&[("a.yaml", in_force)]]).0;
        assert_eq!(objects.peers(AgentId(0)), expected.peers(AgentId(0)));
        assert_eq!(names(&objects), names(&expected));
    }
}

#[test]
fn a_refused_file_takes_effect_not_even_in_part() {
    let old = region("a", "size: 4Ki", "1 x") + &region("b", "size: 4Ki", "1 x");
    let new = region("a", "size: 4Ki", "2 x")
        + &region("b", "size: 8Ki, pageSize: 8Ki", "2 x")
        + &region("c", "size: 4Ki", "");
    let (objects, refusals) = follow(&[&[("f.yaml", &old)], &[("f.yaml", &new)]]);
    assert_eq!(refusals.len(), 1);
    assert_eq!(objects, follow(&[&[("f.yaml", &old)]]).0);
    // A second file is not affected, and what is removed from a good file is gone.
    let (objects, _) =
        follow(&[&[("f.yaml", &old)], &[("f.yaml", "{"), ("g.yaml", &agent("node-0", 0, ""))]]);
    assert_eq!(names(&objects), ["node-0", "default/a", "default/b"]);
    let (objects, _) = follow(&[&[("f.yaml", &old)], &[("f.yaml", &region("a", "size: 4Ki", "1 x"))]]);
    assert_eq!(names(&objects), ["default/a"]);
    let (objects, _) = follow(&[&[("f.yaml", &old)], &[]]);
    assert_eq!(names(&objects), Vec::<String>::new());
}

#[test]
fn a_file_that_cannot_be_read_counts_as_bad() {
    let (last, _) = follow(&[&[("f.yaml", &agent("node-1", 1, ""))]]);
    let unreadable = Files::from([("f.yaml".to_owned(), Err("cannot be read: no".to_owned()))]);
    let (objects, refusals) = accept(&last, &of_files(&unreadable), &me());
    assert_eq!(objects, last);
    assert_eq!(refusals[0].to_string(), "f.yaml: cannot be read: no");
}

#[test]
fn of_two_files_that_disagree_the_one_in_force_stays() {
    let a = agent("node-1", 1, "127.0.0.1:1");
    let b = agent("node-1", 1, "127.0.0.1:2");
    let c = agent("node-2", 1, "127.0.0.1:3");
    for (second, place) in
        [(&b, "metadata.name: is declared in m.yaml already"), (&c, "spec.id: 1 is the id of agent node-1")]
    {
        for name in ["b.yaml", "z.yaml"] {
            let (objects, refusals) = follow(&[&[("m.yaml", &a)], &[("m.yaml", &a), (name, second)]]);
            assert!(refusals.len() == 1 && refusals[0].contains(place), "{refusals:?}");
            assert_eq!(objects, follow(&[&[("m.yaml", &a)]]).0);
        }
    }
    let twice = a.clone() + &b;
    let (objects, refusals) = follow(&[&[("m.yaml", &twice)]]);
    assert_eq!((refusals.len(), names(&objects).len()), (1, 0));
}

#[test]
fn an_object_may_move_to_another_file() {
    let (a, b) = (agent("node-1", 1, ""), agent("node-2", 2, ""));
    let both = a.clone() + &b;
    for new in [("a.yaml", "z.yaml"), ("z.yaml", "a.yaml")] {
        let (objects, refusals) = follow(&[&[(new.0, &both)], &[(new.0, &a), (new.1, &b)]]);
        assert_eq!(refusals, Vec::<String>::new());
        assert_eq!(names(&objects), ["node-1", "node-2"]);
        // And its old file may be broken at the same time only if it still has the object.
        let (objects, refusals) = follow(&[&[(new.0, &both)], &[(new.0, "{"), (new.1, &b)]]);
        assert_eq!(refusals.len(), 2, "{refusals:?}");
        assert_eq!(names(&objects), ["node-1", "node-2"]);
    }
}

#[test]
fn a_region_is_not_ready_while_a_home_is_unknown() {
    let table = region("t", "size: 4Ki", "1 node-0 node-1");
    let ready = |state: &[(&str, &str)]| {
        let (objects, _) = follow(&[state]);
        let region = objects.region(RegionId(pagemesh_crds::region_id("default", "t", None))).unwrap();
        objects.part(region, &life())
    };
    let unplaced = region("t", "size: 4Ki", "");
    assert_eq!(ready(&[("t.yaml", &unplaced)]), Err(Unplaced::Undecided));
    let node_0 = agent("node-0", 0, "");
    let unknown = Err(Unplaced::UnknownHome("node-1".into()));
    assert_eq!(ready(&[("t.yaml", &table), ("a.yaml", &node_0)]), unknown);
    let both = node_0 + &agent("node-1", 1, "");
    assert!(ready(&[("t.yaml", &table), ("a.yaml", &both)]).is_ok());
}

#[test]
fn changes_are_named() {
    let before =
        region("same", "size: 4Ki", "1 x") + &region("raised", "size: 4Ki", "1 x") + &agent("gone", 5, "");
    let after =
        region("same", "size: 4Ki", "1 x") + &region("raised", "size: 4Ki", "2 x") + &agent("new", 6, "");
    let (old, _) = follow(&[&[("a.yaml", &before)]]);
    let (new, _) = follow(&[&[("a.yaml", &before)], &[("b.yaml", &after)]]);
    let list: Vec<_> = changes(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(list, ["Agent gone removed", "Agent new declared", "Region default/raised changed"]);
    let (back, _) = accept(&new, &files(&[("a.yaml", &agent("gone", 5, ""))]), &me());
    let list: Vec<_> = changes(&new, &back).iter().map(ToString::to_string).collect();
    assert_eq!(
        list,
        [
            "Agent gone declared",
            "Agent new removed",
            "Region default/raised removed",
            "Region default/same removed"
        ]
    );
}

#[test]
fn two_regions_of_one_name_do_not_live_side_by_side() {
    let text =
        |uid: &str| region("t", "size: 4Ki", "1 node-0").replace("name: t", &format!("name: t, uid: {uid}"));
    let (objects, refusals) =
        follow(&[&[("a.yaml", &text("u1"))], &[("a.yaml", &text("u1")), ("b.yaml", &text("u2"))]]);
    assert_eq!(
        refusals,
        [
            "b.yaml, Region default/t, field metadata.name: is declared in a.yaml already: remove one of the two"
        ]
    );
    assert_eq!(names(&objects), ["default/t"]);
}
