//! Permissions: what lacks, and what is too much.

use crate::check::finding::Finding;
use crate::check::rights::{Reviewed, Who, agents_user};

use super::UPGRADE;

pub(super) fn permissions(rights: &[Reviewed], install_namespace: &str) -> Vec<Finding> {
    let mut owners: Vec<&Who> = Vec::new();
    for reviewed in rights {
        if !owners.contains(&&reviewed.who) {
            owners.push(&reviewed.who);
        }
    }
    let of = |who: &Who| rights.iter().filter(|reviewed| reviewed.who == *who).collect::<Vec<_>>();
    owners.into_iter().flat_map(|who| of_one(who, &of(who), install_namespace)).collect()
}

fn of_one(who: &Who, rights: &[&Reviewed], install_namespace: &str) -> Vec<Finding> {
    let check = match who {
        Who::You => "your permissions".to_owned(),
        Who::AgentsOf(pool) => format!("permissions of pool {pool}"),
    };
    if let Some(trouble) = rights.iter().find_map(|reviewed| reviewed.allowed.as_ref().err()) {
        return vec![Finding::not_looked_at(check, trouble)];
    }
    let mut findings = Vec::new();
    for needed in [true, false] {
        let wrong = rights.iter().filter(|reviewed| reviewed.right.needed == needed);
        let wrong: Vec<&Reviewed> =
            wrong.filter(|reviewed| reviewed.allowed != Ok(needed)).copied().collect();
        if let Some(first) = wrong.first() {
            findings.push(of_several(&check, first, &purposes(&wrong), install_namespace));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(check, "all that is needed, and no more that was looked for"));
    }
    findings
}

/// What the rights are for, each once.
fn purposes(rights: &[&Reviewed]) -> String {
    let mut purposes: Vec<&str> = rights.iter().map(|reviewed| reviewed.right.purpose).collect();
    purposes.dedup();
    purposes.join(", ")
}

/// Of rights that lack, or are too much, the first stands for all: they come and go together, by one binding.
fn of_several(check: &str, first: &Reviewed, purposes: &str, install_namespace: &str) -> Finding {
    let question = first.right.question(install_namespace);
    match (&first.who, first.right.needed) {
        (Who::You, _) => Finding::warn(
            check,
            format!("you may not {purposes}"),
            format!(
                "if you should, ask an administrator for those rights, the first of which is `kubectl auth can-i {question}`"
            ),
        ),
        (Who::AgentsOf(pool), needed) => {
            let user = agents_user(install_namespace, pool);
            let ask = format!("`kubectl auth can-i {question} --as {user}`");
            if needed {
                Finding::fail(
                    check,
                    format!("agents may not {purposes}"),
                    format!(
                        "see that the operator runs, which binds them to the roles of the chart ({UPGRADE} makes those), until \
                         {ask} says yes"
                    ),
                )
            } else {
                Finding::fail(
                    check,
                    format!("agents may {purposes}, which they need not"),
                    format!(
                        "take away the binding that lets them, perhaps one for all service accounts, until {ask} says no"
                    ),
                )
            }
        }
    }
}
