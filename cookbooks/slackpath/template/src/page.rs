//! The page that shows the channels; every text of a person is escaped.

use crate::chat::{Chat, Message};
use crate::config;

const STYLE: &str = "body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 44rem; padding: 0 1rem; color: #1d2b22; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
li { margin: .2rem 0; overflow-wrap: anywhere; white-space: pre-wrap; } ul { padding-left: 1.1rem; }
input { font: inherit; padding: .3rem .5rem; border: 1px solid #9bb3a4; border-radius: .3rem; }
button { font: inherit; padding: .3rem .9rem; border: 0; border-radius: .3rem; background: #2f6f4a; color: #fff; }
footer { margin-top: 3rem; color: #6a7a70; font-size: .85rem; }";

/// Draws all channels.
pub fn page(chat: &Chat) -> String {
    let name = escape(config::NAME);
    let mut html = format!("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{name}</title><style>{STYLE}</style></head><body><h1>{name}</h1>");
    for channel in chat.channels() {
        html.push_str(&section(&channel, &chat.messages(&channel, 0).unwrap_or_default()));
    }
    html.push_str(&format!("<footer>version {}</footer></body></html>", escape(config::VERSION)));
    html
}

fn section(channel: &str, messages: &[Message]) -> String {
    let channel = escape(channel);
    let mut html = format!("<section><h2>#{channel}</h2><ul>");
    for message in messages {
        html.push_str(&format!("<li><b>{}</b> {}</li>", escape(&message.author), escape(&message.text)));
    }
    html.push_str(&format!(
        "</ul><form method=\"post\" action=\"/channels/{channel}/messages\"><input name=\"author\" placeholder=\"you\" size=\"8\"> <input name=\"text\" placeholder=\"message\" required> <button>Send</button></form></section>"
    ));
    html
}

/// Makes a text safe in HTML, attributes too.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_never_becomes_markup() {
        let chat = Chat::new(&["general".to_owned()]);
        chat.post("general", "", "<b>", "<script>alert(\"x\")</script>").unwrap();
        let html = page(&chat);
        assert!(!html.contains("<script>"), "{html}");
        assert!(html.contains("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;"), "{html}");
    }
}
