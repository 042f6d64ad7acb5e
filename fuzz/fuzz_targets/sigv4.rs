#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| braidlog::fuzzing::sigv4(data));
