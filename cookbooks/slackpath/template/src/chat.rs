//! Messages by channel, in memory and, if asked, in a file that is read again at the start.

use crate::json;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A channel keeps so many messages; older ones are forgotten.
pub const KEPT: usize = 1000;
/// The longest text, in bytes.
pub const LONGEST_TEXT: usize = 4000;
/// The longest author and id, in bytes.
pub const LONGEST_NAME: usize = 80;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its number in the channel, from 1.
    pub number: u64,
    /// Given by the one who posts, so that posting twice is posting once.
    pub id: String,
    /// Who wrote it.
    pub author: String,
    /// What.
    pub text: String,
}

/// What a post led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Posted {
    /// It is new.
    New(Message),
    /// A message with this id is there already.
    Known(Message),
}

/// Why a post was refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such channel.
    NoChannel,
    /// The text is empty or something is too long.
    Bad(String),
    /// The file cannot be written.
    Disk(String),
}

struct Channel {
    name: String,
    last: u64,
    messages: VecDeque<Message>,
}

struct State {
    channels: Vec<Channel>,
    file: Option<File>,
}

/// All channels, shared by the threads.
pub struct Chat {
    state: Mutex<State>,
}

impl Chat {
    /// A chat that forgets when it ends.
    pub fn new(channels: &[String]) -> Self {
        let channel = |name: &String| Channel { name: name.clone(), last: 0, messages: VecDeque::new() };
        Self { state: Mutex::new(State { channels: channels.iter().map(channel).collect(), file: None }) }
    }

    /// A chat that keeps its messages in a file.
    pub fn open(channels: &[String], path: &Path) -> std::io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        let chat = Self::new(channels);
        for line in BufReader::new(File::open(path)?).lines() {
            chat.remember(&line?);
        }
        chat.lock().file = Some(file);
        Ok(chat)
    }

    /// The names of the channels.
    pub fn channels(&self) -> Vec<String> {
        self.lock().channels.iter().map(|c| c.name.clone()).collect()
    }

    /// The messages of a channel after a number.
    pub fn messages(&self, channel: &str, after: u64) -> Option<Vec<Message>> {
        let state = self.lock();
        let channel = state.channels.iter().find(|c| c.name == channel)?;
        Some(channel.messages.iter().filter(|m| m.number > after).cloned().collect())
    }

    /// Adds a message, unless its id is known. An empty id is given one.
    pub fn post(&self, channel: &str, id: &str, author: &str, text: &str) -> Result<Posted, Refused> {
        check(id, author, text)?;
        let mut state = self.lock();
        let State { channels, file } = &mut *state;
        let found = channels.iter_mut().find(|c| c.name == channel).ok_or(Refused::NoChannel)?;
        if let Some(known) = found.messages.iter().find(|m| !id.is_empty() && m.id == id) {
            return Ok(Posted::Known(known.clone()));
        }
        let message = found.next(id, author, text);
        if let Some(file) = file {
            let fields = [("channel", channel), ("id", &message.id), ("author", author), ("text", text)];
            writeln!(file, "{}", json::object(&fields)).map_err(|e| Refused::Disk(e.to_string()))?;
        }
        found.keep(message.clone());
        Ok(Posted::New(message))
    }

    /// Takes a line of the file in; a line cut short by a crash is left out.
    fn remember(&self, line: &str) {
        let Ok(fields) = json::parse(line) else { return };
        let get = |name: &str| fields.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value);
        let mut state = self.lock();
        if let Some(channel) = state.channels.iter_mut().find(|c| c.name == get("channel")) {
            let message = channel.next(get("id"), get("author"), get("text"));
            channel.keep(message);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel {
    fn next(&self, id: &str, author: &str, text: &str) -> Message {
        let number = self.last + 1;
        let id = if id.is_empty() { format!("m{number}") } else { id.to_owned() };
        Message { number, id, author: author.to_owned(), text: text.to_owned() }
    }

    fn keep(&mut self, message: Message) {
        self.last = message.number;
        self.messages.push_back(message);
        if self.messages.len() > KEPT {
            self.messages.pop_front();
        }
    }
}

fn check(id: &str, author: &str, text: &str) -> Result<(), Refused> {
    if text.trim().is_empty() {
        return Err(Refused::Bad("the text is empty".into()));
    }
    if text.len() > LONGEST_TEXT {
        return Err(Refused::Bad(format!("the text is longer than {LONGEST_TEXT} bytes")));
    }
    if id.len() > LONGEST_NAME || author.len() > LONGEST_NAME {
        return Err(Refused::Bad(format!("the id or the author is longer than {LONGEST_NAME} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat() -> Chat {
        Chat::new(&["general".to_owned(), "random".to_owned()])
    }

    #[test]
    fn keeps_channels_apart_and_numbers_messages() {
        let chat = chat();
        for text in ["one", "two"] {
            assert!(matches!(chat.post("general", "", "ann", text), Ok(Posted::New(_))));
        }
        assert_eq!(chat.messages("random", 0), Some(vec![]));
        let texts: Vec<_> = chat.messages("general", 1).unwrap().into_iter().map(|m| (m.number, m.text)).collect();
        assert_eq!(texts, [(2, "two".to_owned())]);
        assert_eq!(chat.messages("nowhere", 0), None);
    }

    #[test]
    fn the_same_id_twice_is_one_message() {
        let chat = chat();
        assert!(matches!(chat.post("general", "a", "ann", "first"), Ok(Posted::New(_))));
        let Ok(Posted::Known(known)) = chat.post("general", "a", "bob", "second") else { panic!("it is known") };
        assert_eq!(known.text, "first");
        assert_eq!(chat.messages("general", 0).unwrap().len(), 1);
    }

    #[test]
    fn refuses_what_is_empty_too_long_or_nowhere() {
        let chat = chat();
        assert!(matches!(chat.post("general", "", "", " \n"), Err(Refused::Bad(_))));
        assert!(matches!(chat.post("general", "", "", &"x".repeat(LONGEST_TEXT + 1)), Err(Refused::Bad(_))));
        assert_eq!(chat.post("nowhere", "", "", "hi"), Err(Refused::NoChannel));
    }

    #[test]
    fn forgets_the_oldest() {
        let chat = chat();
        for n in 0..=KEPT {
            chat.post("general", "", "", &n.to_string()).unwrap();
        }
        let kept = chat.messages("general", 0).unwrap();
        assert_eq!((kept.len(), kept[0].number), (KEPT, 2));
    }

    #[test]
    fn reads_its_file_again_and_leaves_a_torn_line_out() {
        let path = std::env::temp_dir().join(format!("chat-{}", std::process::id())).join("messages.jsonl");
        let channels = ["general".to_owned()];
        {
            let chat = Chat::open(&channels, &path).unwrap();
            chat.post("general", "a", "ann", "kept \"well\"").unwrap();
        }
        write!(OpenOptions::new().append(true).open(&path).unwrap(), "{}", "{\"channel\":\"gen").unwrap();
        let chat = Chat::open(&channels, &path).unwrap();
        let texts: Vec<_> = chat.messages("general", 0).unwrap().into_iter().map(|m| m.text).collect();
        assert_eq!(texts, ["kept \"well\""]);
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
