//! What the facts mean. Pure, so that every sentence can be tested.

use super::{DeviceTrouble, Facts, Finding, Level, MemoryDir};

/// The first kernel that has everything: `UFFDIO_POISON` came last.
const KERNEL_WANTED: (u32, u32) = (6, 6);
/// With less than this an agent runs, but not for long.
const MEMORY_WANTED: u64 = 256 << 20;
/// Descriptors: for each of 1024 attachments one of each shard, its socket and its process.
const NOFILE_WANTED: u64 = 8192;
/// Linux's own default.
const MAP_COUNT_WANTED: u64 = 65530;

/// Judges the facts, in the order in which they should be mended.
#[must_use]
pub fn evaluate(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![kernel(&facts.kernel_release)];
    userfaultfd(facts, &mut findings);
    findings.push(peer_pidfd(facts.peer_pidfd));
    findings.push(memory(facts));
    findings.push(memory_dir(&facts.memory_dir));
    findings.push(shmem_thp(facts.shmem_thp.as_deref()));
    if let Ok(dir) = &facts.memory_dir {
        findings.push(tmpfs_thp(dir));
    }
    findings.push(memlock(facts.memlock));
    findings.push(nofile(facts.nofile));
    findings.push(max_map_count(facts.max_map_count));
    findings
}

fn ok(check: &str, found: impl Into<String>) -> Finding {
    Finding { level: Level::Ok, check: check.into(), found: found.into(), advice: None }
}

fn warn(check: &str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { level: Level::Warn, check: check.into(), found: found.into(), advice: Some(advice.into()) }
}

fn fail(check: &str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { level: Level::Fail, check: check.into(), found: found.into(), advice: Some(advice.into()) }
}

fn kernel(release: &str) -> Finding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>());
    let version = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        (Some(_), Some(_)) | (Some(_), None) | (None, _) => None,
    };
    let found = format!("Linux {release}");
    // Distributions carry features back, so what decides are the features themselves.
    if version.is_some_and(|version| version >= KERNEL_WANTED) {
        ok("kernel", found)
    } else {
        warn("kernel", found, "use Linux 6.6 or later, unless nothing below fails")
    }
}

fn userfaultfd(facts: &Facts, findings: &mut Vec<Finding>) {
    const DEVICE: &str = "/dev/userfaultfd";
    let userfaultfd = match &facts.userfaultfd {
        Ok(userfaultfd) => userfaultfd,
        Err(trouble) => {
            findings.push(match trouble {
                DeviceTrouble::Absent => fail(
                    DEVICE,
                    "is not there",
                    "use Linux 6.6 or later built with CONFIG_USERFAULTFD; in a container, pass the device in",
                ),
                DeviceTrouble::Forbidden => fail(
                    DEVICE,
                    "may not be opened",
                    "run the agent as root, or let its user in (setfacl -m u:USER:rw /dev/userfaultfd, or chmod); in a \
                     container, allow the device",
                ),
                DeviceTrouble::Other(error) => {
                    fail(DEVICE, error, "see whether a security policy (seccomp, SELinux) forbids it")
                }
            });
            return;
        }
    };
    findings.push(ok(DEVICE, "can be opened"));
    for feature in &userfaultfd.features {
        let check = format!("userfaultfd {}", feature.name);
        let purpose = format!("needed to {}", feature.purpose);
        findings.push(if feature.present {
            ok(&check, purpose)
        } else {
            fail(&check, format!("is missing, {purpose}"), "use Linux 6.6 or later")
        });
    }
    findings.push(reads_nowait(userfaultfd.reads_nowait));
}

fn reads_nowait(present: bool) -> Finding {
    const CHECK: &str = "userfaultfd RWF_NOWAIT";
    if present {
        ok(CHECK, "no program can make the agent wait")
    } else {
        warn(
            CHECK,
            "is missing, so a hostile program can make the agent wait",
            "use Linux 6.10 or later where programs are not trusted",
        )
    }
}

fn peer_pidfd(present: bool) -> Finding {
    const CHECK: &str = "socket SO_PEERPIDFD";
    if present {
        ok(CHECK, "no program is taken for another")
    } else {
        warn(
            CHECK,
            "is missing, so a program that ends while it attaches may be taken for another",
            "use Linux 6.5 or later",
        )
    }
}

fn memory(facts: &Facts) -> Finding {
    const CHECK: &str = "memory";
    let Some(bytes) = facts.memory_available.into_iter().chain(facts.memory_limit).min() else {
        return warn(CHECK, "how much there is cannot be told", "mount /proc");
    };
    let limited = facts.memory_limit == Some(bytes);
    let found = if limited {
        format!("{} is the limit of the control group", size(bytes))
    } else {
        format!("{} available", size(bytes))
    };
    if bytes >= MEMORY_WANTED {
        ok(CHECK, found)
    } else if limited {
        warn(CHECK, found, "raise it: the pages that other nodes send are charged to the agent")
    } else {
        warn(CHECK, found, "end other programs or add memory: regions live in it")
    }
}

fn memory_dir(dir: &Result<MemoryDir, String>) -> Finding {
    const CHECK: &str = "--memory-dir";
    match dir {
        Err(error) => fail(CHECK, error, "name a directory in a tmpfs, such as /dev/shm/pagemesh"),
        Ok(MemoryDir { path, tmpfs: false, .. }) => fail(
            CHECK,
            format!("{} is not in a tmpfs", path.display()),
            "name a directory in one, such as /dev/shm/pagemesh",
        ),
        Ok(MemoryDir { path, free, .. }) if *free < MEMORY_WANTED => warn(
            CHECK,
            format!("{} is in a tmpfs with {} free", path.display(), size(*free)),
            "lend more with --memory, or enlarge it with mount -o remount,size=SIZE; in a container, raise the size of its \
             /dev/shm",
        ),
        Ok(MemoryDir { path, free, .. }) => {
            ok(CHECK, format!("{} is in a tmpfs with {} free", path.display(), size(*free)))
        }
    }
}

/// A huge page holds pages of different states. To take one of them out the kernel must split it, and where it
/// cannot (somebody has pinned the memory) it leaves a page of zeros instead of a hole.
const THP_RISK: &str = "a page that is pinned in a huge page cannot be taken away from a program";

fn shmem_thp(chosen: Option<&str>) -> Finding {
    const CHECK: &str = "shmem huge pages";
    match chosen {
        Some(word @ ("always" | "force")) => warn(
            CHECK,
            format!("shmem_enabled is {word}, and {THP_RISK}"),
            "echo never > /sys/kernel/mm/transparent_hugepage/shmem_enabled",
        ),
        Some(word) => ok(CHECK, format!("shmem_enabled is {word}")),
        None => ok(CHECK, "the kernel has none"),
    }
}

fn tmpfs_thp(dir: &MemoryDir) -> Finding {
    const CHECK: &str = "tmpfs huge pages";
    match dir.huge.as_deref() {
        Some(word @ ("always" | "within_size")) => warn(
            CHECK,
            format!("the tmpfs of --memory-dir has huge={word}, and {THP_RISK}"),
            "mount it with huge=never",
        ),
        Some(word) => ok(CHECK, format!("huge={word}")),
        None => ok(CHECK, "off"),
    }
}

fn memlock(limit: Option<u64>) -> Finding {
    let limit = limit.map_or("unlimited".into(), size);
    ok("RLIMIT_MEMLOCK", format!("{limit}; pagemesh locks no memory, so any will do"))
}

fn nofile(limit: Option<u64>) -> Finding {
    const CHECK: &str = "RLIMIT_NOFILE";
    match limit {
        None => ok(CHECK, "unlimited"),
        Some(limit) if limit >= NOFILE_WANTED => ok(CHECK, limit.to_string()),
        Some(limit) => warn(
            CHECK,
            format!("{limit} are too few for 1024 attachments"),
            format!("raise the hard limit to {NOFILE_WANTED} (ulimit -Hn, LimitNOFILE=)"),
        ),
    }
}

fn max_map_count(count: Option<u64>) -> Finding {
    const CHECK: &str = "vm.max_map_count";
    match count {
        Some(count) if count >= MAP_COUNT_WANTED => ok(CHECK, count.to_string()),
        Some(count) => warn(
            CHECK,
            format!("{count}; a mapped region takes one for each 64 MiB"),
            format!("sysctl vm.max_map_count={MAP_COUNT_WANTED}"),
        ),
        None => warn(CHECK, "cannot be read", "mount /proc"),
    }
}

fn size(bytes: u64) -> String {
    if bytes < 10 << 30 { format!("{} MiB", bytes >> 20) } else { format!("{} GiB", bytes >> 30) }
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
