//! The tmpfs that an agent lends: mounted where region files are to be, so that its size bounds what regions take.

use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::statvfs;

/// Room for the header pages of regions, which are not part of what an agent lends to them: those of 16,384 regions with
/// the smallest pages, or of 32 with the largest.
const HEADERS_BYTES: u64 = 64 << 20;

const KIND: &str = "tmpfs";

/// Mounts a tmpfs on `dir`, unless one is mounted there already. That one is kept, as it was made by an earlier agent on
/// this node and programs may still map files of it.
///
/// # Errors
/// The mount table cannot be read, or the kernel refuses, most often for lack of privilege.
pub fn mount_on(dir: &Path, lent_bytes: u64) -> io::Result<()> {
    let dir = dir.canonicalize()?;
    let mountinfo = std::fs::read_to_string("/proc/thread-self/mountinfo")?;
    if is_tmpfs(&mountinfo, &dir) {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let size = size_option(lent_bytes);
    let with = |options: &str| mount(Some("pagemesh"), &dir, Some(KIND), flags, Some(options));
    match with(&format!("{size},mode=0700,huge=never")) {
        // A kernel without huge pages does not know the option either.
        Err(Errno::EINVAL) => with(&format!("{size},mode=0700"))?,
        other => other?,
    }
    Ok(())
}

/// Gives the tmpfs on `dir` the size that is lent.
///
/// # Errors
/// More is in use than it would hold.
pub fn resize(dir: &Path, lent_bytes: u64) -> io::Result<()> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(None::<&str>, dir, None::<&str>, flags, Some(size_option(lent_bytes).as_str()))?)
}

/// Bytes that are in use in the file system of `dir`.
///
/// # Errors
/// It cannot be looked at.
pub fn used_bytes(dir: &Path) -> io::Result<u64> {
    let filesystem = statvfs(dir)?;
    Ok((filesystem.blocks() - filesystem.blocks_free()) * filesystem.fragment_size())
}

fn size_option(lent_bytes: u64) -> String {
    format!("size={}", lent_bytes.saturating_add(HEADERS_BYTES))
}

/// Whether what is mounted on `dir` is a tmpfs: see proc_pid_mountinfo(5). Of several mounts on it the last one counts.
fn is_tmpfs(mountinfo: &str, dir: &Path) -> bool {
    let kind = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let point = unescape(mount.split(' ').nth(4)?);
        (Path::new(&point) == dir).then(|| filesystem.split(' ').next() == Some(KIND))
    };
    mountinfo.lines().filter_map(kind).next_back().unwrap_or(false)
}

/// Blanks and the like are written as a backslash and three octal digits.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /run/pagemesh/memory rw,nosuid - tmpfs pagemesh rw,size=8G
31 22 8:1 /x /run/over rw - tmpfs tmpfs rw
32 22 8:1 /x /run/over rw - ext4 /dev/sda1 rw
33 22 0:27 / /run/with\\040blank rw master:2 - tmpfs tmpfs rw
34 22 short
";

    #[test]
    fn the_mount_that_is_there_is_found() {
        for (dir, expected) in [
            ("/run/pagemesh/memory", true),
            ("/run/pagemesh", false),
            ("/run/pagemesh/memory/below", false),
            ("/run/over", false),
            ("/run/with blank", true),
            ("/", false),
        ] {
            assert_eq!(is_tmpfs(MOUNTINFO, Path::new(dir)), expected, "{dir}");
        }
    }

    #[test]
    fn headers_come_on_top() {
        assert_eq!(size_option(1 << 30), format!("size={}", (1 << 30) + (64 << 20)));
        assert_eq!(size_option(u64::MAX), format!("size={}", u64::MAX));
    }

    #[test]
    fn names_are_unescaped() {
        assert_eq!(unescape(r"/a\040b\134c\xyz\"), r"/a b\c\xyz\");
    }
}
