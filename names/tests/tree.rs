//! Paths, and what they stand for: in one server, and across several.

use std::collections::BTreeMap;

use pagemesh_crds::{Object, parse_objects, validate, validate_mount_table};
use pagemesh_names::follow::{self, Answer, Servers};
use pagemesh_names::{
    End, Listing, Place, Problem, ProblemKind, REFERRALS_MAX, Region, Table, Tree, Walk, What,
};

/// What people would write, in short.
fn tree(text: &str) -> Tree {
    let (mut tables, mut regions) = (Vec::new(), Vec::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (what, rest) = line.split_once(' ').expect("a kind");
        let (name, spec) = rest.split_once(' ').unwrap_or((rest, "{}"));
        let (namespace, name) = name.split_once('/').expect("a namespace");
        let spec = if what == "Region" { "{size: 1Mi}" } else { spec };
        let text = format!(
            "apiVersion: pagemesh.io/v1alpha1\nkind: {what}\nmetadata: {{namespace: {namespace}, name: {name}}}\nspec: {spec}\n"
        );
        match parse_objects(&text).expect("readable").remove(0) {
            Object::MountTable(table) => {
                validate_mount_table(&table).expect("good");
                tables.push(Table::from(&table));
            }
            Object::Region(region) => regions.push(Region::from(&validate(&region).expect("good"))),
            other @ (Object::RegionClass(_) | Object::AgentPool(_) | Object::Agent(_)) => {
                panic!("not for a tree: {other:?}")
            }
        }
    }
    Tree::new(tables, regions, true)
}

const TREE: &str = "
    Region default/table
    Region default/weights
    Region default/models
    Region team-a/results
    Region team-a/table
    Region team-b/deep
    MountTable default/main {default: true, mounts: [{path: models/weights, region: weights, readOnly: true}, {path: models/old, region: gone}, {path: theirs, region: results, namespace: team-a}, {path: table, region: weights}], contexts: [{path: teams/a, namespace: team-a}, {path: far/away, delegate: {context: x, to: 'b:1'}}, {path: nowhere, namespace: nobody}]}
    MountTable default/other {mounts: [{path: mine, region: weights}]}
    MountTable team-a/t {default: true, mounts: [{path: r/s, region: results}], contexts: [{path: b, namespace: team-b}, {path: back, namespace: default}]}
";

/// What a path stands for in namespace `default`, in a word or two.
fn said(tree: &Tree, path: &str, table: &str) -> String {
    let place = match Place::parse("default", path).and_then(|place| place.with_table(table)) {
        Ok(place) => place,
        Err(problem) => return format!("{:?}", problem.kind),
    };
    let mut walk = Walk::new(place);
    match tree.resolve(&mut walk) {
        Ok(End::Region { region, read_only }) => {
            format!("{}/{}{}", region.namespace, region.name, if read_only { " ro" } else { "" })
        }
        Ok(End::Context) => "context".into(),
        Ok(End::Elsewhere(place)) => format!("-> {place}"),
        Err(problem) => format!("{:?}", problem.kind),
    }
}

#[test]
fn paths() {
    let tree = tree(TREE);
    for (path, table, expected) in [
        ("models/weights", "", "default/weights ro"),
        ("/default/models/weights", "", "default/weights ro"),
        ("theirs", "", "team-a/results"),
        // A table comes before a Region's own name.
        ("table", "", "default/weights"),
        ("weights", "", "default/weights"),
        // A Region's own name comes before a context that is there because something is bound below it.
        ("models", "", "default/models"),
        ("/default/models", "", "default/models"),
        ("team-a/table", "", "team-a/table"),
        ("team-a/r/s", "", "NotFound"),
        ("/team-a/r/s", "", "team-a/results"),
        ("/team-a/results", "", "team-a/results"),
        ("teams/a/results", "", "team-a/results"),
        ("teams/a/r/s", "", "team-a/results"),
        ("teams/a/b/deep", "", "team-b/deep"),
        ("teams/a", "", "context"),
        ("teams", "", "context"),
        ("", "", "context"),
        ("/", "", "context"),
        ("/team-b", "", "context"),
        // `NAMESPACE/NAME` is for who is in the namespace, not for who comes by a context.
        ("teams/a/default/weights", "", "NotFound"),
        ("/team-a/default/weights", "", "NotFound"),
        ("far/away", "", "-> /x at b:1"),
        ("far/away/p/q", "", "-> /x/p/q at b:1"),
        ("far", "", "context"),
        ("far/awa", "", "NotFound"),
        ("models/old", "", "NotFound"),
        ("models/weights/x", "", "NotFound"),
        ("nothing", "", "NotFound"),
        ("nowhere/x", "", "NotFound"),
        ("/nobody", "", "NotFound"),
        ("teams/a/back/weights", "", "Loop"),
        ("mine", "other", "default/weights"),
        ("models/weights", "other", "NotFound"),
        ("table", "other", "default/table"),
        ("mine", "missing", "NotFound"),
        ("../x", "", "BadPath"),
    ] {
        assert_eq!(said(&tree, path, table), expected, "{path} in table {table:?}");
    }
}

#[test]
fn what_is_not_found_is_not_known_before_all_tables_are() {
    let tree =
        Tree::new([], [Region { namespace: "default".into(), name: "t".into(), ..Region::default() }], false);
    assert_eq!(said(&tree, "t", ""), "default/t");
    assert_eq!(said(&tree, "u", ""), "NotKnownYet");
    assert_eq!(said(&tree, "/other/u", ""), "NotKnownYet");
}

#[test]
fn lists() {
    let tree = tree(TREE);
    let list = |path: &str| -> Vec<String> {
        let listing = tree.list(&Place::parse("default", path).unwrap()).unwrap();
        let shown = |what: &What| match what {
            What::Region { region, .. } => format!("{}/{}", region.namespace, region.name),
            What::Context => "context".into(),
            What::Delegated(place) => format!("-> {place}"),
            What::Dangling(_) => "dangling".into(),
        };
        listing.entries.iter().map(|entry| format!("{} {}", entry.name, shown(&entry.what))).collect()
    };
    assert_eq!(
        list(""),
        [
            "far context",
            "models default/models",
            "models context",
            "nowhere -> /nobody",
            "table default/weights",
            "teams context",
            "theirs team-a/results",
            "weights default/weights",
        ]
    );
    assert_eq!(list("models"), ["old dangling", "weights default/weights"]);
    assert_eq!(list("far"), ["away -> /x at b:1"]);
    assert_eq!(list("/"), ["default context", "team-a context", "team-b context"]);
}

#[test]
fn the_oldest_default_counts_and_the_others_are_told() {
    let table = |name: &str, created: &str| {
        let mut table = a_table();
        (table.name, table.created) = (name.into(), created.into());
        table
    };
    fn a_table() -> Table {
        let text = "apiVersion: pagemesh.io/v1alpha1\nkind: MountTable\nmetadata: {name: t}\n\
                    spec: {default: true, mounts: [{path: a, region: r}]}\n";
        let Object::MountTable(table) = parse_objects(text).unwrap().remove(0) else { panic!("a table") };
        Table::from(&table)
    }
    let tree = Tree::new([table("a", "2026-02-02"), table("b", "2026-01-01")], [], true);
    let notes: Vec<String> = tree.notes().collect();
    assert!(
        matches!(&notes[..], [note] if note.starts_with("MountTable default/a says") && note.contains("and b is")),
        "{notes:?}"
    );
}

/// Name servers in this process.
struct InMemory(BTreeMap<&'static str, Tree>);

impl Servers for InMemory {
    async fn resolve(&self, server: &str, place: &Place) -> Result<Answer<End>, Problem> {
        let tree = self.0.get(server).ok_or_else(|| Problem::new(ProblemKind::Unreachable, "away"))?;
        let mut walk = Walk::new(Place { server: None, ..place.clone() });
        let end = tree.resolve(&mut walk);
        let (trace, _) = walk.into_parts();
        Ok(Answer { trace: trace.into_iter().map(|referral| referral.to).collect(), end })
    }

    async fn list(&self, server: &str, place: &Place) -> Result<Listing, Problem> {
        self.0[server].list(&Place { server: None, ..place.clone() })
    }
}

fn delegate(namespace: &str, path: &str, to: &str, context: &str) -> String {
    format!(
        "MountTable {namespace}/t {{default: true, contexts: [{{path: {path}, delegate: {{context: {context}, to: '{to}'}}}}]}}\n"
    )
}

async fn followed(servers: &InMemory, path: &str) -> (Result<End, Problem>, Vec<String>) {
    let mut walk = Walk::new(Place::parse("default", path).unwrap());
    let end = follow::resolve(&servers.0["a:1"], servers, &mut walk).await;
    (end, walk.trace().iter().map(|referral| referral.to.to_string()).collect())
}

#[tokio::test]
async fn servers_refer_to_each_other() {
    let a = tree(&(delegate("default", "b", "b:1", "x") + "Region default/r"));
    let b = tree(
        "MountTable x/t {default: true, contexts: [{path: y, namespace: y}]}\nRegion y/deep\nMountTable y/t {default: true, contexts: [{path: c, delegate: {context: z, to: 'c:1'}}, {path: gone, delegate: {context: z, to: 'd:1'}}]}",
    );
    let c = tree("Region z/end");
    let servers = InMemory(BTreeMap::from([("a:1", a), ("b:1", b), ("c:1", c)]));
    let (end, trace) = followed(&servers, "b/y/c/end").await;
    assert!(matches!(&end, Ok(End::Region { region, .. }) if region.name == "end"), "{end:?}");
    assert_eq!(trace, ["/x/y/c/end at b:1", "/y/c/end at b:1", "/z/end at c:1"]);
    let (end, _) = followed(&servers, "b/y/gone/x").await;
    assert_eq!(end.unwrap_err().kind, ProblemKind::Unreachable);
    let mut walk = Walk::new(Place::parse("default", "b/y").unwrap());
    let listing = follow::list(&servers.0["a:1"], &servers, &mut walk).await.unwrap().unwrap();
    let names: Vec<&str> = listing.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["c", "deep", "gone"]);
}

#[tokio::test]
async fn a_circle_of_servers_is_noticed() {
    let a = tree(&delegate("default", "x", "b:1", "default"));
    let b = tree(&delegate("default", "x", "a:1", "default"));
    let servers = InMemory(BTreeMap::from([("a:1", a), ("b:1", b)]));
    let (end, trace) = followed(&servers, "x/x/x/x/x/x/x/x/x/x/x/x/r").await;
    let problem = end.unwrap_err();
    assert_eq!(problem.kind, ProblemKind::Loop, "{trace:?}");
    assert!(
        problem.reason.contains("/default -> /default at b:1 -> /default at a:1 -> /default at b:1"),
        "{problem}"
    );
}

#[tokio::test]
async fn referrals_have_a_limit() {
    let chain = (0..=REFERRALS_MAX).map(|k| {
        format!("MountTable n{k}/t {{default: true, contexts: [{{path: x, namespace: n{}}}]}}\n", k + 1)
    });
    let text =
        chain.collect::<String>() + &format!("Region n{REFERRALS_MAX}/r\nRegion n{}/r", REFERRALS_MAX + 1);
    let tree = tree(&text);
    assert_eq!(said(&tree, &format!("/n0/{}r", "x/".repeat(REFERRALS_MAX)), ""), "n8/r");
    assert_eq!(said(&tree, &format!("/n0/{}r", "x/".repeat(REFERRALS_MAX + 1)), ""), "TooManyReferrals");
}

/// A server that answers whatever it likes.
struct Hostile(Answer<End>);

impl Servers for Hostile {
    async fn resolve(&self, _: &str, _: &Place) -> Result<Answer<End>, Problem> {
        Ok(self.0.clone())
    }

    async fn list(&self, _: &str, _: &Place) -> Result<Listing, Problem> {
        Ok(Listing::default())
    }
}

#[tokio::test]
async fn a_hostile_server_ends_no_walk_in_a_circle() {
    let tree = tree(&delegate("default", "x", "b:1", "n"));
    let long: Vec<Place> = (0..1000).map(|k| Place::in_namespace(&format!("n{k}"), "x")).collect();
    for trace in [vec![], long.clone(), long[..5].to_vec(), vec![Place::in_namespace("n", "x")]] {
        for end in [Ok(End::Elsewhere(Place::in_namespace("n", "x"))), Ok(End::Context)] {
            let servers = Hostile(Answer { trace: trace.clone(), end });
            let mut walk = Walk::new(Place::parse("default", "x/y").unwrap());
            let _ = follow::resolve(&tree, &servers, &mut walk).await;
            assert!(walk.trace().len() <= REFERRALS_MAX + 1);
        }
    }
}
