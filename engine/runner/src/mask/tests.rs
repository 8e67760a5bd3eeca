use super::*;

/// The law, said plainly: a byte is masked when an occurrence of any form covers it.
fn reference(forms: &[Vec<u8>], text: &[u8]) -> Vec<u8> {
    let mut covered = vec![false; text.len()];
    for form in forms {
        for start in 0..text.len() {
            if text[start..].starts_with(form) {
                covered[start..start + form.len()].fill(true);
            }
        }
    }
    let mut out = Vec::new();
    for (i, byte) in text.iter().enumerate() {
        match (covered[i], i > 0 && covered[i - 1]) {
            (false, _) => out.push(*byte),
            (true, false) => out.extend_from_slice(STARS.as_bytes()),
            (true, true) => {}
        }
    }
    out
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

#[test]
fn a_stream_masks_as_the_reference_does_however_it_is_split() {
    let secrets = ["abab", "babaab", "aaaa", "abcabcabcabd", "bcab", "c/a+b?c=", "line-one\nline-two", "a'b\"c$d"];
    for seed in 1..400 {
        let mut random = Random(seed * 0x9e37_79b9);
        let chosen: Vec<&str> = secrets.iter().copied().filter(|_| random.below(2) == 0).collect();
        let masker = Masker::new(chosen.iter().copied());
        let forms = masker.0.as_ref().map(|m| m.forms.clone()).unwrap_or_default();
        let mut text = Vec::new();
        while text.len() < 300 {
            match random.below(4) {
                0 if !forms.is_empty() => {
                    let form = &forms[random.below(forms.len())];
                    let end = form.len() - random.below(2) * random.below(form.len());
                    text.extend_from_slice(&form[..end]);
                }
                1 => text.push(b'x'),
                _ => text.push(b"abc"[random.below(3)]),
            }
        }
        let mut out = Vec::new();
        let mut stream = masker.stream();
        let mut at = 0;
        while at < text.len() {
            let most = 1 << random.below(8);
            let end = (at + random.below(most)).min(text.len());
            stream.push(&text[at..end], &mut out);
            at = end;
        }
        stream.finish(&mut out);
        let (out, expected) = (String::from_utf8_lossy(&out).into_owned(), reference(&forms, &text));
        assert_eq!(out, String::from_utf8_lossy(&expected), "seed {seed}, secrets {chosen:?}, text {:?}", String::from_utf8_lossy(&text));
    }
}

/// A value in base64 broken into lines at each place where they may end, one form for each.
fn broken(value: &str) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (letters, group) in forms::alignments(value).unwrap().iter().zip([4, 2, 1]) {
        for width in [76, 64] {
            for first in (group..group + width).step_by(4).filter(|first| *first < letters.len()) {
                let lines = letters[first..].chunks(width).flat_map(|line| [b"\n", line].concat());
                out.push(letters[..first].iter().copied().chain(lines).collect());
            }
        }
    }
    out
}

#[test]
fn what_is_broken_into_lines_is_found_as_if_each_break_were_a_form() {
    let long = "a-token-of-many-letters:".repeat(9);
    for seed in 1..60 {
        let mut random = Random(seed * 0x9e37_79b9);
        let chosen: Vec<&str> = ["hunter22", "aaaaaaaa", long.as_str()].into_iter().filter(|_| random.below(2) == 0).collect();
        let masker = Masker::new(chosen.iter().copied());
        let lines: Vec<Vec<u8>> = chosen.iter().flat_map(|value| broken(value)).collect();
        let mut text = Vec::new();
        while text.len() < 700 {
            match random.below(3) {
                0 if !lines.is_empty() => {
                    let line = &lines[random.below(lines.len())];
                    let (from, less) = (random.below(2) * random.below(9), random.below(2) * random.below(9));
                    text.extend_from_slice(&line[from.min(line.len() - less)..line.len() - less]);
                }
                1 => text.push(b"\nQ=Y"[random.below(4)]),
                // A line end too many, or one too few.
                _ => {
                    let at = random.below(text.len() + 1);
                    if random.below(2) == 0 {
                        text.insert(at, b'\n');
                    } else if text.get(at) == Some(&b'\n') {
                        text.remove(at);
                    }
                }
            }
        }
        let forms = [lines, masker.0.as_ref().map(|m| m.forms.clone()).unwrap_or_default()].concat();
        let expected = reference(&forms, &text);
        let shown = String::from_utf8_lossy(&text);
        let (mut out, mut stream, mut rest) = (Vec::new(), masker.stream(), text.as_slice());
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((1 + random.below(40)).min(rest.len()));
            stream.push(piece, &mut out);
            rest = behind;
        }
        stream.finish(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&expected), "seed {seed}, secrets {chosen:?}, text {shown:?}");
        assert_eq!(masker.finds(&shown), expected != text, "seed {seed}");
        let in_files =
            forms.iter().filter(|form| form.len() >= LEAST_IN_FILES).any(|form| text.windows(form.len()).any(|part| part == form));
        assert_eq!(masker.finds_in(text.as_slice()).unwrap(), in_files, "seed {seed}");
    }
}

#[test]
fn what_no_program_breaks_so_is_no_secret() {
    let secret = "a-token-of-many-letters:".repeat(5);
    let masker = Masker::new([secret.as_str()]);
    let letters = String::from_utf8(forms::alignments(&secret).unwrap()[1].clone()).unwrap();
    let text = |ends: &[usize]| {
        let mut text = letters.clone();
        ends.iter().rev().for_each(|end| text.insert(*end, '\n'));
        text
    };
    // 158 letters; a line ends behind a group of four, the next 76 or 64 letters on.
    for ends in [&[2, 78, 154][..], &[74, 150], &[62, 126], &[34, 98]] {
        assert_eq!(masker.mask(&text(ends)), STARS, "{ends:?}");
    }
    for ends in [&[2][..], &[2, 78], &[78, 154], &[3, 79, 155], &[34, 98, 150], &[74, 138]] {
        assert_eq!(masker.mask(&text(ends)), text(ends), "{ends:?}");
    }
}

#[test]
fn what_is_broken_into_lines_is_found_in_a_file_wherever_it_stands() {
    let masker = Masker::new(["a token that is kept"]);
    let form = &broken("a token that is kept")[1];
    for front in AT_ONCE - 40..AT_ONCE + 5 {
        let file = [&vec![b'-'; front], form.as_slice(), &[b'-'; 9]].concat();
        assert!(masker.finds_in(file.as_slice()).unwrap(), "{front}");
        let elsewhere = file.iter().map(|byte| if *byte == b'\n' { b'-' } else { *byte }).collect::<Vec<u8>>();
        assert!(!masker.finds_in(elsewhere.as_slice()).unwrap(), "{front}");
    }
}

/// A form for each place where lines may end took five times as much.
#[test]
fn what_the_masker_keeps_is_near_to_the_values_in_size() {
    let values: Vec<String> = (0..50).map(|n| format!("{n:03}-{}", trees_core::hash::hex(&[n; 126]))).collect();
    let masker = Masker::new(values.iter().map(String::as_str));
    let kept = masker.0.unwrap();
    let bytes = kept.search.memory_usage() + kept.forms.iter().map(Vec::len).sum::<usize>() + kept.wrapped.memory();
    assert!(bytes < 50 * 256 * 500, "{bytes}");
}

#[test]
fn only_what_may_begin_a_broken_line_is_held_back() {
    let mut stream = Masker::new(["hunter22"]).stream();
    let mut out = Vec::new();
    // It is `aHVudGVyMjI`, and a line ends behind four letters.
    for (piece, shown) in [("x aHVu\n", "x "), ("dGV", "x "), ("\n", "x aHVu\ndGV\n"), ("aHV\n", "x aHVu\ndGV\naHV\n")] {
        stream.push(piece.as_bytes(), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), shown);
    }
}

#[track_caller]
fn check(secret: &str, text: &str, expected: &str) {
    assert_eq!(Masker::new([secret]).mask(text), expected);
}

#[test]
fn forms_in_which_programs_print_a_secret() {
    check("hunter22", "a hunter22 b", "a *** b");
    check("hunter22", "hunter22hunter22", "***");
    check("hunter22", "hunter2", "hunter2");
    check("pa\"ss\\w\n", r#"{"p":"pa\"ss\\w"}"#, r#"{"p":"***"}"#);
    check("a/b+c d&e", "u=a%2Fb%2Bc%20d%26e u=a%2fb%2bc+d%26e u=a/b%2Bc%20d%26e", "u=*** u=*** u=***");
    check(
        "a&b<c>\"d",
        r#"{"p":"a\u0026b\u003cc\u003e\"d"} "{\"p\":\"a&b<c>\\\"d\"}" "{\"p\":\"a\\u0026b\\u003cc\\u003e\\\"d\"}""#,
        r#"{"p":"***"} "{\"p\":\"***\"}" "{\"p\":\"***\"}""#,
    );
    check("grün/zeug", r#"gr\u00FCn\/zeug gr\u00fcn\/zeug gr\u00FCn/zeug"#, "gr\\u00FCn\\/zeug *** ***");
    check("grün!zeug", r#"gr\u00fcn!zeug gr%C3%BCn!zeug gr%c3%bcn%21zeug"#, "*** *** ***");
    check("hunter22", "68756e7465723232 68756E7465723232 68:75:6e:74:65:72:32:32 68 75 6e 74 65 72 32 32", "*** *** *** ***");
    check("it's$1", r#"'it'\''s$1' "it's\$1" it\'s\$1 'it'"'"'s$1'"#, r#"'***' "***" *** '***'"#);
    check("one-line\ntwo-line\nx\n", "one-line\ntwo-line\nx", "***");
    check("one-line\ntwo-line\nx\n", "a two-line, one-line, x", "a ***, ***, x");
    check("", "nothing", "nothing");
    check("abc", "abc is too short", "abc is too short");
}

#[test]
fn base64_at_each_alignment_leaves_nothing_but_the_ragged_ends() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let secret = "s3cr3t>?>~~~value";
    let masker = Masker::new([secret]);
    for front in ["", "u", "us", "use", "user"] {
        for back in ["", ":", "::", ":::"] {
            let text = format!("{front}{secret}{back}");
            for encoded in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                let masked = masker.mask(&encoded).into_owned();
                assert!(masked.contains(STARS) && masked.len() <= encoded.len() - 4 * secret.len() / 3 + 3 + 2, "{encoded} -> {masked}");
            }
        }
    }
    let long = "0123456789abcdef".repeat(20);
    let mut wrapped: Vec<String> = STANDARD.encode(&long).as_bytes().chunks(76).map(|l| String::from_utf8_lossy(l).into_owned()).collect();
    assert_eq!(Masker::new([long.as_str()]).mask(&wrapped.join("\n")), "***=");
    // Also a line alone.
    wrapped.reverse();
    assert_eq!(Masker::new([long.as_str()]).mask(&wrapped.join("\n")), "***=\n***\n***\n***\n***\n***");
}

/// `base64` begins a new line after 76 letters, openssl after 64, wherever the secret stands.
#[test]
fn base64_in_lines_is_masked_wherever_they_end() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    for secret in ["hunter22".to_owned(), "a token of forty-one bytes, as many have.".into(), "0123456789abcdef".repeat(16)] {
        let masker = Masker::new([secret.as_str()]);
        for front in 0..100 {
            let plain = format!("{}{secret}{}", "x".repeat(front), "y".repeat(90));
            for width in [76, 64] {
                let encoded = STANDARD.encode(&plain);
                let lines: Vec<&str> = encoded.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
                let masked = masker.mask(&lines.join("\n")).replace(['\n', '*'], "");
                // A letter at each end may belong to a neighbour.
                let left = encoded.len() - 4 * secret.len() / 3 + 4;
                assert!(masked.len() <= left, "{front} {width}: {masked}");
            }
        }
    }
    let other = STANDARD.encode("x".repeat(300));
    assert_eq!(Masker::new(["hunter22"]).mask(&other), other);
}

#[test]
fn only_what_may_begin_a_secret_is_held_back() {
    let mut stream = Masker::new(["hunter22"]).stream();
    let mut out = Vec::new();
    stream.push(b"hello h", &mut out);
    assert_eq!(out, b"hello ");
    stream.push(b"unter2", &mut out);
    assert_eq!(out, b"hello ");
    stream.push(b"! next\n", &mut out);
    assert_eq!(out, b"hello hunter2! next\n");
}

#[test]
fn json_is_masked_by_its_texts() {
    let value = serde_json::json!({"a": ["hunter22", 7], "hunter22": null});
    assert_eq!(Masker::new(["hunter22"]).mask_json(&value), serde_json::json!({"a": ["***", 7], "***": null}));
}
