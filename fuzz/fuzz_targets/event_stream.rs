#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| braidlog::fuzzing::event_stream(data));
