use std::fs;

use pagemesh_protocol::AgentId;

use super::*;

const NODE_1: &str =
    "apiVersion: pagemesh.io/v1alpha1\nkind: Agent\nmetadata: {name: node-1}\nspec: {id: 1}\n";

#[test]
fn reading_is_no_change() {
    use notify::event::{CreateKind, ModifyKind, RemoveKind, RenameMode};
    for (kind, expected) in [
        (EventKind::Access(AccessKind::Open(AccessMode::Any)), false),
        (EventKind::Access(AccessKind::Read), false),
        (EventKind::Access(AccessKind::Close(AccessMode::Read)), false),
        (EventKind::Access(AccessKind::Close(AccessMode::Write)), true),
        (EventKind::Create(CreateKind::File), true),
        (EventKind::Modify(ModifyKind::Name(RenameMode::To)), true),
        (EventKind::Remove(RemoveKind::File), true),
        (EventKind::Other, true),
    ] {
        assert_eq!(is_change(kind), expected, "{kind:?}");
    }
}

#[test]
fn what_does_nothing_is_said_once_for_each_change() {
    let mut ignored = Ignored::default();
    let mut news = |spec: &str| {
        let text = format!(
            "apiVersion: pagemesh.io/v1alpha1\nkind: Region\nmetadata: {{name: t}}\nspec: {{{spec}}}\n"
        );
        let sources = of_files(&Files::from([("a.yaml".to_owned(), Ok(text))]));
        let told = ignored.news(&sources).into_iter();
        told.map(|i| format!("{}, {}, {}", i.source, i.object, i.field)).collect::<Vec<_>>()
    };
    assert_eq!(news("size: 4Ki"), Vec::<String>::new());
    assert_eq!(news("size: 4Ki, homes: 2"), ["a.yaml, Region default/t, spec.homes"]);
    assert_eq!(news("size: 4Ki, homes: 2"), Vec::<String>::new());
    assert_eq!(news("size: 4Ki, homes: 3"), ["a.yaml, Region default/t, spec.homes"]);
}

#[tokio::test]
async fn a_change_of_the_directory_is_published() {
    let dir = std::env::temp_dir().join(format!("pagemesh-watch-test-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let me = Me { name: "node-0".into(), id: AgentId(0) };
    let watch = Watch::start(&dir, me).unwrap();
    assert_eq!(watch.in_force().agents().count(), 0);
    let (publish, mut published) = watch::channel(watch.in_force());
    let running = tokio::spawn(watch.run(publish));

    // As a careful writer does: a hidden file, then its name.
    fs::write(dir.join(".a.yaml"), NODE_1).unwrap();
    fs::write(dir.join("notes.txt"), "{").unwrap();
    fs::rename(dir.join(".a.yaml"), dir.join("a.yaml")).unwrap();
    published.changed().await.unwrap();
    assert_eq!(published.borrow_and_update().agents().count(), 1);

    // A bad state in between changes nothing, so the next that is published is the one after it.
    fs::write(dir.join("a.yaml"), "{").unwrap();
    fs::write(dir.join("b.yml"), NODE_1.replace("node-1", "node-2").replace("id: 1", "id: 2")).unwrap();
    published.wait_for(|objects| objects.agents().count() == 2).await.unwrap();

    fs::remove_file(dir.join("a.yaml")).unwrap();
    published.wait_for(|objects| objects.agents().count() == 1).await.unwrap();
    drop(published);
    running.await.unwrap();
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting_for_it() {
    let dir = std::env::temp_dir().join(format!("pagemesh-files-test-{}", std::process::id()));
    fs::create_dir_all(dir.join("dir.yaml")).unwrap();
    nix::unistd::mkfifo(&dir.join("pipe.yaml"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    fs::write(dir.join("latin.yaml"), [0xe4]).unwrap();
    fs::write(dir.join("good.yml"), "x").unwrap();
    let files = read(&dir).unwrap();
    let reason = |name: &str| files[name].clone().unwrap_err();
    assert!(reason("dir.yaml").contains("not a regular file"));
    assert!(reason("pipe.yaml").contains("not a regular file"));
    assert!(reason("latin.yaml").contains("not UTF-8"));
    assert_eq!(files["good.yml"], Ok("x".into()));
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_directory_that_is_not_there_is_an_error_that_says_what_to_do() {
    let me = Me { name: "node-0".into(), id: AgentId(0) };
    let error = Watch::start(Path::new("/nonexistent/objects"), me).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/objects") && error.contains("--objects"), "{error}");
}
