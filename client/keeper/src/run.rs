//! The loop of the keeper.

use std::net::SocketAddr;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use pagemesh_attach::socket::SocketPath;
use std::os::fd::AsFd;

use crate::holdings::Holdings;
use crate::http::{Page, Server};
use crate::link::Link;
use crate::metrics::Metrics;

/// Holds until a signal ends it.
pub(crate) fn run(path: SocketPath, listen: SocketAddr) -> Result<(), String> {
    // As the first process of a container it has no signal's default action, so it must take them itself.
    let signals = signals().map_err(|errno| format!("cannot wait for signals: {errno}"))?;
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // If that fails, there is room for fewer attachments; which do not fit is said then.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let mut server = match Server::listen(listen) {
        Ok(server) => Some(server),
        Err(error) => {
            // To hold is what it is for.
            eprintln!("cannot listen on {listen}, so there are no metrics of this pod: {error}");
            None
        }
    };
    if let Some(address) = server.as_ref().and_then(|server| server.address().ok()) {
        eprintln!("holding for this pod; metrics are at {address}");
    }
    let (mut holdings, metrics) = (Holdings::default(), Metrics::new());
    let mut link = Link::new(path, Instant::now());
    loop {
        link.connect(Instant::now());
        let told = {
            let mut wanted = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            wanted.extend(link.descriptor().map(|socket| PollFd::new(socket, PollFlags::POLLIN)));
            wanted.extend(server.iter().flat_map(Server::wanted));
            let deadline =
                link.next_try().into_iter().chain(server.iter().filter_map(Server::deadline)).min();
            match poll(&mut wanted, timeout(deadline)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(format!("cannot wait: {errno}")),
            }
            if wanted[0].any() == Some(true) {
                return Ok(());
            }
            link.is_connected() && wanted[1].any() == Some(true)
        };
        let now = Instant::now();
        if told {
            link.receive(now, &mut holdings, &metrics);
        }
        if let Some(server) = &mut server {
            server.serve(now, |path| page(path, now, &link, &holdings, &metrics));
        }
    }
}

fn page(path: &str, now: Instant, link: &Link, holdings: &Holdings, metrics: &Metrics) -> Page {
    let trouble = link.trouble(now);
    match (path, trouble) {
        ("/metrics", trouble) => {
            Page { status: "200 OK", body: metrics.text(holdings, link.is_connected(), trouble.is_none()) }
        }
        ("/healthz", _) | ("/readyz", None) => Page { status: "200 OK", body: "ok\n".into() },
        ("/readyz", Some(trouble)) => {
            Page { status: "503 Service Unavailable", body: format!("{trouble}\n") }
        }
        _ => Page { status: "404 Not Found", body: "there are /metrics, /healthz and /readyz\n".into() },
    }
}

fn signals() -> nix::Result<SignalFd> {
    let set = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// In whole milliseconds, which are none too early.
fn timeout(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else { return PollTimeout::NONE };
    let left = deadline.saturating_duration_since(Instant::now()).as_millis() + 1;
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}
