//! What one name server knows, and what it says of a place.

use std::collections::BTreeMap;

use crate::table::Target;
use crate::{Place, Problem, ProblemKind, Region, Table};

/// Most entries that a listing has.
pub const ENTRIES_MAX: usize = 10_000;

/// Tables and Regions, by namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    namespaces: BTreeMap<String, Namespace>,
    /// All tables are known: else what is not found may be bound by one of the others.
    complete: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Namespace {
    tables: BTreeMap<String, Table>,
    regions: BTreeMap<String, Region>,
    default: Option<String>,
    /// Tables that are to be the default one, and are not.
    surplus: Vec<String>,
}

/// What is at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A Region.
    Region {
        /// Which.
        region: Region,
        /// Who attaches by this path may only read.
        read_only: bool,
    },
    /// Something is below it.
    Context,
    /// It is described there.
    Referred(Place),
}

/// What is in a context under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// What it stands for.
    pub what: What,
}

/// What a name in a context stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A Region.
    Region {
        /// Which.
        region: Region,
        /// Who attaches by this path may only read.
        read_only: bool,
    },
    /// A context.
    Context,
    /// A context that is described there.
    Delegated(Place),
    /// Why there is nothing behind it.
    Dangling(Problem),
}

/// What is in a context.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// In the order of their names.
    pub entries: Vec<Entry>,
    /// What is wrong with the tables: sentences.
    pub notes: Vec<String>,
    /// There are more than [`ENTRIES_MAX`].
    pub cut_off: bool,
}

impl Listing {
    /// A Region at this path, by itself: as `ls` of a file.
    #[must_use]
    pub fn of_region(path: &str, region: Region, read_only: bool) -> Listing {
        let name = path.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty());
        let name = name.unwrap_or(&region.name).to_owned();
        let entries = vec![Entry { name, what: What::Region { region, read_only } }];
        Listing { entries, ..Listing::default() }
    }
}

fn not_found<T>(reason: String) -> Result<T, Problem> {
    Err(Problem::new(ProblemKind::NotFound, reason))
}

impl Tree {
    /// The tree of these tables and Regions. `complete` says whether all tables are known.
    pub fn new(
        tables: impl IntoIterator<Item = Table>,
        regions: impl IntoIterator<Item = Region>,
        complete: bool,
    ) -> Tree {
        let mut namespaces: BTreeMap<String, Namespace> = BTreeMap::new();
        for table in tables {
            let namespace = namespaces.entry(table.namespace.clone()).or_default();
            namespace.tables.insert(table.name.clone(), table);
        }
        for region in regions {
            let namespace = namespaces.entry(region.namespace.clone()).or_default();
            namespace.regions.insert(region.name.clone(), region);
        }
        namespaces.values_mut().for_each(Namespace::choose_default);
        Tree { namespaces, complete }
    }

    /// What is wrong with the tables, as sentences.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        self.namespaces.iter().flat_map(|(name, namespace)| namespace.notes(name))
    }

    /// What is at a place of this server.
    ///
    /// # Errors
    /// Why nothing is.
    pub fn look(&self, place: &Place) -> Result<Found, Problem> {
        let Some(namespace) = self.namespace(place)? else { return Ok(Found::Context) };
        let table = namespace.table(place).map_err(|problem| self.unless_unknown(problem))?;
        if place.path.is_empty() {
            return Ok(Found::Context);
        }
        if let Some(table) = table
            && let Some(found) = self.bound(table, place)?
        {
            return Ok(found);
        }
        if let Some(region) = self.by_own_name(namespace, place) {
            return Ok(Found::Region { region: region.clone(), read_only: false });
        }
        if table.is_some_and(|table| table.is_above_something(&place.path)) {
            return Ok(Found::Context);
        }
        let looked = match table {
            Some(table) => format!("MountTable {} of that namespace binds no such path, and", table.name),
            None => "that namespace has no default MountTable, and".into(),
        };
        let reason = format!("there is nothing at {place}: {looked} no Region is called so");
        not_found(reason).map_err(|problem| self.unless_unknown(problem))
    }

    /// Whether a table says what is at a place, by binding it, one above it or one below it that has no Region's own name.
    ///
    /// # Errors
    /// The place names a table that is not there.
    pub fn binds(&self, place: &Place) -> Result<bool, Problem> {
        let Ok(Some(namespace)) = self.namespace(place) else { return Ok(false) };
        let table = namespace.table(place).map_err(|problem| self.unless_unknown(problem))?;
        let Some(table) = table else { return Ok(false) };
        Ok(match self.bound(table, place) {
            Ok(Some(_)) | Err(_) => true,
            Ok(None) => self.by_own_name(namespace, place).is_none() && table.is_above_something(&place.path),
        })
    }

    /// What is in a context of this server, at a place that [`Tree::look`] has called one.
    ///
    /// # Errors
    /// It is none.
    pub fn list(&self, place: &Place) -> Result<Listing, Problem> {
        let Some(namespace) = self.namespace(place)? else {
            let context = |name: &String| Entry { name: name.clone(), what: What::Context };
            return Ok(cut(self.namespaces.keys().map(context).collect(), Vec::new()));
        };
        let table = namespace.table(place).map_err(|problem| self.unless_unknown(problem))?;
        let mut entries: BTreeMap<(String, bool), What> = BTreeMap::new();
        let below = if place.path.is_empty() { String::new() } else { format!("{}/", place.path) };
        // A name can be a Region's own, and a context because something is bound below it.
        let mut enter = |path: &str, what: What| {
            let Some(rest) = path.strip_prefix(&below) else { return };
            match rest.split_once('/') {
                Some((name, _)) => entries.entry((name.to_owned(), true)).or_insert(What::Context),
                None => entries.entry((rest.to_owned(), false)).or_insert(what),
            };
        };
        if let Some(table) = table {
            for (path, target) in &table.mounts {
                let what = match self.mounted(path, target) {
                    Ok(region) => What::Region { region: region.clone(), read_only: target.read_only },
                    Err(problem) => What::Dangling(problem),
                };
                enter(path, what);
            }
            for (path, place) in &table.contexts {
                enter(path, What::Delegated(place.clone()));
            }
        }
        if place.path.is_empty() {
            for (name, region) in &namespace.regions {
                enter(name, What::Region { region: region.clone(), read_only: false });
            }
        }
        let entries = entries.into_iter().map(|((name, _), what)| Entry { name, what }).collect();
        Ok(cut(entries, namespace.notes(&place.namespace).collect()))
    }

    /// The namespace of a place; `None` at the root.
    fn namespace(&self, place: &Place) -> Result<Option<&Namespace>, Problem> {
        if place.namespace.is_empty() {
            return Ok(None);
        }
        static NOTHING: Namespace = Namespace::NOTHING;
        // Who looks around at home may find nothing yet.
        let own = place.own.then_some(&NOTHING);
        match self.namespaces.get(&place.namespace).or(own) {
            Some(namespace) => Ok(Some(namespace)),
            None => not_found(format!(
                "there is nothing at {place}: namespace {} has neither a Region nor a MountTable",
                place.namespace
            ))
            .map_err(|problem| self.unless_unknown(problem)),
        }
    }

    /// What a table binds at a place or above it. The longest of several paths holds.
    fn bound(&self, table: &Table, place: &Place) -> Result<Option<Found>, Problem> {
        let path = place.path.as_str();
        let ends = path.rmatch_indices('/').map(|(end, _)| end);
        for end in std::iter::once(path.len()).chain(ends) {
            let (bound, rest) = path.split_at(end);
            let rest = rest.trim_start_matches('/');
            if let Some(target) = table.mounts.get(bound) {
                if !rest.is_empty() {
                    return not_found(format!(
                        "there is nothing at {place}: {bound} is region {}/{}, and nothing is below a region",
                        target.namespace, target.name
                    ));
                }
                let region = self.mounted(bound, target)?.clone();
                return Ok(Some(Found::Region { region, read_only: target.read_only }));
            }
            if let Some(context) = table.contexts.get(bound) {
                return Ok(Some(Found::Referred(Place { path: rest.into(), ..context.clone() })));
            }
        }
        Ok(None)
    }

    /// The Region that a mount means.
    fn mounted(&self, path: &str, target: &Target) -> Result<&Region, Problem> {
        let Target { namespace, name, .. } = target;
        let region = self.namespaces.get(namespace).and_then(|namespace| namespace.regions.get(name));
        region.ok_or_else(|| {
            let reason = format!(
                "{path} is mounted on region {namespace}/{name}, which is not declared: add a Region object of that name"
            );
            self.unless_unknown(Problem::new(ProblemKind::NotFound, reason))
        })
    }

    /// `NAME` in its namespace, and `NAMESPACE/NAME` for who is in one.
    fn by_own_name<'a>(&'a self, namespace: &'a Namespace, place: &Place) -> Option<&'a Region> {
        match place.path.split_once('/') {
            None => namespace.regions.get(&place.path),
            Some((other, name)) if place.own => self.namespaces.get(other)?.regions.get(name),
            Some(_) => None,
        }
    }

    /// A table that is not known yet may bind what is not found.
    fn unless_unknown(&self, problem: Problem) -> Problem {
        if self.complete {
            return problem;
        }
        let reason = format!(
            "{}, as far as is known here, which is not all: an agent has just started, or who answers may not list the MountTables \
             and Regions of every namespace",
            problem.reason
        );
        Problem::new(ProblemKind::NotKnownYet, reason)
    }
}

fn cut(mut entries: Vec<Entry>, notes: Vec<String>) -> Listing {
    let cut_off = entries.len() > ENTRIES_MAX;
    entries.truncate(ENTRIES_MAX);
    Listing { entries, notes, cut_off }
}

impl Namespace {
    const NOTHING: Namespace =
        Namespace { tables: BTreeMap::new(), regions: BTreeMap::new(), default: None, surplus: Vec::new() };

    /// The oldest counts, so that nobody unseats a table by adding another.
    fn choose_default(&mut self) {
        let mut wanting: Vec<&Table> = self.tables.values().filter(|table| table.default).collect();
        wanting.sort_by(|a, b| (&a.created, &a.name).cmp(&(&b.created, &b.name)));
        let mut names = wanting.into_iter().map(|table| table.name.clone());
        self.default = names.next();
        self.surplus = names.collect();
    }

    /// The table that a place is looked up in, if there is one.
    fn table(&self, place: &Place) -> Result<Option<&Table>, Problem> {
        match &place.table {
            None => Ok(self.default.as_ref().and_then(|name| self.tables.get(name))),
            Some(name) => match self.tables.get(name) {
                Some(table) => Ok(Some(table)),
                None => not_found(format!(
                    "there is no MountTable {name} in namespace {}: add it, or name another",
                    place.namespace
                )),
            },
        }
    }

    fn notes(&self, namespace: &str) -> impl Iterator<Item = String> {
        let default = self.default.clone().unwrap_or_default();
        self.surplus.iter().map(move |name| {
            format!(
                "MountTable {namespace}/{name} says that it is the default one, and {default} is already: remove `default` \
                 from one of the two"
            )
        })
    }
}
