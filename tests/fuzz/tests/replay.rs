//! Plays every input that is kept: those that reach as far as fuzzing came, and those that once broke something.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fuzz::{INPUT_BYTES_MAX, TARGETS, Target};

/// Most bytes that a target keeps: they are in everybody's clone.
const CORPUS_BYTES_MAX: usize = 100 << 10;

fn inputs(folder: &str, target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(target);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder can be read").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("a file can be read"))).collect()
}

/// Every input, however many of them fail.
fn play(folder: &str) {
    let mut failed = Vec::new();
    for (name, target) in TARGETS.iter().copied() {
        for (path, data) in inputs(folder, name) {
            if catch_unwind(AssertUnwindSafe(|| target(&data))).is_err() {
                failed.push(path);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn what_fuzzing_found_is_played_again() {
    play("corpus");
}

#[test]
fn what_once_broke_something_does_so_no_more() {
    play("regressions");
}

#[test]
fn every_target_has_a_corpus_of_a_reasonable_size() {
    for (name, _) in TARGETS.iter().copied() {
        let kept = inputs("corpus", name);
        assert!(!kept.is_empty(), "{name} has no corpus");
        let bytes: usize = kept.iter().map(|(_, data)| data.len()).sum();
        assert!(bytes <= CORPUS_BYTES_MAX, "{name} keeps {bytes} bytes");
        assert!(kept.iter().all(|(_, data)| data.len() <= INPUT_BYTES_MAX), "{name} keeps a long one");
    }
}

#[test]
fn bytes_of_chance_break_nothing() {
    // SplitMix64: the same in every run.
    let mut state = 5_u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    for _ in 0..40 {
        let data: Vec<u8> = (0..next() % 600).map(|_| next().to_le_bytes()[3]).collect();
        TARGETS.iter().for_each(|(_, target): &(&str, Target)| target(&data));
    }
}
