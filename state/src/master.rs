//! The master key, from which all other keys are made. It lives outside the state folder, so that
//! a copy of the folder gives nothing away.

use crate::error::unusable;
use crate::flock::Flock;
use crate::folder;
use crate::state::State;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use trees_core::hash;
use trees_core::journal::JournalError;
use trees_points::{Point, hit};
use zeroize::Zeroizing;

const VARIABLE: &str = "TREES_MASTER_KEY";

/// 32 secret bytes.
pub(crate) struct Master(Zeroizing<[u8; 32]>);

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Master(…)")
    }
}

impl Master {
    /// From text: 64 hexadecimal digits, or base64 of 32 bytes.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bytes = Zeroizing::new(if text.len() == 64 { unhex(text)? } else { unbase64(text)? });
        let mut key = Zeroizing::new([0; 32]);
        (bytes.len() == 32).then(|| key.copy_from_slice(&bytes))?;
        Some(Self(key))
    }

    /// Another holder of the same key, for the writing thread.
    pub(crate) fn share(&self) -> Self {
        Self(self.0.clone())
    }

    /// The key for one purpose; the purpose names everything that it depends on.
    pub(crate) fn key(&self, purpose: &str) -> Option<Zeroizing<[u8; 32]>> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, &self.0[..]).expand(purpose.as_bytes(), &mut key[..]).ok()?;
        Some(key)
    }

    /// What may be recorded of a value: nobody without the key can try values against it.
    pub(crate) fn fingerprint(&self, value: &str) -> Option<String> {
        let key = self.key("trees fingerprint 1")?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key[..]).ok()?;
        mac.update(value.as_bytes());
        Some(format!("hmac:{}", &hash::hex(&mac.finalize().into_bytes())[..32]))
    }
}

/// 32 random bytes as text.
fn new_key() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    getrandom::fill(&mut bytes[..])?;
    Ok(Zeroizing::new(format!("{}\n", STANDARD.encode(&bytes[..]))))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    Some(digits?.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].iter().find_map(|form| form.decode(text).ok())
}

impl State {
    /// The master key, made on first need.
    pub(crate) fn master(&self) -> Result<&Master, JournalError> {
        if let Some(master) = self.known_master()? {
            return Ok(master);
        }
        let master = self.make_key(&self.key_file()?)?;
        Ok(self.master.get_or_init(|| master))
    }

    /// The master key, if there is one.
    pub(crate) fn known_master(&self) -> Result<Option<&Master>, JournalError> {
        if let Some(master) = self.master.get() {
            return Ok(Some(master));
        }
        let found = match self.given_key()? {
            Some(master) => Some(master),
            None => self.read_key(&self.key_file()?)?,
        };
        Ok(found.map(|master| self.master.get_or_init(|| master)))
    }

    /// The key of the environment.
    fn given_key(&self) -> Result<Option<Master>, JournalError> {
        let Some(text) = std::env::var(VARIABLE).ok().filter(|_| self.key_place.is_none()).map(Zeroizing::new) else { return Ok(None) };
        let wrong = || {
            unusable(
                self.dir(),
                format!("{VARIABLE} is no key; give 32 bytes as 64 hexadecimal digits or as base64 (`openssl rand -hex 32`)"),
            )
        };
        Master::parse(&text).ok_or_else(wrong).map(Some)
    }

    /// Where the key comes from, if there is one; none is made. That there is none is wrong only
    /// where something was sealed with it.
    pub(crate) fn key_origin(&self) -> Result<Option<String>, JournalError> {
        if self.given_key()?.is_some() {
            return Ok(Some(format!("from {VARIABLE}")));
        }
        let file = match self.key_file() {
            Err(_) if !self.seals()? => return Ok(None),
            file => file?,
        };
        match self.read_key(&file)? {
            Some(_) => Ok(Some(file.display().to_string())),
            None => self.refuse_new_key(&file).map(|()| None),
        }
    }

    /// Where the key's file is, or would be.
    pub(crate) fn key_file(&self) -> Result<PathBuf, JournalError> {
        if let Some(file) = &self.key_place {
            return Ok(file.clone());
        }
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let config = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
        let none = || unusable(self.dir(), format!("there is no home for the master key; set HOME, XDG_CONFIG_HOME or {VARIABLE}"));
        Ok(config.ok_or_else(none)?.join("trees").join("master.key"))
    }

    fn read_key(&self, file: &Path) -> Result<Option<Master>, JournalError> {
        let failed = |error: &std::io::Error| {
            unusable(
                self.dir(),
                format!("the master key {} cannot be read: {error}; see to its owner and mode, or set {VARIABLE}", file.display()),
            )
        };
        let mode = match fs::metadata(file) {
            Ok(there) => there.permissions().mode(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        if mode & 0o077 != 0 {
            let message = format!("others may read the master key (mode {:03o}); chmod 600 {}", mode & 0o777, file.display());
            return Err(unusable(self.dir(), message));
        }
        let text = Zeroizing::new(fs::read_to_string(file).map_err(|error| failed(&error))?);
        let wrong = || {
            unusable(
                self.dir(),
                format!("{} holds no key; put back the right file: secrets sealed with it are lost without it", file.display()),
            )
        };
        Master::parse(&text).ok_or_else(wrong).map(Some)
    }

    /// Writes a new key aside and renames it, one process after the other, so that all use the same.
    /// What a crash leaves aside is written over by the next.
    fn make_key(&self, file: &Path) -> Result<Master, JournalError> {
        self.refuse_new_key(file)?;
        let home = file.parent().unwrap_or(Path::new("/"));
        folder::make_durable(self.dir(), home)?;
        let aside = home.join(".trees-master.key");
        let mut lock = Flock::open(self.dir(), &aside)?;
        lock.hold()?;
        while !lock.is_current() {
            lock = Flock::open(self.dir(), &aside)?;
            lock.hold()?;
        }
        if let Some(master) = self.read_key(file)? {
            // Another process was first.
            let _ = fs::remove_file(&aside);
            return Ok(master);
        }
        lock.sign(&new_key().map_err(|error| unusable(self.dir(), format!("the system gives no random numbers: {error}")))?)?;
        lock.sync()?;
        hit(Point::KeyAside);
        let failed = |error| unusable(self.dir(), format!("the master key {} cannot be written: {error}", file.display()));
        fs::rename(&aside, file).map_err(failed)?;
        hit(Point::KeyNamed);
        folder::sync(self.dir(), home)?;
        let lost = || unusable(self.dir(), format!("the master key {} has vanished", file.display()));
        self.read_key(file)?.ok_or_else(lost)
    }

    /// A new key would make sealed secrets unreadable without a word.
    fn refuse_new_key(&self, file: &Path) -> Result<(), JournalError> {
        if !self.seals()? {
            return Ok(());
        }
        let message =
            format!("there are sealed secrets, but not the key they were sealed with; put back {} or set {VARIABLE}", file.display());
        Err(unusable(self.dir(), message))
    }

    /// Whether there are sealed secrets.
    fn seals(&self) -> Result<bool, JournalError> {
        self.read(|db| Ok(db.query_row("SELECT EXISTS (SELECT 1 FROM secrets WHERE sealed IS NOT NULL)", [], |row| row.get(0))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, good: bool) {
        assert_eq!(Master::parse(text).is_some(), good, "{text}");
    }

    #[test]
    fn keys_are_read_in_both_forms() {
        let hex = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
        check(hex, true);
        check(&format!("  {hex}\n"), true);
        let bytes = unhex(hex).unwrap();
        check(&STANDARD.encode(&bytes), true);
        check(&URL_SAFE_NO_PAD.encode(&bytes), true);
        let one = Master::parse(&STANDARD.encode(&bytes)).unwrap();
        assert_eq!(one.0[..], Master::parse(hex).unwrap().0[..]);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        check("", false);
        check("secret", false);
        check(&"g".repeat(64), false);
        check(&"é".repeat(32), false);
        check(&STANDARD.encode([1; 31]), false);
        check(&STANDARD.encode([1; 33]), false);
    }

    #[test]
    fn a_fingerprint_depends_on_key_and_value_and_shows_neither() {
        let (a, b) = (Master(Zeroizing::new([1; 32])), Master(Zeroizing::new([2; 32])));
        assert_eq!(a.fingerprint("v"), a.fingerprint("v"));
        assert_ne!(a.fingerprint("v"), b.fingerprint("v"));
        assert_ne!(a.fingerprint("v"), a.fingerprint("w"));
        assert_eq!(format!("{a:?}"), "Master(…)");
    }
}
