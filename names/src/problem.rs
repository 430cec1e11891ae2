//! Why a path stands for nothing.

/// What sort of problem it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// It is no path.
    BadPath,
    /// Nothing is there.
    NotFound,
    /// The contexts on the way lead in a circle.
    Loop,
    /// More referrals than anybody follows.
    TooManyReferrals,
    /// A name server does not answer, or not what it should.
    Unreachable,
    /// The server has just started and does not know all tables yet.
    NotKnownYet,
}

impl ProblemKind {
    /// Whether it may be otherwise in a moment, without anybody's doing.
    #[must_use]
    pub fn may_pass(self) -> bool {
        match self {
            ProblemKind::Unreachable | ProblemKind::NotKnownYet => true,
            ProblemKind::BadPath
            | ProblemKind::NotFound
            | ProblemKind::Loop
            | ProblemKind::TooManyReferrals => false,
        }
    }
}

/// Why a path stands for nothing: a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Problem {
    /// What sort of problem.
    pub kind: ProblemKind,
    /// A sentence that says what to do.
    pub reason: String,
}

impl Problem {
    /// A problem of this sort.
    #[must_use]
    pub fn new(kind: ProblemKind, reason: impl Into<String>) -> Problem {
        Problem { kind, reason: reason.into() }
    }
}
