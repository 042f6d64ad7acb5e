#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| braidlog::fuzzing::wire_requests(data));
