//! What is true of this machine, without any judgement.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::stat::{major, minor};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::sys::utsname::uname;

use super::{limits, mounts};
use crate::{attach, uffd};

/// All that the report is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// As `uname -r` says.
    pub kernel_release: String,
    /// What userfaultfd can do, or why none can be made.
    pub userfaultfd: Result<Userfaultfd, DeviceTrouble>,
    /// The kernel can tell a Unix socket's peer as a pidfd.
    pub peer_pidfd: bool,
    /// Memory that the kernel thinks programs can still get, in bytes.
    pub memory_available: Option<u64>,
    /// The tightest memory limit of the control groups that this process is in, in bytes.
    pub memory_limit: Option<u64>,
    /// Bytes that this process may lock; `None` is no limit.
    pub memlock: Option<u64>,
    /// Descriptors that this process may open (the hard limit, to which the agent raises its own); `None` is no limit.
    pub nofile: Option<u64>,
    /// Mappings that a process may have.
    pub max_map_count: Option<u64>,
    /// The chosen word of `shmem_enabled`.
    pub shmem_thp: Option<String>,
    /// The directory for region files.
    pub memory_dir: Result<MemoryDir, String>,
}

/// What userfaultfd can do here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Userfaultfd {
    /// The features that the agent needs.
    pub features: Vec<UffdFeature>,
    /// A read can be told not to wait.
    pub reads_nowait: bool,
}

/// A feature of userfaultfd that the agent needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UffdFeature {
    /// Its name in the kernel, without `UFFD_FEATURE_`.
    pub name: &'static str,
    /// What the agent needs it for.
    pub purpose: &'static str,
    /// Whether the kernel has it.
    pub present: bool,
}

/// Why no userfaultfd can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceTrouble {
    /// There is no such device.
    Absent,
    /// It may not be opened.
    Forbidden,
    /// Anything else.
    Other(String),
}

/// The directory for region files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryDir {
    /// Its path.
    pub path: PathBuf,
    /// Whether it is in a tmpfs.
    pub tmpfs: bool,
    /// Bytes that can still be written there.
    pub free: u64,
    /// The `huge=` option of its mount.
    pub huge: Option<String>,
}

/// Looks at the machine.
#[must_use]
pub fn gather(memory_dir: &Path) -> Facts {
    Facts {
        kernel_release: uname()
            .map_or_else(|_| "?".into(), |name| name.release().to_string_lossy().into_owned()),
        userfaultfd: userfaultfd(),
        peer_pidfd: peer_pidfd().is_ok(),
        memory_available: limits::memory_available(&read("/proc/meminfo")),
        memory_limit: limits::cgroup_memory_limit(Path::new("/sys/fs/cgroup"), &read("/proc/self/cgroup")),
        memlock: hard_limit(Resource::RLIMIT_MEMLOCK),
        nofile: hard_limit(Resource::RLIMIT_NOFILE),
        max_map_count: read("/proc/sys/vm/max_map_count").trim().parse().ok(),
        shmem_thp: limits::chosen(&read("/sys/kernel/mm/transparent_hugepage/shmem_enabled")),
        memory_dir: examine(memory_dir).map_err(|error| format!("{}: {error}", memory_dir.display())),
    }
}

/// `None` is no limit; a kernel without this kind of limit has none either.
fn hard_limit(resource: Resource) -> Option<u64> {
    getrlimit(resource).ok().map(|(_, hard)| hard).filter(|hard| *hard != RLIM_INFINITY)
}

/// A file of the kernel's, or nothing where there is none: every use of it knows what to make of an empty text.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn userfaultfd() -> Result<Userfaultfd, DeviceTrouble> {
    let features = uffd::probe().map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            DeviceTrouble::Absent
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            DeviceTrouble::Forbidden
        } else {
            DeviceTrouble::Other(error.to_string())
        }
    })?;
    let needed = uffd::NEEDED.iter();
    let feature = |feature: &uffd::Feature| UffdFeature {
        name: feature.name,
        purpose: feature.purpose,
        present: features.has(feature),
    };
    Ok(Userfaultfd { features: needed.map(feature).collect(), reads_nowait: features.reads_nowait })
}

/// Tries what the attach socket does first with every program.
fn peer_pidfd() -> io::Result<OwnedFd> {
    let (ours, _theirs) = UnixStream::pair()?;
    Ok(attach::peer_pidfd(&ours)?)
}

/// Looks at the directory or, since the agent makes it if need be, at the one that it would be made in.
fn examine(dir: &Path) -> io::Result<MemoryDir> {
    let parent = dir.parent().filter(|_| !dir.exists());
    let place = parent.unwrap_or(dir);
    let device = fs::metadata(place)?.dev();
    let filesystem = statfs(place)?;
    Ok(MemoryDir {
        path: dir.into(),
        tmpfs: filesystem.filesystem_type() == TMPFS_MAGIC,
        free: filesystem.blocks_available().saturating_mul(filesystem.block_size().cast_unsigned()),
        huge: mounts::option(&read("/proc/self/mountinfo"), major(device), minor(device), "huge"),
    })
}
