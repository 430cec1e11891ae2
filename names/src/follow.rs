//! Asks other name servers on the way from a path to what it stands for. Servers are asked for their own part only, so that the one
//! who follows sees every referral: it counts them, and notices circles.

use std::future::Future;

use crate::{End, Listing, Place, Problem, ProblemKind, REFERRALS_MAX, Tree, Walk};

/// A part of the way, as a name server tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// Where it has gone on within itself and, last, where it sends to. Servers are as it names them: `None` is itself.
    pub trace: Vec<Place>,
    /// What it found.
    pub end: Result<T, Problem>,
}

/// Where to ask.
pub trait Servers: Sync {
    /// What a server knows of a place of its own.
    ///
    /// # Errors
    /// It does not answer, or not what it should.
    fn resolve(
        &self,
        server: &str,
        place: &Place,
    ) -> impl Future<Output = Result<Answer<End>, Problem>> + Send;

    /// What is in a context of a server.
    ///
    /// # Errors
    /// It does not answer, or not what it should.
    fn list(&self, server: &str, place: &Place) -> impl Future<Output = Result<Listing, Problem>> + Send;
}

/// Goes on with a walk until it ends.
///
/// # Errors
/// Why it leads nowhere.
pub async fn resolve(tree: &Tree, servers: &impl Servers, walk: &mut Walk) -> Result<End, Problem> {
    loop {
        let end = match walk.place().server.clone() {
            None => tree.resolve(walk)?,
            Some(server) => {
                let answer = servers.resolve(&server, walk.place()).await?;
                let sent = answer.trace.len();
                if sent > REFERRALS_MAX {
                    return bad(&server, &format!("it tells of {sent} referrals"));
                }
                for mut to in answer.trace {
                    to.server.get_or_insert_with(|| server.clone());
                    walk.go(to)?;
                }
                match answer.end? {
                    // It must have said so in the trace, or the same question would be asked again.
                    End::Elsewhere(_) if sent == 0 => {
                        return bad(&server, "it refers to another, and not where");
                    }
                    end @ (End::Region { .. } | End::Context | End::Elsewhere(_)) => end,
                }
            }
        };
        match end {
            End::Elsewhere(_) => {}
            end @ (End::Region { .. } | End::Context) => return Ok(end),
        }
    }
}

/// What is in the context that a walk ends at; a Region is in itself.
///
/// # Errors
/// Why it leads nowhere.
pub async fn list(
    tree: &Tree,
    servers: &impl Servers,
    walk: &mut Walk,
) -> Result<Result<Listing, End>, Problem> {
    match resolve(tree, servers, walk).await? {
        End::Context => {}
        end @ (End::Region { .. } | End::Elsewhere(_)) => return Ok(Err(end)),
    }
    let place = walk.place();
    match &place.server {
        None => tree.list(place).map(Ok),
        Some(server) => {
            let mut listing = servers.list(server, place).await?;
            // What is that server's own is elsewhere for others.
            for entry in &mut listing.entries {
                if let crate::What::Delegated(to) = &mut entry.what {
                    to.server.get_or_insert_with(|| server.clone());
                }
            }
            Ok(Ok(listing))
        }
    }
}

fn bad<T>(server: &str, what: &str) -> Result<T, Problem> {
    let reason = format!("name server {server} gives an answer that makes no sense: {what}");
    Err(Problem::new(ProblemKind::Unreachable, reason))
}
