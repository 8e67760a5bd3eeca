//! A message by mail: its addresses, headers and parts. Nothing that comes out of a value can become a header, a
//! recipient or the end of the message.

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, Message, MultiPart, SinglePart};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Addresses: one, several with commas between them, or a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Addresses {
    /// None.
    #[default]
    None,
    /// One, or several with commas.
    One(String),
    /// A list.
    List(Vec<String>),
}

impl Addresses {
    fn texts(&self) -> Vec<&str> {
        match self {
            Self::None => Vec::new(),
            Self::One(text) => vec![text],
            Self::List(list) => list.iter().map(String::as_str).collect(),
        }
    }

    /// All of them, read.
    ///
    /// # Errors
    /// A sentence that names the first that cannot be read.
    pub fn read(&self, field: &str) -> Result<Vec<Mailbox>, String> {
        let mut all = Vec::new();
        for text in self.texts() {
            if let Some(wrong) = one_line(field, text) {
                return Err(wrong);
            }
            let read: Mailboxes = text
                .parse()
                .map_err(|_| format!("{field}: `{text}` is no mail address: write `ada@example.org` or `Ada <ada@example.org>`"))?;
            all.extend(read);
        }
        Ok(all)
    }
}

/// What is wrong with a text that must stand on one line.
pub fn one_line(field: &str, text: &str) -> Option<String> {
    text.contains(|c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}')
        .then(|| format!("{field}: `{}` has a line break or another control character", text.escape_debug()))
}

/// What a message is made of.
pub struct Parts<'a> {
    /// The address that it comes from.
    pub from: &'a str,
    /// Where answers go.
    pub reply_to: &'a Addresses,
    /// Recipients.
    pub to: &'a Addresses,
    /// Recipients.
    pub cc: &'a Addresses,
    /// Recipients whom the others do not see.
    pub bcc: &'a Addresses,
    /// The subject.
    pub subject: &'a str,
    /// The text.
    pub text: Option<&'a str>,
    /// The HTML.
    pub html: Option<&'a str>,
    /// More headers.
    pub headers: &'a BTreeMap<String, String>,
}

/// Headers that are made from other fields.
const OWN: [&str; 15] = [
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "bcc",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-disposition",
    "return-path",
    "received",
];

impl Parts<'_> {
    /// What is wrong with it, a sentence each.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong: Vec<String> = one_line("subject", self.subject).into_iter().collect();
        match Addresses::One(self.from.to_owned()).read("from") {
            Ok(from) if from.len() == 1 => {}
            Ok(_) => wrong.push("from: give one address".into()),
            Err(e) => wrong.push(e),
        }
        let mut count = 0;
        for (field, addresses) in [("reply_to", self.reply_to), ("to", self.to), ("cc", self.cc), ("bcc", self.bcc)] {
            match addresses.read(field) {
                Ok(read) => count += if field == "reply_to" { 0 } else { read.len() },
                Err(e) => {
                    count += 1;
                    wrong.push(e);
                }
            }
        }
        if count == 0 {
            wrong.push("to: nobody gets it; give `to`, `cc` or `bcc`".into());
        }
        if self.text.is_none() && self.html.is_none() {
            wrong.push("text: there is no message; give `text`, `html` or both".into());
        }
        wrong.extend(self.headers.iter().filter_map(|(name, value)| wrong_header(name, value)));
        wrong
    }

    /// The message with this id.
    ///
    /// # Errors
    /// A sentence.
    pub fn message(&self, id: &str) -> Result<Message, String> {
        let from = Addresses::One(self.from.to_owned()).read("from")?.into_iter().next().ok_or("from: give one address")?;
        let mut builder = Message::builder().from(from).subject(self.subject).message_id(Some(id.to_owned())).date_now();
        if !self.headers.keys().any(|name| name.eq_ignore_ascii_case("auto-submitted")) {
            builder = builder.raw_header(raw("Auto-Submitted", "auto-generated")?);
        }
        for address in self.reply_to.read("reply_to")? {
            builder = builder.reply_to(address);
        }
        for address in self.to.read("to")? {
            builder = builder.to(address);
        }
        for address in self.cc.read("cc")? {
            builder = builder.cc(address);
        }
        for address in self.bcc.read("bcc")? {
            builder = builder.bcc(address);
        }
        for (name, value) in self.headers {
            builder = builder.raw_header(raw(name, value)?);
        }
        let made = match (self.text, self.html) {
            (Some(text), Some(html)) => builder.multipart(
                MultiPart::alternative().singlepart(SinglePart::plain(text.to_owned())).singlepart(SinglePart::html(html.to_owned())),
            ),
            (None, Some(html)) => builder.singlepart(SinglePart::html(html.to_owned())),
            (text, None) => builder.singlepart(SinglePart::plain(text.unwrap_or_default().to_owned())),
        };
        made.map_err(|e| format!("the message cannot be made: {e}"))
    }
}

fn raw(name: &str, value: &str) -> Result<HeaderValue, String> {
    let name = HeaderName::new_from_ascii(name.to_owned()).map_err(|_| format!("headers: `{name}` is no header's name"))?;
    Ok(HeaderValue::new(name, value.to_owned()))
}

fn wrong_header(name: &str, value: &str) -> Option<String> {
    let letters = !name.is_empty() && name.len() <= 76 && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    if !letters {
        return Some(format!("headers: `{}` is no header's name", name.escape_debug()));
    }
    if OWN.contains(&name.to_lowercase().as_str()) {
        return Some(format!("headers: `{name}` is made from other fields"));
    }
    one_line(&format!("headers.{name}"), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Owned), expected: &str) {
        let mut owned = Owned::default();
        change(&mut owned);
        let wrong = owned.parts().wrong().join("; ");
        assert!(if expected.is_empty() { wrong.is_empty() } else { wrong.contains(expected) }, "{expected}: {wrong}");
    }

    struct Owned {
        from: String,
        to: Addresses,
        bcc: Addresses,
        subject: String,
        text: Option<String>,
        headers: BTreeMap<String, String>,
    }

    impl Default for Owned {
        fn default() -> Self {
            let to = Addresses::One("Bob <bob@example.org>, eve@example.org".into());
            let (from, subject, text) = ("Ada <ada@example.org>".into(), "Grüße an alle".into(), Some("hello\n.\nRSET\n".into()));
            Self { from, to, bcc: Addresses::List(vec!["hidden@example.org".into()]), subject, text, headers: BTreeMap::new() }
        }
    }

    impl Owned {
        fn parts(&self) -> Parts<'_> {
            static NONE: Addresses = Addresses::None;
            Parts {
                from: &self.from,
                reply_to: &NONE,
                to: &self.to,
                cc: &NONE,
                bcc: &self.bcc,
                subject: &self.subject,
                text: self.text.as_deref(),
                html: None,
                headers: &self.headers,
            }
        }
    }

    #[test]
    fn nothing_becomes_a_header_or_a_recipient() {
        check(|_| {}, "");
        check(|o| o.subject = "a\r\nBcc: eve@example.org".into(), "subject: `a\\r\\nBcc: eve@example.org` has a line break");
        check(|o| o.from = "ada@example.org\nX: y".into(), "from: `ada@example.org\\nX: y` has a line break");
        check(|o| o.to = Addresses::One("bob@example.org>\r\nRCPT TO:<eve@example.org".into()), "to: `bob");
        check(|o| o.to = Addresses::One("bob".into()), "to: `bob` is no mail address");
        check(|o| drop(o.headers.insert("X-A\r\nBcc".into(), "x".into())), "is no header's name");
        check(|o| drop(o.headers.insert("X-A: b".into(), "x".into())), "is no header's name");
        check(|o| drop(o.headers.insert("X-A".into(), "x\ny".into())), "headers.X-A: `x\\ny` has a line break");
        check(|o| drop(o.headers.insert("bCc".into(), "x".into())), "headers: `bCc` is made from other fields");
        check(|o| o.from = "a@example.org, b@example.org".into(), "from: give one address");
        check(|o| (o.to, o.bcc) = (Addresses::None, Addresses::List(vec![])), "to: nobody gets it");
        check(|o| o.text = None, "text: there is no message");
    }

    #[test]
    fn a_message_has_an_id_a_date_and_no_hidden_recipients() {
        let mut owned = Owned::default();
        owned.headers.insert("X-Release".into(), "v1".into());
        let message = owned.parts().message("<key@example.org>").unwrap();
        assert_eq!(message.envelope().to().len(), 3);
        let text = String::from_utf8(message.formatted()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        for line in [
            "Message-ID: <key@example.org>",
            "Auto-Submitted: auto-generated",
            "X-Release: v1",
            "To: Bob <bob@example.org>, eve@example.org",
        ] {
            assert!(head.lines().any(|l| l == line), "{line}\n{head}");
        }
        assert!(head.contains("\r\nDate: ") && head.contains("Subject: =?utf-8?b?") && !head.contains("hidden"), "{head}");
        assert!(text.is_ascii() && !head.contains('\u{fc}') && body.contains("hello\r\n.\r\nRSET"), "{body}");
    }
}
