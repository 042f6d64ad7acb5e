//! Cuts the lane out of the driver's file, so that the models run the very code the engine runs, without the machines that
//! stand in the same file.

use std::path::{Path, PathBuf};
use std::{env, fs};

const FILE: &str = "../../src/driver/mod.rs";
const FROM: &str = "/// What waits for the next turn";
const UPTO: &str = "/// A bell for the upkeep thread.";

fn main() {
    println!("cargo::rerun-if-changed={FILE}");
    let text = fs::read_to_string(FILE).expect("the driver's file");
    let from = text.find(FROM).unwrap_or_else(|| panic!("{FILE} has no {FROM:?} any more: say here where the lane is"));
    let upto =
        text.find(UPTO).unwrap_or_else(|| panic!("{FILE} has no {UPTO:?} any more: say here where the lane ends"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(Path::new(&out).join("lane.rs"), &text[from..upto]).expect("OUT_DIR can be written");
}
