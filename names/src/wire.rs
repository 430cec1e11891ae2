//! Messages of `pagemesh.v1.Directory`, and what they mean. What another server says is hostile: whatever comes from a message is
//! checked here, once.

use pagemesh_crds::{check_label, check_path};

use prost::Message as _;

use crate::follow::Answer;
use crate::proto;
use crate::{
    ENTRIES_MAX, End, Entry, Listing, Place, Problem, ProblemKind, REFERRALS_MAX, Referral, Region, What,
};

/// Longest answer to what a path stands for. What a message takes in memory is a multiple of its bytes: of empty parts, it is fifty.
pub const RESOLUTION_BYTES_MAX: usize = 64 << 10;
/// Longest list.
pub const LISTING_BYTES_MAX: usize = 256 << 10;
/// Bytes of a list's entries: their sum, and the rest fits beside them.
const ENTRIES_BYTES_MAX: usize = LISTING_BYTES_MAX / 4 * 3;

/// Longest sentence that is taken from another server.
const REASON_CHARS_MAX: usize = 1024;
/// Most sentences about a namespace's tables.
const NOTES_MAX: usize = 100;
/// Bytes of a list's message that tell of an entry's length.
const PREFIX_BYTES: usize = 4;

/// Why a message of another server is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Nonsense(String);

fn nonsense<T>(what: impl Into<String>) -> Result<T, Nonsense> {
    Err(Nonsense(what.into()))
}

impl From<&Place> for proto::Place {
    fn from(place: &Place) -> proto::Place {
        proto::Place {
            server: place.server.clone().unwrap_or_default(),
            namespace: place.namespace.clone(),
            path: place.path.clone(),
        }
    }
}

impl TryFrom<proto::Place> for Place {
    type Error = Nonsense;

    fn try_from(place: proto::Place) -> Result<Place, Nonsense> {
        let proto::Place { server, namespace, path } = place;
        let server = (!server.is_empty()).then_some(server);
        if let Some(server) = &server {
            pagemesh_crds::check_address(server)
                .map_err(|reason| Nonsense(format!("the address {reason}")))?;
        }
        check_label(&namespace).map_err(|reason| Nonsense(format!("the namespace {reason}")))?;
        if !path.is_empty() {
            check_path(&path).map_err(|reason| Nonsense(format!("the path {reason}")))?;
        }
        Ok(Place { server, ..Place::in_namespace(&namespace, &path) })
    }
}

impl From<&Referral> for proto::Referral {
    fn from(referral: &Referral) -> proto::Referral {
        proto::Referral { from: Some((&referral.from).into()), to: Some((&referral.to).into()) }
    }
}

impl From<&Problem> for proto::Problem {
    fn from(problem: &Problem) -> proto::Problem {
        use proto::problem::Kind;
        let kind = match problem.kind {
            ProblemKind::BadPath => Kind::BadPath,
            ProblemKind::NotFound => Kind::NotFound,
            ProblemKind::Loop => Kind::Loop,
            ProblemKind::TooManyReferrals => Kind::TooManyReferrals,
            ProblemKind::Unreachable => Kind::Unreachable,
            ProblemKind::NotKnownYet => Kind::NotKnownYet,
        };
        proto::Problem { kind: kind.into(), reason: problem.reason.clone() }
    }
}

impl From<proto::Problem> for Problem {
    fn from(problem: proto::Problem) -> Problem {
        use proto::problem::Kind;
        let kind = match problem.kind() {
            Kind::BadPath => ProblemKind::BadPath,
            Kind::NotFound => ProblemKind::NotFound,
            Kind::Loop => ProblemKind::Loop,
            Kind::TooManyReferrals => ProblemKind::TooManyReferrals,
            Kind::Unreachable | Kind::Unspecified => ProblemKind::Unreachable,
            Kind::NotKnownYet => ProblemKind::NotKnownYet,
        };
        Problem::new(kind, sentence(&problem.reason))
    }
}

/// What can be shown on a terminal and written to a log.
fn sentence(text: &str) -> String {
    let short: String = text.chars().take(REASON_CHARS_MAX).collect();
    let shown: String = short.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect();
    if shown.is_empty() { "the name server does not say why".into() } else { shown }
}

fn region_message(region: &Region, read_only: bool) -> proto::Region {
    proto::Region {
        namespace: region.namespace.clone(),
        name: region.name.clone(),
        uid: region.uid.clone().unwrap_or_default(),
        epoch: region.epoch,
        read_only,
    }
}

fn region(message: proto::Region) -> Result<(Region, bool), Nonsense> {
    let proto::Region { namespace, name, uid, epoch, read_only } = message;
    for (what, label) in [("namespace", &namespace), ("name", &name)] {
        check_label(label).map_err(|reason| Nonsense(format!("a Region's {what} {reason}")))?;
    }
    let is_uid = |uid: &str| uid.len() <= 64 && uid.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_uid(&uid) {
        return nonsense("the uid of a Region is none");
    }
    let uid = (!uid.is_empty()).then_some(uid);
    Ok((Region { namespace, name, uid, epoch }, read_only))
}

/// The answer to who asked what a path stands for.
#[must_use]
pub fn resolution(
    version: proto::Version,
    trace: &[Referral],
    end: &Result<End, Problem>,
) -> proto::Resolution {
    use proto::resolution::End as Message;
    let end = match end {
        Ok(End::Region { region, read_only }) => Message::Region(region_message(region, *read_only)),
        Ok(End::Context) => Message::Context(proto::Context {}),
        Ok(End::Elsewhere(place)) => Message::Elsewhere(place.into()),
        Err(problem) => Message::Problem(problem.into()),
    };
    proto::Resolution {
        version: Some(version),
        trace: trace.iter().map(proto::Referral::from).collect(),
        end: Some(end),
    }
}

/// What a server has found.
///
/// # Errors
/// It makes no sense.
pub fn answer(message: proto::Resolution) -> Result<Answer<End>, Nonsense> {
    use proto::resolution::End as Message;
    let trace = targets(message.trace)?;
    let end = match message.end {
        Some(Message::Region(message)) => {
            let (region, read_only) = region(message)?;
            Ok(End::Region { region, read_only })
        }
        Some(Message::Context(proto::Context {})) => Ok(End::Context),
        Some(Message::Elsewhere(place)) => Ok(End::Elsewhere(place.try_into()?)),
        Some(Message::Problem(problem)) => Err(problem.into()),
        None => return nonsense("it says neither what is there nor why nothing is"),
    };
    Ok(Answer { trace, end })
}

/// Of who follows no more than may be, one too many may be told.
fn check_length(trace: &[proto::Referral]) -> Result<(), Nonsense> {
    if trace.len() > REFERRALS_MAX + 1 {
        return nonsense(format!("it tells of {} referrals", trace.len()));
    }
    Ok(())
}

/// The referrals of an answer, for people.
///
/// # Errors
/// They make no sense.
pub fn referrals(trace: Vec<proto::Referral>) -> Result<Vec<Referral>, Nonsense> {
    check_length(&trace)?;
    trace
        .into_iter()
        .map(|referral| match (referral.from, referral.to) {
            (Some(from), Some(to)) => Ok(Referral { from: from.try_into()?, to: to.try_into()? }),
            (_, _) => nonsense("a referral has only one end"),
        })
        .collect()
}

/// Where the referrals of an answer point.
///
/// # Errors
/// It makes no sense.
pub fn targets(trace: Vec<proto::Referral>) -> Result<Vec<Place>, Nonsense> {
    check_length(&trace)?;
    trace
        .into_iter()
        .map(|referral| match referral.to {
            Some(to) => to.try_into(),
            None => nonsense("a referral points nowhere"),
        })
        .collect()
}

/// The answer to who asked what is in a context, by this path.
#[must_use]
pub fn listing(
    version: proto::Version,
    path: &str,
    trace: &[Referral],
    end: &Result<Result<Listing, End>, Problem>,
) -> proto::Listing {
    use proto::listing::End as Message;
    let end = match end {
        Ok(Ok(listing)) => Message::Entries(entries(listing)),
        Ok(Err(End::Region { region, read_only })) => {
            Message::Entries(entries(&Listing::of_region(path, region.clone(), *read_only)))
        }
        Ok(Err(End::Elsewhere(place))) => Message::Elsewhere(place.into()),
        Ok(Err(End::Context)) => Message::Entries(proto::Entries::default()),
        Err(problem) => Message::Problem(problem.into()),
    };
    proto::Listing {
        version: Some(version),
        trace: trace.iter().map(proto::Referral::from).collect(),
        end: Some(end),
    }
}

fn entries(listing: &Listing) -> proto::Entries {
    use proto::entry::What as Message;
    let entry = |entry: &Entry| proto::Entry {
        name: entry.name.clone(),
        what: Some(match &entry.what {
            What::Region { region, read_only } => Message::Region(region_message(region, *read_only)),
            What::Context => Message::Context(proto::Context {}),
            What::Delegated(place) => Message::Delegated(place.into()),
            What::Dangling(problem) => Message::Dangling(problem.into()),
        }),
    };
    let mut bytes = 0;
    let fits = |entry: &proto::Entry| {
        bytes += entry.encoded_len() + PREFIX_BYTES;
        bytes <= ENTRIES_BYTES_MAX
    };
    let entries: Vec<_> = listing.entries.iter().map(entry).take_while(fits).collect();
    let cut_off = listing.cut_off || entries.len() < listing.entries.len();
    let notes = listing.notes.iter().take(NOTES_MAX).cloned().collect();
    proto::Entries { entries, notes, cut_off }
}

/// What a server has in a context, or why not.
///
/// # Errors
/// It makes no sense.
pub fn list_answer(message: proto::Listing) -> Result<Result<Listing, Problem>, Nonsense> {
    use proto::listing::End as Message;
    match message.end {
        Some(Message::Entries(entries)) => checked_entries(entries).map(Ok),
        Some(Message::Problem(problem)) => Ok(Err(problem.into())),
        Some(Message::Elsewhere(_)) => nonsense("it sends elsewhere after it has called the place its own"),
        None => nonsense("it says neither what is there nor why nothing is"),
    }
}

fn checked_entries(message: proto::Entries) -> Result<Listing, Nonsense> {
    use proto::entry::What as Message;
    let proto::Entries { entries, notes, cut_off } = message;
    if entries.len() > ENTRIES_MAX {
        return nonsense(format!("it lists {} names", entries.len()));
    }
    let entry = |entry: proto::Entry| {
        let name = entry.name;
        if name.contains('/') {
            return nonsense("a name in a list has a slash");
        }
        check_path(&name).map_err(|reason| Nonsense(format!("a name in a list {reason}")))?;
        let what = match entry.what {
            Some(Message::Region(message)) => {
                let (region, read_only) = region(message)?;
                What::Region { region, read_only }
            }
            Some(Message::Context(proto::Context {})) => What::Context,
            Some(Message::Delegated(place)) => What::Delegated(place.try_into()?),
            Some(Message::Dangling(problem)) => What::Dangling(problem.into()),
            None => return nonsense("a name in a list stands for nothing"),
        };
        Ok(Entry { name, what })
    };
    Ok(Listing {
        entries: entries.into_iter().map(entry).collect::<Result<_, _>>()?,
        notes: notes.iter().take(NOTES_MAX).map(|note| sentence(note)).collect(),
        cut_off,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(server: &str, namespace: &str, path: &str) -> proto::Place {
        proto::Place { server: server.into(), namespace: namespace.into(), path: path.into() }
    }

    #[test]
    fn what_was_said_is_what_is_heard() {
        let region = Region { namespace: "n".into(), name: "t".into(), uid: Some("u".into()), epoch: 3 };
        let to = Place { server: Some("a:1".into()), ..Place::in_namespace("n", "t") };
        let trace = [Referral { from: Place::in_namespace("m", "x/t"), to: to.clone() }];
        for end in [
            Ok(End::Region { region, read_only: true }),
            Ok(End::Context),
            Ok(End::Elsewhere(to.clone())),
            Err(Problem::new(ProblemKind::Loop, "a circle")),
        ] {
            let message = resolution(proto::Version::default(), &trace, &end);
            assert_eq!(answer(message), Ok(Answer { trace: vec![to.clone()], end }));
        }
    }

    #[test]
    fn a_list_is_cut_to_what_others_read() {
        let region = Region { namespace: "n".repeat(63), name: "t".repeat(63), ..Region::default() };
        let entry = |number: usize| {
            let what = What::Region { region: region.clone(), read_only: false };
            Entry { name: format!("{number:060}"), what }
        };
        let notes = vec!["x".repeat(200); 1000];
        let long = Listing { entries: (0..5000).map(entry).collect(), notes, cut_off: false };
        let message = listing(proto::Version::default(), "", &[], &Ok(Ok(long)));
        assert!(message.encoded_len() < LISTING_BYTES_MAX, "{}", message.encoded_len());
        let heard = list_answer(message).expect("sense").expect("a list");
        assert!(heard.cut_off && (500..5000).contains(&heard.entries.len()), "{}", heard.entries.len());
        let (entries, notes) = ((0..10).map(entry).collect(), Vec::new());
        let short = Listing { entries, notes, cut_off: false };
        let message = listing(proto::Version::default(), "", &[], &Ok(Ok(short.clone())));
        assert_eq!(list_answer(message), Ok(Ok(short)));
    }

    #[test]
    fn a_hostile_server_is_not_believed() {
        use proto::resolution::End as Message;
        let region = |namespace: &str, name: &str, uid: &str| {
            let (namespace, name, uid) = (namespace.into(), name.into(), uid.into());
            Message::Region(proto::Region { namespace, name, uid, ..proto::Region::default() })
        };
        for end in [
            None,
            Some(region("../x", "t", "")),
            Some(region("n", "", "")),
            Some(region("n", "t", "a\nb")),
            Some(region("n", "t", &"u".repeat(65))),
            Some(Message::Elsewhere(place("unix:/run/x:1", "n", ""))),
            Some(Message::Elsewhere(place("", "", ""))),
            Some(Message::Elsewhere(place("", "n", "../x"))),
        ] {
            let message = proto::Resolution { end: end.clone(), ..proto::Resolution::default() };
            assert!(answer(message).is_err(), "{end:?}");
        }
        let there = proto::Referral { from: None, to: Some(place("", "n", "")) };
        assert!(targets(vec![there.clone(); REFERRALS_MAX + 1]).is_ok());
        assert!(targets(vec![there; REFERRALS_MAX + 2]).is_err());
        let trace = vec![proto::Referral { from: None, to: None }];
        assert!(targets(trace).is_err());
        for name in ["", "..", "a/b", "a\u{1b}[2J"] {
            let what = Some(proto::entry::What::Context(proto::Context {}));
            let entries = vec![proto::Entry { name: name.into(), what }];
            let message = proto::Entries { entries, ..proto::Entries::default() };
            assert!(checked_entries(message).is_err(), "{name:?}");
        }
        let problem = proto::Problem { kind: 99, reason: format!("\u{1b}[2J{}", "x".repeat(1 << 16)) };
        let problem = Problem::from(problem);
        assert_eq!(problem.kind, ProblemKind::Unreachable);
        assert!(problem.reason.chars().count() == REASON_CHARS_MAX && !problem.reason.contains('\u{1b}'));
    }
}
