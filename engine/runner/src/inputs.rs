//! The file behind `$TREES_INPUTS`: all values bound in a script as one JSON object.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use trees_core::event::Object;

/// The name in the attempt's scratch folder.
pub const FILE: &str = "inputs.json";

/// Writes the values, readable by the user only.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, values: &Object) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&serde_json::to_vec(values).map_err(io::Error::other)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn all_values_in_a_file_of_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let values: Object = [("TREES_V1".to_owned(), "x".repeat(200_000).into()), ("TREES_V2".to_owned(), serde_json::json!([1, null]))]
            .into_iter()
            .collect();
        let path = folder.path().join(FILE);
        write(&path, &values).unwrap();
        assert_eq!(serde_json::from_slice::<Object>(&std::fs::read(&path).unwrap()).unwrap(), values);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
