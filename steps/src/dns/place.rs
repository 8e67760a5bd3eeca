//! Where a set of records is: zone, name, type.

use super::value::{self, Type};
use hickory_proto::rr::Name;
use std::collections::BTreeSet;
use std::fmt;

/// Where a set of records is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The zone.
    pub(super) zone: Name,
    /// The whole name.
    pub(super) name: Name,
    /// The type of its records.
    pub(super) kind: Type,
}

impl Place {
    /// By the words of a tree file: `name` is `@` for the zone itself, a whole name that ends with the
    /// zone, or what stands before the zone.
    ///
    /// # Errors
    /// One sentence.
    pub fn new(zone: &str, name: &str, kind: Type) -> Result<Self, String> {
        let within = value::name(zone).map_err(|e| format!("zone: `{zone}` {e}"))?;
        if within.is_root() {
            return Err(format!("zone: `{zone}` is no zone"));
        }
        let wrong = |e: String| format!("name: `{name}` {e}");
        if name == "@" {
            return Ok(Self { name: within.clone(), zone: within, kind });
        }
        let whole = value::name(name).map_err(wrong)?;
        if whole.is_root() {
            return Err(wrong("is no name in the zone; the zone itself is `@`".into()));
        }
        if within.zone_of(&whole) {
            return Ok(Self { zone: within, name: whole, kind });
        }
        if name.ends_with('.') {
            return Err(wrong(format!("is not in the zone {within}")));
        }
        let below = whole.append_name(&within).map_err(|e| wrong(format!("is no name: {e}")))?;
        Ok(Self { name: value::plain(&below), zone: within, kind })
    }

    /// The zone with its last dot.
    pub fn zone(&self) -> String {
        self.zone.to_ascii()
    }

    /// The whole name with its last dot.
    pub fn name(&self) -> String {
        self.name.to_ascii()
    }

    /// The type.
    pub fn kind(&self) -> Type {
        self.kind
    }

    /// Values as a person wrote them, in the one form in which they are compared.
    ///
    /// # Errors
    /// A sentence for each that is wrong.
    pub fn values<'a>(&self, written: impl IntoIterator<Item = &'a String>) -> Result<BTreeSet<String>, Vec<String>> {
        value::all("values", self.kind, Some(&self.zone), written)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name.to_ascii(), self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::Place;
    use crate::dns::value::Type;

    #[test]
    fn a_name_is_relative_or_whole() {
        for (zone, name, expected) in [
            ("Example.org", "@", Ok("example.org.")),
            ("example.org.", "App", Ok("app.example.org.")),
            ("example.org", "a.b", Ok("a.b.example.org.")),
            ("example.org", "*", Ok("*.example.org.")),
            ("example.org", "_dmarc", Ok("_dmarc.example.org.")),
            ("example.org", "app.example.org", Ok("app.example.org.")),
            ("example.org", "example.org", Ok("example.org.")),
            ("example.org", "app.example.org.", Ok("app.example.org.")),
            ("example.org", "app.example.net.", Err("is not in the zone example.org.")),
            ("example.org", "notexample.org", Ok("notexample.org.example.org.")),
            ("example.org", "a..b", Err("name: `a..b` is no name")),
            ("example.org", ".", Err("the zone itself is `@`")),
            (".", "a", Err("is no zone")),
            ("a..b", "a", Err("zone: `a..b` is no name")),
        ] {
            match (Place::new(zone, name, Type::A), expected) {
                (Ok(place), Ok(whole)) => assert_eq!(place.name(), whole),
                (Err(wrong), Err(part)) => assert!(wrong.contains(part), "{wrong}"),
                (got, expected) => panic!("{zone} {name}: {expected:?}, got {got:?}"),
            }
        }
    }
}
