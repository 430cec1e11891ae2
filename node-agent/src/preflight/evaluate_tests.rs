use super::*;
use crate::preflight::{UffdFeature, Userfaultfd, passes, table};

const FEATURE: UffdFeature = UffdFeature { name: "POISON", purpose: "report a lost page", present: true };

/// A machine with nothing to complain about.
fn good() -> Facts {
    Facts {
        kernel_release: "6.18.44-generic".into(),
        userfaultfd: Ok(Userfaultfd { features: vec![FEATURE], reads_nowait: true }),
        peer_pidfd: true,
        memory_available: Some(8 << 30),
        memory_limit: None,
        memlock: Some(8 << 20),
        nofile: Some(1 << 20),
        max_map_count: Some(65530),
        shmem_thp: Some("never".into()),
        memory_dir: Ok(dir()),
    }
}

fn dir() -> MemoryDir {
    MemoryDir { path: "/dev/shm/pagemesh".into(), tmpfs: true, free: 4 << 30, huge: None }
}

/// The one finding in which a machine differs from the good one.
fn difference(change: impl FnOnce(&mut Facts)) -> Finding {
    let mut facts = good();
    change(&mut facts);
    let before = evaluate(&good());
    let mut new: Vec<_> = evaluate(&facts).into_iter().filter(|finding| !before.contains(finding)).collect();
    assert_eq!(new.len(), 1, "{new:?}");
    new.remove(0)
}

#[test]
fn a_good_machine_has_nothing_but_ok() {
    let findings = evaluate(&good());
    assert!(
        findings.iter().all(|finding| finding.level == Level::Ok && finding.advice.is_none()),
        "{findings:?}"
    );
    assert!(passes(&findings));
}

#[test]
fn what_is_not_good_is_said_with_what_to_do() {
    type Change = fn(&mut Facts);
    let cases: [(Change, Level, &str, &str); 27] = [
        (|f| f.kernel_release = "6.6.0".into(), Level::Ok, "kernel", ""),
        (|f| f.kernel_release = "7.0-rc1".into(), Level::Ok, "kernel", ""),
        (|f| f.kernel_release = "6.5.13".into(), Level::Warn, "kernel", "6.6"),
        (|f| f.kernel_release = "5.15.0".into(), Level::Warn, "kernel", "6.6"),
        (|f| f.kernel_release = "strange".into(), Level::Warn, "kernel", "6.6"),
        (
            |f| f.userfaultfd.as_mut().unwrap().features[0].present = false,
            Level::Fail,
            "userfaultfd POISON",
            "6.6",
        ),
        (
            |f| f.userfaultfd.as_mut().unwrap().reads_nowait = false,
            Level::Warn,
            "userfaultfd RWF_NOWAIT",
            "6.10",
        ),
        (|f| f.peer_pidfd = false, Level::Warn, "SO_PEERPIDFD", "6.5"),
        (|f| f.memory_available = Some(100 << 20), Level::Warn, "memory", "add memory"),
        (|f| f.memory_limit = Some(100 << 20), Level::Warn, "memory", "charged to the agent"),
        (|f| f.memory_limit = Some(1 << 30), Level::Ok, "memory", ""),
        (|f| f.memory_available = None, Level::Warn, "memory", "/proc"),
        (|f| f.memory_dir = Ok(MemoryDir { tmpfs: false, ..dir() }), Level::Fail, "--memory-dir", "/dev/shm"),
        (
            |f| f.memory_dir = Ok(MemoryDir { free: 64 << 20, ..dir() }),
            Level::Warn,
            "--memory-dir",
            "remount,size=",
        ),
        (
            |f| f.memory_dir = Ok(MemoryDir { huge: Some("always".into()), ..dir() }),
            Level::Warn,
            "tmpfs huge",
            "huge=never",
        ),
        (
            |f| f.memory_dir = Ok(MemoryDir { huge: Some("within_size".into()), ..dir() }),
            Level::Warn,
            "tmpfs huge",
            "huge=never",
        ),
        (
            |f| f.memory_dir = Ok(MemoryDir { huge: Some("advise".into()), ..dir() }),
            Level::Ok,
            "tmpfs huge",
            "",
        ),
        (|f| f.shmem_thp = Some("always".into()), Level::Warn, "shmem huge", "echo never"),
        (|f| f.shmem_thp = Some("force".into()), Level::Warn, "shmem huge", "echo never"),
        (|f| f.shmem_thp = Some("advise".into()), Level::Ok, "shmem huge", ""),
        (|f| f.shmem_thp = None, Level::Ok, "shmem huge", ""),
        (|f| f.memlock = None, Level::Ok, "RLIMIT_MEMLOCK", ""),
        (|f| f.nofile = Some(1024), Level::Warn, "RLIMIT_NOFILE", "8192"),
        (|f| f.nofile = None, Level::Ok, "RLIMIT_NOFILE", ""),
        (|f| f.max_map_count = Some(1000), Level::Warn, "vm.max_map_count", "sysctl"),
        (|f| f.max_map_count = None, Level::Warn, "vm.max_map_count", "/proc"),
        (|f| f.max_map_count = Some(1 << 20), Level::Ok, "vm.max_map_count", ""),
    ];
    for (change, level, check, advice) in cases {
        let finding = difference(change);
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(finding.check.contains(check), "{finding:?}");
        assert_eq!(finding.advice.is_some(), level != Level::Ok, "{finding:?}");
        assert!(finding.advice.unwrap_or_default().contains(advice));
    }
}

#[test]
fn without_a_userfaultfd_its_features_are_not_asked_for() {
    for (trouble, advice) in [
        (DeviceTrouble::Absent, "CONFIG_USERFAULTFD"),
        (DeviceTrouble::Forbidden, "setfacl"),
        (DeviceTrouble::Other("strange".into()), "seccomp"),
    ] {
        let findings = evaluate(&Facts { userfaultfd: Err(trouble), ..good() });
        let uffd: Vec<_> = findings.iter().filter(|finding| finding.check.contains("userfaultfd")).collect();
        assert_eq!(uffd.len(), 1);
        assert_eq!(uffd[0].level, Level::Fail);
        assert!(uffd[0].advice.as_ref().unwrap().contains(advice));
        assert!(!passes(&findings));
    }
}

#[test]
fn an_unusable_memory_directory_is_one_failure() {
    let findings = evaluate(&Facts { memory_dir: Err("/x: no such directory".into()), ..good() });
    let failures: Vec<_> = findings.iter().filter(|finding| finding.level == Level::Fail).collect();
    assert_eq!(failures.len(), 1);
    assert!(!findings.iter().any(|finding| finding.check.contains("tmpfs huge")));
}

#[test]
fn the_table_has_one_line_for_each_finding() {
    let findings = vec![ok("a", "fine"), warn("longer", "so", "do this")];
    assert_eq!(table(&findings), "ok    a       fine\nwarn  longer  so: do this\n");
    assert_eq!(
        serde_json::to_value(&findings).unwrap(),
        serde_json::json!([
            { "level": "ok", "check": "a", "found": "fine" },
            { "level": "warn", "check": "longer", "found": "so", "advice": "do this" },
        ])
    );
}
