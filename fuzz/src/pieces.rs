//! Random scripts from the pieces that make a shell's grammar hard. One seed, one sequence of
//! scripts; a fuzzer's bytes choose instead with [`Generator::from_bytes`].

/// Pieces; every third or so is a value.
const PIECES: &[&str] = &[
    "{{ v }}",
    "{{ v }}",
    "{{ v }}",
    "{{ v }}",
    "{{ v }}",
    "{{ v }}",
    "'",
    "'",
    "\"",
    "\"",
    "`",
    "$(",
    ")",
    "(",
    "${u:-",
    "${u#",
    "${u/x/",
    "${",
    "}",
    "$((",
    "))",
    "((",
    "\\",
    "\n",
    "\n",
    " ",
    " ",
    " ",
    "; ",
    "& ",
    "| cat ",
    "&& ",
    "|| ",
    "a",
    "x=",
    "x=(",
    "a[",
    "]=1",
    "]",
    "[",
    "$",
    "$'",
    "$\"",
    "#",
    " # ",
    "cat <<E\n",
    "cat <<'E'\n",
    "cat <<-E\n",
    "<<E ",
    "\nE\n",
    "\n\tE\n",
    "<<< ",
    "> o ",
    "< /dev/null ",
    "2>",
    "<(",
    "echo ",
    "printf %s ",
    "printf '%s' ",
    "case a in a) ",
    "case ",
    " in ",
    ";; ",
    " esac",
    "[[ ",
    " ]]",
    " -eq ",
    "[ ",
    " ]",
    " = ",
    "eval ",
    "sh -c ",
    "bash -c ",
    "| sh",
    "let ",
    "export ",
    "declare -i ",
    "unset ",
    "trap ",
    ". ",
    "for i in ",
    "do ",
    " done",
    "if ",
    "then ",
    " fi",
    "{ ",
    "! ",
    "env ",
    "command ",
    "xargs ",
    "exec ",
    "-c ",
    "-v ",
    "é",
    "\t",
    "time ",
    "function f ",
    "() ",
    "*",
    "~",
    "@(",
    "!(",
    "PS4=",
    "set -x;",
    "\r\n",
];

/// Where the choices come from.
pub struct Generator {
    state: u64,
    bytes: Option<Vec<u8>>,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, bytes: None }
    }

    /// Choices from given bytes, as a fuzzer has them.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self { state: 1, bytes: Some(bytes.to_vec()) }
    }

    fn below(&mut self, n: usize) -> usize {
        if let Some(bytes) = &mut self.bytes {
            return usize::from(bytes.pop().unwrap_or(0)) % n;
        }
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state >> 20).unwrap() % n
    }

    /// The next script; there is a value in it.
    pub fn script(&mut self) -> String {
        let length = 2 + self.below(14);
        let mut out: String = (0..length).map(|_| PIECES[self.below(PIECES.len())]).collect();
        if !out.contains("{{ v }}") {
            out.push_str("{{ v }}");
        }
        out
    }
}
