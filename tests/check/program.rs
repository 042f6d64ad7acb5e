//! The program's side: exit codes of `check`, and `dump`.

use std::fs;
use std::process::Command;

use braidlog::env::sim::Tape;

use super::{closed, killed, with_extension};

fn braidlog(args: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_braidlog")).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

#[test]
fn the_program_says_what_it_found_in_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path());
    let store = dir.path().to_str().unwrap();
    let (code, text) = braidlog(&["check", "--store", store]);
    assert!(code == 0 && text.contains("no damage; 0 warnings, 0 notes") && text.contains("MB/s"), "{code} {text}");
    let segment = with_extension(dir.path(), "seg").pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[120] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (code, text) = braidlog(&["check", "--store", store]);
    assert!(code == 3 && text.contains("at byte 64") && text.contains("--salvage"), "{code} {text}");
    let (code, text) = braidlog(&["check", "--store", store, "--json", "--repair", "--dry-run"]);
    assert!(code == 3 && text.lines().all(|line| line.starts_with('{')), "{code} {text}");
    let dest = dir.path().with_extension("salvaged");
    let (code, text) = braidlog(&["check", "--store", store, "--salvage", dest.to_str().unwrap()]);
    assert!(code == 0 && text.contains("copied"), "{code} {text}");
    fs::remove_dir_all(dest).unwrap();
    assert_eq!(braidlog(&["check", "--store", &format!("{store}/nothing")]).0, 4);
}

#[test]
fn dump_prints_every_kind_of_file_and_no_damage_stops_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("killed");
    killed(&store);
    let smallest = |extension| {
        with_extension(&store, extension).into_iter().min_by_key(|p| fs::metadata(p).unwrap().len()).unwrap()
    };
    let journal = with_extension(&store, "jnl")
        .into_iter()
        .max_by_key(|p| fs::read(p).unwrap().iter().filter(|b| **b != 0).count())
        .unwrap();
    // The newest may have nothing but a root.
    let largest = |extension| {
        with_extension(&store, extension).into_iter().max_by_key(|p| fs::metadata(p).unwrap().len()).unwrap()
    };
    let cases = [
        (store.join("STORE"), vec!["BRAIDLOG", "store id", "bytes of a journal file", "1048576", "OK"]),
        (largest("man"), vec!["BLMF", "page", "name", "rolled", "buffered", "root", "clean"]),
        (smallest("seg"), vec!["BLSG", "batch 0", "first sequence number", "record ", "bytes of data", "OK"]),
        (smallest("idx"), vec!["BLIX", "entry 1", "position", "OK"]),
        (journal.clone(), vec!["BLJF", "frame ", "Batch", "Settle", "checksum of the frame before", "zeros", "OK"]),
    ];
    let work = dir.path().join("work");
    fs::create_dir_all(&work).unwrap();
    let tape = Tape::seeded(4);
    for (path, expected) in cases {
        let name = path.to_str().unwrap();
        let (code, text) = braidlog(&["dump", "--records", name]);
        assert_eq!(code, 0, "{text}");
        expected.iter().for_each(|word| assert!(text.contains(word), "{name}: {word} is missing"));
        assert!(path == journal || !text.contains("BAD"), "{name}");
        let strange = ["cut off", "not known to this version", "unknown", "don't belong"];
        strange.iter().for_each(|word| assert!(!text.contains(word), "{name}: {word}"));
        let (code, text) = braidlog(&["dump", "--json", "--max-bytes", "200", name]);
        assert!(code == 0 && text.lines().all(|line| line.starts_with('{')), "{text}");
        // Truncated and flipped in many ways, many files a call; without STORE too.
        let mut good = fs::read(&path).unwrap();
        good.truncate(40_000);
        for known in [true, false] {
            let store_file = work.join("STORE");
            if known {
                assert!(fs::copy(store.join("STORE"), &store_file).is_ok());
            } else {
                fs::remove_file(&store_file).unwrap()
            }
            let mutants: Vec<String> = (0..150)
                .map(|n| {
                    let mut bytes = good.clone();
                    for _ in 0..tape.choose("flips", 4) {
                        let range = if n % 2 == 0 { 300.min(bytes.len()) } else { bytes.len() };
                        bytes[tape.choose("at", range as u64) as usize] =
                            [0, 0xff, 0x80, 1][tape.choose("to", 4) as usize];
                    }
                    if n % 3 == 0 {
                        bytes.truncate(if n < 75 { n } else { tape.choose("len", bytes.len() as u64) as usize });
                    }
                    let extension = path.extension().map_or("bin".into(), |e| e.to_string_lossy());
                    let mutant = work.join(format!("{n}.{extension}"));
                    let mutant = if name.ends_with("STORE") { mutant.with_file_name("STORE.new") } else { mutant };
                    fs::write(&mutant, bytes).unwrap();
                    mutant.to_str().unwrap().to_owned()
                })
                .collect();
            let mut args = vec!["dump", "--records"];
            args.extend(mutants.iter().map(String::as_str));
            let (code, text) = braidlog(&args);
            let tail = &text[text.len().saturating_sub(500)..];
            assert!(code == 0 && !text.contains("panicked"), "{name} {code}: {tail}");
            assert!(known || name.ends_with("STORE") || text.contains("no STORE file"), "{name}");
        }
    }
}
