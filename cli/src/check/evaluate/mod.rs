//! Judges what was found. No I/O: facts in, findings out.

mod agents;
mod operator;
mod permissions;
mod pools;
mod regions;
mod server;

use super::facts::Facts;
use super::finding::Finding;
use crate::kubernetes::Look;

/// How pagemesh is put in order in most cases.
const UPGRADE: &str = "`helm upgrade --install pagemesh charts/pagemesh`";

/// All findings, in the order in which one thing rests on another.
pub(super) fn evaluate(facts: &Facts) -> Vec<Finding> {
    let mut findings = server::version(&facts.version);
    findings.extend(server::definitions(&facts.definitions));
    findings.extend(server::admission(&facts.policies, &facts.bindings));
    findings.extend(operator::operator(&facts.snapshot));
    findings.extend(pools::pools(&facts.snapshot));
    findings.extend(agents::agents(&facts.snapshot));
    findings.extend(permissions::permissions(&facts.rights, &facts.snapshot.install_namespace));
    findings.extend(regions::regions(&facts.snapshot));
    findings
}

/// What could be looked at; a finding for what could not.
fn seen<'a, T>(check: &str, look: &'a Look<T>, findings: &mut Vec<Finding>) -> Option<&'a [T]> {
    match look {
        Ok(listing) => {
            let unreadable = listing.unreadable.iter();
            findings.extend(unreadable.map(|sentence| {
                Finding::fail(check, sentence.as_str(), "`kubectl pagemesh version` says which one this is")
            }));
            Some(&listing.items)
        }
        Err(trouble) => {
            findings.push(Finding::not_looked_at(check, trouble));
            None
        }
    }
}

/// The tag of an image, if it has one.
fn tag(image: &str) -> Option<&str> {
    let name = image.split('@').next()?.rsplit('/').next()?;
    name.split_once(':').map(|(_, tag)| tag)
}

#[cfg(test)]
mod tests;
