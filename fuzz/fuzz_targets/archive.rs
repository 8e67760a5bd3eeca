#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| trees_fuzz::archive::run(data));
