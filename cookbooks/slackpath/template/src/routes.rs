//! What each request means.

use crate::chat::{Chat, Message, Posted, Refused};
use crate::http::{self, Request, Response};
use crate::{config, json, page};

/// Answers one request.
pub fn answer(chat: &Chat, request: &Request) -> Response {
    let parts: Vec<&str> = request.path.split('/').skip(1).collect();
    let reading = matches!(request.method.as_str(), "GET" | "HEAD");
    match (reading, request.method.as_str(), parts.as_slice()) {
        (true, _, [""]) => Response::html(page::page(chat)),
        (true, _, ["healthz"]) => Response::text(200, "ok\n"),
        (true, _, ["version"]) => Response::text(200, format!("{}\n", config::VERSION)),
        (true, _, ["channels"]) => Response::json(200, channels(chat)),
        (true, _, ["channels", channel, "messages"]) => read(chat, channel, &request.query),
        (_, "POST", ["channels", channel, "messages"]) => post(chat, channel, request),
        (_, _, ["channels", _, "messages"]) => Response::text(405, "GET or POST\n").with("Allow", "GET, HEAD, POST"),
        (false, _, [""] | ["healthz"] | ["version"] | ["channels"]) => Response::text(405, "GET only\n").with("Allow", "GET, HEAD"),
        _ => Response::text(404, "nothing here\n"),
    }
}

fn channels(chat: &Chat) -> String {
    let mut out = String::from("[");
    for (i, channel) in chat.channels().iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        json::quote(channel, &mut out);
    }
    out.push(']');
    out
}

fn read(chat: &Chat, channel: &str, query: &str) -> Response {
    let after = match http::form(query, "after").map(|n| n.parse()) {
        None => 0,
        Some(Ok(after)) => after,
        Some(Err(_)) => return Response::text(400, "`after` is a number\n"),
    };
    match chat.messages(channel, after) {
        Some(messages) => Response::json(200, format!("[{}]", messages.iter().map(one).collect::<Vec<_>>().join(","))),
        None => Response::text(404, "no such channel\n"),
    }
}

fn one(message: &Message) -> String {
    let number = message.number.to_string();
    json::object(&[("number", &number), ("id", &message.id), ("author", &message.author), ("text", &message.text)])
}

fn post(chat: &Chat, channel: &str, request: &Request) -> Response {
    let content = request.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let form = content == "application/x-www-form-urlencoded";
    let fields = match content.as_str() {
        "application/json" => match json::parse(&request.body) {
            Ok(fields) => fields,
            Err(why) => return Response::text(400, format!("{why}\n")),
        },
        _ if form => ["author", "text"].iter().filter_map(|n| Some(((*n).to_owned(), http::form(&request.body, n)?))).collect(),
        _ => return Response::text(415, "send application/json\n"),
    };
    let get = |name: &str| fields.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value);
    let author = if get("author").is_empty() { "somebody" } else { get("author") };
    match chat.post(channel, get("id"), author, get("text")) {
        Ok(_) if form => Response::text(303, "").with("Location", "/"),
        Ok(Posted::New(message)) => Response::json(201, one(&message)),
        Ok(Posted::Known(message)) => Response::json(200, one(&message)),
        Err(Refused::NoChannel) => Response::text(404, "no such channel\n"),
        Err(Refused::Bad(why)) => Response::text(400, format!("{why}\n")),
        Err(Refused::Disk(why)) => Response::text(503, format!("cannot keep the message: {why}\n")),
    }
}
