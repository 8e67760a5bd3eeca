//! What stands under the master key. The label says what it belongs to: under another one it does not open.

use crate::error::unusable;
use crate::master::Master;
use crate::state::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use trees_core::journal::JournalError;

const NONCE: usize = 24;

/// The nonce, and the bytes under a key of their label's own.
pub(crate) fn seal(master: &Master, label: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut nonce = [0_u8; NONCE];
    getrandom::fill(&mut nonce).ok()?;
    let sealed = cipher(master, label)?.encrypt(&XNonce::from(nonce), Payload { msg: bytes, aad: label.as_bytes() }).ok()?;
    Some([&nonce[..], &sealed].concat())
}

/// What [`seal`] sealed; `None` under another key or label, or where it was changed.
pub(crate) fn open(master: &Master, label: &str, sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, bytes) = sealed.split_at_checked(NONCE)?;
    let nonce: [u8; NONCE] = nonce.try_into().ok()?;
    cipher(master, label)?.decrypt(&XNonce::from(nonce), Payload { msg: bytes, aad: label.as_bytes() }).ok()
}

fn cipher(master: &Master, label: &str) -> Option<XChaCha20Poly1305> {
    let key = master.key(label)?;
    Some(XChaCha20Poly1305::new(&Key::from(*key)))
}

/// The label of what step kinds seal; those of secrets begin otherwise.
fn kinds(label: &str) -> String {
    serde_json::json!(["trees kind 1", label]).to_string()
}

impl State {
    pub(crate) fn sealed(&self, label: &str, bytes: &[u8]) -> Result<String, JournalError> {
        let sealed = seal(self.master()?, &kinds(label), bytes);
        sealed.map(|bytes| STANDARD.encode(bytes)).ok_or_else(|| unusable(self.dir(), format!("sealing {label} failed")))
    }

    pub(crate) fn opened(&self, label: &str, sealed: &str) -> Result<Vec<u8>, JournalError> {
        let bytes = STANDARD.decode(sealed).ok();
        let found = self.known_master()?.zip(bytes).and_then(|(master, bytes)| open(master, &kinds(label), &bytes));
        found.ok_or_else(|| {
            unusable(
                self.dir(),
                format!("{label} cannot be opened: it was sealed with another master key, or changed; put back the key it was sealed with"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::{Durability, State};
    use trees_core::store::Store as _;

    #[test]
    fn a_sealed_text_opens_under_its_key_and_label_only() {
        let folder = tempfile::tempdir().unwrap();
        let state =
            |name: &str, key: &str| State::open(folder.path().join(name), Durability::Full).unwrap().with_key_file(folder.path().join(key));
        let one = state("one", "key");
        let sealed = one.seal("release v1", b"PASSWORD=hunter2").unwrap();
        assert!(!sealed.contains("hunter2") && one.seal("release v1", b"PASSWORD=hunter2").unwrap() != sealed);
        assert_eq!(state("two", "key").open("release v1", &sealed).unwrap(), b"PASSWORD=hunter2");
        let changed = sealed.replace(&sealed[40..44], "AAAA");
        for (store, label, text) in
            [(&one, "release v2", &sealed), (&state("three", "other"), "release v1", &sealed), (&one, "release v1", &changed)]
        {
            let wrong = store.open(label, text).unwrap_err().to_string();
            assert!(wrong.contains(&format!("{label} cannot be opened")), "{wrong}");
        }
    }
}
