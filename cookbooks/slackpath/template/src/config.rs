//! What this chat is called and where people talk. Written by the template.

/// The service's name.
pub const NAME: &str = "{{ name }}";

/// The channels, one a line.
const CHANNELS: &str = include_str!("../channels.txt");

/// What `/version` answers: given when the binary was compiled.
pub const VERSION: &str = match option_env!("CHAT_VERSION") {
    Some(version) => version,
    None => "unversioned",
};

/// The channels, in order.
pub fn channels() -> Vec<String> {
    CHANNELS.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_is_a_word_of_its_own() {
        let channels = channels();
        assert!(!channels.is_empty(), "a chat needs a channel");
        for (i, channel) in channels.iter().enumerate() {
            let word = channel.len() <= 40 && channel.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
            assert!(word, "`{channel}` is no channel: letters, digits, `-` and `_`, at most 40");
            assert!(!channels[..i].contains(channel), "`{channel}` stands there twice");
        }
    }
}
