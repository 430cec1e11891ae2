//! What holds for every tree: made at random, of seeds that a failure prints.

use std::collections::BTreeSet;
use std::fmt::Write;

use pagemesh_crds::{Object, parse_objects, validate_mount_table};
use pagemesh_names::{End, Place, ProblemKind, REFERRALS_MAX, Region, Table, Tree, Walk, What};

const NAMESPACES: usize = 4;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Numbers from a seed (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % end as u64) as usize
    }

    fn path(&mut self, parts_max: usize) -> String {
        let parts = 1 + self.below(parts_max);
        (0..parts).map(|_| NAMES[self.below(NAMES.len())]).collect::<Vec<_>>().join("/")
    }
}

/// The tables of every namespace, of paths that lie apart.
fn tables(numbers: &mut Numbers) -> Vec<Table> {
    let table = |namespace: usize| {
        let mut paths: BTreeSet<String> = BTreeSet::new();
        for _ in 0..numbers.below(6) {
            let path = numbers.path(3);
            let within = |a: &str, b: &str| a == b || a.starts_with(&format!("{b}/"));
            if !paths.iter().any(|other| within(&path, other) || within(other, &path)) {
                paths.insert(path);
            }
        }
        let (mut mounts, mut contexts) = (String::new(), String::new());
        for path in paths {
            let (to, name) = (numbers.below(NAMESPACES), NAMES[numbers.below(NAMES.len())]);
            let read_only = numbers.below(2) == 0;
            match numbers.below(2) {
                0 => write!(
                    mounts,
                    "{{path: {path}, region: {name}, namespace: n{to}, readOnly: {read_only}}},"
                ),
                _ => write!(contexts, "{{path: {path}, namespace: n{to}}},"),
            }
            .unwrap();
        }
        let text = format!(
            "apiVersion: pagemesh.io/v1alpha1\nkind: MountTable\nmetadata: {{name: t, namespace: n{namespace}}}\n\
             spec: {{default: true, mounts: [{mounts}], contexts: [{contexts}]}}\n"
        );
        let Object::MountTable(table) = parse_objects(&text).unwrap().remove(0) else { panic!("{text}") };
        validate_mount_table(&table).unwrap_or_else(|errors| panic!("{text}{errors:?}"));
        Table::from(&table)
    };
    (0..NAMESPACES).map(table).collect()
}

fn regions(numbers: &mut Numbers) -> Vec<Region> {
    let all =
        (0..NAMESPACES).flat_map(|namespace| NAMES.map(|name| (format!("n{namespace}"), name.to_owned())));
    let some = all.filter(|_| numbers.below(2) == 0).collect::<Vec<_>>();
    some.into_iter().map(|(namespace, name)| Region { namespace, name, ..Region::default() }).collect()
}

#[test]
fn walks_end_and_lists_tell_what_walks_find() {
    for seed in 0..1000 {
        let mut numbers = Numbers(seed);
        let (tables, regions) = (tables(&mut numbers), regions(&mut numbers));
        let tree = Tree::new(tables, regions.clone(), true);
        for _ in 0..20 {
            let start = format!("n{}", numbers.below(NAMESPACES));
            let path = numbers.path(8);
            let place = Place::parse(&start, &path).unwrap();
            let mut walk = Walk::new(place.clone());
            let end = tree.resolve(&mut walk);
            assert!(walk.trace().len() <= REFERRALS_MAX + 1, "seed {seed}: {path} of {start}");
            match end {
                Ok(End::Region { region, .. }) => {
                    assert!(regions.contains(&region), "seed {seed}: {path} of {start} is {region:?}");
                }
                Ok(End::Context) => check_list(&tree, &walk, seed),
                Ok(End::Elsewhere(place)) => panic!("seed {seed}: there is no other server, as in {place}"),
                Err(problem) => assert!(!problem.reason.is_empty(), "seed {seed}"),
            }
            // A namespace has four contexts to be in at most, so that only a circle makes a longer way.
            if walk.trace().len() >= NAMESPACES {
                let end = tree.resolve(&mut Walk::new(place));
                assert_eq!(end.unwrap_err().kind, ProblemKind::Loop, "seed {seed}: {path} of {start}");
            }
        }
    }
}

/// That what is listed in the context that a walk has ended at is what walks to it find.
fn check_list(tree: &Tree, walk: &Walk, seed: u64) {
    let context = walk.place();
    for entry in tree.list(context).unwrap().entries {
        let path =
            if context.path.is_empty() { entry.name } else { format!("{}/{}", context.path, entry.name) };
        let inner = Place { path, ..context.clone() };
        let found = tree.resolve(&mut Walk::new(inner.clone()));
        let as_listed = match (&entry.what, &found) {
            (What::Region { region, read_only }, Ok(End::Region { region: found, read_only: only })) => {
                region == found && read_only == only
            }
            // A Region's own name is found before a context that is there for what is below it.
            (What::Context, Ok(End::Context | End::Region { .. })) => true,
            (What::Delegated(_), Ok(End::Context) | Err(_)) => true,
            (What::Dangling(problem), Err(found)) => problem == found,
            (_, _) => false,
        };
        assert!(as_listed, "seed {seed}: {inner} is listed as {:?} and found to be {found:?}", entry.what);
    }
}
