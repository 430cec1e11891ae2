//! Following referrals: how far, and not in circles.

use crate::{Found, Place, Problem, ProblemKind, Region, Tree};

/// Referrals that are followed from one path.
pub const REFERRALS_MAX: usize = 8;

/// A context that is described elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referral {
    /// What was looked for.
    pub from: Place,
    /// Where to go on.
    pub to: Place,
}

/// Where a path ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// At a Region.
    Region {
        /// Which.
        region: Region,
        /// Who attaches by this path may only read.
        read_only: bool,
    },
    /// At a context.
    Context,
    /// Another server must be asked.
    Elsewhere(Place),
}

/// The way from a path to what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    place: Place,
    trace: Vec<Referral>,
}

impl Walk {
    /// At its start.
    #[must_use]
    pub fn new(place: Place) -> Walk {
        Walk { place, trace: Vec::new() }
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The referrals so far.
    #[must_use]
    pub fn trace(&self) -> &[Referral] {
        &self.trace
    }

    /// The referrals that were followed, and where it has led.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Referral>, Place) {
        (self.trace, self.place)
    }

    /// Goes on where a referral points. Each takes names from the front of the path, so that a walk ends even in a circle, but a
    /// context that is part of itself is nobody's intention.
    ///
    /// # Errors
    /// The walk has been there, or it is too long.
    pub fn go(&mut self, to: Place) -> Result<(), Problem> {
        let from = std::mem::replace(&mut self.place, to.clone());
        self.trace.push(Referral { from, to });
        let context = |place: &Place| (place.server.clone(), place.namespace.clone(), place.table.clone());
        let here = context(&self.place);
        if self.trace.iter().any(|referral| context(&referral.from) == here) {
            let mut way: Vec<String> = self.trace.iter().map(|Referral { from, .. }| shown(from)).collect();
            way.push(shown(&self.place));
            let reason = format!(
                "the contexts lead in a circle, {}: remove one of these from its MountTable",
                way.join(" -> ")
            );
            return Err(Problem::new(ProblemKind::Loop, reason));
        }
        if self.trace.len() > REFERRALS_MAX {
            let reason = format!(
                "more than {REFERRALS_MAX} contexts lead from one to the next, the last one to {}: delegate to where it is \
                 described at once",
                shown(&self.place)
            );
            return Err(Problem::new(ProblemKind::TooManyReferrals, reason));
        }
        Ok(())
    }
}

/// The context alone.
fn shown(place: &Place) -> String {
    Place { path: String::new(), ..place.clone() }.to_string()
}

impl Tree {
    /// Goes on with a walk that is at this server, until it ends or leaves the server.
    ///
    /// # Errors
    /// Why it leads nowhere.
    pub fn resolve(&self, walk: &mut Walk) -> Result<End, Problem> {
        loop {
            match self.look(walk.place())? {
                Found::Region { region, read_only } => return Ok(End::Region { region, read_only }),
                Found::Context => return Ok(End::Context),
                Found::Referred(to) => {
                    walk.go(to)?;
                    if walk.place().server.is_some() {
                        return Ok(End::Elsewhere(walk.place().clone()));
                    }
                }
            }
        }
    }
}
