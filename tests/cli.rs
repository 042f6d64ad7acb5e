//! The program as a person or a script meets it: arguments in; text, JSON and exit codes out.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use braidlog::env::Env;
use braidlog::env::sim::ManualClock;
use braidlog::stream::StreamOptions;
use braidlog::{Engine, EngineOptions, LogOptions, RecordParts, Store, StoreOptions};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a store in it, and the program.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_braidlog"));
        command.args(args).arg("--store").arg(self.store());
        command.env_remove("BRAIDLOG_STORE").current_dir(self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs it with this input; whatever it answers.
    fn run_with(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || drop(stdin.write_all(input)));
            child.wait_with_output().unwrap()
        })
    }

    /// Runs it, expects success, returns standard output.
    #[track_caller]
    fn ok(&self, args: &[&str]) -> Vec<u8> {
        succeeded(self.run(args))
    }

    #[track_caller]
    fn text(&self, args: &[&str]) -> String {
        String::from_utf8(self.ok(args)).unwrap()
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_slice(&self.ok(args)).unwrap()
    }

    /// Runs it, expects this exit code and one line on standard error, returns that.
    #[track_caller]
    fn fails(&self, args: &[&str], code: i32) -> String {
        failed(self.run(args), code)
    }
}

#[track_caller]
fn succeeded(output: Output) -> Vec<u8> {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[track_caller]
fn failed(output: Output, code: i32) -> String {
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    let last = text.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("braidlog: ") || last.starts_with('{'), "not one clear line: {text:?}");
    last
}

/// Everything below a folder, with contents.
fn tree(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.push((path.clone(), Vec::new()));
            found.extend(tree(&path));
        } else {
            let content = std::fs::read(&path).unwrap();
            found.push((path, content));
        }
    }
    found.sort();
    found
}

fn wait(mut child: Child) -> Output {
    let until = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn signal(child: &Child, name: &str) {
    let killed = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
}

/// Waits until something is so.
#[track_caller]
fn until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "it never comes to be");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Folders of ours in a folder.
fn folders(within: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(within).unwrap().map(|entry| entry.unwrap());
    entries.filter(|entry| entry.file_name().to_str().unwrap().starts_with(prefix)).map(|entry| entry.path()).collect()
}

const AWKWARD: &[u8] = b"first\n\n\n  blanks \t\r\nn\xc3\xa4her \xff\xfe\0binary\nlast without newline";

#[test]
fn lines_come_back_byte_for_byte() {
    let place = Place::new();
    let file = place.file("input", AWKWARD);
    place.ok(&["put", "notes", &file]);
    let mut with_newline = AWKWARD.to_vec();
    with_newline.push(b'\n');
    assert_eq!(place.ok(&["cat", "notes", "--raw"]), with_newline, "a record has no newline; cat puts one after each");
    assert_eq!(place.json(&["info", "notes", "--json"])["records"], 6);

    place.ok(&["put", "exact", &file, "--with-newline"]);
    assert_eq!(place.ok(&["cat", "exact", "--raw", "--no-newline"]), AWKWARD);
}

#[test]
fn standard_input_and_several_files_go_in_one_after_the_other() {
    let place = Place::new();
    let (a, b) = (place.file("a", b"a1\na2"), place.file("b", b"b1\n"));
    succeeded(place.run_with(&["put", "notes", &a, "-", &b], b"s1\ns2\n"));
    assert_eq!(place.text(&["cat", "notes", "--raw"]), "a1\na2\ns1\ns2\nb1\n");
    succeeded(place.run_with(&["put", "notes"], b""));
    succeeded(place.run_with(&["put", "notes"], b"\n"));
    assert_eq!(place.text(&["cat", "notes", "--format", "{sequence}:{len} "]), "0:2 1:2 2:2 3:2 4:2 5:0 ");
}

#[test]
fn a_big_input_goes_in_and_comes_out() {
    let place = Place::new();
    let mut input = Vec::new();
    for n in 0..60_000u32 {
        input.extend_from_slice(format!("{n} {}\n", "x".repeat((n % 200) as usize)).as_bytes());
    }
    let file = place.file("input", &input);
    let put = place.json(&["put", "notes", &file, "--json", "--durability", "buffered"]);
    assert_eq!((&put["records"], &put["first"], &put["last"]), (&60_000.into(), &0.into(), &59_999.into()));
    assert_eq!(put["bytes"], input.len() as u64 - 60_000);
    assert!(place.ok(&["cat", "notes", "--raw"]) == input);
}

#[test]
fn a_line_longer_than_a_record_is_refused_with_its_number_or_split() {
    let place = Place::new();
    let mut input = b"short\n".to_vec();
    input.extend(std::iter::repeat_n(b'x', (10 << 20) + 5));
    input.extend_from_slice(b"\nafter\n");
    let file = place.file("input", &input);
    let error = place.fails(&["put", "notes", &file], 1);
    assert!(error.contains("input:2: the line is longer") && error.contains("after 1 record "), "{error}");
    assert_eq!(place.text(&["cat", "notes", "--raw"]), "short\n", "what came before is in");

    place.ok(&["put", "pieces", &file, "--split", "--key-regex", "^(.)"]);
    let pieces = place.text(&["cat", "pieces", "--format", "{sequence} {len} {key}\n"]);
    assert_eq!(pieces, "0 5 s\n1 10485760 x\n2 5 x\n3 5 a\n", "all pieces have the line's key");
}

#[test]
fn keys_come_from_a_field_or_an_expression() {
    let place = Place::new();
    let file = place.file("input", b"ann,1\nbob,2\n\n,3\n");
    place.ok(&["put", "fields", &file, "--key-field", "1", "--delimiter", ","]);
    assert_eq!(place.text(&["cat", "fields", "--format", "[{key}]"]), "[ann][bob][][]");
    place.ok(&["put", "numbers", &file, "--key-regex", ",(\\d+)"]);
    let lines = place.text(&["cat", "numbers", "--json"]);
    let keys: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["key"].clone()).collect();
    assert_eq!(keys, [Value::from("1"), Value::from("2"), Value::Null, Value::from("3")]);
    let error = place.fails(&["put", "long", &place.file("long", &[b'k'; 2000]), "--key-field", "1"], 1);
    assert!(error.contains("long:1: a key of 2000 bytes"), "{error}");
}

#[test]
fn cat_prints_the_range_that_was_asked_for() {
    let place = Place::new();
    succeeded(place.run_with(&["put", "notes"], b"a\nb\nc\nd\ne\n"));
    let cat = |args: &[&str]| place.text(&[&["cat", "notes", "--raw"], args].concat()).replace('\n', "");
    assert_eq!(cat(&[]), "abcde");
    assert_eq!(cat(&["--from", "2"]), "cde");
    assert_eq!(cat(&["--from", "5"]), "");
    assert_eq!(cat(&["--from", "1", "--to", "3"]), "bc");
    assert_eq!(cat(&["--from", "1", "--count", "2"]), "bc");
    assert_eq!(cat(&["--count", "0"]), "");
    assert_eq!(cat(&["--tail", "2"]), "de");
    assert_eq!(cat(&["--tail", "100"]), "abcde");
    assert_eq!(cat(&["--since", "1h"]), "abcde");
    assert_eq!(cat(&["--since", "@4000000000"]), "");
    assert_eq!(cat(&["--until", "2020-01-01"]), "");
    assert_eq!(cat(&["--until", "2220-01-01T00:00:00Z"]), "abcde");
    let error = place.fails(&["cat", "notes", "--from", "6"], 4);
    assert!(error.contains("after the end"), "{error}");
}

#[test]
fn formats_stand_for_themselves() {
    let place = Place::new();
    succeeded(place.run_with(&["put", "notes", "--key-field", "1"], b"k v\n"));
    assert_eq!(
        place.text(&["cat", "notes", "--format", "\\{{sequence}\\t{key}\\\\{data}|{attributes}|{len}"]),
        "{0\tk\\k v||3"
    );
    let line = place.text(&["cat", "notes"]);
    let fields: Vec<&str> = line.trim_end().split('\t').collect();
    assert_eq!((fields[0], fields[2], fields[3]), ("0", "k", "k v"));
    assert!(fields[1].starts_with("20") && fields[1].ends_with('Z'), "{line}");
    assert!(place.fails(&["cat", "notes", "--format", "{date}"], 2).contains("{date}"));
}

#[test]
fn json_carries_any_bytes() {
    let place = Place::new();
    succeeded(place.run_with(&["put", "notes"], b"text\n\xff\xfe\n"));
    let store = Store::open(place.store()).unwrap();
    let log = store.log("notes").unwrap();
    log.append(RecordParts { key: Some(b""), attributes: Some(b"{}"), data: b"\"" }).unwrap();
    drop(log);
    store.close().unwrap();
    let lines = place.text(&["cat", "notes", "--json"]);
    let records: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&records[0]["data"], &records[0]["sequence"]), (&"text".into(), &0.into()));
    assert_eq!((&records[1]["data"], &records[1]["data_base64"]), (&Value::Null, &"//4=".into()));
    assert_eq!((&records[2]["key"], &records[2]["attributes"]), (&"".into(), &"{}".into()));
    assert!(records[0].get("key").is_none(), "no key is not an empty key");
}

#[test]
fn the_store_is_named_by_option_environment_or_default() {
    let place = Place::new();
    let program = |name: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_braidlog"));
        command.args(["create", "notes"]).current_dir(place.dir.path()).env_remove("BRAIDLOG_STORE");
        if let Some(name) = name {
            command.env("BRAIDLOG_STORE", name);
        }
        succeeded(command.output().unwrap());
    };
    program(None);
    assert!(place.dir.path().join("braidlog-data/STORE").exists());
    program(Some("elsewhere"));
    assert!(place.dir.path().join("elsewhere/STORE").exists());
}

#[test]
fn looking_changes_nothing() {
    let place = Place::new();
    // Not closed: what an inspector sees must come from the journal, without the recovery being written down.
    let store = Store::open(place.store()).unwrap();
    store.create_log("notes", LogOptions::new()).unwrap().append_batch(["a", "b"]).unwrap();
    drop(store);
    let before = tree(&place.store());
    assert_eq!(place.text(&["cat", "notes", "--raw"]), "a\nb\n");
    place.ok(&["ls"]);
    place.ok(&["info"]);
    place.ok(&["info", "notes"]);
    place.ok(&["trim", "notes", "--before", "1", "--dry-run"]);
    assert!(before == tree(&place.store()));
}

#[test]
fn what_is_not_there_is_4_and_not_made() {
    let place = Place::new();
    for args in [&["ls"][..], &["info"], &["cat", "notes"], &["trim", "notes", "--before", "1"], &["delete", "notes"]] {
        assert!(place.fails(args, 4).contains("there is no store"));
    }
    place.fails(&["put", "notes", "--no-create"], 4);
    assert!(!place.store().exists());
    place.fails(&["put", "notes", "no-such-file"], 4);
    assert!(!place.store().exists(), "nothing is made for a file that isn't there");
    place.ok(&["create", "notes"]);
    assert_eq!(place.fails(&["cat", "other"], 4), "braidlog: there is no log named \"other\"");
    place.fails(&["put", "other", "--no-create"], 4);
    place.fails(&["set", "other", "--retention", "1d"], 4);
    place.fails(&["info", "other"], 4);
}

#[test]
fn wrong_usage_is_2() {
    let place = Place::new();
    for args in [
        &["frobnicate"][..],
        &["cat"],
        &["cat", "notes", "--from", "1", "--tail", "2"],
        &["cat", "notes", "--since", "yesterday"],
        &["put", "notes", "--batch", "0"],
        &["put", "notes", "--key-regex", "("],
        &["put", "notes", "--delimiter", ","],
        &["trim", "notes"],
        &["create", "notes", "--retention", "7"],
        &["bench", "append", "--record-bytes", "20MiB"],
    ] {
        assert_eq!(place.run(args).status.code(), Some(2), "{args:?}");
    }
    place.fails(&["create", ""], 2);
    place.fails(&["create", "notes", "--segment-bytes", "1"], 2);
    let error: Value = serde_json::from_str(&place.fails(&["cat", "--json"], 2)).unwrap();
    assert_eq!(error["error"]["kind"], "usage");
}

#[test]
fn a_store_in_use_is_5() {
    let place = Place::new();
    let store = Store::open(place.store()).unwrap();
    store.create_log("notes", LogOptions::new()).unwrap();
    for args in [&["ls"][..], &["cat", "notes"], &["put", "notes"], &["create", "other"]] {
        assert!(place.fails(args, 5).contains("open already"), "{args:?}");
    }
    let error: Value = serde_json::from_str(&place.fails(&["ls", "--json"], 5)).unwrap();
    assert_eq!((&error["error"]["kind"], &error["error"]["exit_code"]), (&"locked".into(), &5.into()));
    assert_eq!(error["error"]["retryable"], true);
    store.close().unwrap();
    place.ok(&["ls"]);
}

#[test]
fn inspectors_do_not_get_in_each_others_way() {
    let place = Place::new();
    succeeded(place.run_with(&["put", "notes"], b"a\n"));
    let _inspector = Store::open_read_only(place.store()).unwrap();
    assert_eq!(place.text(&["cat", "notes", "--raw"]), "a\n");
    place.fails(&["put", "notes"], 5);
}

#[test]
fn a_foreign_folder_is_left_alone() {
    let place = Place::new();
    std::fs::create_dir(place.store()).unwrap();
    std::fs::write(place.store().join("thesis.txt"), "years of work").unwrap();
    let before = tree(&place.store());
    assert!(place.fails(&["put", "notes"], 1).contains("thesis.txt"));
    place.fails(&["ls"], 1);
    assert!(before == tree(&place.store()));
}

#[test]
fn damage_is_3_and_says_where() {
    let place = Place::new();
    succeeded(place.run_with(&["put", "notes"], &b"some line or other\n".repeat(1000)));
    let (segment, mut bytes) =
        tree(&place.store().join("segments")).into_iter().find(|(_, c)| c.len() > 10_000).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let name = segment.file_name().unwrap().to_string_lossy().into_owned();
    let error = place.fails(&["cat", "notes", "--raw"], 3);
    assert!(error.contains(&name) && error.contains("damaged at byte"), "{error}");
    let error: Value = serde_json::from_str(&place.fails(&["cat", "notes", "--json"], 3)).unwrap();
    assert_eq!(error["error"]["kind"], "damaged");
}

#[test]
fn cat_goes_on_behind_damage_when_told_to() {
    let place = Place::new();
    place.ok(&["stream", "create", "clicks"]);
    let lines = |from: u32| (from..from + 300).map(|n| format!("some line or other {n}\n")).collect::<String>();
    for put in [&["put", "notes"][..], &["put", "--stream", "clicks"]] {
        for from in [0, 1000, 2000] {
            succeeded(place.run_with(put, lines(from).as_bytes()));
        }
    }
    // The middle one of three batches of each.
    let wanted = b"some line or other 1100\n"[..23].to_vec();
    for (segment, mut bytes) in tree(&place.store().join("segments")).into_iter().filter(|(path, _)| path.is_file()) {
        let found: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&wanted)).collect();
        found.iter().for_each(|at| bytes[*at] ^= 1);
        std::fs::write(&segment, bytes).unwrap();
    }
    for cat in [&["cat", "notes", "--raw"][..], &["cat", "--stream", "clicks", "--raw"]] {
        place.fails(cat, 3);
        let output = place.run(&[cat, &["--skip-damaged"]].concat());
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{told}");
        let printed = String::from_utf8(output.stdout).unwrap();
        let kept: String = printed.lines().map(|line| format!("{line}\n")).collect();
        assert!(kept.starts_with(&lines(0)) && kept.ends_with(&lines(2000)), "{kept}");
        assert!(!kept.contains(" 1100\n") && told.contains("lost") && told.contains("damaged at byte"), "{told}");
        assert!(told.lines().last().unwrap().contains("records can't be read"), "{told}");
    }
}

#[test]
fn a_file_that_is_no_store_file_is_no_panic() {
    let place = Place::new();
    place.ok(&["create", "notes"]);
    for content in [&b""[..], b"x", &[0xff; 4096]] {
        std::fs::write(place.store().join("STORE"), content).unwrap();
        for args in [&["ls"][..], &["put", "notes"]] {
            let output = place.run(args);
            assert!(matches!(output.status.code(), Some(1 | 3)), "{:?}", output.status);
            assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
        }
    }
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let place = Place::new();
    let line = "x".repeat(99) + "\n";
    succeeded(place.run_with(&["put", "notes"], &line.as_bytes().repeat(20_000)));
    let mut child = place.command(&["cat", "notes", "--raw"]).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, line);
    let output = wait(child);
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn put_tail_prints_what_is_durable_while_the_input_goes_on() {
    let place = Place::new();
    let mut child = place.command(&["put", "notes", "--tail", "--raw"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for line in ["one\n", "two\n"] {
        stdin.write_all(line.as_bytes()).unwrap();
        let mut printed = String::new();
        stdout.read_line(&mut printed).unwrap();
        assert_eq!(printed, line, "printed before the next line was sent");
    }
    stdin.write_all(b"three").unwrap();
    drop(stdin);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "three\n");
    let output = wait(child);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("3 records into log"),
        "the summary is not among the records"
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn put_that_is_interrupted_says_up_to_where_the_input_is_in() {
    let place = Place::new();
    for (n, (name, number)) in [("INT", 2), ("TERM", 15)].into_iter().enumerate() {
        let mut child = place.command(&["put", "notes", "--tail", "--raw"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdin.write_all(b"one\nthree\nunfinished").unwrap();
        let mut printed = String::new();
        stdout.read_line(&mut printed).unwrap();
        stdout.read_line(&mut printed).unwrap();
        assert_eq!(printed, "one\nthree\n");
        // It waits for the rest of the line by now, or is about to.
        signal(&child, name);
        let output = wait(child);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.signal(), Some(number), "{said}");
        let expected = format!(
            "braidlog: interrupted by SIG{name}: 2 records (8 B) acknowledged in log \"notes\"; \
             what was read is in up to line 2 of standard input, its first 10 bytes"
        );
        assert_eq!(said.lines().last(), Some(&*expected));
        drop(stdin);
        assert_eq!(place.text(&["cat", "notes", "--raw"]), "one\nthree\n".repeat(n + 1));
        assert!(place.text(&["info"]).contains("clean"));
    }
}

#[test]
fn put_that_is_interrupted_at_full_speed_has_acknowledged_what_it_says() {
    let place = Place::new();
    for (target, shown) in [(&["notes"][..], &["notes"][..]), (&["--stream", "clicks"], &["--stream", "clicks"])] {
        let args = [&["put"], target, &["--json", "--batch", "10"]].concat();
        let mut child = place.command(&args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || {
            let lines = b"0123456\n".repeat(1000);
            while stdin.write_all(&lines).is_ok() {}
        });
        until(|| place.run(&["ls"]).status.code() == Some(5));
        signal(&child, "INT");
        let output = wait(child);
        writer.join().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.signal(), Some(2), "{said}");
        let error: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert_eq!((&error["error"]["kind"], &error["error"]["exit_code"]), (&"interrupted".into(), &130.into()));
        let put: Value = serde_json::from_slice(&output.stdout).unwrap();
        let records = put["records"].as_u64().unwrap();
        if records > 0 {
            let reached = &put["interrupted"];
            assert_eq!((&reached["line"], &reached["bytes"]), (&records.into(), &(records * 8).into()), "{put}");
            assert_eq!((&reached["input"], &reached["whole_line"]), (&"standard input".into(), &true.into()));
        }
        if place.run(&["ls"]).status.code() == Some(0) {
            let cat = [&["cat", "--raw"], shown].concat();
            assert_eq!(place.text(&cat).lines().count() as u64, records);
        }
    }
}

#[test]
fn put_goes_on_when_nobody_reads_its_tail() {
    let place = Place::new();
    let mut child = place.command(&["put", "notes", "--tail"]).stdin(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&b"line\n".repeat(5000)).unwrap();
    drop(stdin);
    assert_eq!(wait(child).status.code(), Some(0));
    assert_eq!(place.json(&["info", "notes", "--json"])["records"], 5000);
}

#[test]
fn follow_goes_on_with_what_later_owners_append() {
    let place = Place::new();
    succeeded(place.run_with(&["put", "notes"], b"before\n"));
    let mut child = place.command(&["cat", "notes", "--follow", "--raw", "--count", "3"]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "before\n");
    for text in ["after\n", "later\n"] {
        succeeded(place.run_with(&["put", "notes"], text.as_bytes()));
        line.clear();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, text);
    }
    assert_eq!(wait(child).status.code(), Some(0));
}

/// A store whose clock is set.
fn at(place: &Place, wall_ms: u64) -> Env {
    Env { clock: Arc::new(ManualClock::at(wall_ms)), ..Env::system(&place.store()).unwrap() }
}

/// What a command that follows from [`TO_COME_MS`] on prints before it ends: there is something before, more comes too early, and
/// then what is in time, a millisecond apart.
fn printed_from_a_time_to_come(place: &Place, args: &[&str], append: impl Fn(&str, u64), in_time: &[&str]) -> String {
    let now_ms = TO_COME_MS - 10_000;
    append("before", now_ms);
    let mut child = place.command(args).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    for n in 1..4 {
        // Whether it begins to look before this or after: it is not what was asked for.
        std::thread::sleep(Duration::from_millis(150));
        append("too early", now_ms + n);
    }
    for (text, wall_ms) in in_time.iter().zip(TO_COME_MS..) {
        append(text, wall_ms);
    }
    let mut printed = String::new();
    stdout.read_to_string(&mut printed).unwrap();
    assert_eq!(wait(child).status.code(), Some(0));
    printed
}

const TO_COME_MS: u64 = 4_000_000_000_000;

#[test]
fn follow_since_a_time_to_come_prints_what_arrives_from_then_on() {
    for start in ["--since", "--from"] {
        let place = Place::new();
        let append = |text: &str, wall_ms: u64| {
            let store = Store::open_in(at(&place, wall_ms), StoreOptions::new()).unwrap();
            let log = store.log("notes").or_else(|_| store.create_log("notes", LogOptions::new())).unwrap();
            log.append(text).unwrap();
            drop(log);
            store.close().unwrap();
        };
        let args = ["cat", "notes", "--follow", start, "@4000000000", "--raw", "--count", "3"];
        let printed = printed_from_a_time_to_come(&place, &args, append, &["in time", "later", "last"]);
        assert_eq!(printed, "in time\nlater\nlast\n", "{start}");
    }
}

#[test]
fn a_time_to_come_without_follow_or_behind_the_end_is_told_of() {
    let place = Place::new();
    succeeded(place.run_with(&["put", "notes"], b"a\n"));
    let empty = place.run(&["cat", "notes", "--since", "@4000000000"]);
    assert!(String::from_utf8_lossy(&empty.stderr).contains("--follow waits for it"));
    assert!(succeeded(empty).is_empty());
    let error = place.fails(&["cat", "notes", "-f", "--since", "@4000000000", "--until", "@3999999999"], 2);
    assert!(error.contains("--until is not after"), "{error}");
}

#[test]
fn follow_of_a_stream_since_a_time_to_come_prints_what_arrives_from_then_on() {
    let place = Place::new();
    let append = |data: &str, wall_ms: u64| {
        let engine = Engine::open_in(at(&place, wall_ms), EngineOptions::new()).unwrap();
        let made = engine.stream("clicks").or_else(|_| engine.create_stream("clicks", StreamOptions::new().shards(3)));
        let stream = made.unwrap();
        for key in ["a", "b", "c", "d", "e", "f"] {
            stream.put_record(key, data.as_bytes()).unwrap();
        }
        drop(stream);
        engine.close().unwrap();
    };
    let args = ["cat", "--stream", "clicks", "--follow", "--since", "@4000000000", "--raw", "--count", "12"];
    let printed = printed_from_a_time_to_come(&place, &args, append, &["in time", "later"]);
    assert_eq!(printed, "in time\n".repeat(6) + &"later\n".repeat(6));
}

#[test]
fn logs_are_made_listed_changed_trimmed_and_deleted() {
    let place = Place::new();
    place.ok(&["create", "clicks", "--durability", "buffered", "--retention", "7d", "--segment-bytes", "1MiB"]);
    assert!(place.fails(&["create", "clicks"], 1).contains("exists already"));
    succeeded(place.run_with(&["put", "clicks"], b"a\nb\nc\n"));
    succeeded(place.run_with(&["put", "notes"], b"x\n"));
    assert_eq!(place.text(&["ls", "-1"]), "clicks\nnotes\n");
    let table = place.text(&["ls"]);
    assert!(table.contains("clicks") && table.contains("buffered") && table.contains("7d"), "{table}");
    let info = place.json(&["info", "clicks", "--json"]);
    assert_eq!((&info["options"]["durability"], &info["end"]), (&"buffered".into(), &3.into()));
    assert_eq!(info["options"]["retention_ms"], 7 * 86_400_000u64);

    place.ok(&["set", "clicks", "--retention", "none", "--retention-bytes", "1GiB"]);
    let options = place.json(&["info", "clicks", "--json"])["options"].clone();
    assert_eq!((&options["retention_ms"], &options["retention_bytes"]), (&Value::Null, &(1u64 << 30).into()));
    assert_eq!(options["segment_bytes_max"], 1 << 20, "what was not named stays");
    place.fails(&["set", "clicks"], 2);

    let dry = place.json(&["trim", "clicks", "--before", "2", "--dry-run", "--json"]);
    assert_eq!((&dry["trimmed"], &dry["horizon"]), (&2.into(), &2.into()));
    let trimmed = place.json(&["trim", "clicks", "--before", "2", "--json"]);
    assert_eq!((&trimmed["trimmed"], &trimmed["horizon"]), (&2.into(), &2.into()));
    assert_eq!(place.text(&["cat", "clicks", "--raw"]), "c\n");
    place.fails(&["cat", "clicks", "--from", "0"], 4);
    assert_eq!(place.json(&["trim", "clicks", "--before-time", "now", "--json"])["horizon"], 3);
    assert_eq!(place.json(&["trim", "clicks", "--before-time", "1d", "--json"])["trimmed"], 0);

    place.ok(&["delete", "clicks"]);
    assert_eq!(place.text(&["ls", "-1"]), "notes\n");
}

#[test]
fn info_tells_about_the_store() {
    let place = Place::new();
    succeeded(place.run_with(&["put", "notes"], b"a\n"));
    let info = place.json(&["info", "--json"]);
    assert_eq!((&info["logs"], &info["health"], &info["open"]["clean"]), (&1.into(), &"ok".into(), &true.into()));
    assert!(info["journal"]["bytes"].as_u64().unwrap() > 0);
    assert!(place.text(&["info"]).contains("clean"));
}

#[test]
fn a_backup_is_a_store() {
    let place = Place::new();
    succeeded(place.run_with(&["put", "notes"], b"a\nb\n"));
    let copy = place.dir.path().join("copy").display().to_string();
    assert_eq!(place.json(&["backup", &copy, "--json"])["logs"], 1);
    let mut cat = Command::new(env!("CARGO_BIN_EXE_braidlog"));
    let output = cat.args(["cat", "notes", "--raw", "--store", &copy]).output().unwrap();
    assert_eq!(succeeded(output), b"a\nb\n");
    place.fails(&["backup", &copy], 1);
}

#[test]
fn quiet_prints_results_only() {
    let place = Place::new();
    assert!(succeeded(place.run_with(&["put", "notes", "--quiet"], b"a\n")).is_empty());
    assert_eq!(place.text(&["cat", "notes", "--raw", "-q"]), "a\n");
}

#[test]
fn completions_and_help_are_there() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.text(&["completions", shell]);
        assert!(script.contains("braidlog") && script.contains("put"), "{shell}");
    }
    let help = place.text(&["--help"]);
    assert!(help.contains("Exit codes") && help.contains("damage found") && help.contains("BRAIDLOG_STORE"));
    assert!(place.text(&["--version"]).starts_with("braidlog "));
}

#[test]
fn demo_reads_back_what_it_put_in() {
    let place = Place::new();
    let file = place.file("log", &b"2026-11-20 status installed thing\n".repeat(3000));
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_braidlog"));
        command.args(args).env("TMPDIR", place.dir.path()).stdin(Stdio::null());
        succeeded(command.output().unwrap())
    };
    let figures: Value = serde_json::from_slice(&run(&["demo", &file, "--json"])).unwrap();
    assert_eq!((&figures["identical"], &figures["lines"]), (&true.into(), &3000.into()));
    let text = String::from_utf8(run(&["demo"])).unwrap();
    assert!(text.contains("byte for byte"), "{text}");
    let left = std::fs::read_dir(place.dir.path()).unwrap().count();
    assert_eq!(left, 1, "only the input is left");

    let one = place.json(&["demo", &file, "--json"]);
    let two = place.json(&["demo", &file, "--json"]);
    assert_eq!((&one["log"], &two["log"]), (&"demo".into(), &"demo-2".into()), "a named store keeps the logs");
    place.fails(&["demo", "no-such-file"], 4);
    place.fails(&["demo", &place.file("empty", b"")], 2);
}

#[test]
fn bench_that_is_interrupted_leaves_nothing() {
    let place = Place::new();
    let dir = place.dir.path();
    let (here, bench) = (dir.display().to_string(), || folders(dir, "braidlog-bench-"));
    let child = place.command(&["bench", "append", "--seconds", "60", "--dir", &here]).spawn().unwrap();
    until(|| bench().iter().any(|folder| std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some())));
    signal(&child, "INT");
    assert_eq!(wait(child).status.signal(), Some(2));
    assert!(bench().is_empty());
}

#[test]
fn demo_that_is_interrupted_leaves_nothing_and_one_that_is_killed_what_the_next_removes() {
    let place = Place::new();
    let file = place.file("log", &b"2026-11-20 status installed thing\n".repeat(2_000_000));
    let dir = place.dir.path();
    let demo = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_braidlog"));
        command.arg("demo").args(args).env("TMPDIR", dir).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for (name, number) in [("INT", 2), ("TERM", 15)] {
        let child = demo(&[&file]);
        until(|| !folders(dir, "braidlog-demo-").is_empty());
        signal(&child, name);
        let output = wait(child);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.signal(), Some(number), "{said}");
        assert!(said.ends_with(&format!("braidlog: interrupted by SIG{name}\n")), "{said}");
        assert!(folders(dir, "braidlog-demo-").is_empty());
    }
    let mut killed = demo(&[&file]);
    until(|| !folders(dir, "braidlog-demo-").is_empty());
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(folders(dir, "braidlog-demo-").len(), 1);
    assert_eq!(wait(demo(&[&place.file("short", b"line\n")])).status.code(), Some(0));
    assert!(folders(dir, "braidlog-demo-").is_empty());
}

#[test]
fn bench_removes_what_a_killed_run_left_and_nothing_else() {
    let place = Place::new();
    let dir = place.dir.path();
    let bench = |seconds: &str| {
        let args = ["bench", "append", "--dir", dir.to_str().unwrap(), "--bytes", "1GiB", "--seconds", seconds];
        place.command(&args).spawn().unwrap()
    };
    let foreign = ["braidlog-bench-", "braidlog-bench-notes", "braidlog-bench-1-2-3", "braidlog-bench-7-0"];
    for name in foreign {
        std::fs::create_dir(dir.join(name)).unwrap();
        std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let is_foreign = |path: &PathBuf| foreign.contains(&path.file_name().unwrap().to_str().unwrap());
    let ours = || folders(dir, "braidlog-bench-").into_iter().filter(|path| !is_foreign(path)).collect::<Vec<_>>();
    let mut running = bench("600");
    until(|| !ours().is_empty());
    let at_work = ours();
    assert_eq!(wait(bench("0.05")).status.code(), Some(0));
    assert_eq!(ours(), at_work, "one that is at work stays");
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(ours(), at_work);
    assert_eq!(wait(bench("0.05")).status.code(), Some(0));
    assert!(ours().is_empty());
    assert_eq!(folders(dir, "braidlog-bench-").len(), foreign.len(), "a folder that others may enter is not ours");
}

#[test]
fn bench_measures_the_engine_and_the_limits_in_one_run() {
    let place = Place::new();
    let dir = place.dir.path().display().to_string();
    let bench =
        |args: &[&str]| place.json(&[&["bench"], args, &["--dir", &dir, "--seconds", "0.1", "--json"]].concat());
    for args in [
        &["append", "--bytes", "1MiB"][..],
        &["append", "--bytes", "4MiB", "--threads", "3", "--logs", "5", "--tickets", "4", "--batch", "7"],
        &["append", "--bytes", "4MiB", "--durability", "buffered", "--batch", "100", "--record-bytes", "1k"],
        &["append", "--bytes", "1MiB", "--rate", "200"],
        &["append", "--bytes", "1MiB", "--record-bytes", "0"],
        &["read", "--bytes", "1MiB", "--threads", "2"],
        &["seek", "--bytes", "1MiB", "--segment-bytes", "64KiB"],
        &["recover", "--bytes", "1MiB", "--rounds", "1", "--logs", "3"],
    ] {
        let report = bench(args);
        let engine = &report["engine"][0];
        assert!(engine["latency_ns"]["p50"].as_u64().unwrap() > 0, "{args:?}: {report}");
        assert!(!report["limits"].as_array().unwrap().is_empty(), "{args:?}");
        assert!(
            report["limits"][0]["engine_to_limit"]["rate"].is_number() || args.contains(&"0"),
            "{args:?}: {report}"
        );
    }
    let table = place.text(&["bench", "append", "--dir", &dir, "--seconds", "0.05", "--bytes", "1MiB"]);
    assert!(table.contains("p99.9") && table.contains("limit: durable write") && table.contains("its rate"), "{table}");
    assert_eq!(std::fs::read_dir(place.dir.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn bench_refuses_calls_that_no_append_takes_before_it_takes_memory_for_them() {
    let place = Place::new();
    let dir = place.dir.path().display().to_string();
    let append = |batch: &'static str, record_bytes: &'static str| {
        let sizes = ["--batch", batch, "--record-bytes", record_bytes, "--bytes", "64MiB", "--seconds", "0.05"];
        [&["bench", "append", "--dir", &dir][..], &sizes].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let run = |args: Vec<String>| place.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let error = failed(run(append("1000000", "10MiB")), 2);
    assert!(error.contains("9.5 TiB in one call") && error.contains("at most 14.0 MiB"), "{error}");
    failed(run(append("2", "10MiB")), 2);
    succeeded(run(append("1", "10MiB")));
    succeeded(run(append("13", "1MiB")));
    assert_eq!(std::fs::read_dir(place.dir.path()).unwrap().count(), 0, "nothing is left behind");
}

fn shards(place: &Place, stream: &str) -> Vec<(String, bool)> {
    let about = place.json(&["stream", "describe", stream, "--json"]);
    let shard = |shard: &Value| (shard["shard"].as_str().unwrap().to_owned(), shard["closed_ms"].is_null());
    about["shards"].as_array().unwrap().iter().map(shard).collect()
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn streams_are_made_described_resharded_and_deleted() {
    let place = Place::new();
    assert!(place.fails(&["stream", "list"], 4).contains("there is no store"));
    let made = place.json(&[
        "stream",
        "create",
        "clicks",
        "--shards",
        "2",
        "--retention",
        "48h",
        "--tag",
        "team=web",
        "--json",
    ]);
    assert_eq!(
        (&made["open_shards"], &made["retention_hours"], &made["tags"]["team"]),
        (&2.into(), &48.into(), &"web".into())
    );
    place.fails(&["stream", "create", "clicks"], 1);
    place.fails(&["stream", "create", "other", "--retention", "1h"], 2);
    place.fails(&["stream", "create", "no/name"], 2);
    place.ok(&["stream", "split", "clicks", "0"]);
    place.ok(&["stream", "merge", "clicks", "3", "shardId-000000000001"]);
    let states: Vec<bool> = shards(&place, "clicks").into_iter().map(|(_, open)| open).collect();
    assert_eq!(states, [false, false, true, false, true]);
    let text = place.text(&["stream", "describe", "clicks"]);
    assert!(text.contains("5, 2 open") && text.contains("[        ########################]   75.0 %  open"), "{text}");
    place.fails(&["stream", "split", "clicks", "0"], 2);
    place.fails(&["stream", "split", "clicks", "9"], 4);
    assert_eq!(place.run(&["stream", "split", "clicks", "x"]).status.code(), Some(2));
    assert_eq!(place.json(&["stream", "scale", "clicks", "7", "--json"])["open_shards"], 7);
    place.ok(&["stream", "create", "auto", "--mode", "on-demand"]);
    let list = place.text(&["stream", "list"]);
    assert!(list.contains("clicks") && list.contains("on-demand") && list.contains("2d"), "{list}");
    place.fails(&["stream", "scale", "auto", "2"], 1);

    let engine = braidlog::Engine::open(place.store()).unwrap();
    engine.stream("clicks").unwrap().register_consumer("billing", [("team", "web")]).unwrap();
    engine.close().unwrap();
    assert!(place.text(&["consumers"]).contains("billing"));
    assert_eq!(place.json(&["consumers", "clicks", "--json"])["consumer"], "billing");
    assert!(place.text(&["consumers", "auto"]).contains("no registered consumers"));
    place.fails(&["consumers", "none"], 4);
    place.fails(&["stream", "delete", "clicks"], 1);
    place.ok(&["stream", "delete", "clicks", "--enforce-consumer-deletion"]);
    place.fails(&["stream", "describe", "clicks"], 4);
}

#[test]
fn a_store_with_streams_is_listed_checked_and_dumped_as_any_other() {
    let place = Place::new();
    succeeded(place.run_with(&["put", "notes"], b"a\n"));
    assert!(place.text(&["stream", "list"]).contains("no streams"));
    assert_eq!(place.text(&["ls", "-a", "-1"]), "notes\n", "looking makes nothing");
    place.ok(&["stream", "create", "clicks"]);
    succeeded(place.run_with(&["put", "--stream", "clicks"], b"a\nb\n"));
    assert_eq!(place.text(&["ls", "-1"]), "notes\n");
    let all = place.text(&["ls", "--all", "-1"]);
    assert!(all.contains("braidlog/catalog\n") && all.contains("shardId-000000000000\n"), "{all}");
    assert_eq!(place.json(&["info", "--json"])["streams"], 1);
    place.ok(&["check"]);
    let segments = tree(&place.store().join("segments"));
    let dumps: Vec<String> = segments
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "seg"))
        .map(|(path, _)| place.text(&["dump", "--records", &path.display().to_string()]))
        .collect();
    assert!(dumps.iter().any(|dump| dump.contains("\"clicks\", provisioned")), "{dumps:?}");
}

#[test]
fn every_file_of_a_store_is_dumped_with_a_meaning() {
    let place = Place::new();
    succeeded(place.run_with(&["put", "notes"], b"a\nb\n"));
    for (path, _) in tree(&place.store()).into_iter().filter(|(path, _)| path.is_file()) {
        let dump = place.text(&["dump", &path.display().to_string()]);
        assert!(dump.contains(" bytes\n"), "{}: {dump}", path.display());
    }
    let dump = |name: &str| place.text(&["dump", &place.store().join(name).display().to_string()]);
    assert!(dump("LOCK").contains("the lock of a store") && dump("LOCK").contains("no owner"), "{}", dump("LOCK"));
    assert!(dump("RESERVE").contains("room for the last checkpoint"), "{}", dump("RESERVE"));
    // An owner that was killed leaves its name.
    std::fs::write(place.store().join("LOCK"), "process 7").unwrap();
    assert!(dump("LOCK").contains("\"process 7\""), "{}", dump("LOCK"));
}

#[test]
fn lines_go_into_a_stream_and_come_out_in_the_order_of_arrival() {
    let place = Place::new();
    place.ok(&["stream", "create", "clicks", "--shards", "3"]);
    let lines = |from: u32, to: u32| (from..to).map(|n| format!("user{} {n}\n", n % 10)).collect::<String>();
    let file = place.file("input", lines(0, 500).as_bytes());
    let put = place.json(&["put", "--stream", "clicks", &file, "--key-field", "1", "--json"]);
    assert_eq!((&put["records"], &put["stream"]), (&500.into(), &"clicks".into()));
    place.ok(&["stream", "split", "clicks", "1"]);
    succeeded(place.run_with(&["put", "--stream", "clicks", "--key-field", "1"], lines(500, 1000).as_bytes()));
    place.ok(&["stream", "merge", "clicks", "0", "3"]);
    succeeded(
        place
            .run_with(&["put", "--stream", "clicks", "--key-field", "1", "--batch", "7"], lines(1000, 1500).as_bytes()),
    );
    let all = place.text(&["cat", "--stream", "clicks", "--raw"]);
    assert_eq!(sorted(&all), sorted(&lines(0, 1500)));
    for user in 0..10 {
        let of_user = |text: &str| -> Vec<String> {
            text.lines().filter(|line| line.starts_with(&format!("user{user} "))).map(str::to_owned).collect()
        };
        assert_eq!(of_user(&all), of_user(&lines(0, 1500)), "a key's records keep their order");
    }
    let record: Value =
        serde_json::from_slice(&place.ok(&["cat", "--stream", "clicks", "--count", "1", "--json"])).unwrap();
    let (shard, sequence) = (record["shard"].as_str().unwrap(), record["sequence"].as_str().unwrap());
    let from =
        place.text(&["cat", "--stream", "clicks", "--from", sequence, "--format", "{shard} {sequence} {key}\\n"]);
    let key = record["key"].as_str().unwrap();
    assert_eq!(from.lines().next().unwrap(), format!("{shard} {sequence} {key}"));
    let alone = place.text(&["cat", "--stream", "clicks", "--shard", "2", "--format", "{shard} "]);
    assert!(!alone.is_empty() && alone.split_whitespace().all(|shard| shard == "shardId-000000000002"));
    assert_eq!(place.text(&["cat", "--stream", "clicks", "--from", "@1h", "--raw"]), all);
    assert_eq!(place.text(&["cat", "--stream", "clicks", "--from", "trim", "--until", "2020-01-01"]), "");
    place.fails(&["cat", "--stream", "clicks", "--from", "12"], 2);
    place.fails(&["cat", "--stream", "clicks", "--from", "latest"], 2);
    place.fails(&["cat", "--stream", "none"], 4);
    place.fails(&["cat", "--stream", "clicks", "--shard", "77"], 4);
    assert_eq!(place.run(&["cat", "--stream", "clicks", "--tail", "1"]).status.code(), Some(2));
    assert_eq!(place.run(&["put", "--stream", "clicks", "--retention", "1d"]).status.code(), Some(2));
}

#[test]
fn records_without_a_key_are_numbered_and_spread() {
    let place = Place::new();
    place.ok(&["stream", "create", "clicks", "--shards", "2"]);
    let lines = "line\n".repeat(100);
    succeeded(place.run_with(&["put", "--stream", "clicks"], lines.as_bytes()));
    let keys = place.text(&["cat", "--stream", "clicks", "--format", "{key}\\n"]);
    assert_eq!(sorted(&keys), sorted(&(0..100).map(|n| format!("{n}\n")).collect::<String>()));
    assert_eq!(
        sorted(&place.text(&["cat", "--stream", "clicks", "--format", "{shard}\\n"]))
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        2
    );
    let long = "k".repeat(257) + " x\n";
    let error = failed(place.run_with(&["put", "--stream", "clicks", "--key-field", "1"], long.as_bytes()), 2);
    assert!(error.contains("256 characters") && error.contains("standard input:1"), "{error}");
    let error = place.fails(&["stream", "create", "auto", "--distribution", "auto"], 2);
    assert!(error.contains("on-demand"), "{error}");
    place.ok(&["stream", "create", "auto", "--distribution", "auto", "--mode", "on-demand"]);
    succeeded(place.run_with(&["put", "--stream", "auto"], b"x\n"));
    assert!(
        serde_json::from_slice::<Value>(&place.ok(&["cat", "--stream", "auto", "--json"]))
            .unwrap()
            .get("key")
            .is_none()
    );
    succeeded(place.run_with(&["put", "--stream", "new"], b"x\n"));
    assert_eq!(shards(&place, "new").len(), 1, "a stream that is not there is made");
    place.fails(&["put", "--stream", "other", "--no-create"], 4);
}

#[test]
fn a_long_line_of_a_stream_is_refused_or_split() {
    let place = Place::new();
    let input = [&b"short\n"[..], &vec![b'x'; (1 << 20) + 5], b"\nafter\n"].concat();
    let file = place.file("input", &input);
    assert!(place.fails(&["put", "--stream", "clicks", &file], 1).contains("input:2: the line is longer"));
    place.ok(&["put", "--stream", "pieces", &file, "--split"]);
    assert_eq!(place.text(&["cat", "--stream", "pieces", "--format", "{len}\n"]), "5\n1047552\n1029\n5\n");
}

#[test]
fn put_stream_tail_prints_what_is_durable_while_the_input_goes_on() {
    let place = Place::new();
    place.ok(&["stream", "create", "clicks", "--shards", "4"]);
    let mut child =
        place.command(&["put", "--stream", "clicks", "--tail", "--raw"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for line in ["one\n", "two\n", "three\n"] {
        stdin.write_all(line.as_bytes()).unwrap();
        let mut printed = String::new();
        stdout.read_line(&mut printed).unwrap();
        assert_eq!(printed, line, "printed before the next line was sent");
    }
    let error = place.fails(&["cat", "--stream", "clicks"], 5);
    assert!(error.contains("put --stream NAME --tail"), "{error}");
    drop(stdin);
    assert_eq!(wait(child).status.code(), Some(0));
}

#[test]
fn follow_of_a_stream_goes_on_through_a_split_by_a_later_owner() {
    let place = Place::new();
    succeeded(place.run_with(&["put", "--stream", "clicks"], b"before\n"));
    let mut child = place.command(&["cat", "--stream", "clicks", "--follow", "--raw", "--count", "3"]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "before\n");
    for text in ["after\n", "later\n"] {
        succeeded(place.run_with(&["put", "--stream", "clicks"], text.as_bytes()));
        line.clear();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, text);
        if text == "after\n" {
            place.ok(&["stream", "split", "clicks", "0"]);
        }
    }
    assert_eq!(wait(child).status.code(), Some(0));
}

/// `tail` is of a server; of a store that is named it reads the files.
#[cfg(feature = "server")]
#[test]
fn tail_of_a_store_follows_a_stream_from_where_it_is_told() {
    let place = Place::new();
    place.ok(&["stream", "create", "clicks", "--shards", "2"]);
    succeeded(place.run_with(&["put", "--stream", "clicks"], b"1\n2\n3\n4\n5\n6\n"));
    let all = place.text(&["cat", "--stream", "clicks", "--format", "{sequence} {shard} {data}\\n"]);
    let lines: Vec<Vec<&str>> = all.lines().map(|line| line.split(' ').collect()).collect();
    let [number, shard, _] = lines[2][..] else { panic!("{all}") };
    let in_shard = |lines: &[Vec<&str>]| -> Vec<String> {
        lines.iter().filter(|line| line[1] == shard).map(|line| line[2].to_owned()).collect()
    };
    let tail = |more: &[&str]| {
        sorted(&place.text(&[&["tail", "--stream", "clicks", "--no-follow", "--raw"][..], more].concat()))
    };
    assert_eq!(tail(&["--from", "trim"]), ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(tail(&["--from", "@1h"]), ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(tail(&["--from", number]), in_shard(&lines[2..]), "its shard from that record on");
    assert_eq!(tail(&["--from", "trim", "--shard", shard]), in_shard(&lines));
    let mut child = place.command(&["tail", "-f", "--stream", "clicks", "--raw", "--count", "1"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    succeeded(place.run_with(&["put", "--stream", "clicks"], b"later\n"));
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!((line.as_str(), wait(child).status.code()), ("later\n", Some(0)));
    for wrong in [
        &["tail"][..],
        &["tail", "a", "--stream", "b"],
        &["tail", "a", "--from", "7"],
        &["tail", "a", "-f", "--no-follow"],
    ] {
        assert_eq!(place.run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn the_agent_puts_each_line_once_through_restarts_rotation_and_copies() {
    let place = Place::new();
    place.ok(&["stream", "create", "logs", "--shards", "2"]);
    let path = |name: &str| place.dir.path().join(name);
    let append = |name: &str, text: &str| {
        let mut file = std::fs::File::options().create(true).append(true).open(path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    let agent =
        || place.json(&["agent", "app*.log*", "--stream", "logs", "--once", "--json"])["records"].as_u64().unwrap();
    append("app.log", "1\n2\nunfinis");
    assert_eq!(agent(), 2);
    assert_eq!(agent(), 0, "nothing is repeated");
    append("app.log", "hed\n");
    // Renamed, with a new one in its place.
    std::fs::rename(path("app.log"), path("app.log.1")).unwrap();
    append("app.log.1", "after rename\n");
    append("app.log", "new 1\n");
    assert_eq!(agent(), 3);
    // Copied and cut off.
    append("app.log", "new 2\n");
    std::fs::copy(path("app.log"), path("app.log.2")).unwrap();
    std::fs::File::options().write(true).open(path("app.log")).unwrap().set_len(0).unwrap();
    append("app.log", "after the cut 1\n");
    append("app2.log", "another\n");
    assert_eq!(agent(), 3);
    assert_eq!(agent(), 0);
    let expected = ["1", "2", "after rename", "after the cut 1", "another", "new 1", "new 2", "unfinished"];
    assert_eq!(sorted(&place.text(&["cat", "--stream", "logs", "--raw"])), expected);
    assert!(place.text(&["ls", "-a", "-1"]).contains("braidlog/agent\n"));
}

#[test]
fn the_agent_ends_cleanly_when_it_is_asked_to() {
    let place = Place::new();
    let file = place.dir.path().join("app.log");
    std::fs::write(&file, "0\n").unwrap();
    let mut expected = 1;
    for round in 0..3 {
        let args = ["agent", "app.log", "--stream", "logs", "--interval", "10ms", "--json"];
        let child = place.command(&args).spawn().unwrap();
        let mut log = std::fs::File::options().append(true).open(&file).unwrap();
        for n in 0..200 {
            log.write_all(format!("{n} of round {round}\n").as_bytes()).unwrap();
            expected += 1;
        }
        // Killed in the middle of it, at first; then asked to end once it has begun.
        if round == 0 {
            let mut child = child;
            child.kill().unwrap();
            child.wait().unwrap();
        } else {
            let until = Instant::now() + Duration::from_secs(60);
            while place.run(&["ls"]).status.code() != Some(5) && Instant::now() < until {
                std::thread::yield_now();
            }
            let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
            assert!(killed.success());
            let output = wait(child);
            assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
            let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(summary["stream"], "logs");
        }
    }
    place.ok(&["agent", "app.log", "--stream", "logs", "--once"]);
    let all = place.text(&["cat", "--stream", "logs", "--raw"]);
    assert_eq!(all.lines().count(), expected);
    assert_eq!(all, std::fs::read_to_string(&file).unwrap(), "in the order of the file: there is one shard");
    assert!(place.text(&["info"]).contains("clean"));
}

#[test]
fn the_agent_makes_json_of_lines_on_request() {
    let place = Place::new();
    place.file("a.csv", b"ann,3\nbob,\"4, or so\"\n");
    let agent = |args: &[&str]| place.json(&[&["agent", "--once", "--json"], args].concat());
    let put = agent(&[
        "a.csv",
        "--stream",
        "csv",
        "--parse",
        "csv",
        "--fields",
        "user,count",
        "--key-field",
        "1",
        "--delimiter",
        ",",
    ]);
    assert_eq!(put["records"], 2);
    let text = place.text(&["cat", "--stream", "csv", "--format", "{key} {data}\\n"]);
    assert_eq!(text, "ann {\"count\":\"3\",\"user\":\"ann\"}\nbob {\"count\":\"4, or so\",\"user\":\"bob\"}\n");
    place.file("trace.log", b"E one\n  at a\nI two\n");
    let args = [
        "trace.log",
        "--stream",
        "lines",
        "--first-line",
        "^[EI] ",
        "--parse",
        "regex",
        "--pattern",
        "^(?<level>E) (?<text>(?s:.*))$",
    ];
    let put = agent(&[&args[..], &["--idle", "0s"]].concat());
    assert_eq!((&put["records"], &put["unparsed"]), (&2.into(), &1.into()));
    let text = place.text(&["cat", "--stream", "lines", "--raw"]);
    assert_eq!(text, "{\"level\":\"E\",\"text\":\"one\\n  at a\"}\n{\"message\":\"I two\"}\n");
    assert_eq!(place.run(&["agent", "x", "--stream", "y", "--parse", "regex"]).status.code(), Some(2));
    place.fails(&["agent", "a[", "--stream", "y", "--once"], 2);
    place.fails(&["agent", "x", "--stream", "y", "--line-bytes-max", "2MiB", "--once"], 2);
}

/// Puts what there is, once; how many records that were.
fn agent_once(place: &Place, pattern: &str) -> u64 {
    place.json(&["agent", pattern, "--stream", "logs", "--once", "--json"])["records"].as_u64().unwrap()
}

#[test]
fn the_agent_knows_copies_from_files_that_begin_alike() {
    let place = Place::new();
    place.file("worker.csv", b"header\n1\n");
    assert_eq!(agent_once(&place, "*.csv"), 2);
    place.file("worker2.csv", b"header\n1\n2\n");
    assert_eq!(agent_once(&place, "*.csv"), 3);
    // The oldest of a rotation goes, and a copy may get its inode.
    place.file("app.log.1", b"1\n2\n");
    let log = place.file("app.log", b"100\n101\n");
    assert_eq!(agent_once(&place, "app.log*"), 4);
    std::fs::write(&log, b"100\n101\n102\n").unwrap();
    std::fs::remove_file(place.dir.path().join("app.log.1")).unwrap();
    place.file("app.log.1", b"100\n101\n102\n");
    std::fs::write(&log, b"103\n").unwrap();
    assert_eq!(agent_once(&place, "app.log*"), 2);
    assert_eq!(agent_once(&place, "app.log*"), 0);
}

#[test]
fn more_files_are_put_than_may_be_open() {
    let place = Place::new();
    let folder = place.dir.path().join("many");
    std::fs::create_dir(&folder).unwrap();
    let files: Vec<String> = (0..400).map(|n| folder.join(format!("{n}.log")).display().to_string()).collect();
    files.iter().for_each(|file| std::fs::write(file, "a line\n").unwrap());
    let run = |args: &[&str]| {
        let limit = "ulimit -n 200 && exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", limit, env!("CARGO_BIN_EXE_braidlog")]).args(args).arg("--store").arg(place.store());
        serde_json::from_slice::<Value>(&succeeded(command.output().unwrap())).unwrap()
    };
    let pattern = folder.join("*.log").display().to_string();
    let put = run(&["agent", &pattern, "--stream", "logs", "--once", "--json"]);
    assert_eq!((&put["records"], &put["files"]), (&400.into(), &400.into()));
    files.iter().for_each(|file| std::fs::write(file, "a line\nanother\n").unwrap());
    assert_eq!(run(&["agent", &pattern, "--stream", "logs", "--once", "--json"])["records"], 400);
    let args = ["put", "notes", "--json"].into_iter().chain(files.iter().map(String::as_str)).collect::<Vec<_>>();
    assert_eq!(run(&args)["records"], 800);
}

#[test]
fn the_agent_takes_patterns_as_shells_do_and_says_what_leads_nowhere() {
    let place = Place::new();
    let folder = place.dir.path().join("a[b] *?");
    std::fs::create_dir(&folder).unwrap();
    for (name, text) in [("app.log", "1\n"), (".hidden.log", "2\n"), ("[x].log", "3\n")] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    std::fs::write(folder.join("old.log"), b"\x1f\x8b\x08 compressed\n").unwrap();
    let run = |pattern: &str| {
        let mut command = place.command(&["agent", pattern, "--stream", "logs", "--once"]);
        let output = command.current_dir(&folder).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let told = String::from_utf8(output.stderr).unwrap();
        (String::from_utf8(output.stdout).unwrap().starts_with("1 record "), told)
    };
    assert_eq!(run("./app.*"), (true, String::new()));
    let (put, told) = run("*.log");
    assert!(put && told.contains("old.log is compressed (gzip)"), "{told}");
    assert!(run(".*.log").0);
    assert_eq!(sorted(&place.text(&["cat", "--stream", "logs", "--raw"])), ["1", "2", "3"]);
    std::fs::write(folder.join("[x].log"), "3\n4\n").unwrap();
    assert!(run("[x].log").0, "a file that is called so");
    assert!(run("none*.log").1.contains("\"none*.log\" leads to no file so far"));
    assert!(run("../a*").1.contains("leads to no file but to the folder"));
}

#[test]
fn the_agent_refuses_before_it_makes_a_store() {
    let place = Place::new();
    for args in [
        &["agent", "x", "--stream", "y", "--line-bytes-max", "0"][..],
        &["agent", "x", "--stream", "y", "--line-bytes-max", "2MiB"],
        &["agent", "x", "--stream", "b d"],
        &["put", "--stream", "b d"],
    ] {
        place.fails(args, 2);
        assert!(!place.store().exists(), "{args:?}");
    }
}

#[test]
fn a_single_run_of_the_agent_puts_or_tells_of_a_last_line_without_a_newline() {
    let place = Place::new();
    place.file("a.log", b"1\nlast");
    let args = ["agent", "a.log", "--stream", "logs", "--once", "--json"];
    let output = place.run(&[&args[..], &["--idle", "1h"]].concat());
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(told.contains("may be unfinished at the end of") && told.contains("a.log"), "{told}");
    assert_eq!(serde_json::from_slice::<Value>(&succeeded(output)).unwrap()["records"], 1);
    assert_eq!(place.json(&[&args[..], &["--idle", "0s"]].concat())["records"], 1);
    assert_eq!(place.text(&["cat", "--stream", "logs", "--raw"]), "1\nlast\n");
}

#[test]
fn aggregated_records_are_taken_apart_and_consumer_groups_are_listed() {
    use braidlog::stream::{GroupOptions, ProducerOptions, StreamOptions};
    let place = Place::new();
    let engine = braidlog::Engine::open(place.store()).unwrap();
    let clicks = engine.create_stream("clicks", StreamOptions::new()).unwrap();
    let producer = clicks.producer(ProducerOptions::new()).unwrap();
    for data in ["a", "b", "c"] {
        drop(producer.put("user-42", None, data.as_bytes()).unwrap());
    }
    producer.close();
    clicks.consumer_group("billing", GroupOptions::new()).unwrap();
    drop(clicks);
    engine.close().unwrap();
    let cat = ["cat", "--stream", "clicks", "--deaggregate", "--format", "{sub} {key} {data}\\n"];
    assert_eq!(place.text(&cat), "0 user-42 a\n1 user-42 b\n2 user-42 c\n");
    assert_eq!(place.text(&[&cat[..], &["--count", "2"]].concat()), "0 user-42 a\n1 user-42 b\n");
    let consumers = place.text(&["consumers", "clicks"]);
    assert!(consumers.contains("billing") && consumers.contains("shardId-000000000000"), "{consumers}");
}

#[test]
fn consumers_tells_how_far_each_group_is_behind_in_each_shard() {
    use braidlog::stream::{GroupOptions, HashKey, PutRecordsEntry, RecordBatch};
    let place = Place::new();
    let engine = Engine::open(place.store()).unwrap();
    let clicks = engine.create_stream("clicks", StreamOptions::new().shards(2)).unwrap();
    let put = |half: u128, count: u64| {
        for _ in 0..count {
            let key = Some(HashKey(half << 127));
            let entry = PutRecordsEntry { explicit_hash_key: key, ..PutRecordsEntry::new("user-42", b"page=/home") };
            clicks.put(entry, None).unwrap();
        }
    };
    put(0, 3);
    put(1, 5);
    let group = clicks.consumer_group("billing", GroupOptions::new()).unwrap();
    let mut worker = group.worker("worker", |_| |_: &mut RecordBatch<'_>| Ok(())).unwrap();
    while worker.step().unwrap() {}
    drop((worker, group));
    put(1, 4);
    clicks.split_shard("shardId-000000000000".parse().unwrap(), HashKey(1 << 126)).unwrap();
    put(0, 2);
    clicks.consumer_group("audit", GroupOptions::new()).unwrap();
    clicks.register_consumer("reader", [("", ""); 0]).unwrap();
    drop(clicks);
    engine.close().unwrap();
    let printed = String::from_utf8(place.ok(&["consumers", "clicks", "--json"])).unwrap();
    let lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["consumer"], "reader");
    let behind = |group: &str| -> Vec<(u64, u64)> {
        let of_group = lines.iter().filter(|line| line["group"] == group);
        let index = |line: &Value| line["shard"].as_str().unwrap()["shardId-".len()..].parse().unwrap();
        of_group.map(|line| (index(line), line["records_behind"].as_u64().unwrap())).collect()
    };
    // One that has read all before the split, and one that has read nothing; 2 and 3 are the children of 0.
    assert_eq!(behind("billing"), [(0, 0), (1, 4), (2, 2), (3, 0)]);
    assert_eq!(behind("audit"), [(0, 3), (1, 9), (2, 2), (3, 0)]);
    let text = place.text(&["consumers", "clicks"]);
    let row = text.lines().find(|line| line.contains("audit") && line.contains("shardId-000000000001")).unwrap();
    assert_eq!(row.split_whitespace().last(), Some("9"), "{text}");
}
