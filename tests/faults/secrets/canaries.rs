//! The canaries: a value each, its source, the forms in which it is told.

use crate::place::Place;
use std::fs;
use std::path::Path;

/// One.
pub struct Canary {
    /// Its name in the tree.
    pub name: &'static str,
    /// Its value; empty until it is known.
    pub value: String,
    /// A part of it without special letters, in no other text of this place.
    core: &'static str,
}

/// Two of each source. Each has a core of letters and digits, and what programs escape around it.
pub fn canaries() -> Vec<Canary> {
    let one = |name, core: &'static str, value: String| Canary { name, value, core };
    let around = |before: &str, core: &str, behind: &str| format!("{before}{core}{behind}");
    vec![
        one("ENV_A", "Qx7mEnvAlphaZ41vK9", around("p'", "Qx7mEnvAlphaZ41vK9", "\"$(id) \\n")),
        one("ENV_B", "Hd2wEnvBetaT83qL5", around("https://user:", "Hd2wEnvBetaT83qL5", "@host/?a=b&c=%20+d")),
        one("STORE_A", "Vb9kStoreAlphaR62", around("", "Vb9kStoreAlphaR62", "")),
        one("STORE_B", "Jn4sStoreBetaW57e", around("é日本-", "Jn4sStoreBetaW57e", "-ü")),
        one("DOT_A", "Gc6tDotenvAlphaM18", around("a b ", "Gc6tDotenvAlphaM18", " c")),
        one("DOT_B", "Yp3fDotenvBetaX74u", around("#", "Yp3fDotenvBetaX74u", "!*?[x]")),
        one(
            "FILE_A",
            "Lr8hFileAlphaB29n",
            around("-----BEGIN KEY-----\nMIIfirstline0123456789\n", "Lr8hFileAlphaB29n", "\n-----END KEY-----"),
        ),
        one("FILE_B", "Zk5jFileBetaC46o", around("{\"token\":\"", "Zk5jFileBetaC46o", "\"}")),
        one("CMD_A", "Wm1dCommandAlphaF93", around("<", "Wm1dCommandAlphaF93", ">&;|")),
        one("CMD_B", "Sg7bCommandBetaP35", around("`", "Sg7bCommandBetaP35", "~^=,")),
        one("GEN_A", "", String::new()),
        one("GEN_B", "", String::new()),
    ]
}

impl Canary {
    /// Whether it comes from the environment of `trees`.
    pub fn is_of_the_environment(&self) -> bool {
        self.name.starts_with("ENV_")
    }

    /// Puts it at its source.
    pub fn put(&self, place: &Place, vault: &Path) {
        match self.name.split('_').next() {
            Some("STORE") => {
                let mut command = place.command(&["secret", "set", self.name, "--project", "t"]);
                let input = vault.join("input");
                fs::write(&input, &self.value).unwrap();
                assert!(command.stdin(fs::File::open(&input).unwrap()).status().unwrap().success());
            }
            Some("DOT") => {
                let known = place.read(".env");
                place.write(".env", format!("{known}{}='{}'\n", self.name, self.value));
            }
            Some("FILE" | "CMD") => fs::write(vault.join(self.name), &self.value).unwrap(),
            _ => {}
        }
    }

    /// Whether it can be the name of a file.
    pub fn can_name(&self) -> bool {
        !self.value.contains(['/', '\n'])
    }

    /// How steps tell it.
    pub fn forms(&self) -> Vec<(&'static str, String)> {
        let value = &self.value;
        let json = serde_json::to_string(value).unwrap();
        vec![
            ("plain", value.clone()),
            ("json", json[1..json.len() - 1].to_owned()),
            ("base64", base64(value.as_bytes())),
            ("base64-1", base64(format!("x{value}").as_bytes())),
            ("base64-2", base64(format!("xy{value}").as_bytes())),
            ("hex", hex(value, false)),
            ("hex-upper", hex(value, true)),
            ("url", url(value)),
            ("shell", format!("'{}'", value.replace('\'', r"'\''"))),
            ("double", value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$").replace('`', "\\`")),
        ]
    }

    /// What would betray it: its core, which no escape changes, plain or encoded, at each alignment.
    pub fn traces(&self) -> Vec<(&'static str, Vec<u8>)> {
        let core = if self.core.is_empty() { &self.value } else { self.core };
        let inner = |offset: usize| {
            let text = base64(format!("{}{core}", "x".repeat(offset)).as_bytes());
            // Without the letters that the neighbours change.
            let whole = text.trim_end_matches('=');
            let front = [0, 2, 3][offset];
            let back = usize::from(!(core.len() + offset).is_multiple_of(3));
            whole.as_bytes()[front..whole.len() - back].to_vec()
        };
        vec![
            ("plain", core.as_bytes().to_vec()),
            ("base64", inner(0)),
            ("base64-1", inner(1)),
            ("base64-2", inner(2)),
            ("hex", hex(core, false).into_bytes()),
            ("hex-upper", hex(core, true).into_bytes()),
        ]
    }
}

fn hex(text: &str, upper: bool) -> String {
    let hex: String = text.bytes().map(|b| format!("{b:02x}")).collect();
    if upper { hex.to_uppercase() } else { hex }
}

fn url(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for n in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * n) & 63) as usize];
            out.push(if n <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}
