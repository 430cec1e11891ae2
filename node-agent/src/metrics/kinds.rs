//! The values that labels can have.

macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$case_doc])* $case,)*
        }

        impl $name {
            /// All of them, in order.
            pub const ALL: [$name; [$($text),*].len()] = [$($name::$case),*];

            /// The label's value.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $($name::$case => $text,)*
                }
            }
        }
    };
}

label! {
    /// What a program did when it faulted.
    FaultKind {
        /// It loaded from a page that was not mapped.
        Read = "read",
        /// It stored to a page that was not mapped.
        Write = "write",
        /// It stored to a page that it could read.
        Upgrade = "upgrade",
    }
}

label! {
    /// How the agent before this one has ended.
    Before {
        /// It handed over.
        HandedOver = "handed-over",
        /// It died.
        Died = "died",
    }
}

label! {
    /// Who made it possible to go on.
    Served {
        /// This node alone.
        Local = "local",
        /// The page's home, on another node.
        Home = "home",
        /// A node that is neither this one nor the page's home.
        Third = "third",
    }
}

label! {
    /// A part of the time that a fault takes, all from the moment when the agent has read it.
    Phase {
        /// The whole of a fault that this node served alone.
        Local = "local",
        /// The whole of a fault for which others were asked.
        Remote = "remote",
        /// Of a remote fault: until the last message that it needed was here.
        Wait = "wait",
        /// From there (or from the fault) until the page was mapped.
        Install = "install",
    }
}

label! {
    /// Which way a message went.
    Direction {
        /// From here to a peer.
        Sent = "sent",
        /// From a peer to here.
        Received = "received",
    }
}
